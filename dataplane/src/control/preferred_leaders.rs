//! Transfers leaderships to the leaders that the metadata prefers, to keep the load balanced. Only
//! to a replica that is reachable and has been caught up for a while, one group at a time, and
//! with a jitter between groups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::{PREFERRED_JITTER_MAX, PREFERRED_LAG_MAX_COUNT, PREFERRED_STABLE_MIN};
use lograft_core::metadata::{Metadata, Partition};
use lograft_core::{GroupId, NodeId};
use lograft_raft::GroupStatus;
use tokio::time::Instant;
use tracing::{debug, info};

use super::disk_handover::has_bad_disk;
use super::reachability::Reachability;
use super::task_registry::{TaskKind, TaskRegistry};
use crate::clock::Clock;
use crate::error_text::error_chain;
use crate::exchange::NodeExchange;
use crate::serving::replica::ReplicaMap;

/// Groups that could be transferred to their preferred leader, with the start of their wait.
#[derive(Debug, Default)]
struct DueTransfers {
    since: BTreeMap<GroupId, Instant>,
}

impl DueTransfers {
    /// The group to transfer now: the one that waited longest, of those that waited long enough.
    /// `candidates` are all groups that could be transferred. The wait of a group that is not one
    /// of them starts again, and so does that of the group whose turn it is: one that cannot be
    /// transferred must not take the turns of the others.
    fn due(&mut self, candidates: &[GroupId], now: Instant) -> Option<GroupId> {
        self.since.retain(|group, _| candidates.contains(group));
        for group in candidates {
            self.since.entry(*group).or_insert(now);
        }
        let is_due = |group: GroupId, since: Instant| {
            now.duration_since(since) >= PREFERRED_STABLE_MIN + jitter(group)
        };
        let due = self
            .since
            .iter()
            .filter(|(group, since)| is_due(**group, **since));
        let (_, group) = due.map(|(group, since)| (*since, *group)).min()?;
        self.since.insert(group, now);
        Some(group)
    }
}

/// A delay that differs between neighboring groups.
fn jitter(group: GroupId) -> Duration {
    const STEPS: u32 = 16;
    let step = u32::try_from(group.get() % u64::from(STEPS)).unwrap_or(0);
    PREFERRED_JITTER_MAX * step / STEPS
}

/// The preferred leader, if it is not this leader and its replica can lead.
fn better_leader(partition: &Partition, status: &GroupStatus) -> Option<NodeId> {
    let preferred = partition.preferred_leader()?;
    let is_settled = partition.target.is_none() && status.joint.is_none() && status.ready;
    let can_lead = status.voters.contains(&preferred)
        && status.is_caught_up(preferred, PREFERRED_LAG_MAX_COUNT);
    (is_settled && can_lead && preferred != status.node).then_some(preferred)
}

/// Whether a node gets no leaderships now because it is about to be stopped.
fn is_resting(metadata: &Metadata, node: NodeId, now_ms: i64) -> bool {
    let node = metadata.node(node);
    node.is_some_and(|node| node.rests_for(now_ms).is_some())
}

/// Transfers leaderships of this node to their preferred leaders.
pub(crate) struct PreferredLeaders {
    replicas: ReplicaMap,
    reachability: Arc<Reachability>,
    exchange: NodeExchange,
    clock: Arc<dyn Clock>,
    tasks: TaskRegistry,
    transfers: DueTransfers,
}

impl PreferredLeaders {
    /// Without waiting groups.
    pub(crate) fn new(
        replicas: ReplicaMap,
        reachability: Arc<Reachability>,
        exchange: NodeExchange,
        clock: Arc<dyn Clock>,
        tasks: TaskRegistry,
    ) -> Self {
        Self {
            replicas,
            reachability,
            exchange,
            clock,
            tasks,
            transfers: DueTransfers::default(),
        }
    }

