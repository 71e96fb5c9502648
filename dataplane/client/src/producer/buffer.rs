//! The budget of bytes that a producer buffers.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The bytes of records that are accepted and not settled, and the tasks that wait for room.
///
/// Waiting tasks are counted, so that releasing bytes, which happens per batch, costs no
/// notification while nobody waits.
pub(super) struct SendBuffer {
    max_bytes: usize,
    used_bytes: AtomicUsize,
    waiting: AtomicUsize,
    released: Notify,
}

/// Counts a waiting task, also if its future is dropped.
struct WaitingGuard<'a>(&'a AtomicUsize);

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl SendBuffer {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            used_bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            released: Notify::new(),
        }
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.used_bytes.load(Ordering::Acquire) < self.max_bytes
    }

    /// Waits until the buffer has room or `is_closed`.
    pub(super) async fn wait_for_room(&self, is_closed: impl Fn() -> bool) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _guard = WaitingGuard(&self.waiting);
        loop {
            // Registered before the check, so that a release in between is not missed.
            let mut released = std::pin::pin!(self.released.notified());
            released.as_mut().enable();
            if is_closed() || self.has_room() {
                return;
            }
            released.await;
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Wakes the waiting tasks after bytes were removed.
    pub(super) fn notify_released(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.released.notify_waiters();
        }
    }

    /// Wakes the waiting tasks because the producer is closed.
    pub(super) fn notify_closed(&self) {
        self.released.notify_waiters();
    }
}
