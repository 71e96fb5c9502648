//! The state of a producer, shared by its handles and tasks.
//!
//! Locks are held for short, never across an await, and never two at once. The exception is the
//! list of a topic's partitions, which may be locked for reading before the queue of a partition.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use lograft_core::{NodeId, ProducerId};

use super::buffer::SendBuffer;
use super::config::ProducerConfig;
use super::partition::ProduceQueue;
use super::partition_queue::config::{QueueConfig, TopicLimits};
use super::stats::{Counters, ProducerStats};
use super::supervisor_queue::SupervisorQueue;
use super::topic_partitions::TopicPartitions;
use crate::cluster::metadata::TopicInfo;
use crate::cluster::node_pool::NodePool;
use crate::error::ClientError;

/// The state of a producer, shared by its handles and tasks.
pub(super) struct ProducerState {
    pub(super) pool: Arc<NodePool>,
    pub(super) config: ProducerConfig,
    /// Set if the producer is idempotent.
    pub(super) producer_id: Option<ProducerId>,
    pub(super) supervisor: SupervisorQueue,
    pub(super) buffer: SendBuffer,
    pub(super) counters: Counters,
    topics: RwLock<HashMap<Arc<str>, Arc<TopicPartitions>>>,
    streams: Mutex<HashMap<NodeId, Arc<ProduceQueue>>>,
    request_ids: AtomicU64,
    /// The first failed delivery since the last flush.
    first_failure: Mutex<Option<ClientError>>,
    closed: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for ProducerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerState")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ProducerState {
    pub(super) fn new(
        pool: Arc<NodePool>,
        config: ProducerConfig,
        producer_id: Option<ProducerId>,
    ) -> Self {
        Self {
            pool,
            buffer: SendBuffer::new(config.buffer_max_bytes),
            config,
            producer_id,
            supervisor: SupervisorQueue::default(),
            counters: Counters::default(),
            topics: RwLock::default(),
            streams: Mutex::default(),
            request_ids: AtomicU64::new(0),
            first_failure: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Marks the producer as closed. Returns whether it was open.
    pub(super) fn set_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// The id of the next request. It is never 0, which nodes read as "no id".
    pub(super) fn next_request_id(&self) -> u64 {
        self.request_ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn stats(&self) -> ProducerStats {
        self.counters.snapshot(self.buffer.used_bytes())
    }

    pub(super) fn note_failure(&self, error: &ClientError) {
        locked(&self.first_failure).get_or_insert_with(|| error.clone());
    }

    pub(super) fn take_first_failure(&self) -> Option<ClientError> {
        locked(&self.first_failure).take()
    }

    /// Waits until the buffer has room. Fails if the producer is closed.
    pub(super) async fn wait_for_room(&self) -> Result<(), ClientError> {
        if !self.buffer.has_room() {
            self.buffer.wait_for_room(|| self.is_closed()).await;
        }
        if self.is_closed() {
            Err(ClientError::Closed)
        } else {
            Ok(())
        }
    }

    /// The partitions of a topic, whose metadata is fetched at first use.
    pub(super) async fn topic(&self, name: &str) -> Result<Arc<TopicPartitions>, ClientError> {
        let known = self
            .topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let info = self.pool.topic(name).await?;
        let first_sticky = self.pool.jitter.pick(info.partitions.len());
        let first_sticky = u32::try_from(first_sticky).unwrap_or(0);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.entry(Arc::clone(&info.name)).or_insert_with(|| {
            let name = Arc::clone(&info.name);
            Arc::new(TopicPartitions::new(name, info.id, first_sticky))
        });
        self.apply_info(topic, &info);
        Ok(Arc::clone(topic))
    }

    /// Adds the partitions that a topic got, and takes over its limits.
    fn apply_info(&self, topic: &TopicPartitions, info: &TopicInfo) {
        let limits = TopicLimits {
            batch_max_bytes: info.batch_max_bytes,
            record_max_bytes: info.record_max_bytes,
        };
        for partition in topic.partitions().iter() {
            partition.queue().set_topic_limits(limits);
        }
        topic.grow(info.partitions.len(), |partition| QueueConfig {
            topic: Arc::clone(topic.name()),
            partition,
            compression: self.config.compression,
            batch_max_bytes: self.config.batch_max_bytes,
            topic_limits: limits,
            linger: self.config.linger,
            delivery_timeout: self.config.delivery_timeout,
            idempotent: self.config.idempotent,
        });
    }

    pub(super) fn topics(&self) -> Vec<Arc<TopicPartitions>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().cloned().collect()
    }

    /// Applies the metadata of topics that was read last: new partitions, limits for batches.
    pub(super) fn apply_metadata(&self) {
        for topic in self.topics() {
            let info = self.pool.metadata().topic(topic.name()).map(Arc::clone);
            match info {
                Some(info) if info.id == topic.id() => self.apply_info(&topic, &info),
                Some(_) => self.on_recreated(topic.name(), topic.id()),
                None => {}
            }
        }
    }

    /// The topic of this id was deleted, and another one has its name now: fails the records that
    /// were not acknowledged, and forgets the topic. Records that are sent later go to the new
    /// topic, with sequences from 0. A handle of the former topic refuses them.
    // Nothing crosses into the new topic by itself: the application may have deleted the topic to
    // be rid of the old records.
    pub(super) fn on_recreated(&self, name: &Arc<str>, id: u64) {
        if let Some(former) = self.forget_former(name, id) {
            self.fail_former(&former);
        }
    }

    /// Forgets the topic of this id. Returns it, if it was known: its records are to be failed.
    pub(super) fn forget_former(&self, name: &Arc<str>, id: u64) -> Option<Arc<TopicPartitions>> {
        let former = {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            match topics.get(name) {
                Some(topic) if topic.id() == id => topics.remove(name),
                _ => None,
            }
        }?;
        self.pool.forget_topic(name, id);
        Some(former)
    }

    /// Fails the records of a topic that was forgotten.
    pub(super) fn fail_former(&self, former: &TopicPartitions) {
        let error = ClientError::TopicRecreated {
            topic: Arc::clone(former.name()),
        };
        let partitions: Vec<_> = former.partitions().clone();
        for partition in partitions {
            partition.retire();
            let settled = partition.queue().fail_all(&error);
            self.settle(settled);
        }
    }

    /// The stream to a node. `true` if it is new and its task has to be started.
    pub(super) fn stream(&self, node: NodeId, address: &Arc<str>) -> (Arc<ProduceQueue>, bool) {
        let mut streams = locked(&self.streams);
        if let Some(stream) = streams.get(&node).filter(|s| s.address == *address) {
            return (Arc::clone(stream), false);
        }
        let stream = ProduceQueue::new(node, Arc::clone(address));
        streams.insert(node, Arc::clone(&stream));
        (stream, true)
    }

    pub(super) fn streams(&self) -> Vec<Arc<ProduceQueue>> {
        locked(&self.streams).values().cloned().collect()
    }

    /// Removes a stream that has ended, unless it was replaced already.
    pub(super) fn remove_stream(&self, stream: &Arc<ProduceQueue>) {
        let mut streams = locked(&self.streams);
        if streams
            .get(&stream.node)
            .is_some_and(|current| Arc::ptr_eq(current, stream))
        {
            streams.remove(&stream.node);
        }
    }
}
