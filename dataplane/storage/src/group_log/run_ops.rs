//! Execution of queued operations on the writer thread.

use std::sync::Arc;

use lograft_core::GroupId;

use super::group_writer::GroupWriter;
use super::open_group::OpenGroup;
use super::parked::{NoRoom, collapse, votes_first};
use super::write_batch::WriteBatch;
use crate::checkpoint::Checkpoint;
use crate::error::StorageError;
use crate::op::{Op, Truncation};
use crate::write_queue::OpRunner;

impl OpRunner for OpenGroup {
    fn group_id(&self) -> GroupId {
        self.id
    }

    /// Executes the operations; consecutive appends are written and synced together. Operations
    /// that find no room on the disk wait (see [`parked`](super::parked)).
    fn run_ops(self: Arc<Self>, ops: Vec<Op>) {
        let mut writer = self.writer.lock();
        let ops = self.unpark(&mut writer, ops);
        let mut waiting = self.run_in_order(&mut writer, ops);
        if collapse(&mut waiting) {
            waiting = self.run_in_order(&mut writer, waiting);
        }
        if votes_first(&mut waiting) {
            waiting = self.run_in_order(&mut writer, waiting);
        }
        self.park(&mut writer, waiting);
        drop(writer);
        if self.env.tail_caches.budget.excess_bytes() > 0 {
            self.env.tail_caches.evict();
        }
    }

    fn retry(self: Arc<Self>) {
        let state = self.state.lock();
        self.push(&state, [Op::Retry]);
    }
}

impl OpenGroup {
    /// Executes operations in their order, until one finds no room. Returns that one and those
    /// behind it.
    fn run_in_order(self: &Arc<Self>, writer: &mut GroupWriter, ops: Vec<Op>) -> Vec<Op> {
        let mut batch: Option<WriteBatch> = None;
        let mut save_committed = false;
        let mut ops = ops.into_iter();
        let waiting: Vec<Op> = loop {
            let Some(op) = ops.next() else {
                break self.flush(writer, batch.take()).err().into_iter().collect();
            };
            if !continues(batch.as_ref(), &op)
                && let Err(stuck) = self.flush(writer, batch.take())
            {
                break [stuck, op].into_iter().chain(ops).collect();
            }
            match op {
                Op::Append {
                    segment,
                    position,
                    entries,
                    bytes,
                    truncation_epoch,
                    done,
                } => batch
                    .get_or_insert_with(|| WriteBatch::new(segment, position, truncation_epoch))
                    .add(entries, bytes, done),
                // A closed group has saved it, and another writer may have its files by now.
                Op::SaveCommitted => save_committed = !self.state.lock().closed,
                other => {
                    if let Err(stuck) = self.run_op(writer, other) {
                        break std::iter::once(stuck).chain(ops).collect();
                    }
                }
            }
        };
        if save_committed {
            self.save_committed(writer);
        }
        waiting
    }

    /// Writes a batch. Returns it as an operation if there is no room for it.
    fn flush(&self, writer: &mut GroupWriter, batch: Option<WriteBatch>) -> Result<(), Op> {
        let Some(batch) = batch else { return Ok(()) };
        let written = self.attempt(|| writer.write_batch(&self.env, &batch));
        let result = match written {
            Ok(result) => result,
            Err(NoRoom) => return Err(batch.into_op()),
        };
        // The state first: a caller that a callback wakes must find its entries below
        // `flushed_index`.
        if result.is_ok()
            && let Some(end) = batch.end
        {
            let mut state = self.state.lock();
            state.advance_flushed_end(end, batch.truncation_epoch);
        }
        for done in batch.callbacks {
            done(result.clone());
        }
        Ok(())
    }

    /// Runs a write, unless an earlier one of any group has failed. A failure stops all writing. If
    /// the write finds no room, gives up the reserve of the disk and runs it again: it MUST NOT
    /// have changed anything before it allocates space, or be repeatable.
    fn attempt(
        &self,
        mut write: impl FnMut() -> Result<(), StorageError>,
    ) -> Result<Result<(), StorageError>, NoRoom> {
        let fail_stop = &self.env.fail_stop;
        if let Some(stopped) = fail_stop.stopped() {
            return Ok(Err(stopped));
        }
        let mut result = write();
        if result.as_ref().is_err_and(StorageError::is_no_room) && self.env.make_room() {
            result = write();
        }
        match result {
            Err(error) if error.is_no_room() => Err(NoRoom),
            result => Ok(result.inspect_err(|error| fail_stop.stop(error))),
        }
    }

