//! Execution of queued operations on the writer thread.

use std::sync::Arc;

use lograft_core::GroupId;

use super::group_writer::GroupWriter;
use super::open_group::OpenGroup;
use super::write_batch::WriteBatch;
use crate::error::StorageError;
use crate::op::Op;
use crate::write_queue::OpRunner;

impl OpRunner for OpenGroup {
    fn group_id(&self) -> GroupId {
        self.id
    }

    /// Executes the operations; consecutive appends are written and synced together.
    fn run_ops(self: Arc<Self>, ops: Vec<Op>) {
        let mut writer = self.writer.lock();
        let mut batch: Option<WriteBatch> = None;
        let mut save_committed = false;
        for op in ops {
            match op {
                Op::Append {
                    segment,
                    position,
                    entries,
                    bytes: _,
                    truncation_epoch,
                    done,
                } => {
                    if !batch
                        .as_ref()
                        .is_some_and(|batch| batch.accepts(&segment, position, truncation_epoch))
                    {
                        self.flush(&mut writer, batch.take());
                    }
                    batch
                        .get_or_insert_with(|| WriteBatch::new(segment, position, truncation_epoch))
                        .add(entries, done);
                }
                // Nobody waits for the committed id, so it must not split a batch into two syncs.
                // A closed group has saved it, and another writer may have its files by now.
                Op::SaveCommitted => save_committed = !self.state.lock().closed,
                other => {
                    self.flush(&mut writer, batch.take());
                    self.run_op(&mut writer, other);
                }
            }
        }
        self.flush(&mut writer, batch);
        if save_committed {
            self.save_committed(&mut writer);
        }
        drop(writer);
        if self.env.tail_caches.budget.excess_bytes() > 0 {
            self.env.tail_caches.evict();
        }
    }
}

impl OpenGroup {
    fn flush(&self, writer: &mut GroupWriter, batch: Option<WriteBatch>) {
        let Some(batch) = batch else { return };
        let result = self.attempt(|| writer.write_batch(&self.env, &batch));
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
    }

    /// Runs a write, unless an earlier one of any group has failed. A failure stops all writing.
    fn attempt(
        &self,
        write: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let fail_stop = &self.env.fail_stop;
        if let Some(stopped) = fail_stop.stopped() {
            return Err(stopped);
        }
        write().inspect_err(|error| fail_stop.stop(error))
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

    fn run_op(self: &Arc<Self>, writer: &mut GroupWriter, op: Op) {
        let env = &self.env;
        match op {
            Op::Append { .. } | Op::SaveCommitted => {} // executed by the caller
            Op::Seal(sealed) => {
                if self.attempt(|| writer.seal(env, &sealed)).is_ok() {
                    let mut state = self.state.lock();
                    state.index_written(sealed.extent.segment.uid);
                }
            }
            Op::SaveVote { vote, done } => {
                let result = self.attempt(|| {
                    let mut hard = writer.hard.record().hard;
                    hard.vote = Some(vote);
                    writer.save_hard_state(&env.write_files, hard, true)
                });
                done(result);
            }
            Op::Truncate(cut) => {
                if self.attempt(|| writer.truncate(env, &cut)).is_ok() {
                    let mut state = self.state.lock();
                    state.advance_flushed_end(cut.next.base, cut.epoch);
                    if let Some(sealed) = &cut.shortened {
                        state.index_written(sealed.extent.segment.uid);
                    }
                }
            }
            Op::Purge {
                segments,
                checkpoints,
            } => {
                // No callback waits for it, and a failure was reported to `on_fatal`.
                let _ = self.attempt(|| writer.purge(env, &segments, &checkpoints));
            }
            Op::Reset(reset) => {
                let result = self.attempt(|| writer.reset(env, &reset));
                if result.is_ok()
                    && let Some(checkpoint) = &reset.checkpoint
                {
                    self.state.lock().checkpoint_written(checkpoint);
                }
                if let Some(done) = reset.done {
                    done(result);
                }
            }
            Op::PutCheckpoint(checkpoint) => {
                if self
                    .attempt(|| writer.put_checkpoint(env, &checkpoint))
                    .is_ok()
                {
                    let mut state = self.state.lock();
                    state.checkpoint_written(&checkpoint);
                    // Queued at the end, not executed here: the segment that follows the purged
                    // ones may still be in the queue, and it must be on disk before they go.
                    let purge = state.take_purged();
                    self.push(&state, purge);
                }
            }
            Op::Barrier(done) => done(self.attempt(|| Ok(()))),
            Op::Close(done) => {
                self.save_committed(writer);
                done(self.attempt(|| Ok(())));
            }
        }
    }
}
