//! The budget of unflushed bytes: entries that are in memory and not yet on disk, over all groups.
//!
//! Entries in the write queues cannot be dropped. A disk that is slower than the network would
//! therefore fill the memory: a leader's entries commit through its followers' disks, so its own
//! disk slows down nobody. Callers that bring entries in wait for room first: a leader before it
//! admits a produce request, a follower before it takes the next request of an append stream.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// The budget of unflushed bytes of a storage.
///
/// It is checked before entries are appended and not reserved, so it is exceeded by what is on the
/// way between the check and the append.
#[derive(Debug)]
pub struct WriteBudget {
    pending_bytes: AtomicUsize,
    max_bytes: usize,
    /// Woken when there is room again.
    waiting: Mutex<Vec<Waker>>,
}

impl WriteBudget {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            pending_bytes: AtomicUsize::new(0),
            max_bytes,
            waiting: Mutex::default(),
        }
    }

    /// Unflushed bytes.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes.load(Ordering::Acquire)
    }

    /// Unflushed bytes from which on there is no room, bytes.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Whether more entries may be brought in.
    pub fn has_room(&self) -> bool {
        self.pending_bytes() < self.max_bytes
    }

    /// Ready when there is room; else the task is woken once there is.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock();
        // Checked again under the lock: `sub` takes it after it has made room.
        if self.has_room() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.pending_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        let before = self.pending_bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before >= self.max_bytes && before - bytes < self.max_bytes {
            for waker in std::mem::take(&mut *self.waiting.lock()) {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waiter_is_woken_once_when_there_is_room_again() {
        let budget = WriteBudget::new(100);
        let counter = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&counter));
        let context = Context::from_waker(&waker);
        budget.add(99);
        assert!(budget.poll_room(&context).is_ready());
        budget.add(51);
        assert!(budget.poll_room(&context).is_pending());
        assert!(budget.poll_room(&context).is_pending());
        budget.sub(50);
        assert_eq!(counter.0.load(Ordering::Relaxed), 0, "still at the bound");
        budget.sub(1);
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        assert!(budget.poll_room(&context).is_ready());
        budget.sub(99);
        assert_eq!(budget.pending_bytes(), 0);
    }
}
