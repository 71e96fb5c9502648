//! Whether this node can serve, as one sentence. Once it could, it stays ready: that others are
//! away is in the cluster's status, and no reason to take clients from this node too.

use lograft_core::metadata::Metadata;

use super::Control;
use super::reconcile::missing;
use crate::health::Readiness;

impl Control {
    pub(super) fn look_at_readiness(&self, metadata: &Metadata) {
        if self.is_removed_itself(metadata) {
            let text = "it has been decommissioned, for ever";
            return self.set_readiness(Readiness::Waiting(text.to_owned()));
        }
        if *self.readiness.borrow() != Readiness::Ready {
            self.set_readiness(self.first_readiness(metadata));
        }
    }

    fn first_readiness(&self, metadata: &Metadata) -> Readiness {
        let waiting = |text: &str| Readiness::Waiting(text.to_owned());
        let (Some(me), Some(meta)) = (self.member(), self.replicas().meta()) else {
            return waiting("it belongs to no cluster");
        };
        if meta.raft.watch().borrow().leader.is_none() {
            return waiting("it knows no leader of the meta group");
        }
        if !self.is_view_current() || metadata.node(me.node).is_none() {
            return waiting("it reads the meta group's log");
        }
        match missing(metadata, me.node, &self.holdings()) {
            0 => Readiness::Ready,
            count => Readiness::Waiting(format!("{count} of its replicas are being opened")),
        }
    }
}
