//! The parts that all requests of clients share: the way to the partitions, limits and counters.

use std::pin::pin;
use std::sync::Arc;

use lograft_core::limits::{FLUSH_LAG_INTERVAL, FLUSH_LAG_MAX, UNFLUSHED_WAIT_MAX};
use lograft_core::{DiskMark, MemoryBudgets, NodeId, ProducerId, ProducerStamp, Reason, TopicKey};
use lograft_storage::{Storage, WriteBudget};
use prometheus::IntCounter;
use tokio::time::{Instant, timeout};

use super::append::BatchRules;
use super::append_budget::{AppendBudget, Reserved};
use super::decompression::Decompression;
use super::disk_room::ReplicaDisks;
use super::forward::Forward;
use super::locate::Locator;
use super::meta_group::{LeaderHints, MetaHandle};
use super::producer_ids::ProducerIds;
use super::replica::{Replica, ReplicaMap};
use super::reply_memory::ReplyBudget;
use super::request::Appended;
use crate::clock::Clock;
use crate::error::ApiError;
use crate::exchange::NodeExchange;
use crate::metrics::Metrics;
use crate::state_machine::MetaView;

/// The parts of a [`LogEngine`].
pub(crate) struct LogEngineParts {
    /// This node.
    pub(crate) node: NodeId,
    /// Replicas on this node.
    pub(crate) replicas: ReplicaMap,
    /// The cluster's metadata.
    pub(crate) meta: MetaView,
    /// The way to the meta group.
    pub(crate) meta_handle: MetaHandle,
    /// Leaders of groups without a replica on this node.
    pub(crate) hints: Arc<dyn LeaderHints>,
    /// The way to the other nodes.
    pub(crate) forward: Arc<dyn Forward>,
    /// The data directory, asked for its free space.
    pub(crate) storage: Storage,
    /// The readings of the other nodes.
    pub(crate) exchange: NodeExchange,
    /// The memory for requests of clients.
    pub(crate) budgets: MemoryBudgets,
    /// The clock of append times.
    pub(crate) clock: Arc<dyn Clock>,
    /// The memory for replies to clients.
    pub(crate) replies: ReplyBudget,
    /// Counters of requests.
    pub(crate) metrics: Arc<Metrics>,
}

/// Serves the log to clients of any protocol.
pub(crate) struct LogEngine {
    pub(crate) locator: Locator,
    pub(crate) forward: Arc<dyn Forward>,
    pub(crate) clock: Arc<dyn Clock>,
    meta_handle: MetaHandle,
    storage: Storage,
    exchange: NodeExchange,
    write_budget: Arc<WriteBudget>,
    pub(super) metrics: Arc<Metrics>,
    /// The counters of successful requests, looked up once.
    appended_ok: IntCounter,
    fetched_ok: IntCounter,
    append_budget: AppendBudget,
    /// Memory of batches that are being decompressed.
    pub(crate) decompression: Decompression,
    /// Memory of replies that clients have not taken yet.
    pub(crate) replies: ReplyBudget,
    producer_ids: ProducerIds,
}

impl LogEngine {
    pub(crate) fn new(parts: LogEngineParts) -> Self {
        let LogEngineParts {
            node,
            replicas,
            meta,
            meta_handle,
            hints,
            forward,
            storage,
            exchange,
            budgets,
            replies,
            clock,
            metrics,
        } = parts;
        Self {
            locator: Locator::new(node, replicas, meta, hints, Arc::clone(&meta_handle)),
            forward,
            clock,
            meta_handle,
            write_budget: storage.write_budget(),
            storage,
            exchange,
            appended_ok: metrics.produce_requests.with_label_values(&["OK"]),
            fetched_ok: metrics.fetch_requests.with_label_values(&["OK"]),
            metrics,
            append_budget: AppendBudget::new(budgets.produce_in_flight_bytes),
            decompression: Decompression::new(budgets.decompression_bytes),
            replies,
            producer_ids: ProducerIds::default(),
        }
    }

    /// A producer id that no other producer has, and that nobody can guess.
    pub(crate) async fn next_producer_id(&self) -> Result<ProducerId, ApiError> {
        let number = self.producer_ids.next(&*self.meta_handle).await?;
        let key = self.locator.meta.load().producer_id_key();
        let key = key.ok_or_else(|| {
            let text = "this node has not received the cluster's metadata yet";
            ApiError::new(Reason::NotReady, text)
        })?;
        key.seal(number).ok_or_else(|| {
            let text = "all producer ids of the cluster have been issued";
            ApiError::new(Reason::LimitExceeded, text)
        })
    }

    /// Fails with NOT_READY unless this node's metadata is current.
    pub(crate) fn check_metadata(&self) -> Result<(), ApiError> {
        self.meta_handle.check_current()
    }

