//! A partition's applied state, which the rest of the node shares.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::{LogIndex, Offset, PartitionState};
use tokio::sync::watch;

/// The readable range of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watermarks {
    /// The first offset that may be read.
    pub log_start_offset: Offset,
    /// End of the committed records, exclusive.
    pub high_watermark: Offset,
    /// The last entry that they count; none after a start, until one is applied.
    pub commit_index: Option<LogIndex>,
}

impl Watermarks {
    fn of(state: &PartitionState, commit_index: Option<LogIndex>) -> Self {
        Self {
            log_start_offset: state.log_start_offset,
            high_watermark: state.next_offset,
            commit_index,
        }
    }
}

/// A partition's applied state: written by its state machine, read by everyone else. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub(crate) struct SharedState {
    state: Arc<Mutex<PartitionState>>,
    watermarks: Arc<watch::Sender<Watermarks>>,
}

impl SharedState {
    /// From the state that a replica starts with.
    pub(crate) fn new(state: PartitionState) -> Self {
        let watermarks = Arc::new(watch::Sender::new(Watermarks::of(&state, None)));
        Self {
            state: Arc::new(Mutex::new(state)),
            watermarks,
        }
    }

    /// The state itself. MUST NOT be held across an await: apply waits for the lock, and a group
    /// that does not apply does not acknowledge.
    pub(crate) fn lock(&self) -> MutexGuard<'_, PartitionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the watermarks up to the last applied entry. Called by the state machine after a
    /// run of entries: once per run and not per entry, so that readers are woken once.
    pub(crate) fn publish(&self, applied: Option<LogIndex>) {
        let now = Watermarks::of(&self.lock(), applied);
        self.watermarks
            .send_if_modified(|seen| std::mem::replace(seen, now) != now);
    }

    /// The current watermarks.
    pub(crate) fn watermarks(&self) -> Watermarks {
        *self.watermarks.borrow()
    }

    /// Follows the watermarks; ends when the replica is closed.
    pub(crate) fn watch(&self) -> watch::Receiver<Watermarks> {
        self.watermarks.subscribe()
    }
}
