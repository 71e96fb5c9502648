//! The state that all groups of a storage share: the files, the write queues, the tail cache
//! budget, the open segments and the recycled ones.

use std::path::PathBuf;
use std::sync::Arc;

use lograft_core::{ClusterId, GroupId};
use parking_lot::Mutex;

use crate::cache_eviction::TailCaches;
use crate::config::{Identity, StorageConfig, WriterDrive};
use crate::error::StorageError;
use crate::fail_stop::{FailStop, OnFatal};
use crate::files::Files;
use crate::layout::{group_name, groups_dir, recycled_dir};
use crate::open_segments::OpenSegments;
use crate::recycler::Recycler;
use crate::write_queue::WriteQueue;

pub(crate) struct StorageEnv {
    pub(crate) files: Files,
    pub(crate) config: StorageConfig,
    pub(crate) identity: Mutex<Option<Identity>>,
    pub(crate) tail_caches: TailCaches,
    pub(crate) recycler: Recycler,
    pub(crate) open_segments: OpenSegments,
    pub(crate) fail_stop: FailStop,
    write_queues: Vec<Arc<WriteQueue>>,
    /// Dropped last: once it is free, another process may use the data directory.
    _lock: Box<dyn Send + Sync>,
}

impl StorageEnv {
    pub(crate) fn new(
        files: Files,
        config: StorageConfig,
        on_fatal: OnFatal,
        lock: Box<dyn Send + Sync>,
    ) -> Result<Self, StorageError> {
        let write_queues = match config.writers {
            WriterDrive::Threads(count) => (0..count.max(1))
                .map(WriteQueue::with_thread)
                .collect::<Result<_, _>>()
                .map_err(|source| StorageError::Spawn(Arc::new(source)))?,
            WriterDrive::Manual => vec![WriteQueue::manual()],
        };
        Ok(Self {
            files,
            identity: Mutex::default(),
            tail_caches: TailCaches::new(config.tail_cache_max_bytes),
            recycler: Recycler::new(recycled_dir(&config.data_dir), config.segment_max_bytes),
            open_segments: OpenSegments::default(),
            fail_stop: FailStop::new(on_fatal),
            write_queues,
            _lock: lock,
            config,
        })
    }

    pub(crate) fn groups_dir(&self) -> PathBuf {
        groups_dir(&self.config.data_dir)
    }

    pub(crate) fn group_dir(&self, group: GroupId) -> PathBuf {
        self.groups_dir().join(group_name(group))
    }

    /// The cluster id, once the data directory has an identity. Groups are opened only after that.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        self.identity.lock().map(|identity| identity.cluster_id)
    }

    /// The queue of the writer that writes the files of a group: always the same one, so that the
    /// operations of a group keep their order.
    pub(crate) fn write_queue(&self, group: GroupId) -> &WriteQueue {
        let nth = group.0 % self.write_queues.len() as u64;
        &self.write_queues[usize::try_from(nth).unwrap_or(0)]
    }

    /// With [`WriterDrive::Manual`], executes the pending operations; else does nothing. Returns
    /// whether there were any.
    pub(crate) fn step_if_manual(&self) -> bool {
        self.config.writers == WriterDrive::Manual
            && self
                .write_queues
                .iter()
                .filter(|queue| queue.step())
                .count()
                > 0
    }

    /// Waits until all queued operations are executed.
    pub(crate) fn drain(&self) {
        for queue in &self.write_queues {
            queue.drain();
        }
    }
}

impl Drop for StorageEnv {
    fn drop(&mut self) {
        // The queues are empty: a queued operation keeps its group, and so the environment, alive.
        for queue in &self.write_queues {
            queue.stop();
        }
    }
}
