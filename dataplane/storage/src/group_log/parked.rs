//! Operations that wait for room on the disk.
//!
//! Space is allocated before bytes are written into it: the file of a segment gets its blocks
//! first, a small file too. A call that finds no room has changed nothing, so a full disk, or a
//! full quota, is a state and not a failed write: the operation waits with all later ones of its
//! group, and the groups beside it go on. Its entries are not acknowledged, and a leader gives up
//! its leadership, as with a disk that lags. Each check of the disk tries again.
//!
//! Two kinds of operations do not wait, since they are the way out:
//! - A vote goes ahead. Its file has its blocks, and entries that are not acknowledged need not be
//!   on disk before it: a crash then keeps the vote and loses them, as if they had not arrived.
//! - A reset replaces everything that was queued before it, which is then not written any more.

use std::cmp::Reverse;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::group_writer::GroupWriter;
use super::open_group::OpenGroup;
use crate::error::StorageError;
use crate::op::{Op, call_all};

/// An operation found no room on the disk, and has changed nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoRoom;

impl OpenGroup {
    /// The operations that wait for room, followed by `ops`.
    pub(super) fn unpark(&self, writer: &mut GroupWriter, ops: Vec<Op>) -> Vec<Op> {
        if writer.parked.is_empty() {
            return ops;
        }
        let mut all = std::mem::take(&mut writer.parked);
        let bytes = all.iter().map(Op::entries_bytes).sum();
        self.env.write_budget.sub(bytes);
        all.extend(ops);
        all
    }

    /// Keeps operations until there is room. Without any, the group waits no longer.
    pub(super) fn park(self: &Arc<Self>, writer: &mut GroupWriter, waiting: Vec<Op>) {
        if waiting.is_empty() {
            self.state.lock().parked_since = None;
            return;
        }
        if waiting.iter().any(|op| matches!(op, Op::Close(_))) {
            // As a crash: none of it was acknowledged.
            return self.discard(waiting);
        }
        writer.parked = waiting
            .into_iter()
            .filter(|op| !matches!(op, Op::Retry))
            .collect();
        let bytes = writer.parked.iter().map(Op::entries_bytes).sum();
        self.env.write_budget.add(bytes);
        let mut state = self.state.lock();
        state.parked_since.get_or_insert_with(Instant::now);
        drop(state);
        let runner: Weak<Self> = Arc::downgrade(self);
        self.env.register_parked(self.id, runner);
    }

    fn discard(&self, waiting: Vec<Op>) {
        for op in waiting {
            match op {
                Op::Append {
                    done: Some(done), ..
                }
                | Op::Barrier(done)
                | Op::SaveVote { done, .. } => done(Err(StorageError::Closed(self.id))),
                Op::Reset(reset) => {
                    if let Some(done) = reset.done {
                        done(Err(StorageError::Closed(self.id)));
                    }
                }
                Op::Close(done) => done(Ok(())),
                Op::Append { done: None, .. }
                | Op::Seal(_)
                | Op::SaveCommitted
                | Op::Truncate(_)
                | Op::Purge { .. }
                | Op::PutCheckpoint(_)
                | Op::Retry => {}
            }
        }
    }
}

/// Moves the votes to the front, in their order. Returns whether there are any behind other
/// operations.
pub(super) fn votes_first(waiting: &mut [Op]) -> bool {
    let is_vote = |op: &Op| matches!(op, Op::SaveVote { .. });
    let has_votes = waiting.iter().any(is_vote);
    // Stable: both kinds keep their order.
    waiting.sort_by_key(|op| !is_vote(op));
    has_votes
}

/// Removes what the last reset among `waiting` replaces. Returns whether there was anything.
// The callbacks of replaced appends are called with the outcome of the reset: the entries up to its
// snapshot are durable then, as a part of it. The reset takes over the files that replaced
// operations were to remove: it knows which names the new log uses.
pub(super) fn collapse(waiting: &mut Vec<Op>) -> bool {
    let Some(at) = waiting.iter().rposition(|op| matches!(op, Op::Reset(_))) else {
        return false;
    };
    let behind = waiting.split_off(at + 1);
    let Some(Op::Reset(mut reset)) = waiting.pop() else {
        return false;
    };
    let has_replaced = !waiting.is_empty();
    let mut callbacks = Vec::new();
    let mut kept = Vec::new();
    for op in waiting.drain(..) {
        match op {
            Op::Append { done, .. } => callbacks.extend(done),
            Op::Barrier(done) => callbacks.push(done),
            Op::Reset(replaced) => {
                reset.removed.extend(replaced.removed);
                reset.checkpoints.extend(replaced.checkpoints);
                callbacks.extend(replaced.done);
            }
            Op::Truncate(cut) => {
                reset.removed.extend(cut.removed);
                reset.checkpoints.extend(cut.checkpoints);
            }
            Op::Purge {
                segments,
                checkpoints,
            } => {
                reset.removed.extend(segments);
                reset.checkpoints.extend(checkpoints);
            }
            other @ (Op::SaveVote { .. } | Op::SaveCommitted | Op::Close(_)) => kept.push(other),
            Op::Seal(_) | Op::PutCheckpoint(_) | Op::Retry => {}
        }
    }
    reset.removed.sort_by_key(|segment| Reverse(segment.base));
    callbacks.extend(reset.done.take());
    reset.done = call_all(callbacks);
    waiting.extend(kept);
    waiting.push(Op::Reset(reset));
    waiting.extend(behind);
    has_replaced
}
