//! What a producer's clones and tasks share. Locks are short and never held together, but for a
//! topic's list of lanes, which is taken before a lane's.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use lograft_core::limits::PRODUCER_LEADER_REDIRECTS_MAX_COUNT;
use lograft_core::{NodeId, PartitionId, ProducerId};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::{LaneConfig, Phase, Settled, Verdict};
use super::link::Link;
use super::outcome::Waiting;
use super::topic::{LaneSlot, SlotState, TopicLanes};
use super::turn::{Runs, Turn};
use super::{Delivery, ProducerConfig, ProducerStats, RecordParts};
use crate::client::reach::Reach;
use crate::error::ClientError;

/// What a producer's clones and tasks share.
pub(crate) struct Shared {
    pub(crate) reach: Arc<Reach>,
    pub(crate) config: ProducerConfig,
    pub(crate) producer_id: Option<ProducerId>,
    topics: RwLock<HashMap<Arc<str>, Arc<TopicLanes>>>,
    links: Mutex<HashMap<NodeId, Arc<Link>>>,
    /// Lanes without a leader, and from when on to look for it: the supervisor's.
    attention: Mutex<Vec<(Instant, Attended)>>,
    supervise: Notify,
    /// Records accepted and not settled, bytes.
    buffered: AtomicUsize,
    /// Who waits for room in the buffer.
    waiting: AtomicUsize,
    room: Notify,
    request_ids: AtomicU64,
    counts: Counts,
    /// The first failure since the last flush.
    failure: Mutex<Option<ClientError>>,
    closed: AtomicBool,
}

/// Why the supervisor has a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// It needs its leader.
    Leader,
    /// Its batch has waited for more long enough.
    Linger,
}

/// A lane that has lost its leader.
struct Trouble {
    /// The one it was.
    node: NodeId,
    /// Since something was stored.
    failures: u32,
    /// How the last try failed.
    error: Option<ClientError>,
}

impl Trouble {
    /// Takes the lane off its link if it has to look for its leader again.
    fn take(slot: &LaneSlot, state: &mut SlotState, node: NodeId) -> Option<Self> {
        if !matches!(state.lane.phase, Phase::Unrouted) {
            return None;
        }
        state.link = None;
        state.listed = false;
        slot.set_troubled(true);
        let error = state.lane.last_error().cloned();
        let failures = state.lane.failures();
        state.claim_attention().then_some(Self {
            node,
            failures,
            error,
        })
    }
}

/// A lane in the supervisor's care.
#[derive(Clone, Debug)]
pub(crate) struct Attended {
    pub(crate) care: Care,
    pub(crate) topic: Arc<str>,
    pub(crate) slot: Arc<LaneSlot>,
}

