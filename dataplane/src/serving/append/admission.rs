//! Admission of batches to a partition that this node leads, one at a time, in log order.
//!
//! The appender does not wait for a batch to be in the log before it admits the next: it builds on
//! the batches in flight (pipelining). raft may refuse one of them and accept the next in the same
//! term, for example while a leadership transfer is cancelled. Without protection the log would
//! then have a hole: batch N+1 of an idempotent producer without batch N, at an offset that was
//! computed for N. Therefore every proposal carries a fence: the number of its chain and the base
//! offset that it was admitted for. A proposal that does not find the log at that offset is
//! voided, together with the rest of its chain, and the appender starts a new chain from the
//! applied state. This is safe even if the appender never learns of the failure: the fence is
//! checked against the log itself. `broken` only makes it notice earlier.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use lograft_core::limits::LEADER_WAIT_MAX;
use lograft_core::{Admission, LeaderState, Offset, ProducerStamp, Term};
use lograft_raft::{Committed, Fence, ProposeError, RaftGroup, Response};
use lograft_storage::GroupLog;
use tokio::sync::{Mutex, watch};

use super::check::CheckedBatch;
use super::held_proposal::HeldProposal;
use crate::error::ApiError;
use crate::serving::append_budget::Reserved;
use crate::serving::disk_read::{failed_read, read_from_disk};
use crate::serving::leadership::Leadership;
use crate::serving::request::Appended;
use crate::state_machine::SharedState;

/// Appends batches to a partition while this node leads it. One for each replica.
pub(crate) struct PartitionAppender {
    raft: RaftGroup,
    log: GroupLog,
    state: SharedState,
    /// Locked from the admission of a batch until raft has queued its proposal. If another batch
    /// could be admitted in between, proposals could reach the log in another order than their
    /// base offsets.
    chain: Mutex<Chain>,
    /// The newest chain known to be broken.
    broken: watch::Sender<u64>,
    /// Append time of the last batch, milliseconds since the Unix epoch; that of the next is not
    /// earlier. Records would expire before older ones, and the expiry of a segment is read from
    /// its last entry.
    last_time_ms: AtomicI64,
}

/// Batches that build on each other's offsets and sequence numbers.
#[derive(Debug, Default)]
struct Chain {
    number: u64,
    /// The state of the partition after all admitted batches; none before the first.
    leader: Option<LeaderState>,
}

/// A batch that was admitted and is not yet acknowledged.
pub(crate) struct PendingAppend {
    appender: Arc<PartitionAppender>,
    append_time_ms: i64,
    record_count: u32,
    term: Term,
    chain: u64,
    stage: Stage,
}

enum Stage {
    /// Queued at raft.
    Proposed(HeldProposal),
    /// A retry of a batch that is in the log, or in flight.
    Duplicate {
        stamp: ProducerStamp,
        base_offset: Offset,
    },
    /// A retry of a batch that is in the log, committed and applied, where nobody knows any more.
    Forgotten,
}

