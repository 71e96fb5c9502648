//! The door of a partition that this node leads: one batch after the other, in the order in which
//! they are to stand in the log.
//!
//! The door does not wait for a batch to be in the log before it lets in the next: it builds on
//! those in flight. raft may refuse one and take the next in the same term, so each goes with a
//! fence, and a chain that is broken is given up: the log voids what is left of it, and the door
//! begins a new chain from the applied state. Nothing has to be told to the door for that to be
//! safe; what it is told only makes it notice sooner.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::LEADER_WAIT_MAX;
use lograft_core::{Admission, LeaderState, Offset, ProducerStamp, Reason, Term};
use lograft_raft::{Committed, Fence, ProposeError, ProposeHandle, Response};
use tokio::sync::{Mutex, watch};

use super::check::Batch;
use super::coalesce::Packing;
use crate::api::grpc::status::ApiError;
use crate::serving::locate::Leading;
use crate::serving::replica::Replica;

/// Where batches get into a partition while this node leads it. One for each replica.
#[derive(Debug)]
pub struct Door {
    /// Held from the decision about a batch until it is on its way to raft.
    chain: Mutex<Chain>,
    /// The newest chain known to be broken.
    broken: watch::Sender<u64>,
    /// Plain records of unary calls that wait.
    pub(crate) packing: Packing,
}

#[derive(Debug, Default)]
struct Chain {
    number: u64,
    leader: Option<LeaderState>,
}

impl Default for Door {
    fn default() -> Self {
        Self::new()
    }
}

impl Door {
    /// A door that has let nothing in yet.
    pub fn new() -> Self {
        Self {
            chain: Mutex::default(),
            broken: watch::Sender::new(0),
            packing: Packing::default(),
        }
    }

    /// Notes that a chain is broken.
    fn breaks(&self, chain: u64) {
        self.broken.send_if_modified(|broken| {
            let is_news = *broken < chain;
            *broken = chain.max(*broken);
            is_news
        });
    }
}

/// A batch that was let in.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) append_time_ms: i64,
    pub(crate) record_count: u32,
    term: Term,
    chain: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// On its way.
    Proposed(ProposeHandle),
    /// In the log, or on its way from an earlier request.
    Duplicate {
        stamp: ProducerStamp,
        base_offset: Offset,
    },
}

/// A batch that is in the log and applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    pub(crate) base_offset: Offset,
    pub(crate) record_count: u32,
    pub(crate) term: Term,
    pub(crate) append_time_ms: i64,
    pub(crate) duplicate: bool,
}

/// Decides about a batch and puts it before raft. Batches stand in the log in the order in which
/// these calls were made.
pub(crate) async fn let_in(replica: &Replica, batch: Batch, now_ms: i64) -> Result<Sent, ApiError> {
    let door = &*replica.door;
    let mut guard = door.chain.lock().await;
    let chain = &mut *guard;
    let Leading::Here(term) = Leading::of(replica) else {
        return Err(ApiError::not_leader(None));
    };
    let broken = *door.broken.borrow();
    let leader = match &mut chain.leader {
        Some(leader) if leader.term() == term && chain.number > broken => leader,
        _ => {
            wait_until_quiet(replica).await?;
            chain.number = broken.max(chain.number) + 1;
            chain
                .leader
                .insert(LeaderState::new(&replica.state.lock(), term))
        }
    };
    let record_count = batch.encoded.record_count;
    let stamp = batch.stamp;
    let admission = leader.admit(&replica.state.lock(), stamp, record_count);
    let stage = match (admission, stamp) {
        (Admission::Reject(rejection), _) => return Err(rejection.into()),
        (Admission::Duplicate { base_offset }, Some(stamp)) => {
            Stage::Duplicate { stamp, base_offset }
        }
        (Admission::Propose { base_offset } | Admission::Duplicate { base_offset }, _) => {
            let fence = Fence {
                chain: chain.number,
                base_offset,
            };
            let proposal = batch.into_proposal(now_ms);
            let gap = Gap {
                door,
                chain: chain.number,
                is_open: true,
            };
            let proposed = replica.raft.propose_fenced(proposal, term, fence).await;
            let handle = proposed.map_err(|_| stopping())?;
            gap.close();
            Stage::Proposed(handle)
        }
    };
    Ok(Sent {
        append_time_ms: now_ms,
        record_count,
        term,
        chain: chain.number,
        stage,
    })
}

