//! Counts the replicas that are moved, from the descriptions of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use lograft_client::Client;
use lograft_client::admin_wire::DescribeClusterReply;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The replicas of each group.
type Replicas = BTreeMap<u64, BTreeSet<u64>>;

/// Follows the replicas of all partitions.
pub(super) struct Moves {
    stop: watch::Sender<bool>,
    task: JoinHandle<u64>,
}

impl Moves {
    pub(super) fn watch(client: Client) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(follow(client, stopped));
        Self { stop, task }
    }

    /// Number of replicas that have been added to a partition.
    pub(super) async fn finish(self) -> Result<u64> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

/// Calls that fail while a node is killed are made again.
async fn follow(client: Client, stopped: watch::Receiver<bool>) -> u64 {
    let (mut last, mut moves) = (Replicas::new(), 0);
    loop {
        // Once more after the end.
        let is_last = *stopped.borrow();
        if let Ok(described) = client.admin().describe_cluster(false).await {
            let now = replicas(&described);
            moves += added(&last, &now);
            last = now;
        }
        if is_last {
            return moves;
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn replicas(described: &DescribeClusterReply) -> Replicas {
    let partitions = described.partitions.iter();
    partitions
        .map(|p| (p.group_id, p.replicas.iter().map(|r| r.node_id).collect()))
        .collect()
}

fn added(before: &Replicas, after: &Replicas) -> u64 {
    let added = after.iter().map(|(group, nodes)| {
        let before = before.get(group);
        before.map_or(0, |before| nodes.difference(before).count() as u64)
    });
    added.sum()
}
