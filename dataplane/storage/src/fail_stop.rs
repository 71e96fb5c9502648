//! The end of all writing after a failed write or sync.

use std::sync::{Arc, OnceLock};

use crate::error::StorageError;

pub(crate) type OnFatal = Arc<dyn Fn(StorageError) + Send + Sync>;

/// Remembers the first failed write or sync of the node.
// Fail-stop: after a failed fsync nobody knows which bytes are on the disk, and a second fsync may
// report success for bytes that the kernel has dropped. So no group writes any more, no callback
// reports success, and the process ends; the next start reads what the disk really has. A node
// that went on could acknowledge records that are not on disk.
pub(crate) struct FailStop {
    first_error: OnceLock<Arc<StorageError>>,
    on_fatal: OnFatal,
}

impl FailStop {
    pub(crate) fn new(on_fatal: OnFatal) -> Self {
        Self {
            first_error: OnceLock::new(),
            on_fatal,
        }
    }

    /// The error for all further writes, once one has failed.
    pub(crate) fn stopped(&self) -> Option<StorageError> {
        self.first_error
            .get()
            .map(|first| StorageError::Stopped(Arc::clone(first)))
    }

    /// Stops all writing because of `error`; only the first call is reported to `on_fatal`.
    pub(crate) fn stop(&self, error: &StorageError) {
        if self.first_error.set(Arc::new(error.clone())).is_ok() {
            (self.on_fatal)(error.clone());
        }
    }
}
