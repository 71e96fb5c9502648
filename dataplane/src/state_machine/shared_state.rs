//! A partition's applied state, which the rest of the node shares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::{Offset, PartitionState};
use tokio::sync::watch;

/// What can be read of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that may be read.
    pub log_start_offset: Offset,
    /// The end of what may be read, exclusive.
    pub high_watermark: Offset,
}

impl Watermarks {
    fn of(state: &PartitionState) -> Self {
        Self {
            log_start_offset: state.log_start_offset,
            high_watermark: state.next_offset,
        }
    }
}

/// A partition's applied state, written by its machine and seen by all others. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedState {
    state: Arc<Mutex<PartitionState>>,
    watermarks: Arc<watch::Sender<Watermarks>>,
    is_damaged: Arc<AtomicBool>,
}

impl SharedState {
    /// From the state that a replica starts with.
    pub fn new(state: PartitionState) -> Self {
        let watermarks = Arc::new(watch::Sender::new(Watermarks::of(&state)));
        Self {
            state: Arc::new(Mutex::new(state)),
            watermarks,
            is_damaged: Arc::default(),
        }
    }

    /// The state itself; held for moments only, never across an await.
    pub fn lock(&self) -> MutexGuard<'_, PartitionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait what can be read now. For the machine, after a run of entries.
    pub fn publish(&self) {
        let now = Watermarks::of(&self.lock());
        self.watermarks
            .send_if_modified(|seen| std::mem::replace(seen, now) != now);
    }

    /// What can be read now.
    pub fn watermarks(&self) -> Watermarks {
        *self.watermarks.borrow()
    }

    /// Notes that a read has met damaged bytes: the replica is set aside shortly.
    pub fn report_damage(&self) {
        self.is_damaged.store(true, Ordering::Release);
    }

    /// Whether a read has met damaged bytes.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// Follows what can be read; ends when the replica is closed.
    pub fn watch(&self) -> watch::Receiver<Watermarks> {
        self.watermarks.subscribe()
    }
}
