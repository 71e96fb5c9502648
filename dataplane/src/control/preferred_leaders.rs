//! Leaderships go to where the metadata prefers them: only to a replica that is there and caught
//! up and has been for a while, one at a time, and not all groups at the same moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::{
    PREFERRED_JITTER_MAX, PREFERRED_LAG_MAX_COUNT, PREFERRED_STEADY_MIN, STOP_SUCCESSOR_INTERVAL,
};
use lograft_core::metadata::{Metadata, Partition};
use lograft_core::{GroupId, NodeId};
use lograft_raft::{GroupStatus, RaftError, RaftGroup};
use tokio::time::Instant;
use tracing::{debug, info};

use super::Control;
use super::task_registry::Work;

/// Since when each group led here could have been handed to its preferred leader.
#[derive(Debug, Default)]
pub(super) struct Preference {
    since: BTreeMap<GroupId, Instant>,
}

impl Preference {
    /// The group to hand over now: of those that have waited long enough the longest. `candidates`
    /// are all groups that could be handed over; what is not among them begins to wait anew.
    fn due(&mut self, candidates: &[GroupId], now: Instant) -> Option<GroupId> {
        self.since.retain(|group, _| candidates.contains(group));
        for group in candidates {
            self.since.entry(*group).or_insert(now);
        }
        let is_due = |group: GroupId, since: Instant| {
            now.duration_since(since) >= PREFERRED_STEADY_MIN + jitter(group)
        };
        let due = self
            .since
            .iter()
            .filter(|(group, since)| is_due(**group, **since));
        due.min_by_key(|(group, since)| (**since, **group))
            .map(|(group, _)| *group)
    }
}

/// Different for neighbouring groups.
fn jitter(group: GroupId) -> Duration {
    const STEPS: u32 = 16;
    let step = u32::try_from(group.get() % u64::from(STEPS)).unwrap_or(0);
    PREFERRED_JITTER_MAX * step / STEPS
}

/// Who should lead instead of this leader, as far as raft is concerned.
fn better_leader(partition: &Partition, status: &GroupStatus) -> Option<NodeId> {
    let preferred = partition.preferred_leader()?;
    let is_settled = partition.target.is_none() && status.joint.is_none() && status.ready;
    let can_lead = status.voters.contains(&preferred)
        && status.is_caught_up(preferred, PREFERRED_LAG_MAX_COUNT);
    (is_settled && can_lead && preferred != status.node).then_some(preferred)
}

/// Whether a node is left without leaderships because it is about to stop.
fn rests(metadata: &Metadata, node: NodeId, now_ms: i64) -> bool {
    let node = metadata.node(node);
    node.is_some_and(|node| node.rests_for(now_ms).is_some())
}

/// The voter that is least behind: who is to lead when this leader goes.
fn successor(status: &GroupStatus, is_reachable: impl Fn(NodeId) -> bool) -> Option<NodeId> {
    let voters = status.voters.iter().filter(|node| **node != status.node);
    let followers = voters.filter_map(|node| status.followers.get(node).map(|f| (f.lag, *node)));
    followers
        .filter(|(_, node)| is_reachable(*node))
        .min()
        .map(|(_, node)| node)
}

impl Control {
    pub(super) fn look_at_preferred(
        self: &Arc<Self>,
        metadata: &Metadata,
        preference: &mut Preference,
        now: Instant,
    ) {
        let replicas = self.replicas().all();
        let now_ms = self.parts().clock.now_ms();
        let mut better: BTreeMap<GroupId, NodeId> = BTreeMap::new();
        for (group, replica) in replicas.iter() {
            let status = replica.raft.watch();
            let to = metadata
                .group(*group)
                .and_then(|place| better_leader(place.partition, &status.borrow()))
                .filter(|to| {
                    self.hints().reachable_since(*to).is_some() && !rests(metadata, *to, now_ms)
                });
            if let Some(to) = to {
                better.insert(*group, to);
            }
        }
        let candidates: Vec<GroupId> = better.keys().copied().collect();
        let Some(group) = preference.due(&candidates, now) else {
            return;
        };
        let (Some(replica), Some(to)) = (replicas.get(&group), better.get(&group).copied()) else {
            return;
        };
        let raft = replica.raft.clone();
        self.begin(Work::Prefer, |_| async move {
            match raft.transfer_leader(to).await {
                Ok(()) => info!(%group, %to, "the preferred leader leads"),
                Err(error) => debug!(%group, %to, "the preferred leader does not lead: {error}"),
            }
            false
        });
    }