    /// Starts the transfer that is due, if there is one.
    pub(crate) fn check(&mut self, metadata: &Metadata, now: Instant) {
        if self.tasks.count(|kind| *kind == TaskKind::PreferredLeader) > 0 {
            return;
        }
        let replicas = self.replicas.all();
        let now_ms = self.clock.now_ms();
        let mut better: BTreeMap<GroupId, NodeId> = BTreeMap::new();
        for (group, replica) in replicas.iter() {
            let status = replica.raft.watch();
            let to = metadata
                .group(*group)
                .and_then(|place| better_leader(place.partition, &status.borrow()))
                .filter(|to| {
                    self.reachability.is_reachable(*to)
                        && !is_resting(metadata, *to, now_ms)
                        && !has_bad_disk(&self.exchange, *to)
                });
            if let Some(to) = to {
                better.insert(*group, to);
            }
        }
        let candidates: Vec<GroupId> = better.keys().copied().collect();
        let Some(group) = self.transfers.due(&candidates, now) else {
            return;
        };
        let (Some(replica), Some(to)) = (replicas.get(&group), better.get(&group).copied()) else {
            return;
        };
        let raft = replica.raft.clone();
        self.tasks
            .spawn_once(TaskKind::PreferredLeader, async move {
                match raft.transfer_leader(to).await {
                    Ok(()) => {
                        info!(%group, to_node_id = %to, "transferred leadership to the preferred leader");
                    }
                    Err(error) => {
                        let error = error_chain(&error);
                        debug!(%group, to_node_id = %to, error,
                            "cannot transfer leadership to the preferred leader, will retry");
                    }
                }
                false
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::ids;
    use crate::control::test_status::{caught_up, leading};

    fn partition(replicas: &[u64]) -> Partition {
        Partition {
            group: GroupId(1),
            replicas: ids(replicas),
            target: None,
            leaving: Vec::new(),
            started: true,
            repair: None,
            recovery: None,
        }
    }

    #[test]
    fn only_a_preferred_leader_that_has_caught_up_is_better() {
        let mut status = leading(1, &[1, 2, 3]);
        let prefers_2 = partition(&[2, 1, 3]);
        assert_eq!(
            better_leader(&prefers_2, &status),
            None,
            "its progress is unknown"
        );
        caught_up(&mut status, 2, PREFERRED_LAG_MAX_COUNT + 1);
        assert_eq!(better_leader(&prefers_2, &status), None, "behind");
        caught_up(&mut status, 2, 0);
        assert_eq!(better_leader(&prefers_2, &status), Some(NodeId(2)));
        assert_eq!(
            better_leader(&partition(&[1, 2, 3]), &status),
            None,
            "it is the leader itself"
        );
        let mut moving = prefers_2.clone();
        moving.target = Some(ids(&[2, 1, 4]));
        assert_eq!(
            better_leader(&moving, &status),
            None,
            "a reassignment is in progress"
        );
        status.ready = false;
        assert_eq!(
            better_leader(&prefers_2, &status),
            None,
            "it is not ready to serve"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_restarts_after_the_preferred_leader_was_away() {
        let mut transfers = DueTransfers::default();
        let group = GroupId(16);
        let steady = PREFERRED_STABLE_MIN;
        let start = Instant::now();
        assert_eq!(transfers.due(&[group], start), None);
        assert_eq!(transfers.due(&[group], start + steady / 2), None);
        assert_eq!(transfers.due(&[], start + steady / 2), None);
        assert_eq!(
            transfers.due(&[group], start + steady),
            None,
            "it was away in between"
        );
        assert_eq!(transfers.due(&[group], start + steady * 2), Some(group));
    }

    #[tokio::test(start_paused = true)]
    async fn one_group_at_a_time_and_the_one_that_waited_longest_first() {
        let mut transfers = DueTransfers::default();
        let start = Instant::now();
        let (early, late) = (GroupId(17), GroupId(16));
        transfers.due(&[early], start);
        transfers.due(&[early, late], start + Duration::from_millis(1));
        let due = transfers.due(&[early, late], start + Duration::from_mins(1));
        assert_eq!(due, Some(early));
        // It cannot be transferred, and is still a candidate: the other one has its turn.
        let due = transfers.due(&[early, late], start + Duration::from_mins(1));
        assert_eq!(due, Some(late));
        assert_ne!(jitter(early), jitter(late));
        assert!((0..100).all(|g| jitter(GroupId(g)) < PREFERRED_JITTER_MAX));
    }
}
