//! Appending records to partition queues, many under one lock.

use std::sync::{Arc, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use lograft_core::PartitionId;
use tokio::time::Instant;

use super::delivery::{Delivery, DeliveryRuns};
use super::partition::{ProduceQueue, ProducerPartition};
use super::partition_queue::PartitionQueue;
use super::record::RecordParts;
use super::state::ProducerState;
use super::supervisor_queue::SupervisorReason;
use super::topic_partitions::TopicPartitions;
use crate::error::ClientError;

/// The locked queue of a partition, and the effects of the records appended under the lock.
struct QueueGuard<'a> {
    partition: &'a Arc<ProducerPartition>,
    queue: MutexGuard<'a, PartitionQueue<Arc<ProduceQueue>>>,
    bytes: usize,
    /// A batch was opened.
    opened: bool,
    /// A batch was closed.
    closed: bool,
}

impl<'a> QueueGuard<'a> {
    fn lock(partition: &'a Arc<ProducerPartition>) -> Self {
        Self {
            partition,
            queue: partition.queue(),
            bytes: 0,
            opened: false,
            closed: false,
        }
    }

    /// Appends a record. Returns its index in the youngest batch of the queue.
    fn push(
        &mut self,
        state: &ProducerState,
        record: &RecordParts<'_>,
    ) -> Result<u32, ClientError> {
        // Checked under the lock. Closing the producer sets the flag before it locks and fails each
        // queue, so no record can be appended to a queue that was failed already.
        if state.is_closed() {
            return Err(ClientError::Closed);
        }
        if self.partition.is_retired() {
            return Err(ClientError::TopicRecreated {
                topic: Arc::clone(&self.partition.topic),
            });
        }
        let record = RecordParts {
            timestamp_ms: record.timestamp_ms.or_else(|| Some(wall_clock_ms())),
            ..*record
        };
        let pushed = self.queue.push(&record, Instant::now)?;
        self.bytes += pushed.bytes;
        self.opened |= pushed.opened;
        self.closed |= pushed.closed;
        Ok(pushed.index)
    }

    /// Unlocks the queue, and notifies those who have to send.
    fn unlock(self, state: &ProducerState) {
        let Self {
            partition,
            mut queue,
            bytes,
            opened,
            closed,
        } = self;
        state.buffer.add(bytes);
        // A record that joins an open batch does not change what can be sent.
        if !opened && !closed {
            return;
        }
        let now = Instant::now();
        let stream = queue.claim_enqueue(now);
        let linger_until = if opened {
            queue.claim_linger_timer()
        } else {
            None
        };
        let needs_leader = queue.claim_leader_search();
        drop(queue);
        if closed {
            partition.rotate_sticky();
        }
        if let Some(stream) = stream {
            stream.enqueue(Arc::clone(partition));
        }
        if needs_leader {
            state
                .supervisor
                .enqueue(partition, now, SupervisorReason::FindLeader);
        }
        if let Some(until) = linger_until {
            state
                .supervisor
                .enqueue(partition, until, SupervisorReason::Linger);
        }
    }
}

/// Milliseconds since the Unix epoch; 0 before it.
fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

impl ProducerState {
    /// Reads the metadata again if the partition is not known: the topic may have grown.
    pub(super) async fn look_for(&self, topic: &TopicPartitions, partition: Option<PartitionId>) {
        if partition.is_some_and(|partition| partition.get() >= topic.partition_count()) {
            self.pool.refresh().await;
            self.apply_metadata();
        }
    }

    /// Appends one record.
    pub(super) async fn send(
        &self,
        topic: &TopicPartitions,
        record: &RecordParts<'_>,
        partition: Option<PartitionId>,
    ) -> Result<Delivery, ClientError> {
        self.wait_for_room().await?;
        self.look_for(topic, partition).await;
        let partition = {
            let partitions = topic.partitions();
            let index = topic.select(&partitions, record.key, partition)?;
            Arc::clone(&partitions[index])
        };
        let mut guard = QueueGuard::lock(&partition);
        let index = guard.push(self, record);
        let outcome = guard.queue.youngest().map(Arc::clone);
        guard.unlock(self);
        let index = index?;
        // The queue has the batch to which the record was appended.
        Ok(Delivery::new(outcome.ok_or(ClientError::Closed)?, index))
    }

    /// Appends records until a batch is closed. Returns whether all records were appended.
    ///
    /// Consecutive records of one partition share one lock, because locking for each record would
    /// cost more than encoding it. The caller waits for room in the buffer between two calls.
    pub(super) fn append_until_closed<'a>(
        &self,
        topic: &TopicPartitions,
        records: &mut impl Iterator<Item = RecordParts<'a>>,
        partition: Option<PartitionId>,
        runs: &mut DeliveryRuns,
    ) -> Result<bool, ClientError> {
        let partitions = topic.partitions();
        let mut current: Option<(usize, QueueGuard<'_>)> = None;
        let mut result = Ok(true);
        for record in records {
            let index = match topic.select(&partitions, record.key, partition) {
                Ok(index) => index,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            // Two queues are never locked at once.
            if let Some((_, guard)) = current.take_if(|(locked, _)| *locked != index) {
                guard.unlock(self);
            }
            let (_, guard) =
                current.get_or_insert_with(|| (index, QueueGuard::lock(&partitions[index])));
            match guard.push(self, &record) {
                Ok(pushed) => runs.add(index, guard.queue.youngest(), pushed),
                Err(error) => result = Err(error),
            }
            if guard.closed || result.is_err() {
                result = result.map(|_| false);
                break;
            }
        }
        if let Some((_, guard)) = current {
            guard.unlock(self);
        }
        result
    }
}
