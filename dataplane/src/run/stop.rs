//! The end of a node: what it leads goes to others first, so that nobody waits for an election.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use lograft_core::NodeId;
use lograft_core::limits::{STOP_TRANSFER_MAX, STOP_TRANSFERS_MAX_COUNT};
use lograft_raft::{GroupStatus, RaftGroup};
use tracing::{info, warn};

use crate::chain::error_chain;
use crate::replica::ReplicaMap;

/// How long a replica may take to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

fn groups(replicas: &ReplicaMap) -> Vec<RaftGroup> {
    let partitions = replicas.all();
    let meta = replicas.meta();
    // The meta group last: the others' moves are told through it.
    partitions
        .values()
        .map(|replica| replica.raft.clone())
        .chain(meta.map(|meta| meta.raft.clone()))
        .collect()
}

/// The voter that has most of the log.
fn heir(status: &GroupStatus) -> Option<NodeId> {
    let others = status.voters.iter().filter(|node| **node != status.node);
    let known = |node: &NodeId| {
        status
            .followers
            .get(node)
            .and_then(|follower| follower.matched)
    };
    others
        .copied()
        .filter(|node| known(node).is_some())
        .max_by_key(known)
}

/// Hands over every leadership that somebody can take; gives up after a while.
pub(super) async fn hand_over(replicas: &ReplicaMap) {
    let led: Vec<(RaftGroup, NodeId)> = groups(replicas)
        .into_iter()
        .filter_map(|raft| {
            let status = raft.status();
            let to = heir(&status).filter(|_| status.is_leader())?;
            Some((raft, to))
        })
        .collect();
    if led.is_empty() {
        return;
    }
    let count = led.len();
    let moves =
        stream::iter(led).for_each_concurrent(STOP_TRANSFERS_MAX_COUNT, async |(raft, to)| {
            if let Err(error) = raft.transfer_leader(to).await {
                warn!(group = %raft.group(), %to, "no hand-over: {}", error_chain(&error));
            }
        });
    if tokio::time::timeout(STOP_TRANSFER_MAX, moves)
        .await
        .is_err()
    {
        warn!(count, "leaderships not all handed over in time");
    } else {
        info!(count, "leaderships handed over");
    }
}

/// Ends every replica.
pub(super) async fn shut_down(replicas: &ReplicaMap) {
    let ended = stream::iter(groups(replicas))
        .for_each_concurrent(STOP_TRANSFERS_MAX_COUNT, async |raft| raft.shutdown().await);
    if tokio::time::timeout(SHUTDOWN_MAX, ended).await.is_err() {
        warn!("replicas not all ended in time");
    }
}
