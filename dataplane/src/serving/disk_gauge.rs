//! Whether the disk is low, with one look at the file system per interval at most.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use lograft_core::limits::DISK_CHECK_INTERVAL_MS;
use lograft_storage::Storage;

/// The answer of the last look.
#[derive(Debug, Default)]
pub(super) struct DiskGauge {
    is_low: AtomicBool,
    /// When the next look is due, milliseconds since the Unix epoch.
    next_look_ms: AtomicI64,
}

impl DiskGauge {
    pub(super) fn is_low(&self, storage: &Storage, now_ms: i64) -> bool {
        let next = self.next_look_ms.load(Ordering::Relaxed);
        let interval_ms = DISK_CHECK_INTERVAL_MS;
        // The second condition: a clock that was set back must not delay the next look.
        if now_ms >= next || next - now_ms > interval_ms {
            self.next_look_ms
                .store(now_ms.saturating_add(interval_ms), Ordering::Relaxed);
            self.is_low.store(storage.is_disk_low(), Ordering::Relaxed);
        }
        self.is_low.load(Ordering::Relaxed)
    }
}