/// A batch that was admitted and is not proposed yet. Dropped with its caller, it leaves a gap.
struct Gap<'a> {
    door: &'a Door,
    chain: u64,
    is_open: bool,
}

impl Gap<'_> {
    fn close(mut self) {
        self.is_open = false;
    }
}

impl Drop for Gap<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.door.breaks(self.chain);
        }
    }
}

/// Waits until all records in the log are applied, so that a new chain starts at its end. One that
/// starts too early does no harm: its batches are voided and may come again.
async fn wait_until_quiet(replica: &Replica) -> Result<(), ApiError> {
    let mut marks = replica.state.watch();
    let quiet = marks.wait_for(|marks| marks.high_watermark >= replica.log.log_end_offset());
    match tokio::time::timeout(LEADER_WAIT_MAX, quiet).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(stopping()),
        Err(_) => Err(ApiError::new(
            Reason::NoLeader,
            "the partition's replicas do not answer",
        )),
    }
}

fn stopping() -> ApiError {
    ApiError::new(Reason::NotReady, "the replica is being closed")
}

/// The answer to a batch of which nobody knows whether it is or will be in the log.
pub(crate) fn unknown(why: &str) -> ApiError {
    ApiError::new(
        Reason::Timeout,
        format!("{why}: the batch may or may not be in the log"),
    )
}

/// The answer to a batch that was not acknowledged in time.
pub(crate) fn too_late(after: Duration) -> ApiError {
    unknown(&format!("not acknowledged within {} ms", after.as_millis()))
}

impl Sent {
    /// Waits until the batch is applied, or known not to be.
    pub(crate) async fn acked(self, replica: Arc<Replica>) -> Result<Acked, ApiError> {
        let Self {
            append_time_ms,
            record_count,
            term,
            chain,
            stage,
        } = self;
        let handle = match stage {
            Stage::Proposed(handle) => handle,
            Stage::Duplicate { stamp, base_offset } => {
                settled(&replica, base_offset.plus(record_count), chain).await?;
                let base_offset = find(&replica, stamp, record_count)
                    .ok_or_else(|| ApiError::not_leader(None))?;
                let duplicate = true;
                return Ok(Acked {
                    base_offset,
                    record_count,
                    term,
                    append_time_ms,
                    duplicate,
                });
            }
        };
        let error = match handle.await {
            Ok(Committed {
                response:
                    Response::Records {
                        base_offset,
                        record_count,
                    },
                ..
            }) => {
                let duplicate = false;
                return Ok(Acked {
                    base_offset,
                    record_count,
                    term,
                    append_time_ms,
                    duplicate,
                });
            }
            // Refused, or voided because one that it was built on was refused.
            Ok(_) | Err(ProposeError::NotLeader { .. }) => ApiError::not_leader(None),
            Err(ProposeError::Discarded { .. }) => unknown("the leader changed"),
            Err(ProposeError::Stopped) => unknown("the node is stopping"),
        };
        replica.door.breaks(chain);
        Err(error)
    }
}

/// Waits until it is known what became of the batch that a duplicate is one of.
async fn settled(replica: &Replica, end: Offset, chain: u64) -> Result<(), ApiError> {
    let mut marks = replica.state.watch();
    let mut broken = replica.door.broken.subscribe();
    let mut status = replica.raft.watch();
    tokio::select! {
        reached = marks.wait_for(|marks| marks.high_watermark >= end) => {
            reached.map(drop).map_err(|_| stopping())
        }
        known = broken.wait_for(|broken| *broken >= chain) => {
            known.map(drop).map_err(|_| stopping())
        }
        gone = status.wait_for(|status| !status.is_leader()) => {
            gone.map(drop).map_err(|_| stopping())
        }
    }
}

/// Where an applied batch stands.
fn find(replica: &Replica, stamp: ProducerStamp, record_count: u32) -> Option<Offset> {
    let state = replica.state.lock();
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
