//! One partition as a producer sees it: its queue, and its part in partition selection.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::PartitionId;

use super::partition_queue::PartitionQueue;
use super::partition_queue::config::QueueConfig;
use super::stream_queue::StreamQueue;

/// The queue of the stream to a partition's leader.
pub(super) type ProduceQueue = StreamQueue<Arc<ProducerPartition>>;

/// One partition as a producer sees it.
#[derive(Debug)]
pub(super) struct ProducerPartition {
    pub(super) topic: Arc<str>,
    /// The topic's id. Another topic of the same name is another topic.
    pub(super) topic_id: u64,
    pub(super) number: PartitionId,
    queue: Mutex<PartitionQueue<Arc<ProduceQueue>>>,
    /// Records without a key avoid the partition while its leader is unavailable.
    leader_unavailable: AtomicBool,
    /// Whether the topic was created again under its name. Records are refused.
    retired: AtomicBool,
    /// The topic's partition for records without a key.
    sticky: Arc<AtomicU32>,
    /// Bytes sent in partial batches since they last added up to a full one.
    partial_bytes: AtomicUsize,
}

impl ProducerPartition {
    pub(super) fn new(config: QueueConfig, topic_id: u64, sticky: Arc<AtomicU32>) -> Self {
        Self {
            topic: Arc::clone(&config.topic),
            topic_id,
            number: config.partition,
            queue: Mutex::new(PartitionQueue::new(config)),
            leader_unavailable: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            sticky,
            partial_bytes: AtomicUsize::new(0),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, PartitionQueue<Arc<ProduceQueue>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses records from now on. The caller then fails the queue under its lock.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(super) fn set_leader_unavailable(&self, unavailable: bool) {
        self.leader_unavailable
            .store(unavailable, Ordering::Relaxed);
    }

    pub(super) fn is_leader_unavailable(&self) -> bool {
        self.leader_unavailable.load(Ordering::Relaxed)
    }

    /// A partial batch was sent. The next partition becomes the sticky one once the partial batches
    /// add up to a full one.
    pub(super) fn on_partial_sent(&self, bytes: usize, batch_max_bytes: usize) {
        if self.partial_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= batch_max_bytes {
            self.partial_bytes.store(0, Ordering::Relaxed);
            self.rotate_sticky();
        }
    }

    /// Makes the next partition the sticky one, if it is this one.
    pub(super) fn rotate_sticky(&self) {
        let number = self.number.get();
        // Fails if another task has rotated already.
        let _rotated = self.sticky.compare_exchange(
            number,
            number.wrapping_add(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}