    fn save_committed(&self, writer: &mut GroupWriter) {
        let committed = {
            let mut state = self.state.lock();
            state.committed_queued = false;
            state.hard.committed
        };
        let mut hard = writer.hard.record().hard;
        hard.committed = committed;
        // Nobody waits for it, and a failure was reported to `on_fatal`.
        let _ = self.attempt(|| writer.save_hard_state(&self.env.write_files, hard, false));
    }

    /// Executes an operation. Returns it if there is no room for it.
    fn run_op(self: &Arc<Self>, writer: &mut GroupWriter, op: Op) -> Result<(), Op> {
        let env = &self.env;
        match op {
            Op::Append { .. } | Op::SaveCommitted | Op::Retry => {} // executed by the caller
            Op::Seal(sealed) => {
                // Without room for the index, its points stay in memory. Recovery rebuilds it.
                if let Ok(Ok(())) = self.attempt(|| writer.seal(env, &sealed)) {
                    let mut state = self.state.lock();
                    state.index_written(sealed.extent.segment.uid);
                }
            }
            Op::SaveVote { vote, done } => {
                let saved = self.attempt(|| {
                    let mut hard = writer.hard.record().hard;
                    hard.vote = Some(vote);
                    writer.save_hard_state(&env.write_files, hard, true)
                });
                match saved {
                    Ok(result) => done(result),
                    Err(NoRoom) => return Err(Op::SaveVote { vote, done }),
                }
            }
            Op::Truncate(cut) => return self.truncate(writer, cut),
            Op::Purge {
                segments,
                checkpoints,
            } => {
                // No callback waits for it, and a failure was reported to `on_fatal`.
                if let Err(NoRoom) = self.attempt(|| writer.purge(env, &segments, &checkpoints)) {
                    return Err(Op::Purge {
                        segments,
                        checkpoints,
                    });
                }
            }
            Op::Reset(reset) => {
                let Ok(result) = self.attempt(|| writer.reset(env, &reset)) else {
                    return Err(Op::Reset(reset));
                };
                if result.is_ok()
                    && let Some(checkpoint) = &reset.checkpoint
                {
                    self.state.lock().checkpoint_written(checkpoint);
                }
                if let Some(done) = reset.done {
                    done(result);
                }
            }
            Op::PutCheckpoint(checkpoint) => return self.put_checkpoint(writer, checkpoint),
            Op::Barrier(done) => match self.attempt(|| Ok(())) {
                Ok(result) => done(result),
                Err(NoRoom) => return Err(Op::Barrier(done)),
            },
            Op::Close(done) => {
                self.save_committed(writer);
                done(self.env.fail_stop.stopped().map_or(Ok(()), Err));
            }
        }
        Ok(())
    }

    fn truncate(&self, writer: &mut GroupWriter, cut: Box<Truncation>) -> Result<(), Op> {
        match self.attempt(|| writer.truncate(&self.env, &cut)) {
            Err(NoRoom) => return Err(Op::Truncate(cut)),
            Ok(Err(_)) => {} // reported to `on_fatal`
            Ok(Ok(())) => {
                let mut state = self.state.lock();
                state.advance_flushed_end(cut.next.base, cut.epoch);
                if let Some(sealed) = &cut.shortened {
                    state.index_written(sealed.extent.segment.uid);
                }
            }
        }
        Ok(())
    }

    fn put_checkpoint(
        self: &Arc<Self>,
        writer: &mut GroupWriter,
        checkpoint: Arc<Checkpoint>,
    ) -> Result<(), Op> {
        match self.attempt(|| writer.put_checkpoint(&self.env, &checkpoint)) {
            Err(NoRoom) => return Err(Op::PutCheckpoint(checkpoint)),
            Ok(Err(_)) => {} // reported to `on_fatal`
            Ok(Ok(())) => {
                let mut state = self.state.lock();
                state.checkpoint_written(&checkpoint);
                // Queued at the end, not executed here: the segment that follows the purged ones
                // may still be in the queue, and it must be on disk before they go.
                let purge = state.take_purged();
                self.push(&state, purge);
            }
        }
        Ok(())
    }
}

/// Whether an operation needs no earlier ones to be executed before it.
// Nobody waits for the committed id, so it must not split a batch into two syncs.
fn continues(batch: Option<&WriteBatch>, op: &Op) -> bool {
    match (batch, op) {
        (None, _) | (_, Op::SaveCommitted | Op::Retry) => true,
        (
            Some(batch),
            Op::Append {
                segment,
                position,
                truncation_epoch,
                ..
            },
        ) => batch.accepts(segment, *position, *truncation_epoch),
        (Some(_), _) => false,
    }
}
