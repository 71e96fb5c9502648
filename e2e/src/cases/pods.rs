//! Cases with real pods.

pub(super) mod authorization;
pub(super) mod changes;
pub(super) mod discovery;
pub(super) mod evictions;
pub(super) mod fleet;
pub(super) mod http;
pub(super) mod losses;
pub(super) mod lost_hosts;
pub(super) mod obstacles;
pub(super) mod rescale;
pub(super) mod serving;
pub(super) mod topics;
pub(super) mod users;
pub(super) mod versions;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;
use lograft_crds::LogClusterStatus;
use lograft_crds::names::LABEL_CLUSTER;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::chart::incarnation;
use crate::sandbox::Sandbox;

/// From `kubectl apply` to Ready.
const READY_MAX: Duration = Duration::from_mins(1);
/// Timeout for the replacement of all pods, one after the other.
const CHANGE_MAX: Duration = Duration::from_mins(4);
/// Maximum pause of writes to a partition while pods are replaced.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// Maximum pause of writes after the loss of a host, which needs an election.
const LOSS_PAUSE_MAX: Duration = Duration::from_secs(10);

fn is_ready(status: &LogClusterStatus) -> bool {
    let is = |kind: &str, value: &str| {
        let mut conditions = status.conditions.iter();
        conditions.any(|c| c.type_ == kind && c.status == value)
    };
    is("Ready", "True") && is("Progressing", "False") && is("Degraded", "False")
}

/// Creates a cluster with three nodes on small disks, overridden by `spec`, and waits until it is
/// ready.
async fn ready(sandbox: &Sandbox, spec: Value) -> anyhow::Result<LogClusterStatus> {
    let mut whole = json!({"storage": {"size": "1Gi"}, "log": {"segmentSize": "4Mi"}});
    if let (Some(whole), Value::Object(spec)) = (whole.as_object_mut(), spec) {
        whole.extend(spec);
    }
    sandbox.create(whole).await?;
    await_ready(sandbox, READY_MAX).await
}

async fn await_ready(sandbox: &Sandbox, timeout: Duration) -> anyhow::Result<LogClusterStatus> {
    sandbox
        .status_for(timeout, "the cluster to be ready and at rest", is_ready)
        .await
}

async fn pods(sandbox: &Sandbox) -> anyhow::Result<BTreeMap<String, Pod>> {
    pods_in(&sandbox.api::<Pod>()).await
}

async fn pods_in(api: &Api<Pod>) -> anyhow::Result<BTreeMap<String, Pod>> {
    let own = ListParams::default().labels(&format!("{LABEL_CLUSTER}=events"));
    let pods = api.list(&own).await?.items.into_iter();
    Ok(pods
        .filter_map(|pod| Some((pod.metadata.name.clone()?, pod)))
        .collect())
}

/// UID and container restarts of each pod.
async fn pod_incarnations(sandbox: &Sandbox) -> anyhow::Result<BTreeMap<String, (String, i32)>> {
    let pods = pods(sandbox).await?;
    let lives = pods.iter();
    Ok(lives
        .map(|(name, pod)| (name.clone(), incarnation(pod)))
        .collect())
}

fn is_up(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    let is_ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
    is_ready && pod.metadata.deletion_timestamp.is_none()
}

async fn up_count(sandbox: &Sandbox) -> anyhow::Result<usize> {
    let pods = pods(sandbox).await?;
    Ok(pods.values().filter(|pod| is_up(pod)).count())
}

/// The capacity of a pod's claim, from its status.
async fn capacity(sandbox: &Sandbox, ordinal: i32) -> anyhow::Result<Option<String>> {
    let claims = sandbox.api::<PersistentVolumeClaim>();
    let claim = claims.get(&format!("data-events-{ordinal}")).await?;
    let size = claim
        .status
        .and_then(|status| status.capacity?.remove("storage"));
    Ok(size.map(|size| size.0))
}

/// Watches pods during a change: the maximum number that was not ready at once.
struct AvailabilityWatch {
    task: JoinHandle<anyhow::Result<usize>>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl AvailabilityWatch {
    fn start(sandbox: &Sandbox, wanted: usize) -> Self {
        let api = sandbox.api::<Pod>();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move {
            let mut worst = 0;
            while !*stopped.borrow() {
                let up = pods_in(&api)
                    .await?
                    .values()
                    .filter(|pod| is_up(pod))
                    .count();
                worst = worst.max(wanted.saturating_sub(up));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(worst)
        });
        Self { task, stop }
    }

    /// Fails if more than one pod was not ready at any time.
    async fn finish(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        let worst = self.task.await.context("the watch of pods failed")??;
        ensure!(worst <= 1, "{worst} pods were not ready at once");
        Ok(())
    }
}

/// The replacement of all three pods by a change, in which never two are not ready.
struct Replacement {
    before: BTreeMap<String, (String, i32)>,
    availability: AvailabilityWatch,
}

impl Replacement {
    /// Has to be called before the change is made.
    async fn start(sandbox: &Sandbox) -> anyhow::Result<Self> {
        Ok(Self {
            before: pod_incarnations(sandbox).await?,
            availability: AvailabilityWatch::start(sandbox, 3),
        })
    }

    /// Waits until every pod is replaced and the cluster is ready.
    async fn finish(self, sandbox: &Sandbox) -> anyhow::Result<()> {
        await_replaced(sandbox, &self.before).await?;
        self.availability.finish().await
    }
}

/// Waits until every pod is replaced and the cluster is ready.
async fn await_replaced(
    sandbox: &Sandbox,
    before: &BTreeMap<String, (String, i32)>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    crate::sandbox::await_for(CHANGE_MAX, "all pods to be replaced", || async {
        let now = pod_incarnations(sandbox).await?;
        let is_new = |(name, (uid, _)): (&String, &(String, i32))| {
            now.get(name).is_some_and(|(other, _)| other != uid)
        };
        Ok(before.iter().all(is_new).then_some(()))
    })
    .await?;
    await_ready(sandbox, CHANGE_MAX.saturating_sub(started.elapsed())).await?;
    Ok(())
}
