//! Load that keeps a ledger of acknowledged records: `lograft bench soak` of both versions, and a
//! probe with one idempotent producer that measures pauses.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lograft_client::{Client, ProducerConfig, RecordParts, TopicProducer};
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::cli::Cli;
use crate::ledger::{self, Ledger, PARTITION};
use crate::proc;

/// Pause between two records of the probe.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// Time to retry a record: longer than any restart of a node.
const DELIVERY_TIMEOUT: Duration = Duration::from_mins(2);
/// Bound of a soak's verification.
const VERIFY_TIMEOUT: Duration = Duration::from_mins(5);

/// A running `lograft bench soak`.
pub(super) struct Soak {
    name: String,
    process: Child,
    report: PathBuf,
}

impl Soak {
    /// Starts to write to an existing topic.
    pub(super) fn start(cli: &Cli, topic: &str, rate: u32, folder: &Path) -> Result<Self> {
        let name = format!("soak of the {} version on {topic}", cli.version.name());
        let report = folder.join(format!("{topic}.json"));
        let rate = rate.to_string();
        let args = ["bench", "soak", "--topic", topic, "--rate", &rate];
        let times = ["--duration", "2h", "--delivery-timeout", "2m", "--json"];
        let process = cli
            .command(&[args.as_slice(), &times].concat())
            .stdout(File::create(&report)?)
            .stderr(File::create(folder.join(format!("{topic}.log")))?)
            .spawn()?;
        Ok(Self {
            name,
            process,
            report,
        })
    }

    /// Fails if it has ended.
    pub(super) fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!(
                "{} ended: {status}; see {}",
                self.name,
                self.report.display()
            );
        }
        Ok(())
    }

    /// Ends the load and returns the number of acknowledged records. Fails if a record was lost,
    /// duplicated, moved or not stored.
    pub(super) async fn verify(mut self) -> Result<u64> {
        self.check_running()?;
        let pid = self.process.id().context("no process")?;
        proc::signal(pid, Signal::TERM)?;
        let ended = timeout(VERIFY_TIMEOUT, self.process.wait()).await;
        let ended = ended.with_context(|| format!("{} did not end", self.name))??;
        let text = std::fs::read_to_string(&self.report)?;
        let report: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} printed no report, {ended}", self.name))?;
        let partitions = report["partitions"].as_array().context("no partitions")?;
        let sum = |field: &str| {
            let counts = partitions.iter().map(|p| p[field].as_u64());
            counts
                .sum::<Option<u64>>()
                .with_context(|| format!("no {field}"))
        };
        for bad in ["lost", "moved", "doubled", "failed"] {
            let count = sum(bad)?;
            ensure!(count == 0, "{}: {count} records {bad}", self.name);
        }
        ensure!(ended.success(), "{}: {ended}", self.name);
        sum("acked")
    }
}

#[derive(Debug)]
struct Pauses {
    last_ack: Instant,
    longest: Duration,
}

impl Pauses {
    fn note_ack(&mut self) {
        self.longest = self.longest.max(self.last_ack.elapsed());
        self.last_ack = Instant::now();
    }
}

/// Writes numbered records one after another with one producer, to the end of the run.
pub(super) struct Probe {
    ledger: Ledger,
    pauses: Arc<Mutex<Pauses>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Probe {
    pub(super) async fn start(client: &Client, topic: &str) -> Result<Self> {
        let config = ProducerConfig {
            delivery_timeout: DELIVERY_TIMEOUT,
            ..ProducerConfig::default()
        };
        let handle = client.producer(config).await?.topic(topic).await?;
        let ledger = Ledger::default();
        let pauses = Arc::new(Mutex::new(Pauses {
            last_ack: Instant::now(),
            longest: Duration::ZERO,
        }));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(write(handle, ledger.clone(), Arc::clone(&pauses), stopped));
        Ok(Self {
            ledger,
            pauses,
            stop,
            task,
        })
    }

    /// The longest time without an acknowledgement since the last call.
    pub(super) fn take_longest_pause(&self) -> Duration {
        let mut pauses = lock(&self.pauses);
        let longest = pauses.longest.max(pauses.last_ack.elapsed());
        pauses.longest = Duration::ZERO;
        longest
    }

    /// Ends the load and returns the number of acknowledged records. Fails if a record was lost,
    /// duplicated, moved or not stored.
    pub(super) async fn verify(self, client: &Client, topic: &str) -> Result<u64> {
        self.stop.send_replace(true);
        self.task.await??;
        let failed = self.ledger.failed();
        ensure!(failed.is_empty(), "probe: records failed: {failed:?}");
        let verdict = ledger::verify(client, topic, 0, 0, &self.ledger).await?;
        Ok(verdict.acked)
    }
}

async fn write(
    handle: TopicProducer,
    ledger: Ledger,
    pauses: Arc<Mutex<Pauses>>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let mut number = 0_u64;
    while !*stopped.borrow() {
        let value = number.to_le_bytes();
        let record = RecordParts {
            value: Some(&value),
            ..RecordParts::default()
        };
        for delivery in handle.send_many([record], Some(PARTITION)).await? {
            ledger.record(number, 1, delivery.await);
        }
        number += 1;
        lock(&pauses).note_ack();
        sleep(PROBE_INTERVAL).await;
    }
    Ok(())
}

fn lock(pauses: &Mutex<Pauses>) -> MutexGuard<'_, Pauses> {
    pauses.lock().unwrap_or_else(PoisonError::into_inner)
}
