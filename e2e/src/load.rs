//! A steady load from inside the cluster, with the issued client certificate: a pod that runs
//! `lograft bench soak` under the restricted PodSecurity profile.

use std::io::{Seek as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams, PostParams};
use serde::Deserialize;
use serde_json::json;

use crate::sandbox::{Sandbox, await_for};

const NAME: &str = "load";
/// Records per second in each partition.
const RATE: &str = "50";
/// Members of the group of a load that has one.
const MEMBERS: &str = "3";
/// Start of the line that `bench soak` prints once it writes.
pub(crate) const WRITING: &str = "writing to ";
/// Time after which a load writes if it does not say so.
const SILENT_START: Duration = Duration::from_secs(15);
/// A handover, and the start of a node, take several writes one after the other, each on two nodes.
const STALLS_PER_PAUSE: u32 = 10;
/// The same in writes of the cluster itself: votes, the first entry of a leader, metadata, retries.
const WRITES_PER_PAUSE: u32 = 20;
/// Pause between two measurements of the machine.
const CONTROL_PAUSE: Duration = Duration::from_millis(10);
/// Folder on a real disk.
const CONTROL_DIR: &str = "/var/tmp";
/// The user of the image.
const USER: i64 = 65532;

/// Runs `lograft` with these arguments in a pod, and returns its output.
pub(crate) async fn run_cli(
    sandbox: &Sandbox,
    image: &str,
    words: &[&str],
) -> anyhow::Result<String> {
    const NAME: &str = "cli";
    let api = sandbox.api::<Pod>();
    let pod = cli(NAME, image, words, None)?;
    api.create(&PostParams::default(), &pod).await?;
    let what = format!("lograft {} to end", words.join(" "));
    let phase = await_for(Duration::from_mins(1), &what, || async {
        let status = api.get(NAME).await?.status.unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        Ok(["Succeeded", "Failed"]
            .contains(&phase.as_str())
            .then_some(phase))
    })
    .await?;
    let text = api.logs(NAME, &LogParams::default()).await?;
    sandbox.remove_pod(NAME).await?;
    ensure!(phase == "Succeeded", "{what}: {text}");
    Ok(text)
}

/// A pod that runs `lograft` with these arguments.
fn cli(name: &str, image: &str, words: &[&str], host: Option<&str>) -> anyhow::Result<Pod> {
    let selector = host.map(|host| json!({"kubernetes.io/hostname": host}));
    let command = [&["lograft"], words].concat();
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": selector,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [{
                "name": "tls",
                "secret": {"secretName": "events-admin-tls", "defaultMode": 0o440},
            }],
            "containers": [{
                "name": "load", "image": image, "command": command,
                "env": [
                    {"name": "LOGRAFT_ENDPOINTS", "value": "events-client:9400"},
                    {"name": "LOGRAFT_TLS_DIR", "value": "/tls"},
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": true}],
            }],
        },
    });
    Ok(serde_json::from_value(pod)?)
}

/// A running load.
pub(crate) struct Load<'a> {
    sandbox: &'a Sandbox,
    duration: Duration,
    control: Control,
}

/// A small write and sync, one after the other, while a load runs: how long the machine itself
/// stalls such a thing. A pause of the cluster is judged by it.
#[derive(Clone)]
struct Control {
    longest_ns: Arc<AtomicU64>,
    /// Ends the thread with the last clone.
    _running: Arc<()>,
}

impl Control {
    fn start() -> anyhow::Result<Self> {
        let mut file = tempfile::tempfile_in(CONTROL_DIR).context("cannot measure the machine")?;
        let (longest_ns, running) = (Arc::new(AtomicU64::new(0)), Arc::new(()));
        let (found, is_running) = (Arc::clone(&longest_ns), Arc::downgrade(&running));
        std::thread::spawn(move || {
            while is_running.strong_count() > 0 {
                let started = Instant::now();
                std::thread::sleep(CONTROL_PAUSE);
                let written = file.rewind().and_then(|()| file.write_all(&[1; 4096]));
                if written.and_then(|()| file.sync_data()).is_err() {
                    return;
                }
                let stall = started.elapsed().saturating_sub(CONTROL_PAUSE);
                let stall = u64::try_from(stall.as_nanos()).unwrap_or(u64::MAX);
                found.fetch_max(stall, Ordering::Relaxed);
            }
        });
        Ok(Self {
            longest_ns,
            _running: running,
        })
    }

    fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns.load(Ordering::Relaxed))
    }
}

/// The JSON report of the load.
#[derive(Debug, Deserialize)]
struct Report {
    longest_pause_seconds: f64,
    latency_ms: Latency,
    group: Option<Group>,
    partitions: Vec<Partition>,
}

/// What the members of a consumer group did. The load fails if they did not process and commit
/// everything, each partition in order.
#[derive(Debug, Deserialize)]
pub(crate) struct Group {
    processed: u64,
    repeated: u64,
    lost_partitions: u64,
    longest_pause_seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50: f64,
}

#[derive(Debug, Deserialize)]
struct Partition {
    acked: u64,
    failed: u64,
    lost: u64,
    moved: u64,
    doubled: u64,
}

/// Result of a load in which no record was lost.
#[derive(Debug)]
pub(crate) struct Soaked {
    pub(crate) acked: u64,
    pub(crate) longest_pause: Duration,
    /// Of a record; most of them were written while nothing else happened.
    pub(crate) median_latency: Duration,
    pub(crate) group: Option<Group>,
}

impl Soaked {
    /// Reads the report in the output of `bench soak --json`. Fails unless every acknowledged
    /// record is in the log, once and in order.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let json = text.find('{').map_or("", |start| &text[start..]);
        let mut reports = serde_json::Deserializer::from_str(json).into_iter::<Report>();
        let report = reports.next().context("the load printed no report")?;
        let report = report.with_context(|| format!("cannot parse {text}"))?;
        for (number, partition) in report.partitions.iter().enumerate() {
            let Partition {
                acked,
                failed,
                lost,
                moved,
                doubled,
            } = partition;
            ensure!(
                *acked > 0 && [*failed, *lost, *moved, *doubled] == [0; 4],
                "partition {number}: {partition:?}"
            );
        }
        Ok(Self {
            acked: report
                .partitions
                .iter()
                .map(|partition| partition.acked)
                .sum(),
            longest_pause: Duration::from_secs_f64(report.longest_pause_seconds),
            median_latency: Duration::from_secs_f64(report.latency_ms.p50 / 1000.0),
            group: report.group,
        })
    }
}

impl<'a> Load<'a> {
    /// Starts the load and waits until it writes. `host`: the Kubernetes node to run on.
    pub(crate) async fn start(
        sandbox: &'a Sandbox,
        image: &str,
        duration: Duration,
        host: Option<&str>,
    ) -> anyhow::Result<Self> {
        Self::start_as(sandbox, image, duration, host, &["--rate", RATE]).await
    }

    /// Like [`Load::start`], and a consumer group processes what is written.
    pub(crate) async fn start_with_group(
        sandbox: &'a Sandbox,
        image: &str,
        duration: Duration,
    ) -> anyhow::Result<Self> {
        let options = ["--rate", RATE, "--members", MEMBERS];
        Self::start_as(sandbox, image, duration, None, &options).await
    }

    /// Like [`Load::start`], with other options of `bench soak`.
    pub(crate) async fn start_as(
        sandbox: &'a Sandbox,
        image: &str,
        duration: Duration,
        host: Option<&str>,
        options: &[&str],
    ) -> anyhow::Result<Self> {
        let seconds = format!("{}s", duration.as_secs());
        let words = [
            "bench",
            "soak",
            "--json",
            "--partitions",
            "6",
            "--duration",
            &seconds,
        ];
        let words = [&words[..], options].concat();
        let pod = cli(NAME, image, &words, host)?;
        sandbox
            .api::<Pod>()
            .create(&PostParams::default(), &pod)
            .await?;
        let control = Control::start()?;
        let load = Self {
            sandbox,
            duration,
            control,
        };
        load.until("Running", Duration::from_mins(1)).await?;
        load.until_it_writes().await?;
        Ok(load)
    }

