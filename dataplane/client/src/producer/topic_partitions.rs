//! The partitions of a topic, and the selection of a record's partition.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use lograft_core::PartitionId;
use lograft_core::partitioner::partition_for_key;

use super::partition::ProducerPartition;
use super::partition_queue::config::QueueConfig;
use crate::error::ClientError;

/// The partitions of a topic.
#[derive(Debug)]
pub(super) struct TopicPartitions {
    name: Arc<str>,
    id: u64,
    partitions: RwLock<Vec<Arc<ProducerPartition>>>,
    /// The partition for records without a key, modulo the number of partitions.
    ///
    /// Records without a key stay in one partition until a batch is full (sticky partitioning).
    /// Spread over all partitions record by record, they would fill many small batches instead of
    /// one large batch, and the cost of producing is per batch.
    sticky: Arc<AtomicU32>,
}

impl TopicPartitions {
    pub(super) fn new(name: Arc<str>, id: u64, first_sticky: u32) -> Self {
        Self {
            name,
            id,
            partitions: RwLock::default(),
            sticky: Arc::new(AtomicU32::new(first_sticky)),
        }
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn partitions(&self) -> RwLockReadGuard<'_, Vec<Arc<ProducerPartition>>> {
        self.partitions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions().len()).unwrap_or(u32::MAX)
    }

    /// Adds partitions until there are `count`.
    pub(super) fn grow(&self, count: usize, config: impl Fn(PartitionId) -> QueueConfig) {
        if self.partitions().len() >= count {
            return;
        }
        let mut partitions = self
            .partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        while partitions.len() < count {
            let number = PartitionId(u32::try_from(partitions.len()).unwrap_or(u32::MAX));
            let partition =
                ProducerPartition::new(config(number), self.id, Arc::clone(&self.sticky));
            partitions.push(Arc::new(partition));
        }
    }

    /// The index of a record's partition: the given one, that of the key, or the sticky one.
    pub(super) fn select(
        &self,
        partitions: &[Arc<ProducerPartition>],
        key: Option<&[u8]>,
        partition: Option<PartitionId>,
    ) -> Result<usize, ClientError> {
        let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
        match (partition, key) {
            (Some(partition), _) if partition.get() < count => Ok(partition.get() as usize),
            (Some(partition), _) => Err(ClientError::UnknownPartition {
                topic: Arc::clone(&self.name),
                partition,
                count,
            }),
            (None, Some(key)) => Ok(partition_for_key(key, count).get() as usize),
            (None, None) => Ok(self.select_sticky(partitions, count) as usize),
        }
    }

    /// The sticky partition, or the next one with an available leader.
    fn select_sticky(&self, partitions: &[Arc<ProducerPartition>], count: u32) -> u32 {
        let current = self.sticky.load(Ordering::Relaxed);
        let is_available = |index: u32| {
            partitions
                .get(index as usize)
                .is_some_and(|p| !p.is_leader_unavailable())
        };
        let start = current % count.max(1);
        if current == start && is_available(start) {
            return start;
        }
        let available = (0..count)
            .map(|n| (start + n) % count)
            .find(|index| is_available(*index));
        let selected = available.unwrap_or(start);
        self.sticky.store(selected, Ordering::Relaxed);
        selected
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::compression::Compression;
    use tokio::time::Duration;

    use super::*;
    use crate::producer::partition_queue::config::TopicLimits;

    fn topic(count: usize) -> TopicPartitions {
        let topic = TopicPartitions::new("t".into(), 1, 0);
        grow(&topic, count);
        topic
    }

    fn grow(topic: &TopicPartitions, count: usize) {
        topic.grow(count, |partition| QueueConfig {
            topic: "t".into(),
            partition,
            compression: Compression::None,
            batch_max_bytes: 1024,
            topic_limits: TopicLimits::default(),
            linger: Duration::ZERO,
            delivery_timeout: Duration::from_secs(1),
            idempotent: true,
        });
    }

    fn select(topic: &TopicPartitions, key: Option<&[u8]>) -> usize {
        topic.select(&topic.partitions(), key, None).unwrap()
    }

    #[test]
    fn records_without_a_key_stay_in_a_partition_until_a_batch_is_closed() {
        let topic = topic(3);
        let mut taken = Vec::new();
        for _ in 0..4 {
            let at = select(&topic, None);
            assert_eq!(select(&topic, None), at);
            taken.push(at);
            topic.partitions()[at].rotate_sticky();
            // A second task that saw the same batch closed does not skip a partition.
            topic.partitions()[at].rotate_sticky();
        }
        assert_eq!(taken, [0, 1, 2, 0]);
    }

    #[test]
    fn partial_batches_stay_in_a_partition_until_they_add_up_to_a_full_one() {
        let topic = topic(3);
        let partition = Arc::clone(&topic.partitions()[select(&topic, None)]);
        for _ in 0..2 {
            partition.on_partial_sent(500, 1024);
            assert_eq!(select(&topic, None), 0);
        }
        partition.on_partial_sent(24, 1024);
        assert_eq!(select(&topic, None), 1);
    }

    #[test]
    fn records_without_a_key_avoid_an_unavailable_leader() {
        let topic = topic(3);
        topic.partitions()[0].set_leader_unavailable(true);
        topic.partitions()[1].set_leader_unavailable(true);
        assert_eq!(select(&topic, None), 2);
        topic.partitions()[2].set_leader_unavailable(true);
        assert!(select(&topic, None) < 3);
    }

    #[test]
    fn a_key_selects_the_same_partition_in_every_client() {
        let topic = topic(12);
        for key in [b"a".as_slice(), b"user-7", b""] {
            assert_eq!(
                select(&topic, Some(key)),
                partition_for_key(key, 12).get() as usize
            );
        }
    }

    #[test]
    fn an_explicit_partition_must_exist() {
        let topic = topic(2);
        let select = |p| topic.select(&topic.partitions(), Some(b"k"), Some(PartitionId(p)));
        assert_eq!(select(1).unwrap(), 1);
        let error = select(2).unwrap_err();
        assert_eq!(error.reason(), Some(lograft_core::Reason::UnknownPartition));
        grow(&topic, 3);
        assert_eq!(
            topic
                .select(&topic.partitions(), None, Some(PartitionId(2)))
                .unwrap(),
            2
        );
    }
}
