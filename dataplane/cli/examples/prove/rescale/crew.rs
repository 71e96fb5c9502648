//! The nodes: two of five join and leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lograft_client::admin_wire::NodeState;
use lograft_client::{Client, NodeId};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::balance::active_nodes;
use crate::cluster::connect_to;
use crate::node_set::NodeSet;

const NODES_COUNT: u32 = 5;
/// The nodes that join and leave.
const GUESTS: [usize; 2] = [3, 4];
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
const START_TIMEOUT: Duration = Duration::from_mins(2);

/// The processes of the nodes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Processes {
    nodes: Arc<Mutex<NodeSet>>,
    folder: PathBuf,
}

impl Processes {
    /// The nodes that run, with their process ids.
    pub(super) async fn running(&self) -> Vec<(usize, u32)> {
        let nodes = self.nodes.lock().await;
        let all = 0..nodes.nodes.len();
        all.filter_map(|at| Some((at, nodes.pid(at).ok()?)))
            .collect()
    }

    /// Whether a node is to run.
    pub(super) async fn is_wanted(&self, at: usize) -> bool {
        self.nodes.lock().await.is_started(at)
    }

    /// Whether a node answers.
    pub(super) async fn serves(&self, at: usize) -> bool {
        let answer = async {
            let client = connect_to(&self.folder, at).await?;
            client.admin().describe_cluster(true).await?;
            anyhow::Ok(())
        };
        matches!(timeout(REPLY_TIMEOUT, answer).await, Ok(Ok(())))
    }
}

/// The nodes of a cluster.
pub(super) struct Crew {
    processes: Processes,
    patience: Duration,
}

impl Crew {
    /// Creates a cluster of five nodes in these zones, and removes the last two.
    pub(super) async fn start(
        program: &Path,
        folder: &Path,
        zones: &[String],
        patience: Duration,
    ) -> Result<Self> {
        let configure = |config: &mut serde_yaml::Value| {
            let zone = zones.iter().enumerate().find_map(|(at, zone)| {
                let name = format!("node-{}", at + 1);
                (config["name"] == *name).then_some(zone.as_str())
            });
            config["zone"] = zone.unwrap_or_default().into();
        };
        let create = || NodeSet::configured(program, folder, NODES_COUNT, configure);
        let mut nodes = tokio::task::block_in_place(create)?;
        nodes.start_all();
        nodes.wait_healthy(START_TIMEOUT).await?;
        let client = nodes.client().await?;
        let processes = Processes {
            nodes: Arc::new(Mutex::new(nodes)),
            folder: folder.to_owned(),
        };
        let crew = Self {
            processes,
            patience,
        };
        crew.shrink(&client).await?;
        Ok(crew)
    }

    pub(super) fn processes(&self) -> Processes {
        self.processes.clone()
    }

    /// Starts two nodes with empty disks, and waits until they are active.
    pub(super) async fn grow(&self, client: &Client) -> Result<()> {
        for at in GUESTS {
            let mut nodes = self.processes.nodes.lock().await;
            let data_dir = &nodes.nodes[at].data_dir;
            fs::remove_dir_all(data_dir)
                .with_context(|| format!("cannot delete {}", data_dir.display()))?;
            nodes.start(at);
        }
        let started = Instant::now();
        for at in GUESTS {
            while self.id_of(client, at).await.is_err() {
                ensure!(started.elapsed() < self.patience, "node {at} does not join");
                sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Decommissions two nodes, one after the other, and ends their processes.
    pub(super) async fn shrink(&self, client: &Client) -> Result<()> {
        for at in GUESTS {
            let id = self.id_of(client, at).await?;
            let started = Instant::now();
            while client.admin().decommission(id).await?.state() != NodeState::Removed {
                let took = started.elapsed();
                ensure!(
                    took < self.patience,
                    "node {id} is not empty after {took:?}"
                );
                sleep(POLL_INTERVAL).await;
            }
            self.processes.nodes.lock().await.stop(at).await?;
        }
        Ok(())
    }

    /// Ends all nodes.
    pub(super) async fn stop(self) -> Result<()> {
        self.processes.nodes.lock().await.stop_all().await
    }

    /// Id of an active node.
    async fn id_of(&self, client: &Client, at: usize) -> Result<NodeId> {
        let name = self.processes.nodes.lock().await.nodes[at].name.clone();
        let described = client.admin().describe_cluster(true).await?;
        let active = active_nodes(&described);
        let node = active.iter().find(|node| node.name == name);
        let node = node.with_context(|| format!("{name} is not active"))?;
        Ok(NodeId(node.node_id))
    }
}
