//! What the calls of the log service share.

mod consume;
mod metadata;
mod offsets;
mod produce;
pub(crate) mod produce_stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use lograft_core::limits::{
    DISK_CHECK_INTERVAL_MS, PRODUCE_NODE_IN_FLIGHT_MAX_BYTES, PRODUCE_TIMEOUT_DEFAULT,
    PRODUCE_TIMEOUT_MAX,
};
use lograft_core::{NodeId, ProducerId, Reason};
use lograft_proto::log::v1 as proto;
use lograft_storage::Storage;
use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::api::grpc::status::ApiError;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::serving::forward::LogPeers;
use crate::serving::meta_group::{LeaderHints, MetaHandle};
use crate::serving::producer_ids::ProducerIds;
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

pub(crate) use crate::access::Access;
pub(crate) use consume::{ConsumeStream, consume, fetch};
pub(crate) use metadata::describe;
pub(crate) use offsets::list_offsets;
pub(crate) use produce::{enter, failed_reply, produce};

/// The node around the log service.
pub struct LogParts {
    /// This node.
    pub node: NodeId,
    /// Its replicas.
    pub replicas: ReplicaMap,
    /// The cluster's metadata.
    pub meta: MetaView,
    /// The way to the meta group.
    pub meta_handle: MetaHandle,
    /// Who leads elsewhere.
    pub hints: Arc<dyn LeaderHints>,
    /// The other nodes' log service.
    pub peers: Arc<dyn LogPeers>,
    /// The data directory, asked for its free space.
    pub storage: Storage,
    /// The time that goes into the log.
    pub clock: Arc<dyn Clock>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
}

/// What the calls of the log service work with.
pub(crate) struct LogContext {
    pub(crate) node: NodeId,
    pub(crate) replicas: ReplicaMap,
    pub(crate) meta: MetaView,
    pub(crate) meta_handle: MetaHandle,
    pub(crate) hints: Arc<dyn LeaderHints>,
    pub(crate) peers: Arc<dyn LogPeers>,
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// The counter of produces that went well, looked up once.
    produced_ok: IntCounter,
    fetched_ok: IntCounter,
    /// Bytes of unanswered produces, of all clients.
    in_flight: Arc<Semaphore>,
    producer_ids: ProducerIds,
    disk: DiskGauge,
    /// How often a node was asked for a leader that is not known.
    pub(crate) guesses: AtomicUsize,
}

/// Whether the disk is low, asked of the system now and then.
#[derive(Debug, Default)]
struct DiskGauge {
    is_low: AtomicBool,
    /// When it is to be asked again, milliseconds since the Unix epoch.
    next_look_ms: AtomicI64,
}

impl DiskGauge {
    fn is_low(&self, storage: &Storage, now_ms: i64) -> bool {
        // A clock that was set back must not make this wait.
        let next = self.next_look_ms.load(Ordering::Relaxed);
        let interval_ms = DISK_CHECK_INTERVAL_MS;
        if now_ms >= next || next - now_ms > interval_ms {
            self.next_look_ms
                .store(now_ms.saturating_add(interval_ms), Ordering::Relaxed);
            self.is_low.store(storage.is_disk_low(), Ordering::Relaxed);
        }
        self.is_low.load(Ordering::Relaxed)
    }
}

impl LogContext {
    pub(crate) fn new(parts: LogParts) -> Self {
        let LogParts {
            node,
            replicas,
            meta,
            meta_handle,
            hints,
            peers,
            ..
        } = parts;
        let LogParts {
            storage,
            clock,
            metrics,
            ..
        } = parts;
        Self {
            node,
            replicas,
            meta,
            meta_handle,
            hints,
            peers,
            storage,
            clock,
            produced_ok: metrics.produce_requests.with_label_values(&["OK"]),
            fetched_ok: metrics.fetch_requests.with_label_values(&["OK"]),
            metrics,
            in_flight: Arc::new(Semaphore::new(PRODUCE_NODE_IN_FLIGHT_MAX_BYTES)),
            producer_ids: ProducerIds::default(),
            disk: DiskGauge::default(),
            guesses: AtomicUsize::new(0),
        }
    }

    /// Room for a produce of so many bytes; waits while there is none.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let bytes = bytes.min(PRODUCE_NODE_IN_FLIGHT_MAX_BYTES);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.in_flight).acquire_many_owned(permits);
        room.await
            .map_err(|_| ApiError::new(Reason::NotReady, "the node is stopping"))
    }

    /// A producer id that nobody has been given before.
    pub(crate) async fn next_producer_id(&self) -> Result<ProducerId, ApiError> {
        self.producer_ids.next(&*self.meta_handle).await
    }

    /// Refuses writes while the disk's reserve is reached.
    pub(crate) fn check_disk(&self) -> Result<(), ApiError> {
        if self.disk.is_low(&self.storage, self.clock.now_ms()) {
            let text = "this node's disk has reached its reserve; reads go on";
            return Err(ApiError::new(Reason::DiskFull, text));
        }
        Ok(())
    }

    /// Counts the answer to a produce.
    pub(crate) fn count_produced(
        &self,
        answer: &proto::ProduceReply,
        bytes: usize,
        since: Instant,
    ) {
        match &answer.error {
            None => {
                self.produced_ok.inc();
                self.metrics
                    .produce_records
                    .inc_by(u64::from(answer.record_count));
                self.metrics.produce_bytes.inc_by(bytes as u64);
                self.metrics
                    .produce_seconds
                    .observe(since.elapsed().as_secs_f64());
            }
            Some(error) => {
                self.metrics
                    .produce_requests
                    .with_label_values(&[error.reason.as_str()])
                    .inc();
            }
        }
    }

    /// Counts what was read for a consumer.
    pub(crate) fn count_read(&self, records: u64, bytes: usize) {
        self.metrics.fetch_records.inc_by(records);
        self.metrics.fetch_bytes.inc_by(bytes as u64);
    }

    /// Counts the answer to a fetch, or the start of a consumer's stream.
    pub(crate) fn count_fetch(&self, failed: Option<Reason>) {
        match failed {
            None => self.fetched_ok.inc(),
            Some(reason) => {
                self.metrics
                    .fetch_requests
                    .with_label_values(&[reason.as_str()])
                    .inc();
            }
        }
    }
}

/// How long a produce may take that asks for `timeout_ms`.
pub(crate) fn produce_timeout(timeout_ms: u32) -> Duration {
    match timeout_ms {
        0 => PRODUCE_TIMEOUT_DEFAULT,
        ms => Duration::from_millis(u64::from(ms)).min(PRODUCE_TIMEOUT_MAX),
    }
}

#[cfg(test)]
mod fetch_tests;
#[cfg(test)]
mod produce_tests;
#[cfg(test)]
mod tests;
