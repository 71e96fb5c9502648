//! Configuration of a replica.

use std::time::Duration;

use lograft_core::limits::{
    RAFT_ELECTION_TIMEOUT_MAX, RAFT_ELECTION_TIMEOUT_MIN, RAFT_HEARTBEAT_INTERVAL,
};
use lograft_core::{GroupId, NodeId, RecoveryEpoch};

use crate::vote_fence::FenceStage;

/// Heartbeat and election timing of a group.
///
/// `election_min` must be above 2.2 times `heartbeat` and below `election_max`; otherwise
/// [`RaftGroup::start`](crate::RaftGroup::start) fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    /// Interval between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// Lower bound of the randomized election timeout.
    pub election_min: Duration,
    /// Upper bound of the randomized election timeout.
    pub election_max: Duration,
}

impl RaftTiming {
    /// Time without an acknowledgement by a majority after which a leader does not serve any more.
    /// By then the others have elected another one, if they can.
    pub const fn contact_max(&self) -> Duration {
        self.election_max.saturating_mul(2)
    }

    /// The timing of one replica: the upper half of the range is cut into as many parts as there
    /// are turns, and the election timeout is in the first quarter below the end of its part.
    ///
    /// With the whole range for all, two replicas that lose their leader often campaign within the
    /// time of one vote. Each then has its own vote, none a majority, and all wait once more.
    pub(crate) fn of_turn(self, turn: ElectionTurn) -> Self {
        let ElectionTurn { at, of } = turn;
        if of < 2 {
            return self;
        }
        let upper_half = self.election_max.saturating_sub(self.election_min) / 2;
        let part = upper_half / (of - 1);
        // openraft counts in milliseconds.
        if part / 4 < Duration::from_millis(1) {
            return self;
        }
        let before_end = part * (of - 1).saturating_sub(at);
        let election_max = self.election_max.saturating_sub(before_end);
        Self {
            heartbeat: self.heartbeat,
            election_min: election_max.saturating_sub(part / 4),
            election_max,
        }
    }
}

/// When a replica campaigns among the others of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionTurn {
    /// Its place, from 0 on. Two replicas with the same are still elected, only later.
    pub at: u32,
    /// The number of places.
    pub of: u32,
}

impl ElectionTurn {
    /// The place of a node among the replicas of its group. If it is not one of them, its id
    /// decides: nodes that were added one after the other have different places.
    pub fn among(replicas: &[NodeId], node: NodeId) -> Self {
        let known = replicas.iter().position(|replica| *replica == node);
        let place = known.map(|at| (at, replicas.len()));
        let (at, of) = place.map_or(((node.get() % 3) as usize, 3), |place| place);
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            at: number(at),
            of: number(of),
        }
    }
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self {
            heartbeat: RAFT_HEARTBEAT_INTERVAL,
            election_min: RAFT_ELECTION_TIMEOUT_MIN,
            election_max: RAFT_ELECTION_TIMEOUT_MAX,
        }
    }
}

/// Identity and timing of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// The group.
    pub group: GroupId,
    /// The node of this replica.
    pub node: NodeId,
    /// The recovery epoch in which the replica takes part, from its start to its end. The transport
    /// MUST NOT pass requests of another epoch to it, nor send its own without it.
    pub epoch: RecoveryEpoch,
    /// The timing of the group.
    pub timing: RaftTiming,
    /// When this replica campaigns.
    pub turn: ElectionTurn,
    /// How the replica starts.
    pub start: GroupStart,
}

/// How a replica starts in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStart {
    /// The first stage of its fence: its disk may be older than its promises, or it joins.
    pub fence: FenceStage,
    /// Without campaigns until [`RaftGroup::release`](crate::RaftGroup::release).
    pub is_held: bool,
}

impl GroupConfig {
    /// A configuration with the default timing.
    pub fn new(group: GroupId, node: NodeId) -> Self {
        Self {
            group,
            node,
            epoch: RecoveryEpoch::ZERO,
            timing: RaftTiming::default(),
            turn: ElectionTurn::among(&[], node),
            start: GroupStart::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_replicas_campaign_at_the_same_time() {
        let replicas = [7, 4, 1, 12, 3, 9, 5].map(NodeId);
        let timing = RaftTiming::default();
        for count in 2..=replicas.len() {
            let replicas = &replicas[..count];
            let mut ends = Duration::ZERO;
            for node in replicas {
                let RaftTiming {
                    heartbeat,
                    election_min,
                    election_max,
                } = timing.of_turn(ElectionTurn::among(replicas, *node));
                assert_eq!(heartbeat, timing.heartbeat);
                assert!(timing.election_min < election_min && election_min < election_max);
                assert!(ends < election_min, "{count} replicas, node {node}");
                ends = election_max;
            }
            assert_eq!(ends, timing.election_max);
        }
        let narrow = RaftTiming {
            election_max: timing.election_min + Duration::from_millis(1),
            ..timing
        };
        let first = ElectionTurn::among(&replicas, replicas[0]);
        assert_eq!(narrow.of_turn(first), narrow);
        let alone = ElectionTurn::among(&replicas[..1], replicas[0]);
        assert_eq!(timing.of_turn(alone), timing);
    }

    #[test]
    fn replicas_that_are_not_known_take_turns_by_their_ids() {
        let turns = [1, 2, 3].map(|id| ElectionTurn::among(&[], NodeId(id)).at);
        assert_eq!(turns, [1, 2, 0]);
    }
}
