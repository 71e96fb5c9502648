//! Observation of the writers of a storage from outside, without a call to the disk.

use std::sync::Arc;
use std::time::Duration;

use crate::error::StorageError;
use crate::fail_stop::FailStop;
use crate::write_queue::WriteQueue;

/// How far the writes of a storage are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteHealth {
    /// The age of the oldest write that is not on disk.
    pub lag: Duration,
    /// The time for which a writer has been waiting for the disk with the writes of one group.
    pub stuck: Duration,
}

/// Observes the writers of a storage. It does not keep the storage open.
#[derive(Clone)]
pub struct WriteProbe {
    pub(crate) queues: Vec<Arc<WriteQueue>>,
    pub(crate) fail_stop: Arc<FailStop>,
}

impl WriteProbe {
    /// How far the writes are behind. Makes no call to the disk.
    pub fn health(&self) -> WriteHealth {
        let delays = self.queues.iter().map(|queue| queue.delay());
        delays.fold(WriteHealth::default(), |worst, delay| WriteHealth {
            lag: worst.lag.max(delay.lag),
            stuck: worst.stuck.max(delay.stuck),
        })
    }

    /// Gives up the writers, because one of them hangs in a call to the disk. Nothing is written
    /// any more, and dropping the storage no longer waits for pending writes. The process must
    /// end.
    pub fn abandon(&self) {
        self.fail_stop.stop(&StorageError::Hung);
        for queue in &self.queues {
            queue.abandon();
        }
    }
}
