//! The time of the cluster, as one node sees it: its own clock within a bound around the clocks of
//! a majority of the nodes.
//!
//! Append times come from the clock of the partition's leader. If it jumps, for example at a start
//! with a wrong clock, records would expire on all replicas, and the idle time of all producers
//! would be over. One node cannot know that its clock is wrong. A majority can: a time that a
//! majority of the nodes has reached was not made up by one clock.
//!
//! - A single node uses its own clock.
//! - Of two nodes, both must have reached a time: the one that is ahead is taken to be wrong.
//! - While fewer than a majority report, the last known time of a majority goes on by the monotonic
//!   clock, and nothing expires by age. Before a majority has ever reported, the own clock counts.

use crate::check::ClockState;
use crate::limits::CLOCK_DIFFERENCE_MAX_MS;

/// The clock of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerClock {
    /// The reading, milliseconds since the Unix epoch.
    pub clock_ms: i64,
    /// Time since it was received, by the monotonic clock, milliseconds.
    pub age_ms: u64,
}

/// The latest time that a majority of `members_count` nodes has reached, among this node's clock
/// and those of `peers`; `None` if fewer than a majority have reported. Nodes that are silent count
/// as members that have not reached it.
pub fn majority_time(own_ms: i64, peers: &[PeerClock], members_count: usize) -> Option<i64> {
    let peers = peers.iter();
    let peers = peers.map(|peer| peer.clock_ms.saturating_add_unsigned(peer.age_ms));
    let mut clocks: Vec<i64> = peers.chain([own_ms]).collect();
    clocks.sort_unstable_by(|a, b| b.cmp(a));
    clocks.get(members_count / 2).copied()
}

/// This node's time, compared with that of a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterTime {
    /// The time to use, milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// The comparison.
    pub state: ClockState,
}

/// The time to use: the own clock, but not further from `majority_ms` than
/// `CLOCK_DIFFERENCE_MAX_MS`.
pub fn cluster_time(own_ms: i64, majority_ms: i64) -> ClusterTime {
    let bound = CLOCK_DIFFERENCE_MAX_MS;
    let difference_ms = own_ms.saturating_sub(majority_ms);
    if (-bound..=bound).contains(&difference_ms) {
        return ClusterTime {
            now_ms: own_ms,
            state: ClockState::Agreed,
        };
    }
    ClusterTime {
        now_ms: majority_ms.saturating_add(difference_ms.clamp(-bound, bound)),
        state: ClockState::Off { difference_ms },
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;
    const YEAR_MS: i64 = 365 * 86_400_000;

    fn peers(clocks: &[i64]) -> Vec<PeerClock> {
        let peer = |clock_ms: &i64| PeerClock {
            clock_ms: *clock_ms,
            age_ms: 0,
        };
        clocks.iter().map(peer).collect()
    }

    #[test]
    fn one_clock_of_three_that_jumps_is_off_and_bounded() {
        let others = peers(&[NOW_MS, NOW_MS + 5]);
        for jump in [YEAR_MS, -YEAR_MS] {
            let own = NOW_MS + jump;
            let majority = majority_time(own, &others, 3).unwrap();
            let time = cluster_time(own, majority);
            assert!((time.now_ms - NOW_MS).abs() <= CLOCK_DIFFERENCE_MAX_MS + 5);
            assert!(matches!(time.state, ClockState::Off { .. }));
        }
        // The others are not affected by it.
        let majority = majority_time(NOW_MS, &peers(&[NOW_MS + YEAR_MS, NOW_MS]), 3).unwrap();
        let time = cluster_time(NOW_MS, majority);
        assert_eq!((time.now_ms, time.state), (NOW_MS, ClockState::Agreed));
    }

    #[test]
    fn a_single_node_has_its_own_time_and_of_two_the_earlier_counts() {
        assert_eq!(majority_time(NOW_MS, &[], 1), Some(NOW_MS));
        let found = majority_time(NOW_MS + YEAR_MS, &peers(&[NOW_MS]), 2);
        assert_eq!(found, Some(NOW_MS));
        let found = majority_time(NOW_MS, &peers(&[NOW_MS + YEAR_MS]), 2);
        assert_eq!(found, Some(NOW_MS));
    }

    #[test]
    fn without_a_majority_there_is_no_time() {
        assert_eq!(majority_time(NOW_MS, &[], 2), None);
        assert_eq!(majority_time(NOW_MS, &[], 3), None);
        assert_eq!(majority_time(NOW_MS, &peers(&[NOW_MS]), 4), None);
        assert!(majority_time(NOW_MS, &peers(&[NOW_MS]), 3).is_some());
    }

    #[test]
    fn a_reading_gets_older() {
        let peer = PeerClock {
            clock_ms: NOW_MS - 900,
            age_ms: 900,
        };
        assert_eq!(majority_time(NOW_MS + 1, &[peer], 2), Some(NOW_MS));
    }

    proptest! {
        /// Whatever a minority reports, and whatever this node's clock shows.
        #[test]
        fn a_minority_moves_the_time_by_no_more_than_the_bound(
            right_count in 1_usize..6,
            skews in vec(-100_i64..=100, 12),
            wrong in vec(any::<i64>(), 0..6),
            own_is_wrong in any::<bool>(),
            own_wrong in any::<i64>(),
        ) {
            let right: Vec<i64> = skews.iter().take(right_count).map(|s| NOW_MS + s).collect();
            let members = right_count + wrong.len() + 1;
            let right_total = right_count + usize::from(!own_is_wrong);
            prop_assume!(right_total > members / 2);
            let own = if own_is_wrong { own_wrong } else { NOW_MS };
            let others: Vec<i64> = right.iter().chain(&wrong).copied().collect();
            let majority = majority_time(own, &peers(&others), members).unwrap();
            prop_assert!((majority - NOW_MS).abs() <= 100, "{}", majority);
            let time = cluster_time(own, majority);
            prop_assert!((time.now_ms - NOW_MS).abs() <= 100 + CLOCK_DIFFERENCE_MAX_MS);
            if !own_is_wrong {
                prop_assert_eq!(time.state, ClockState::Agreed);
                prop_assert_eq!(time.now_ms, own);
            }
        }

        #[test]
        fn no_clock_overflows(own in any::<i64>(), majority in any::<i64>()) {
            let time = cluster_time(own, majority);
            prop_assert_eq!(time.state == ClockState::Agreed, time.now_ms == own);
        }
    }
}
