//! Evaluates the named checks of this node, and from them whether it is ready.

use lograft_core::check::{ForeignDisk, NodeChecks, NodeFacts, StartPhase, evaluate};
use lograft_core::limits::READING_INTERVAL;
use lograft_core::metadata::Metadata;
use lograft_core::{ClusterId, DiskReading, FeatureLevel};
use lograft_storage::Storage;
use tokio::sync::watch;
use tokio::time::Instant;

use super::catch_up::CatchUp;
use super::checks_state::ChecksState;
use super::disk_fence::DiskState;
use super::holdings::HoldingsReader;
use super::local_member::LocalMember;
use super::readiness_state::ReadinessState;
use super::reconcile::plan::missing_count;
use crate::exchange::{LocalState, NodeExchange};
use crate::health::Readiness;
use crate::serving::replica::ReplicaMap;

/// Once it is finalized, every node is known to send readings.
const READINGS_LEVEL: FeatureLevel = FeatureLevel(2);

/// Evaluates the checks.
pub(crate) struct NodeCheckup {
    pub(crate) member: LocalMember,
    pub(crate) replicas: ReplicaMap,
    pub(crate) catch_up: CatchUp,
    pub(crate) holdings: HoldingsReader,
    pub(crate) storage: Storage,
    pub(crate) exchange: NodeExchange,
    pub(crate) checks: ChecksState,
    pub(crate) readiness: ReadinessState,
    pub(crate) disk_state: watch::Receiver<DiskState>,
    pub(crate) foreign: watch::Receiver<Option<ClusterId>>,
    /// Whether the node has been ready once.
    pub(crate) has_started: bool,
    /// When the disk was measured last.
    pub(crate) measured: Option<Instant>,
}

impl NodeCheckup {
    /// Measures this node and publishes its checks and its readiness.
    pub(crate) fn check(&mut self, metadata: &Metadata) {
        self.measure(Instant::now());
        let members = metadata.members().map(|node| node.id).collect();
        let all_report = metadata.finalized_level() >= READINGS_LEVEL;
        self.exchange.set_members(&members, all_report);
        let start = self.start_phase(metadata);
        self.has_started |= start == StartPhase::Done;
        let disk_state = *self.disk_state.borrow();
        let own = self.member.get().map(|member| member.cluster);
        let foreign = own.zip(*self.foreign.borrow());
        let facts = NodeFacts {
            start,
            disk: self.exchange.local().disk,
            disk_stuck: self.storage.write_probe().health().stuck,
            clock: self.exchange.time().state,
            foreign_disk: foreign.map(|(of_disk, of_seeds)| ForeignDisk { of_disk, of_seeds }),
            fenced_count: disk_state.fenced_count,
            disk_runs_twice: disk_state.runs_twice,
        };
        let checks = NodeChecks::of(&evaluate(&facts));
        self.readiness.set(readiness(&checks));
        self.checks.set(checks);
    }

    /// A node that has been ready has started, whatever happens to the cluster later. If it became
    /// unready when others fail, Kubernetes would remove it from the Service as well, and clients
    /// would lose the nodes that still work.
    fn start_phase(&self, metadata: &Metadata) -> StartPhase {
        if self.member.is_removed(metadata) {
            return StartPhase::Decommissioned;
        }
        if self.has_started {
            return StartPhase::Done;
        }
        let (Some(me), Some(meta)) = (self.member.node(), self.replicas.meta()) else {
            return StartPhase::Outside;
        };
        if meta.raft.watch().borrow().leader.is_none() {
            return StartPhase::MetaLeaderUnknown;
        }
        if !self.catch_up.is_done() || metadata.node(me).is_none() {
            return StartPhase::CatchingUp;
        }
        // Without a free descriptor for its directories, the node waits as before they were read.
        let Some(holdings) = self.holdings.read() else {
            return StartPhase::CatchingUp;
        };
        match missing_count(metadata, me, &holdings) {
            0 => StartPhase::Done,
            count => StartPhase::Opening(count as u64),
        }
    }

    /// Publishes the measurement of the disk at an interval; the loop itself may run far more
    /// often.
    fn measure(&mut self, now: Instant) {
        let is_recent = |measured| now.duration_since(measured) < READING_INTERVAL;
        if self.measured.is_some_and(is_recent) {
            return;
        }
        self.measured = Some(now);
        self.exchange.set_local(LocalState {
            disk: disk_reading(&self.storage),
            oldest_unflushed: self.storage.disk_lag(),
        });
    }
}

fn disk_reading(storage: &Storage) -> DiskReading {
    // A call to the disk here would block control while the disk hangs.
    let Some(space) = storage.measured_space() else {
        return DiskReading::default();
    };
    DiskReading {
        mark: storage.disk_mark(),
        free_bytes: space.free_bytes,
        total_bytes: space.total_bytes,
        free_inodes: space.free_inodes,
        total_inodes: space.total_inodes,
    }
}

fn readiness(checks: &NodeChecks) -> Readiness {
    match checks.not_ready() {
        None => Readiness::Ready,
        Some(check) => Readiness::Waiting(format!("it {}", check.text)),
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::check::{CheckName, Evidence, RaisedCheck};

    use super::*;

    #[test]
    fn only_checks_that_say_so_make_a_node_unready() {
        let low = RaisedCheck::new(CheckName::DiskLow, [Evidence::FreeBytes(0)]);
        assert_eq!(
            readiness(&NodeChecks::of(std::slice::from_ref(&low))),
            Readiness::Ready
        );
        let opening = RaisedCheck::new(CheckName::ReplicasOpening, [Evidence::Count(2)]);
        let text = "it has 2 replicas that are not open yet";
        assert_eq!(
            readiness(&NodeChecks::of(&[low, opening])),
            Readiness::Waiting(text.to_owned())
        );
    }
}
