//! Hands leaderships over from a node with a low disk, which accepts no new records, to nodes that
//! have room.

use std::sync::Arc;

use lograft_core::limits::{FLUSH_LAG_MAX, PREFERRED_LAG_MAX_COUNT};
use lograft_core::{DiskMark, NodeId};
use lograft_raft::GroupStatus;
use lograft_storage::Storage;
use tracing::{debug, info};

use super::reachability::Reachability;
use super::task_registry::{TaskKind, TaskRegistry};
use crate::error_text::error_chain;
use crate::exchange::NodeExchange;
use crate::serving::replica::ReplicaMap;

/// Hands over the leaderships of this node while its disk is low.
pub(crate) struct DiskHandover {
    pub(crate) replicas: ReplicaMap,
    pub(crate) storage: Storage,
    pub(crate) exchange: NodeExchange,
    pub(crate) reachability: Arc<Reachability>,
    pub(crate) tasks: TaskRegistry,
}

/// Whether the disk of a node has room and flushes, as far as the node has said so recently.
fn has_good_disk(exchange: &NodeExchange, node: NodeId) -> bool {
    exchange.recent(node).is_some_and(|reading| {
        reading.disk.mark == DiskMark::Ok && reading.oldest_unflushed < FLUSH_LAG_MAX
    })
}

/// Whether a node has said recently that its disk is low or does not flush: it would hand each
/// leadership over again.
pub(super) fn has_bad_disk(exchange: &NodeExchange, node: NodeId) -> bool {
    exchange.recent(node).is_some_and(|reading| {
        reading.disk.mark >= DiskMark::Low || reading.oldest_unflushed >= FLUSH_LAG_MAX
    })
}

impl DiskHandover {
    /// Starts to hand over, one group after the other, unless that is in progress.
    pub(crate) fn check(&self) {
        if self.storage.disk_mark() < DiskMark::Low {
            return;
        }
        let replicas = self.replicas.all();
        let rafts = replicas.values().map(|replica| replica.raft.clone());
        let exchange = self.exchange.clone();
        let reachability = Arc::clone(&self.reachability);
        let moves: Vec<_> = rafts
            .filter_map(|raft| {
                let to = successor(&raft.watch().borrow(), |node| {
                    reachability.is_reachable(node) && has_good_disk(&exchange, node)
                })?;
                Some((raft, to))
            })
            .collect();
        if moves.is_empty() {
            return;
        }
        self.tasks.spawn_once(TaskKind::DiskHandover, async move {
            for (raft, to) in moves {
                let group = raft.group();
                match raft.transfer_leader(to).await {
                    Ok(()) => {
                        info!(%group, to_node_id = %to, "disk is low, handed leadership over");
                    }
                    Err(error) => {
                        let error = error_chain(&error);
                        debug!(%group, to_node_id = %to, error, "cannot hand leadership over");
                    }
                }
            }
            false
        });
    }
}

/// The good voter with the smallest lag, if this replica leads and that voter can take over.
fn successor(status: &GroupStatus, is_good: impl Fn(NodeId) -> bool) -> Option<NodeId> {
    if !status.is_leader() || status.joint.is_some() {
        return None;
    }
    let node = status.closest_follower(|node| status.voters.contains(&node) && is_good(node))?;
    status
        .is_caught_up(node, PREFERRED_LAG_MAX_COUNT)
        .then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_status::{caught_up, leading};

    #[test]
    fn the_successor_has_a_good_disk_and_nearly_all_of_the_log() {
        let mut status = leading(1, &[1, 2, 3]);
        caught_up(&mut status, 2, 3);
        caught_up(&mut status, 3, 0);
        assert_eq!(successor(&status, |_| true), Some(NodeId(3)));
        assert_eq!(
            successor(&status, |node| node != NodeId(3)),
            Some(NodeId(2))
        );
        assert_eq!(successor(&status, |_| false), None);
        caught_up(&mut status, 2, PREFERRED_LAG_MAX_COUNT + 1);
        assert_eq!(successor(&status, |node| node == NodeId(2)), None, "behind");
    }
}
