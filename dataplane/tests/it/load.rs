//! Steady producers, and what became of what they were told is stored.

use std::collections::BTreeSet;
use std::time::Duration;

use lograft_proto::admin::v1 as admin;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::{Cluster, eventually};

/// What one steady producer has seen.
pub(crate) struct Produced {
    pub(crate) acknowledged: Vec<String>,
    pub(crate) longest_gap: Duration,
}

/// Produces one record after the other through the node at a place, until told to stop.
pub(crate) async fn produce_steadily(
    cluster: &Cluster,
    at: usize,
    partition: u32,
    mut stop: watch::Receiver<bool>,
) -> Produced {
    let mut produced = Produced {
        acknowledged: Vec::new(),
        longest_gap: Duration::ZERO,
    };
    let mut last = Instant::now();
    while !*stop.borrow_and_update() {
        let value = format!("{partition}-{}", produced.acknowledged.len());
        cluster.produce(at, partition, &value).await;
        produced.acknowledged.push(value);
        produced.longest_gap = produced.longest_gap.max(last.elapsed());
        last = Instant::now();
    }
    produced
}

/// Makes a node lead the meta group and every partition that it has a replica of.
pub(crate) async fn lead_all(cluster: &Cluster, asked: usize, to_node: u64) -> usize {
    let described = cluster.describe(asked).await.partitions;
    let hosted = described
        .iter()
        .filter(|p| p.replicas.iter().any(|r| r.node_id == to_node));
    let groups: Vec<u64> = hosted.map(|p| p.group_id).collect();
    for group_id in std::iter::once(0).chain(groups.iter().copied()) {
        eventually("the leadership to be taken", async || {
            let request = admin::TransferLeadershipRequest {
                group_id,
                to_node,
                ..admin::TransferLeadershipRequest::default()
            };
            let moved = cluster.admin(asked).transfer_leadership(request).await;
            moved.ok()
        })
        .await;
    }
    groups.len()
}

/// All that was acknowledged can be read.
pub(crate) async fn assert_kept(
    cluster: &Cluster,
    at: usize,
    partition: u32,
    acknowledged: &[String],
) {
    let read: BTreeSet<String> = cluster.read_all(at, partition).await.into_iter().collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|v| !read.contains(*v)).collect();
    assert!(lost.is_empty(), "partition {partition} lost {lost:?}");
}
