//! The work that producers and streams hand to the supervisor.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::partition::ProducerPartition;

/// The reason why the supervisor has a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SupervisorReason {
    /// The partition needs its leader.
    FindLeader,
    /// The linger time of the partition's open batch is over.
    Linger,
}

/// A partition for the supervisor.
#[derive(Clone, Debug)]
pub(super) struct SupervisorItem {
    pub(super) reason: SupervisorReason,
    pub(super) partition: Arc<ProducerPartition>,
}

/// New items for the supervisor, each with the time from which on it is due.
#[derive(Default)]
pub(super) struct SupervisorQueue {
    items: Mutex<Vec<(Instant, SupervisorItem)>>,
    notify: Notify,
}

impl SupervisorQueue {
    pub(super) fn enqueue(
        &self,
        partition: &Arc<ProducerPartition>,
        due: Instant,
        reason: SupervisorReason,
    ) {
        let item = SupervisorItem {
            reason,
            partition: Arc::clone(partition),
        };
        self.items
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((due, item));
        self.wake();
    }

    pub(super) fn take_all(&self) -> Vec<(Instant, SupervisorItem)> {
        mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes the supervisor.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits until the supervisor is woken.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }
}