#[derive(Default)]
struct Counts {
    acked_records: AtomicU64,
    failed_records: AtomicU64,
    acked_batches: AtomicU64,
    acked_bytes: AtomicU64,
    duplicate_batches: AtomicU64,
    resent_batches: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        reach: Arc<Reach>,
        config: ProducerConfig,
        producer_id: Option<ProducerId>,
    ) -> Self {
        Self {
            reach,
            config,
            producer_id,
            topics: RwLock::default(),
            links: Mutex::default(),
            attention: Mutex::default(),
            supervise: Notify::new(),
            buffered: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            request_ids: AtomicU64::new(0),
            counts: Counts::default(),
            failure: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn next_request_id(&self) -> u64 {
        // 0 is what a node sees of a client that sets none.
        self.request_ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn count_resent(&self) {
        self.counts.resent_batches.fetch_add(1, Ordering::Relaxed);
    }

    /// The lanes of a topic, found out about if need be.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<TopicLanes>, ClientError> {
        let known = self
            .topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let info = self.reach.topic(name).await?;
        let start = self.reach.jitter.pick(info.partitions.len());
        let start = u32::try_from(start).unwrap_or(0);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let lanes = topics
            .entry(Arc::clone(&info.name))
            .or_insert_with(|| Arc::new(TopicLanes::new(Arc::clone(&info.name), start)));
        self.grow(lanes, info.partitions.len());
        Ok(Arc::clone(lanes))
    }

    fn grow(&self, lanes: &TopicLanes, count: usize) {
        lanes.grow(count, |partition| LaneConfig {
            topic: Arc::clone(lanes.name()),
            partition,
            compression: self.config.compression,
            batch_max_bytes: self.config.batch_max_bytes,
            linger: self.config.linger,
            delivery_timeout: self.config.delivery_timeout,
            idempotent: self.config.idempotent,
        });
    }

    pub(crate) fn topics(&self) -> Vec<Arc<TopicLanes>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().cloned().collect()
    }

    /// Adds lanes for partitions that the map has and this producer does not.
    pub(crate) fn grow_all(&self) {
        for lanes in self.topics() {
            let count = self
                .reach
                .routes()
                .topic(lanes.name())
                .map(|t| t.partitions.len());
            self.grow(&lanes, count.unwrap_or(0));
        }
    }

    /// Waits until the buffer has room.
    pub(crate) async fn room(&self) -> Result<(), ClientError> {
        /// Counts who waits, also when its future is dropped.
        struct Counted<'a>(&'a AtomicUsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        if self.has_room() {
            return if self.is_closed() {
                Err(ClientError::Closed)
            } else {
                Ok(())
            };
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _counted = Counted(&self.waiting);
        loop {
            let mut freed = std::pin::pin!(self.room.notified());
            freed.as_mut().enable();
            if self.is_closed() {
                return Err(ClientError::Closed);
            }
            if self.has_room() {
                return Ok(());
            }
            freed.await;
        }
    }

    fn has_room(&self) -> bool {
        self.buffered.load(Ordering::Acquire) < self.config.buffer_max_bytes
    }

    /// Takes one record.
    pub(crate) async fn send(
        &self,
        lanes: &TopicLanes,
        record: &RecordParts<'_>,
        partition: Option<PartitionId>,
    ) -> Result<Delivery, ClientError> {
        self.room().await?;
        let slot = {
            let slots = lanes.slots();
            Arc::clone(&slots[lanes.choose(&slots, record.key, partition)?])
        };
        let mut turn = Turn::begin(&slot);
        let index = turn.push(self, record);
        let outcome = turn.state.lane.youngest().map(Arc::clone);
        self.end(lanes, turn);
        let index = index?;
        // The lane has the batch that the record went into.
        Ok(Delivery::new(outcome.ok_or(ClientError::Closed)?, index))
    }

    /// Takes records until a batch is closed or there are no more; whether there are no more.
    pub(crate) fn send_turn<'a>(
        &self,
        lanes: &TopicLanes,
        records: &mut impl Iterator<Item = RecordParts<'a>>,
        partition: Option<PartitionId>,
        runs: &mut Runs,
    ) -> Result<bool, ClientError> {
        let slots = lanes.slots();
        let mut current: Option<(usize, Turn<'_>)> = None;
        let mut result = Ok(true);
        for record in records {
            let at = match lanes.choose(&slots, record.key, partition) {
                Ok(at) => at,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            // One lane's lock goes before the next is taken.
            if let Some((_, turn)) = current.take_if(|(held, _)| *held != at) {
                self.end(lanes, turn);
            }
            let (_, turn) = current.get_or_insert_with(|| (at, Turn::begin(&slots[at])));
            match turn.push(self, &record) {
                Ok(index) => runs.add(at, turn.state.lane.youngest(), index),
                Err(error) => result = Err(error),
            }
            if turn.closed || result.is_err() {
                result = result.map(|_| false);
                break;
            }
        }
        if let Some((_, turn)) = current {
            self.end(lanes, turn);
        }
        result
    }

    /// Lets go of a lane's lock and tells whoever has to send.
    fn end(&self, lanes: &TopicLanes, turn: Turn<'_>) {
        let Turn {
            slot,
            mut state,
            bytes,
            opened,
            closed,
        } = turn;
        self.buffered.fetch_add(bytes, Ordering::AcqRel);
        // A record that joins an open batch changes nothing about what can be sent.
        if !opened && !closed {
            return;
        }
        let now = Instant::now();
        let to_list = state.claim_listing(now);
        let lingers = if opened { state.claim_linger() } else { None };
        let needs_leader = state.claim_attention();
        drop(state);
        if closed {
            slot.rotate();
        }
        if let Some(link) = to_list {
            link.list(Arc::clone(slot));
        }
        if needs_leader {
            self.attend(lanes.name(), slot, now, Care::Leader);
        }
        if let Some(until) = lingers {
            self.attend(lanes.name(), slot, until, Care::Linger);
        }
    }

    /// Hands a lane to the supervisor.
    pub(crate) fn attend(&self, topic: &Arc<str>, slot: &Arc<LaneSlot>, due: Instant, care: Care) {
        let attended = Attended {
            care,
            topic: Arc::clone(topic),
            slot: Arc::clone(slot),
        };
        locked(&self.attention).push((due, attended));
        self.supervise.notify_one();
    }

    pub(crate) fn take_attention(&self) -> Vec<(Instant, Attended)> {
        std::mem::take(&mut *locked(&self.attention))
    }

    pub(crate) async fn called(&self) {
        self.supervise.notified().await;
    }

    /// Takes in a leader's reply.
    pub(crate) fn on_verdict(
        &self,
        link: &Arc<Link>,
        slot: &Arc<LaneSlot>,
        request_id: u64,
        verdict: Verdict,
    ) {
        let now = Instant::now();
        let mut state = slot.state();
        let settled = state.lane.on_reply(request_id, verdict);
        let to_list = state.claim_listing(now);
        let trouble = Trouble::take(slot, &mut state, link.node);
        let topic = Arc::clone(&state.lane.config().topic);
        drop(state);
        self.settle(settled);
        if let Some(link) = to_list {
            link.list(Arc::clone(slot));
        }
        if let Some(trouble) = trouble {
            let due = self.due_after(&topic, slot.partition, &trouble);
            self.attend(&topic, slot, due, Care::Leader);
        }
    }

    /// When to look for the leader again, after learning what the failure tells about it.
    fn due_after(&self, topic: &str, partition: PartitionId, trouble: &Trouble) -> Instant {
        let Trouble {
            node,
            failures,
            error,
        } = trouble;
        let is_known = error
            .as_ref()
            .is_some_and(|error| self.reach.learn_failure(topic, partition, *node, error));
        let now = Instant::now();
        if is_known && *failures <= PRODUCER_LEADER_REDIRECTS_MAX_COUNT {
            return now;
        }
        now + self.reach.backoff(*failures)
    }

    /// The link to a node; `true` if it is new and its task is to be started.
    pub(crate) fn link(&self, node: NodeId, address: &Arc<str>) -> (Arc<Link>, bool) {
        let mut links = locked(&self.links);
        if let Some(link) = links.get(&node).filter(|link| link.address == *address) {
            return (Arc::clone(link), false);
        }
        let link = Link::new(node, Arc::clone(address));
        links.insert(node, Arc::clone(&link));
        (link, true)
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        locked(&self.links).values().cloned().collect()
    }

    /// A link's stream has ended.
    pub(crate) fn on_link_lost(&self, link: &Arc<Link>, error: &ClientError) {
        {
            let mut links = locked(&self.links);
            if links
                .get(&link.node)
                .is_some_and(|known| Arc::ptr_eq(known, link))
            {
                links.remove(&link.node);
            }
        }
        if !link.die() || self.is_closed() {
            return;
        }
        tracing::debug!(node = %link.node, %error, "produce stream ended");
        for lanes in self.topics() {
            let slots: Vec<_> = lanes.slots().clone();
            for slot in slots {
                self.on_lane_lost(lanes.name(), &slot, link, error);
            }
        }
    }

    pub(crate) fn on_lane_lost(
        &self,
        topic: &Arc<str>,
        slot: &Arc<LaneSlot>,
        link: &Arc<Link>,
        error: &ClientError,
    ) {
        let mut state = slot.state();
        if !state
            .link
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, link))
        {
            return;
        }
        let settled = if error.is_retryable() {
            state.lane.on_link_lost(error);
            Vec::new()
        } else {
            state.lane.fail_all(error)
        };
        let trouble = Trouble::take(slot, &mut state, link.node);
        drop(state);
        self.settle(settled);
        self.reach
            .routes()
            .doubt_leader(topic, slot.partition, link.node);
        if let Some(trouble) = trouble {
            let due = self.due_after(topic, slot.partition, &trouble);
            self.attend(topic, slot, due, Care::Leader);
        }
    }

    /// Announces batches that have come to their end.
    pub(crate) fn settle(&self, settled: impl IntoIterator<Item = Settled>) {
        let mut freed = false;
        for batch in settled {
            freed = true;
            self.buffered.fetch_sub(batch.buffered, Ordering::AcqRel);
            let records = u64::from(batch.records);
            let counts = &self.counts;
            match &batch.result {
                Ok(ack) => {
                    counts.acked_records.fetch_add(records, Ordering::Relaxed);
                    counts.acked_batches.fetch_add(1, Ordering::Relaxed);
                    counts
                        .acked_bytes
                        .fetch_add(batch.encoded_bytes as u64, Ordering::Relaxed);
                    counts
                        .duplicate_batches
                        .fetch_add(u64::from(ack.duplicate), Ordering::Relaxed);
                }
                Err(error) => {
                    counts.failed_records.fetch_add(records, Ordering::Relaxed);
                    locked(&self.failure).get_or_insert_with(|| error.clone());
                }
            }
            batch.outcome.settle(batch.result);
        }
        if freed && self.waiting.load(Ordering::Acquire) > 0 {
            self.room.notify_waiters();
        }
    }

    /// Waits until everything sent before has come to its end; the first failure.
    pub(crate) async fn flush(&self) -> Result<(), ClientError> {
        let mut outcomes = Vec::new();
        let now = Instant::now();
        for lanes in self.topics() {
            let slots: Vec<_> = lanes.slots().clone();
            for slot in slots {
                let mut state = slot.state();
                outcomes.extend(state.lane.flush());
                let to_list = state.claim_listing(now);
                drop(state);
                if let Some(link) = to_list {
                    link.list(slot);
                }
            }
        }
        for outcome in outcomes {
            // A failure stands below, the first one.
            let _settled = Waiting::new(outcome).await;
        }
        locked(&self.failure).take().map_or(Ok(()), Err)
    }

    /// Ends the producer: what is not delivered fails.
    pub(crate) fn shut(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        for lanes in self.topics() {
            for slot in lanes.slots().iter() {
                let settled = slot.state().lane.fail_all(&ClientError::Closed);
                self.settle(settled);
            }
        }
        for link in self.links() {
            link.die();
        }
        self.room.notify_waiters();
        self.supervise.notify_one();
    }

    pub(crate) fn stats(&self) -> ProducerStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ProducerStats {
            acked_records: read(&self.counts.acked_records),
            failed_records: read(&self.counts.failed_records),
            acked_batches: read(&self.counts.acked_batches),
            acked_bytes: read(&self.counts.acked_bytes),
            duplicate_batches: read(&self.counts.duplicate_batches),
            resent_batches: read(&self.counts.resent_batches),
            buffered_bytes: self.buffered.load(Ordering::Relaxed),
        }
    }
}
