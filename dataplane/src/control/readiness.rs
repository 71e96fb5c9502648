//! Whether this node can serve, with one sentence that says why not.

use lograft_core::metadata::Metadata;

use super::catch_up::CatchUp;
use super::holdings::HoldingsReader;
use super::local_member::LocalMember;
use super::readiness_state::ReadinessState;
use super::reconcile::plan::missing_count;
use crate::health::Readiness;
use crate::serving::replica::ReplicaMap;

/// Checks the readiness.
pub(crate) struct ReadinessCheck {
    pub(crate) member: LocalMember,
    pub(crate) replicas: ReplicaMap,
    pub(crate) catch_up: CatchUp,
    pub(crate) holdings: HoldingsReader,
    pub(crate) readiness: ReadinessState,
}

impl ReadinessCheck {
    /// Publishes the readiness.
    ///
    /// A node that was ready stays ready, unless it was decommissioned. If it became unready when
    /// others fail, Kubernetes would remove it from the Service as well, and clients would lose
    /// the nodes that still work.
    pub(crate) fn check(&self, metadata: &Metadata) {
        if self.member.is_removed(metadata) {
            return self
                .readiness
                .set_waiting("it has been decommissioned permanently");
        }
        if !self.readiness.is_ready() {
            self.readiness.set(self.first_readiness(metadata));
        }
    }

    fn first_readiness(&self, metadata: &Metadata) -> Readiness {
        let waiting = |text: &str| Readiness::Waiting(text.to_owned());
        let (Some(me), Some(meta)) = (self.member.node(), self.replicas.meta()) else {
            return waiting("it does not belong to a cluster");
        };
        if meta.raft.watch().borrow().leader.is_none() {
            return waiting("the meta group has no known leader");
        }
        if !self.catch_up.is_done() || metadata.node(me).is_none() {
            return waiting("it is catching up with the meta group's log");
        }
        match missing_count(metadata, me, &self.holdings.read()) {
            0 => Readiness::Ready,
            count => Readiness::Waiting(format!("{count} of its replicas are not open yet")),
        }
    }
}
