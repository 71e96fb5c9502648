//! The end of deliveries: replies, lost streams, flush and close.

use std::sync::Arc;

use lograft_core::NodeId;
use lograft_core::limits::PRODUCER_LEADER_REDIRECTS_MAX_COUNT;
use tokio::time::Instant;

use super::outcome::OutcomeFuture;
use super::partition::{ProduceQueue, ProducerPartition};
use super::partition_queue::PartitionQueue;
use super::partition_queue::batch::Settled;
use super::state::ProducerState;
use super::supervisor_queue::SupervisorReason;
use super::verdict::Verdict;
use crate::error::ClientError;

/// A partition whose leader has to be searched again.
struct LostLeader {
    /// The previous leader.
    node: NodeId,
    /// Failures since the last stored batch.
    failures: u32,
    last_error: Option<ClientError>,
}

impl LostLeader {
    /// Claims the search for a leader, if `queue` has batches and no stream any more.
    fn claim(
        partition: &ProducerPartition,
        queue: &mut PartitionQueue<Arc<ProduceQueue>>,
        node: NodeId,
    ) -> Option<Self> {
        if queue.stream().is_some() {
            return None;
        }
        partition.set_leader_unavailable(true);
        queue.claim_leader_search().then(|| Self {
            node,
            failures: queue.failures(),
            last_error: queue.last_error().cloned(),
        })
    }
}

impl ProducerState {
    /// Applies the reply of a leader.
    pub(super) fn on_reply(
        &self,
        stream: &Arc<ProduceQueue>,
        partition: &Arc<ProducerPartition>,
        request_id: u64,
        verdict: Verdict,
    ) {
        let now = Instant::now();
        let mut queue = partition.queue();
        let settled = queue.on_reply(request_id, verdict);
        let ready_stream = queue.claim_enqueue(now);
        let lost_leader = LostLeader::claim(partition, &mut queue, stream.node);
        drop(queue);
        self.settle(settled);
        if let Some(stream) = ready_stream {
            stream.enqueue(Arc::clone(partition));
        }
        if let Some(lost_leader) = lost_leader {
            self.search_leader(partition, &lost_leader);
        }
    }

    /// Hands a partition to the supervisor: at once if the failure named the new leader, else after
    /// a back-off.
    fn search_leader(&self, partition: &Arc<ProducerPartition>, lost: &LostLeader) {
        let has_new_leader = lost.last_error.as_ref().is_some_and(|error| {
            self.pool
                .update_from_failure(&partition.topic, partition.number, lost.node, error)
        });
        let mut due = Instant::now();
        // Nodes that name each other as the leader must not cause a loop without delays.
        if !has_new_leader || lost.failures > PRODUCER_LEADER_REDIRECTS_MAX_COUNT {
            due += self.pool.backoff(lost.failures, lost.last_error.as_ref());
        }
        self.supervisor
            .enqueue(partition, due, SupervisorReason::FindLeader);
    }

    /// A stream has ended.
    pub(super) fn on_stream_lost(&self, stream: &Arc<ProduceQueue>, error: &ClientError) {
        self.remove_stream(stream);
        if !stream.close() || self.is_closed() {
            return;
        }
        tracing::debug!(node_id = %stream.node, %error, "produce stream ended");
        for topic in self.topics() {
            let partitions: Vec<_> = topic.partitions().clone();
            for partition in partitions {
                self.on_partition_stream_lost(&partition, stream, error);
            }
        }
    }

    /// A stream has ended, over which `partition` may have been sending.
    pub(super) fn on_partition_stream_lost(
        &self,
        partition: &Arc<ProducerPartition>,
        stream: &Arc<ProduceQueue>,
        error: &ClientError,
    ) {
        let mut queue = partition.queue();
        if !queue.stream().is_some_and(|own| Arc::ptr_eq(own, stream)) {
            return;
        }
        let settled = if error.is_retryable() {
            queue.on_stream_lost(error);
            Vec::new()
        } else {
            queue.fail_all(error)
        };
        let lost_leader = LostLeader::claim(partition, &mut queue, stream.node);
        drop(queue);
        self.settle(settled);
        self.pool
            .metadata()
            .clear_leader(&partition.topic, partition.number, stream.node);
        if let Some(lost_leader) = lost_leader {
            self.search_leader(partition, &lost_leader);
        }
    }

    /// Announces batches whose delivery has ended.
    pub(super) fn settle(&self, settled: impl IntoIterator<Item = Settled>) {
        let mut has_released = false;
        for batch in settled {
            has_released = true;
            self.buffer.remove(batch.buffered_bytes);
            match &batch.result {
                Ok(ack) => self.counters.count_stored(&batch, ack),
                Err(error) => {
                    self.counters.count_failed(&batch);
                    self.note_failure(error);
                }
            }
            batch.outcome.settle(batch.result);
        }
        if has_released {
            self.buffer.notify_released();
        }
    }

    /// Waits until all records sent before are settled. Fails with the first failure since the last
    /// flush.
    pub(super) async fn flush(&self) -> Result<(), ClientError> {
        let mut outcomes = Vec::new();
        let now = Instant::now();
        for topic in self.topics() {
            let partitions: Vec<_> = topic.partitions().clone();
            for partition in partitions {
                let mut queue = partition.queue();
                outcomes.extend(queue.flush());
                let stream = queue.claim_enqueue(now);
                drop(queue);
                if let Some(stream) = stream {
                    stream.enqueue(partition);
                }
            }
        }
        for outcome in outcomes {
            // Failures are noted when they are settled.
            let _settled = OutcomeFuture::new(outcome).await;
        }
        self.take_first_failure().map_or(Ok(()), Err)
    }

    /// Closes the producer: undelivered records fail.
    pub(super) fn close(&self) {
        if !self.set_closed() {
            return;
        }
        for topic in self.topics() {
            for partition in topic.partitions().iter() {
                let settled = partition.queue().fail_all(&ClientError::Closed);
                self.settle(settled);
            }
        }
        for stream in self.streams() {
            stream.close();
        }
        self.buffer.notify_closed();
        self.supervisor.wake();
    }
}
