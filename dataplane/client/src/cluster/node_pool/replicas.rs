//! Replicas to read from, and whether they still reply.

use std::sync::Arc;

use lograft_core::PartitionId;
use lograft_core::limits::{
    CONSUMER_IDLE_CHECK_INTERVAL, CONSUMER_IDLE_MIN, CONSUMER_REPLICA_OPEN_TIMEOUT,
    CONSUMER_REPLICA_PROBE_INTERVAL,
};
use lograft_proto::log::v1 as wire;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::{NodePool, locked};
use crate::cluster::metadata_cache::LeaderHint;
use crate::cluster::replicas::ReplicaNode;
use crate::error::ClientError;

/// The last probe of a node. Locked during a probe, so that concurrent callers share one.
pub(super) type Probe = tokio::sync::Mutex<Option<Probed>>;

/// The outcome of a probe.
pub(super) struct Probed {
    ended: Instant,
    replies: bool,
}

impl NodePool {
    /// The replicas of a partition on nodes that are known.
    pub(crate) fn replicas(&self, topic: &str, partition: PartitionId) -> Vec<ReplicaNode> {
        let zone = &self.config.zone;
        let metadata = self.metadata();
        metadata
            .replicas(topic, partition)
            .map(|node| ReplicaNode {
                node: node.id,
                address: Arc::clone(&node.address),
                is_near: !zone.is_empty() && node.zone == *zone,
            })
            .collect()
    }

    /// Stores the leader that an error names.
    pub(crate) fn note_leader(&self, topic: &str, partition: PartitionId, error: &ClientError) {
        if let Some(hint) = LeaderHint::from_error(error) {
            self.metadata().update_leader(topic, partition, &hint);
        }
    }

    /// Waits until the node at `address` does not reply any more. A replica without new records is
    /// as silent as one that hangs, and the kernel of a node that hangs keeps its connections: so
    /// the node is probed. All streams from it share the probes.
    pub(crate) async fn stops_replying(&self, address: &Arc<str>) {
        let since = Instant::now();
        loop {
            let is_idle = since.elapsed() >= CONSUMER_IDLE_MIN;
            let interval = if is_idle {
                CONSUMER_IDLE_CHECK_INTERVAL
            } else {
                CONSUMER_REPLICA_PROBE_INTERVAL
            };
            sleep(interval).await;
            if !self.probe(address, interval / 2).await {
                self.note_silent(address);
                return;
            }
        }
    }

    /// Whether a node replies, or did within `max_age`.
    async fn probe(&self, address: &Arc<str>, max_age: Duration) -> bool {
        let asked = Instant::now();
        let probe = {
            let mut probes = locked(&self.probes);
            Arc::clone(probes.entry(Arc::clone(address)).or_default())
        };
        let mut last = probe.lock().await;
        if let Some(Probed { ended, replies }) = *last {
            let is_recent = replies && ended.elapsed() <= max_age;
            if ended >= asked || is_recent {
                return replies;
            }
        }
        let replies = self.replies(address).await;
        *last = Some(Probed {
            ended: Instant::now(),
            replies,
        });
        replies
    }

    /// Whether a node replies now.
    async fn replies(&self, address: &Arc<str>) -> bool {
        let Ok(node) = self.call_node(address) else {
            return false;
        };
        // The shortest reply: of one topic that no cluster has.
        let request = wire::GetMetadataRequest {
            topics: vec![String::new()],
            allow_stale: true,
        };
        let mut log = node.log();
        let asked = log.get_metadata(request);
        // Also a refusal is a reply.
        match timeout(CONSUMER_REPLICA_OPEN_TIMEOUT, asked).await {
            Ok(Ok(_)) => true,
            Ok(Err(status)) => {
                let error = node.error("probe the node", status);
                matches!(error, ClientError::Rejected(_))
            }
            Err(_) => false,
        }
    }
}
