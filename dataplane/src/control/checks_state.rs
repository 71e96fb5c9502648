//! The raised checks that the node publishes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use lograft_core::check::{NodeChecks, NodeFacts, evaluate};

/// The raised checks of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ChecksState(Arc<ArcSwap<NodeChecks>>);

impl Default for ChecksState {
    fn default() -> Self {
        let outside = NodeChecks::of(&evaluate(&NodeFacts::default()));
        Self(Arc::new(ArcSwap::from_pointee(outside)))
    }
}

impl ChecksState {
    /// Publishes newly evaluated checks.
    pub(crate) fn set(&self, checks: NodeChecks) {
        self.0.store(Arc::new(checks));
    }

    /// The checks as last evaluated.
    pub(crate) fn load(&self) -> Arc<NodeChecks> {
        self.0.load_full()
    }
}