    /// The limits of a topic's batches. Read for each append, so that a change of the topic applies
    /// at once. Fails with INVALID_ARGUMENT if no node has issued the id of the batch's producer.
    pub(super) fn batch_rules(
        &self,
        topic: &str,
        stamp: Option<ProducerStamp>,
    ) -> Result<BatchRules, ApiError> {
        let metadata = self.locator.meta.load();
        if let Some(ProducerStamp { id, .. }) = stamp
            && !metadata.is_producer_issued(id)
        {
            let bound = format_args!("an id that InitProducer has returned, got {id}");
            return Err(ApiError::invalid("producer.producer_id", bound));
        }
        let settings = metadata.topic(topic).map(|topic| topic.settings);
        let settings = settings.unwrap_or_default();
        let finalized = metadata.finalized_level();
        let level = TopicKey::TimestampAfterMaxMs.info().level;
        let has_bounds = finalized >= level;
        Ok(BatchRules {
            sizes: settings.size_limits(finalized),
            timestamps: has_bounds.then(|| settings.timestamp_bounds()),
        })
    }

    /// Reserves memory for an append or a commit of a group; waits while the budget is used up,
    /// until `deadline`. Fails with TIMEOUT then, or with DISK_SLOW; the request was certainly not
    /// carried out.
    // While the disk does not flush, appends hold their memory until it does. A request that waits
    // for memory then would wait for the disk, also one for a partition that another node leads.
    pub(super) async fn reserve_append(
        &self,
        is_forwarded: bool,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Reserved, ApiError> {
        let mut reserved = pin!(self.append_budget.reserve(is_forwarded, bytes, deadline));
        loop {
            if let Ok(reserved) = timeout(FLUSH_LAG_INTERVAL, &mut reserved).await {
                return reserved;
            }
            if self.storage.write_probe().health().lag >= FLUSH_LAG_MAX {
                let text =
                    "the disk of this node does not flush, and no memory is left for appends";
                return Err(ApiError::new(Reason::DiskSlow, text));
            }
        }
    }

    /// Checks that this node can append to a partition that it leads: its clock is known to be
    /// right, the disks have room, and its own disk flushes.
    pub(super) async fn admit_append(&self, replica: &Replica) -> Result<(), ApiError> {
        self.check_clock()?;
        self.check_disk(replica)?;
        self.wait_for_flushes().await
    }

    /// Refuses appends right after the start, until this node has compared its clock with others.
    fn check_clock(&self) -> Result<(), ApiError> {
        if self.clock.is_usable() {
            return Ok(());
        }
        Err(ApiError::clock_not_compared())
    }

    /// Refuses appends to a partition that this node leads while its disk, or those of so many of
    /// the replicas that no majority is left, are low.
    fn check_disk(&self, replica: &Replica) -> Result<(), ApiError> {
        let own = self.storage.disk_mark();
        if own < DiskMark::Low && !self.exchange.is_any_peer_low() {
            return Ok(());
        }
        let status = replica.raft.watch();
        let status = status.borrow();
        let disks = ReplicaDisks {
            leader: status.node,
            voters: &status.voters,
        };
        disks.check(|node| match self.exchange.recent(node) {
            _ if node == status.node => own,
            Some(reading) => reading.disk.mark,
            None => DiskMark::Unknown,
        })
    }

    /// Waits until the disk has flushed enough of the earlier entries, for at most
    /// `UNFLUSHED_WAIT_MAX`.
    async fn wait_for_flushes(&self) -> Result<(), ApiError> {
        let budget = &self.write_budget;
        if budget.has_room() {
            return Ok(());
        }
        let room = std::future::poll_fn(|cx| budget.poll_room(cx));
        timeout(UNFLUSHED_WAIT_MAX, room).await.map_err(|_| {
            let max_bytes = budget.max_bytes();
            let text = format!(
                "the disk of this node is slow: unflushed entries have reached their limit of \
                     {max_bytes} bytes"
            );
            ApiError::new(Reason::DiskSlow, text)
        })
    }

    /// Counts the outcome of an append.
    pub(crate) fn count_append(
        &self,
        outcome: &Result<Appended, ApiError>,
        bytes: usize,
        since: Instant,
    ) {
        match outcome {
            Ok(appended) => {
                self.appended_ok.inc();
                self.metrics
                    .produce_records
                    .inc_by(u64::from(appended.record_count));
                self.metrics.produce_bytes.inc_by(bytes as u64);
                self.metrics
                    .produce_seconds
                    .observe(since.elapsed().as_secs_f64());
            }
            Err(error) => {
                self.metrics
                    .produce_requests
                    .with_label_values(&[error.label()])
                    .inc();
            }
        }
    }

    /// Counts the outcome of a fetch, or of the start of a consume.
    pub(super) fn count_fetch(&self, failed: Option<&ApiError>) {
        match failed {
            None => self.fetched_ok.inc(),
            Some(error) => {
                self.metrics
                    .fetch_requests
                    .with_label_values(&[error.label()])
                    .inc();
            }
        }
    }
}
