//! The end of all writing after a failed write or sync.

use std::sync::{Arc, OnceLock};

use crate::error::StorageError;

pub(crate) type OnFatal = Arc<dyn Fn(StorageError) + Send + Sync>;

/// Remembers the first failed write or sync of the node.
// Fail-stop: after a failed fsync it is unknown which bytes are on the disk, and a second fsync may
// report success for bytes that the kernel has dropped ("fsyncgate"). So no group starts another
// write, and the process ends; recovery at the next start reads what is really on the disk. A node
// that continued could acknowledge records that are not there.
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