    /// A disturbance before the first record would be none of a load. A program of a former version
    /// does not say when it writes: it has the whole time to start.
    async fn until_it_writes(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        await_for(Duration::from_mins(1), "the load to write", || async {
            let text = self.text().await;
            ensure!(!text.contains("error:"), "the load failed: {text}");
            let is_writing = text.contains(WRITING) || started.elapsed() > SILENT_START;
            Ok(is_writing.then_some(()))
        })
        .await?;
        // Some records of each partition.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    async fn until(&self, phase: &str, timeout: Duration) -> anyhow::Result<()> {
        let api = self.sandbox.api::<Pod>();
        let what = format!("the load to be {phase}");
        await_for(timeout, &what, || async {
            let status = api.get(NAME).await?.status.unwrap_or_default();
            let found = status.phase.unwrap_or_default();
            ensure!(found != "Failed", "the load failed: {}", self.text().await);
            Ok((found == phase).then_some(()))
        })
        .await
    }

    async fn text(&self) -> String {
        let logs = self
            .sandbox
            .api::<Pod>()
            .logs(NAME, &LogParams::default())
            .await;
        logs.unwrap_or_default()
    }

    /// Waits for the end of the load. Fails if a partition had no acknowledgement for longer than
    /// `most`, [`STALLS_PER_PAUSE`] times the longest stall of the machine meanwhile, and
    /// [`WRITES_PER_PAUSE`] times the median latency of this run: a machine with many other
    /// processes lets a small write through, and keeps the nodes waiting.
    pub(crate) async fn finish_within(self, most: Duration) -> anyhow::Result<()> {
        let (sandbox, control) = (self.sandbox, self.control.clone());
        let soaked = self.finish().await?;
        let (pause, stall) = (soaked.longest_pause, control.longest());
        let median = soaked.median_latency;
        let most = most + stall * STALLS_PER_PAUSE + median * WRITES_PER_PAUSE;
        sandbox.report_figure(format!(
            "{} records acknowledged, longest pause of a partition {:.2} s (at most {:.2} s; \
             longest stall of the machine {:.2} s, median latency {:.3} s)",
            soaked.acked,
            pause.as_secs_f32(),
            most.as_secs_f32(),
            stall.as_secs_f32(),
            median.as_secs_f32()
        ));
        if let Some(group) = &soaked.group {
            let Group {
                processed,
                repeated,
                lost_partitions,
                longest_pause_seconds,
            } = group;
            sandbox.report_figure(format!(
                "the group processed {processed} records, {repeated} more than once, longest pause \
                 {longest_pause_seconds:.2} s, lost {lost_partitions} partitions"
            ));
        }
        ensure!(
            pause <= most,
            "{soaked:?}, at most {most:?}, stall {stall:?}"
        );
        Ok(())
    }

    /// Waits for the end of the load. Fails unless every acknowledged record is in the log, once
    /// and in order.
    pub(crate) async fn finish(self) -> anyhow::Result<Soaked> {
        self.until("Succeeded", self.duration + Duration::from_mins(1))
            .await?;
        let text = self.text().await;
        let soaked = Soaked::parse(&text)?;
        self.sandbox.remove_load().await?;
        Ok(soaked)
    }
}

impl Sandbox {
    /// Deletes the load's pod, if it exists, so that another load can start.
    pub(crate) async fn remove_load(&self) -> anyhow::Result<()> {
        self.remove_pod(NAME).await
    }

    /// Deletes a pod, if it exists, and waits until it is gone.
    pub(crate) async fn remove_pod(&self, name: &str) -> anyhow::Result<()> {
        let api = self.api::<Pod>();
        if api.get_opt(name).await?.is_some() {
            api.delete(name, &DeleteParams::default().grace_period(0))
                .await?;
        }
        let what = format!("pod {name} to be gone");
        await_for(Duration::from_mins(1), &what, || async {
            Ok(api.get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }
}
