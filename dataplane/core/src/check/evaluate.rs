//! The checks of one node, from its local facts.

use std::time::Duration;

use super::{CheckName, Evidence, RaisedCheck};
use crate::ids::ClusterId;
use crate::limits::FLUSH_HANG_SHOWN_MIN;
use crate::node_reading::{DiskMark, DiskReading};

/// Progress of a node's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartPhase {
    /// It belongs to no cluster yet.
    #[default]
    Outside,
    /// It knows no leader of the meta group.
    MetaLeaderUnknown,
    /// It reads the meta group's log.
    CatchingUp,
    /// It opens its replicas; so many are not open yet.
    Opening(u64),
    /// It has been ready.
    Done,
    /// It was decommissioned.
    Decommissioned,
}

/// A node's clock compared with those of the other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockState {
    /// It agrees with a majority of the nodes.
    #[default]
    Agreed,
    /// It differs from a majority by more than the bound, by so many milliseconds; negative if it
    /// is behind.
    Off {
        /// The difference, milliseconds.
        difference_ms: i64,
    },
    /// Fewer than a majority of the nodes have reported their clock recently.
    Unconfirmed {
        /// Nodes that have, with this one.
        reported_count: u64,
    },
}

/// A disk of another cluster than the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignDisk {
    /// The cluster of the disk.
    pub of_disk: ClusterId,
    /// The cluster of the seeds.
    pub of_seeds: ClusterId,
}

/// The facts that a node's checks depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Progress of its start.
    pub start: StartPhase,
    /// Its data disk.
    pub disk: DiskReading,
    /// Time for which its disk has not completed a write.
    pub disk_stuck: Duration,
    /// Its clock.
    pub clock: ClockState,
    /// The cluster of its disk and that of its seeds, if they differ.
    pub foreign_disk: Option<ForeignDisk>,
    /// Number of groups that do not vote because its disk is older than their votes.
    pub fenced_count: u64,
    /// Whether another process runs on a copy of its disk.
    pub disk_runs_twice: bool,
}

/// The raised checks, in the order of the table.
pub fn evaluate(facts: &NodeFacts) -> Vec<RaisedCheck> {
    let NodeFacts {
        start,
        disk,
        disk_stuck,
        clock,
        foreign_disk,
        fenced_count,
        disk_runs_twice,
    } = *facts;
    let raised = [
        start_check(start),
        hang_check(disk_stuck),
        disk_check(disk),
        clock_check(clock),
        foreign_disk.map(foreign_check),
        older_check(fenced_count),
        disk_runs_twice.then(|| RaisedCheck::new(CheckName::DiskRunsTwice, [])),
    ];
    let mut raised: Vec<RaisedCheck> = raised.into_iter().flatten().collect();
    raised.sort_by_key(|check| check.name);
    raised
}

fn start_check(start: StartPhase) -> Option<RaisedCheck> {
    let plain = |name| Some(RaisedCheck::new(name, []));
    match start {
        StartPhase::Outside => plain(CheckName::NotInCluster),
        StartPhase::MetaLeaderUnknown => plain(CheckName::MetaLeaderUnknown),
        StartPhase::CatchingUp => plain(CheckName::CatchingUp),
        StartPhase::Opening(count) => Some(RaisedCheck::new(
            CheckName::ReplicasOpening,
            [Evidence::Count(count)],
        )),
        StartPhase::Done => None,
        StartPhase::Decommissioned => plain(CheckName::Decommissioned),
    }
}

fn hang_check(stuck: Duration) -> Option<RaisedCheck> {
    let millis = u64::try_from(stuck.as_millis()).unwrap_or(u64::MAX);
    let evidence = Evidence::ForMs(millis);
    (stuck >= FLUSH_HANG_SHOWN_MIN).then(|| RaisedCheck::new(CheckName::DiskHung, [evidence]))
}

fn disk_check(disk: DiskReading) -> Option<RaisedCheck> {
    let name = match disk.mark {
        DiskMark::Unknown | DiskMark::Ok => return None,
        DiskMark::Low => CheckName::DiskLow,
        DiskMark::Full => CheckName::DiskFull,
    };
    let evidence = [
        Evidence::FreeBytes(disk.free_bytes),
        Evidence::FreeInodes(disk.free_inodes),
    ];
    Some(RaisedCheck::new(name, evidence))
}

fn foreign_check(foreign: ForeignDisk) -> RaisedCheck {
    let ForeignDisk { of_disk, of_seeds } = foreign;
    let evidence = [Evidence::DiskCluster(of_disk), Evidence::Cluster(of_seeds)];
    RaisedCheck::new(CheckName::DiskForeign, evidence)
}

fn older_check(fenced_count: u64) -> Option<RaisedCheck> {
    let evidence = Evidence::Count(fenced_count);
    (fenced_count > 0).then(|| RaisedCheck::new(CheckName::DiskOlder, [evidence]))
}

fn clock_check(clock: ClockState) -> Option<RaisedCheck> {
    match clock {
        ClockState::Agreed => None,
        ClockState::Off { difference_ms } => Some(RaisedCheck::new(
            CheckName::ClockOff,
            [Evidence::DifferenceMs(difference_ms)],
        )),
        ClockState::Unconfirmed { reported_count } => Some(RaisedCheck::new(
            CheckName::ClockUnconfirmed,
            [Evidence::Count(reported_count)],
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(facts: &NodeFacts) -> Vec<CheckName> {
        evaluate(facts).iter().map(|check| check.name).collect()
    }

    #[test]
    fn a_node_in_good_health_raises_nothing() {
        let facts = NodeFacts {
            start: StartPhase::Done,
            ..NodeFacts::default()
        };
        assert_eq!(names(&facts), []);
    }

    #[test]
    fn a_disk_that_hangs_makes_the_node_unready() {
        let mut facts = NodeFacts {
            start: StartPhase::Done,
            disk_stuck: FLUSH_HANG_SHOWN_MIN / 2,
            ..NodeFacts::default()
        };
        assert_eq!(names(&facts), []);
        facts.disk_stuck = FLUSH_HANG_SHOWN_MIN;
        assert_eq!(names(&facts), [CheckName::DiskHung]);
        assert!(matches!(
            CheckName::DiskHung.info().scope,
            crate::check::CheckScope::NotReady
        ));
    }

    #[test]
    fn checks_are_in_the_order_of_the_table() {
        let mut facts = NodeFacts {
            start: StartPhase::Opening(2),
            clock: ClockState::Off { difference_ms: -7 },
            ..NodeFacts::default()
        };
        facts.disk.mark = DiskMark::Low;
        let expected = [
            CheckName::ReplicasOpening,
            CheckName::DiskLow,
            CheckName::ClockOff,
        ];
        assert_eq!(names(&facts), expected);
        facts.disk.mark = DiskMark::Full;
        facts.start = StartPhase::Decommissioned;
        facts.clock = ClockState::Unconfirmed { reported_count: 1 };
        let expected = [
            CheckName::Decommissioned,
            CheckName::DiskFull,
            CheckName::ClockUnconfirmed,
        ];
        assert_eq!(names(&facts), expected);
    }
}
