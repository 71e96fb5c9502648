//! A stream of batches from a replica of a partition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::limits::{CONSUMER_REPLICA_CHECK_INTERVAL, CONSUMER_STREAM_HEALTHY_MIN};
use lograft_core::{NodeId, Term};
use lograft_proto::log::v1 as wire;
use tokio::time::Instant;
use tonic::Streaming;

use crate::cluster::node::Node;
use crate::cluster::node_pool::NodePool;
use crate::cluster::replicas::StreamPlace;
use crate::error::ClientError;

/// The connections of one consumer, one per node. They are not shared, because a consumer that
/// stops reading fills the flow control windows of its connections.
pub(super) struct ConsumerConnections {
    pub(super) pool: Arc<NodePool>,
    nodes: Mutex<HashMap<Arc<str>, Node>>,
}

impl ConsumerConnections {
    pub(super) fn new(pool: Arc<NodePool>) -> Self {
        Self {
            pool,
            nodes: Mutex::default(),
        }
    }

    pub(super) fn node(&self, address: &Arc<str>) -> Result<Node, ClientError> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address) {
            return Ok(node.clone());
        }
        let node = self.pool.open(address)?;
        nodes.insert(Arc::clone(address), node.clone());
        Ok(node)
    }
}

/// The replica that a stream comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// The leader, as far as the metadata say.
    Leader(NodeId),
    /// Another one, or the leader as the nearest replica.
    Replica(StreamPlace),
}

/// An open stream from a replica of a partition.
pub(super) struct PartitionStream {
    pub(super) source: Source,
    pub(super) node: Node,
    pub(super) replies: Streaming<wire::FetchReply>,
    opened_at: Instant,
    /// When to check whether another replica is better.
    pub(super) recheck_at: Instant,
    /// The greatest leader epoch seen on this stream.
    epoch: Term,
}

impl PartitionStream {
    pub(super) fn new(
        (source, node): (Source, Node),
        epoch: Term,
        replies: Streaming<wire::FetchReply>,
    ) -> Self {
        Self {
            source,
            node,
            replies,
            recheck_at: Instant::now() + CONSUMER_REPLICA_CHECK_INTERVAL,
            opened_at: Instant::now(),
            epoch,
        }
    }

    /// Notes the leader epoch of a reply. Returns whether it is greater than all before, which
    /// means that the node was elected again, or that it now forwards the replies of another
    /// leader.
    pub(super) fn observe_epoch(&mut self, epoch: Term) -> bool {
        let is_newer = epoch > self.epoch;
        self.epoch = self.epoch.max(epoch);
        is_newer
    }

    /// Whether the stream was open long enough to count as progress.
    pub(super) fn was_stable(&self) -> bool {
        self.opened_at.elapsed() >= CONSUMER_STREAM_HEALTHY_MIN
    }
}