impl PartitionAppender {
    pub(crate) fn new(raft: RaftGroup, log: GroupLog, state: SharedState) -> Self {
        Self {
            raft,
            log,
            state,
            chain: Mutex::default(),
            broken: watch::Sender::new(0),
            last_time_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// The append time of a batch that is appended at `now_ms`: not earlier than the last one.
    pub(super) fn append_time(&self, now_ms: i64) -> i64 {
        now_ms.max(self.last_time_ms.load(Ordering::Acquire))
    }

    /// Takes over the append time of the last record in the log, which another leader may have
    /// appended.
    // The caller holds the lock of the chain: a read that hangs, or waits behind reads of clients
    // that hang, would hold up all writes of the partition.
    async fn load_last_time(&self) -> Result<(), ApiError> {
        let read = |log: &GroupLog| {
            let last = log.last_append_time();
            last.map_err(|error| failed_read(log, "read the last append time", &error))
        };
        let last = if self.log.is_last_append_time_known() {
            read(&self.log)?
        } else {
            read_from_disk(self.log.clone(), read).await?
        };
        if let Some(last_ms) = last {
            self.last_time_ms.fetch_max(last_ms, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Admits a batch and proposes it to raft. Batches are in the log in the order of these calls.
    /// `reserved` is held until the outcome is known.
    /// Fails if this node does not lead, or if the batch is out of order or from a fenced producer;
    /// the batch is not in the log then. Fails with TIMEOUT, after which the outcome is unknown, if
    /// the disk of this node does not flush: raft may take no proposals then.
    pub(super) async fn append(
        self: &Arc<Self>,
        batch: CheckedBatch,
        now_ms: i64,
        reserved: Option<Reserved>,
    ) -> Result<PendingAppend, ApiError> {
        tokio::select! {
            biased;
            admitted = self.admit(batch, now_ms, reserved) => admitted,
            () = self.raft.disk_hangs() => Err(does_not_flush()),
        }
    }

    async fn admit(
        self: &Arc<Self>,
        batch: CheckedBatch,
        now_ms: i64,
        reserved: Option<Reserved>,
    ) -> Result<PendingAppend, ApiError> {
        let mut guard = self.chain.lock().await;
        let chain = &mut *guard;
        let Leadership::Ready(term) = Leadership::of(&self.raft) else {
            return Err(ApiError::not_leader(None));
        };
        let broken = *self.broken.borrow();
        let leader = match &mut chain.leader {
            Some(leader) if leader.term() == term && chain.number > broken => leader,
            _ => {
                self.wait_until_applied().await?;
                self.load_last_time().await?;
                chain.number = broken.max(chain.number) + 1;
                chain
                    .leader
                    .insert(LeaderState::new(&self.state.lock(), term))
            }
        };
        let record_count = batch.encoded.record_count;
        let stamp = batch.stamp;
        let append_time_ms = self.append_time(now_ms);
        self.last_time_ms.store(append_time_ms, Ordering::Release);
        let admission = leader.admit(&self.state.lock(), stamp, record_count);
        let stage = match (admission, stamp) {
            (Admission::Reject(rejection), _) => return Err(rejection.into()),
            (Admission::Forgotten, _) => Stage::Forgotten,
            (Admission::Duplicate { base_offset }, Some(stamp)) => {
                Stage::Duplicate { stamp, base_offset }
            }
            (Admission::Propose { base_offset } | Admission::Duplicate { base_offset }, _) => {
                let fence = Fence {
                    chain: chain.number,
                    base_offset,
                };
                let proposal = batch.into_proposal(append_time_ms);
                let unproposed = Unproposed {
                    appender: self,
                    chain: chain.number,
                    is_open: true,
                };
                let proposed = self.raft.propose_fenced(proposal, term, fence).await;
                let handle = proposed.map_err(|_| ApiError::replica_closing())?;
                unproposed.close();
                Stage::Proposed(HeldProposal::new(handle, reserved))
            }
        };
        Ok(PendingAppend {
            appender: Arc::clone(self),
            append_time_ms,
            record_count,
            term,
            chain: chain.number,
            stage,
        })
    }

    /// Waits until all records of the log are applied, so that a new chain starts at its end. A
    /// chain that starts earlier is harmless: its fence voids its batches, and clients retry them.
    async fn wait_until_applied(&self) -> Result<(), ApiError> {
        let mut marks = self.state.watch();
        let applied = marks.wait_for(|marks| marks.high_watermark >= self.log.log_end_offset());
        match tokio::time::timeout(LEADER_WAIT_MAX, applied).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ApiError::replica_closing()),
            Err(_) => Err(ApiError::no_majority()),
        }
    }

    /// Waits until the outcome of the batch that a duplicate repeats is known: applied, or voided
    /// with its chain, or decided by another leader.
    async fn wait_until_decided(&self, end: Offset, chain: u64) -> Result<(), ApiError> {
        let mut marks = self.state.watch();
        let mut broken = self.broken.subscribe();
        let mut status = self.raft.watch();
        let is_closing = tokio::select! {
            applied = marks.wait_for(|marks| marks.high_watermark >= end) => applied.is_err(),
            voided = broken.wait_for(|broken| *broken >= chain) => voided.is_err(),
            deposed = status.wait_for(|status| !status.is_leader()) => deposed.is_err(),
            () = self.raft.disk_hangs() => return Err(does_not_flush()),
            () = self.raft.contact_lost() => return Err(has_no_contact()),
        };
        if is_closing {
            return Err(ApiError::replica_closing());
        }
        Ok(())
    }

    /// The offset of an applied batch.
    fn find(&self, stamp: ProducerStamp, record_count: u32) -> Option<Offset> {
        let state = self.state.lock();
        let producer = state
            .producers
            .get(stamp.id)
            .filter(|p| p.epoch == stamp.epoch)?;
        Some(
            producer
                .find(stamp.base_sequence, record_count)?
                .base_offset,
        )
    }

    /// Notes that a chain is broken.
    fn mark_broken(&self, chain: u64) {
        self.broken.send_if_modified(|broken| {
            let is_newer = *broken < chain;
            *broken = chain.max(*broken);
            is_newer
        });
    }
}

fn has_no_contact() -> ApiError {
    ApiError::outcome_unknown("the leader has no contact with a majority")
}

fn does_not_flush() -> ApiError {
    ApiError::outcome_unknown("the disk of the leader does not flush")
}

/// A batch that was admitted and is not proposed yet. The caller may be cancelled at this point;
/// `LeaderState` has counted the batch by then, so later batches of the chain would follow a batch
/// that raft never saw. Dropping this value while it is open breaks the chain.
struct Unproposed<'a> {
    appender: &'a PartitionAppender,
    chain: u64,
    is_open: bool,
}

impl Unproposed<'_> {
    fn close(mut self) {
        self.is_open = false;
    }
}

impl Drop for Unproposed<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.appender.mark_broken(self.chain);
        }
    }
}

