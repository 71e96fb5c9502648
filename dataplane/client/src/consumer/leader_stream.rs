//! A stream of batches from the leader of a partition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::limits::CONSUMER_STREAM_HEALTHY_MIN;
use lograft_core::{NodeId, Term};
use lograft_proto::log::v1 as wire;
use tokio::time::Instant;
use tonic::Streaming;

use crate::cluster::node::Node;
use crate::cluster::node_pool::NodePool;
use crate::error::ClientError;

/// The connections of one consumer, one per leader. They are not shared, because a consumer that
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

/// An open stream from the leader of a partition.
pub(super) struct LeaderStream {
    pub(super) leader: NodeId,
    pub(super) node: Node,
    pub(super) replies: Streaming<wire::FetchReply>,
    opened_at: Instant,
    /// The greatest leader epoch seen on this stream.
    epoch: Term,
}

impl LeaderStream {
    pub(super) fn new(
        leader: NodeId,
        node: Node,
        epoch: Term,
        replies: Streaming<wire::FetchReply>,
    ) -> Self {
        Self {
            leader,
            node,
            replies,
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
