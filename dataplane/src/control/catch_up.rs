//! Whether the metadata view is at least as new as before the node's last stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once the view has replayed everything that this node may have applied before it stopped.
///
/// Before that the view shows an old state: a loop that acted on it would delete replicas that were
/// moved here later, or recreate replicas that were moved away. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct CatchUp(Arc<AtomicBool>);

impl CatchUp {
    /// Whether the view may be acted on.
    pub(crate) fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Marks the view as caught up.
    pub(crate) fn set_done(&self) {
        self.0.store(true, Ordering::Release);
    }
}