impl PendingAppend {
    /// Waits until the batch is committed and applied, or is known not to be. A TIMEOUT error means
    /// that the outcome is unknown: the entry was proposed, and a new leader decides about it.
    pub(super) async fn applied(self) -> Result<Appended, ApiError> {
        let Self {
            appender,
            append_time_ms,
            record_count,
            term,
            chain,
            stage,
        } = self;
        let appended = |base_offset, record_count, is_duplicate| Appended {
            base_offset,
            record_count,
            term,
            append_time_ms,
            is_duplicate,
        };
        let handle = match stage {
            Stage::Proposed(handle) => handle,
            Stage::Forgotten => return Ok(appended(None, record_count, true)),
            Stage::Duplicate { stamp, base_offset } => {
                let end = base_offset.plus(record_count);
                appender.wait_until_decided(end, chain).await?;
                // The first attempt may have been voided. Only the applied state may confirm it,
                // otherwise a record that is not in the log would be acknowledged.
                let base_offset = appender
                    .find(stamp, record_count)
                    .ok_or_else(|| ApiError::not_leader(None))?;
                return Ok(appended(Some(base_offset), record_count, true));
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = handle => outcome,
            () = appender.raft.disk_hangs() => {
                appender.mark_broken(chain);
                return Err(does_not_flush());
            }
            // Another replica may have been elected: the client shall look for it, and not wait
            // here until the end of its request.
            () = appender.raft.contact_lost() => {
                appender.mark_broken(chain);
                return Err(has_no_contact());
            }
        };
        let error = match outcome {
            Ok(Committed {
                response:
                    Response::Records {
                        base_offset,
                        record_count,
                    },
                ..
            }) => return Ok(appended(Some(base_offset), record_count, false)),
            // Refused by raft, or voided because a batch before it was refused.
            Ok(_) | Err(ProposeError::NotLeader { .. }) => ApiError::not_leader(None),
            Err(ProposeError::Discarded { .. }) => ApiError::outcome_unknown("the leader changed"),
            Err(ProposeError::Stopped) => ApiError::outcome_unknown("the node is stopping"),
        };
        appender.mark_broken(chain);
        Err(error)
    }
}