    /// Hands every leadership to another node, as far as there is one that can take it: before
    /// this node stops. Gives up after `longest`.
    pub async fn hand_over(&self, longest: Duration) {
        let meta = self.replicas().meta().map(|meta| meta.raft.clone());
        let partitions = self.replicas().all();
        let rafts = partitions
            .values()
            .map(|replica| replica.raft.clone())
            .chain(meta);
        let handed = rafts.map(|raft| async move { self.hand_over_one(&raft).await });
        let all = futures_util::future::join_all(handed);
        if tokio::time::timeout(longest, all).await.is_err() {
            info!("not every leadership was handed over in time");
        }
    }

    async fn hand_over_one(&self, raft: &RaftGroup) {
        let is_reachable = |node| self.hints().reachable_since(node).is_some();
        loop {
            let status = raft.status();
            if !status.is_leader() {
                return;
            }
            let Some(to) = successor(&status, is_reachable) else {
                return;
            };
            match raft.transfer_leader(to).await {
                // Under load a follower is behind for moments only.
                Err(RaftError::NotCaughtUp { .. }) => {
                    tokio::time::sleep(STOP_SUCCESSOR_INTERVAL).await;
                }
                Err(error) => {
                    debug!(group = %raft.group(), %to, "the leadership stays: {error}");
                    return;
                }
                Ok(()) => return,
            }
        }
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
        }
    }

    #[test]
    fn only_a_preferred_leader_that_is_caught_up_is_better() {
        let mut status = leading(1, &[1, 2, 3]);
        let prefers_2 = partition(&[2, 1, 3]);
        assert_eq!(
            better_leader(&prefers_2, &status),
            None,
            "nothing known of it"
        );
        caught_up(&mut status, 2, PREFERRED_LAG_MAX_COUNT + 1);
        assert_eq!(better_leader(&prefers_2, &status), None, "behind");
        caught_up(&mut status, 2, 0);
        assert_eq!(better_leader(&prefers_2, &status), Some(NodeId(2)));
        assert_eq!(
            better_leader(&partition(&[1, 2, 3]), &status),
            None,
            "is it itself"
        );
        let mut moving = prefers_2.clone();
        moving.target = Some(ids(&[2, 1, 4]));
        assert_eq!(better_leader(&moving, &status), None, "is being moved");
        status.ready = false;
        assert_eq!(
            better_leader(&prefers_2, &status),
            None,
            "has only just come to lead"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_waits_anew_after_its_preferred_leader_was_away() {
        let mut preference = Preference::default();
        let group = GroupId(16);
        let steady = PREFERRED_STEADY_MIN;
        let start = Instant::now();
        assert_eq!(preference.due(&[group], start), None);
        assert_eq!(preference.due(&[group], start + steady / 2), None);
        assert_eq!(preference.due(&[], start + steady / 2), None);
        assert_eq!(
            preference.due(&[group], start + steady),
            None,
            "was away in between"
        );
        assert_eq!(preference.due(&[group], start + steady * 2), Some(group));
    }

    #[tokio::test(start_paused = true)]
    async fn one_group_at_a_time_and_the_longest_waiting_first() {
        let mut preference = Preference::default();
        let start = Instant::now();
        let (early, late) = (GroupId(17), GroupId(16));
        preference.due(&[early], start);
        preference.due(&[early, late], start + Duration::from_millis(1));
        let due = preference.due(&[early, late], start + Duration::from_mins(1));
        assert_eq!(due, Some(early));
        assert_ne!(jitter(early), jitter(late));
        assert!((0..100).all(|g| jitter(GroupId(g)) < PREFERRED_JITTER_MAX));
    }

    #[test]
    fn the_successor_is_the_reachable_voter_that_is_least_behind() {
        let mut status = leading(1, &[1, 2, 3]);
        assert_eq!(successor(&status, |_| true), None);
        caught_up(&mut status, 2, 5);
        caught_up(&mut status, 3, 1);
        caught_up(&mut status, 4, 0);
        assert_eq!(
            successor(&status, |_| true),
            Some(NodeId(3)),
            "4 is no voter"
        );
        assert_eq!(
            successor(&status, |node| node != NodeId(3)),
            Some(NodeId(2))
        );
    }
}
