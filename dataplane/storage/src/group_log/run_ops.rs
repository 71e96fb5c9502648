//! What a lane does with a group's tasks.

use std::sync::Arc;
use std::time::Instant;

use super::Group;
use super::group_writer::GroupWriter;
use super::write_batch::Batch;
use crate::config::Flushed;
use crate::error::StorageError;
use crate::format::HardRecord;
use crate::op::Op;

impl Group {
    /// Does these tasks: appends that follow each other go to disk together.
    pub(crate) fn write(self: &Arc<Self>, ops: Vec<Op>) {
        let mut writer = self.writer.lock();
        let mut batch: Option<Batch> = None;
        let mut save_committed = false;
        for op in ops {
            match op {
                Op::Append {
                    segment,
                    position,
                    entries,
                    era,
                    done,
                } => {
                    if !batch
                        .as_ref()
                        .is_some_and(|batch| batch.takes(&segment, position, era))
                    {
                        self.flush(&mut writer, batch.take());
                    }
                    batch
                        .get_or_insert_with(|| Batch::new(segment, position, era))
                        .add(entries, done);
                }
                // Nobody waits for it, and it must not split what goes to disk together. A closed
                // group has saved it, and its files may be in other hands by now.
                Op::SaveCommitted => save_committed = !self.state.lock().closed,
                other => {
                    self.flush(&mut writer, batch.take());
                    self.perform(&mut writer, other);
                }
            }
        }
        self.flush(&mut writer, batch);
        if save_committed {
            self.save_committed(&mut writer);
        }
        drop(writer);
        if self.node.budget.excess() > 0 {
            self.node.evict();
        }
    }

    fn flush(&self, writer: &mut GroupWriter, batch: Option<Batch>) {
        let Some(batch) = batch else { return };
        let begin = self
            .node
            .observer
            .get()
            .map(|observer| (observer, Instant::now()));
        let result = self.attempt(|| writer.write_batch(&self.node, &batch));
        if let Some((observer, begin)) = begin {
            let bytes = batch.end_position - batch.position;
            observer(Flushed {
                bytes,
                appends: batch.dones.len(),
                took: begin.elapsed(),
            });
        }
        if result.is_ok()
            && let Some(end) = batch.end
        {
            self.state.lock().flushed(end, batch.era);
        }
        for done in batch.dones {
            done(result.clone());
        }
    }

    /// Runs a write unless writing has ended; a failure ends it.
    fn attempt(
        &self,
        write: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if let Some(stopped) = self.node.stopped() {
            return Err(stopped);
        }
        write().inspect_err(|error| self.node.fail(error))
    }

    fn save_committed(&self, writer: &mut GroupWriter) {
        let committed = {
            let mut state = self.state.lock();
            state.committed_waits = false;
            state.hard.committed
        };
        let mut hard = writer.hard.record().hard;
        hard.committed = committed;
        // Nobody waits for it; a failure has gone to `on_fatal`.
        let _ = self.attempt(|| writer.save_hard(hard, false));
    }

    fn perform(self: &Arc<Self>, writer: &mut GroupWriter, op: Op) {
        let node = &self.node;
        match op {
            Op::Append { .. } | Op::SaveCommitted => {} // done by the caller
            Op::Seal(sealed) => {
                if self.attempt(|| writer.seal(node, &sealed)).is_ok() {
                    self.state.lock().index_written(sealed.filled.segment.uid);
                }
            }
            Op::SaveVote { vote, done } => {
                let result = self.attempt(|| {
                    let mut hard = writer.hard.record().hard;
                    hard.vote = Some(vote);
                    writer.save_hard(hard, true)
                });
                done(result);
            }
            Op::Truncate(cut) => {
                if self.attempt(|| writer.truncate(node, &cut)).is_ok() {
                    let mut state = self.state.lock();
                    state.flushed(cut.next.base, cut.era);
                    if let Some(sealed) = &cut.cut {
                        state.index_written(sealed.filled.segment.uid);
                    }
                }
            }
            Op::Purge {
                segments,
                checkpoints,
            } => {
                // No callback waits for it; a failure has gone to `on_fatal`.
                let _ = self.attempt(|| writer.purge(node, &segments, &checkpoints));
            }
            Op::Reset(reset) => {
                let result = self.attempt(|| writer.reset(node, &reset));
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
                    .attempt(|| writer.put_checkpoint(node, &checkpoint))
                    .is_ok()
                {
                    let mut state = self.state.lock();
                    state.checkpoint_written(&checkpoint);
                    // Behind what waits: the segment after the purged ones must be there first.
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

impl Drop for Group {
    fn drop(&mut self) {
        // Not needed for safety: spares the next start some doubt about the log's end.
        let state = self.state.get_mut();
        let (committed, closed) = (state.hard.committed, state.closed);
        let writer = self.writer.get_mut();
        let HardRecord {
            mut hard,
            durable_end,
            ..
        } = *writer.hard.record();
        let is_old = hard.committed != committed || durable_end != writer.durable_end;
        // A closed group may be open anew by now, with its files in other hands.
        if is_old && !closed && self.node.stopped().is_none() {
            hard.committed = committed;
            let _ = writer.save_hard(hard, false);
        }
        self.state.get_mut().cache.clear(&self.node.budget);
    }
}
