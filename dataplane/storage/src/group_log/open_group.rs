//! An open group: its state in memory and the writer of its files.

use std::sync::{Arc, OnceLock, Weak, mpsc};

use lograft_core::{GroupId, LogIndex};
use parking_lot::Mutex;

use super::group_writer::GroupWriter;
use super::log_state::{LogState, StateInputs};
use crate::cache_eviction::{CacheHolder, Evicted, share_bytes};
use crate::checkpoint::Checkpoint;
use crate::error::{Damage, StorageError};
use crate::format::{HardRecord, decode_checkpoint};
use crate::layout::checkpoint_path;
use crate::op::Op;
use crate::storage_env::StorageEnv;
use crate::tail_cache::CacheBudget;

pub(crate) struct OpenGroup {
    pub(crate) id: GroupId,
    pub(crate) env: Arc<StorageEnv>,
    /// The log as callers see it. Lock order: `writer` before `state`; no disk IO under `state`.
    pub(crate) state: Mutex<LogState>,
    /// Locked only by the writer of the group's queue, so it is never contended.
    pub(crate) writer: Mutex<GroupWriter>,
    /// The first damage that a read has met. It stays until the group is set aside.
    damage: OnceLock<Damage>,
}

impl OpenGroup {
    pub(crate) fn new(
        id: GroupId,
        env: Arc<StorageEnv>,
        state: LogState,
        writer: GroupWriter,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            env,
            state: Mutex::new(state),
            writer: Mutex::new(writer),
            damage: OnceLock::new(),
        })
    }

    pub(crate) fn state_inputs(&self) -> StateInputs<'_> {
        StateInputs {
            cache_budget: &self.env.tail_caches.budget,
            fs: self.env.files.fs(),
        }
    }

    /// Fails if the group is closed or the node has stopped writing.
    pub(crate) fn check_writable(&self, state: &LogState) -> Result<(), StorageError> {
        if state.closed {
            return Err(StorageError::Closed(self.id));
        }
        self.env.fail_stop.stopped().map_or(Ok(()), Err)
    }

    /// Queues operations for the writer.
    // The caller holds the lock of `state` (hence the argument): if it were released between the
    // change of the state and the push, two callers could queue their operations in the opposite
    // order, and the disk would get entries in another order than the log.
    pub(crate) fn push(self: &Arc<Self>, _state: &LogState, ops: impl IntoIterator<Item = Op>) {
        self.env.write_queue(self.id).push(self, ops);
    }

    /// Registers the group for eviction unless it is registered.
    pub(crate) fn register_cache(self: &Arc<Self>, state: &mut LogState) {
        if !std::mem::replace(&mut state.is_caching, true) {
            let holder: Weak<Self> = Arc::downgrade(self);
            self.env.tail_caches.register(holder);
        }
    }

    /// The first damage that a read has met.
    pub(crate) fn damage(&self) -> Option<&Damage> {
        self.damage.get()
    }

    /// Remembers damage of the files of this group, and returns it as an error.
    pub(crate) fn damaged(&self, damage: Damage) -> StorageError {
        let _ = self.damage.set(damage.clone()); // the first one is kept
        let group = self.id;
        StorageError::Corrupt { group, damage }
    }

    /// The meaning of a failed read of a file of this group. Damage is remembered.
    pub(crate) fn read_failed(&self, error: StorageError) -> StorageError {
        match error.damage() {
            // The files of a closed group may have been moved or removed.
            Some(_) if self.state.lock().closed => StorageError::Closed(self.id),
            Some(damage) => self.damaged(damage),
            None => error,
        }
    }

    /// Reads a checkpoint file; `None` if it is damaged. Fails if the host has no resources for the
    /// read: to skip the checkpoint then would restore an older state from a healthy log.
    pub(crate) fn load_checkpoint(
        &self,
        last: LogIndex,
    ) -> Result<Option<Checkpoint>, StorageError> {
        let path = checkpoint_path(&self.env.group_dir(self.id), last);
        let bytes = match self.env.files.read_file(&path) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) if error.damage().is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        let cluster = self.env.cluster_id();
        Ok(cluster.and_then(|cluster| decode_checkpoint(&bytes, self.id, cluster)))
    }

    /// Refuses all further calls and waits until all queued operations are executed.
    pub(crate) fn close(self: &Arc<Self>) -> Result<(), StorageError> {
        let (done, result) = mpsc::channel();
        {
            let mut state = self.state.lock();
            state.closed = true;
            let callback = move |outcome| {
                let _ = done.send(outcome); // the receiver waits below
            };
            self.push(&state, [Op::Close(Box::new(callback))]);
        }
        self.env.step_if_manual();
        result.recv().unwrap_or(Err(StorageError::Closed(self.id)))
    }
}

impl CacheHolder for OpenGroup {
    fn evict(&self, budget: &CacheBudget) -> Evicted {
        let mut state = self.state.lock();
        let share = share_bytes(state.cache.bytes());
        let flushed_end = state.flushed_end;
        let freed_bytes = state.cache.evict(share, flushed_end, budget);
        let is_empty = state.cache.bytes() == 0;
        if is_empty {
            // Under the lock: an append after this registers the group again.
            state.is_caching = false;
        }
        Evicted {
            freed_bytes,
            is_empty,
        }
    }
}

impl Drop for OpenGroup {
    fn drop(&mut self) {
        // Not needed for safety: a current durable end lets the next start detect more losses, and
        // a current committed id lets it re-apply entries before it hears from a leader.
        let state = self.state.get_mut();
        let (committed, closed) = (state.hard.committed, state.closed);
        let writer = self.writer.get_mut();
        let HardRecord {
            mut hard,
            durable_end,
            ..
        } = *writer.hard.record();
        let is_outdated = hard.committed != committed || durable_end != writer.durable_end;
        // A closed group may be open again by now, with another writer for its files.
        if is_outdated && !closed && self.env.fail_stop.stopped().is_none() {
            hard.committed = committed;
            let _ = writer.save_hard_state(&self.env.files, hard, false); // best effort
        }
        self.state
            .get_mut()
            .cache
            .clear(&self.env.tail_caches.budget);
    }
}
