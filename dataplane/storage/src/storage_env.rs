//! The state that all groups of a storage share: the files, the write queues, the tail cache
//! budget, the open segments and the recycled ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lograft_core::limits::{
    CLIENT_READ_THREADS_MAX_COUNT, CLIENT_READS_WAITING_MAX_COUNT, RAFT_READ_THREADS_MAX_COUNT,
    RAFT_READS_WAITING_MAX_COUNT,
};
use lograft_core::{ClusterId, GroupId};
use parking_lot::Mutex;

use crate::cache_eviction::TailCaches;
use crate::config::{Identity, ReadLane, StorageConfig, WriterDrive};
use crate::disk_room::DiskRoom;
use crate::error::StorageError;
use crate::fail_stop::{FailStop, OnFatal};
use crate::files::Files;
use crate::fs::Fs;
use crate::layout::{group_name, groups_dir, recycled_dir};
use crate::open_segments::OpenSegments;
use crate::patient_fs::PatientFs;
use crate::read_pool::{PoolFull, ReadLimits, ReadPool};
use crate::recycler::Recycler;
use crate::write_budget::WriteBudget;
use crate::write_probe::WriteProbe;
use crate::write_queue::{OpRunner, QueueDelay, WriteQueue};

const CLIENT_READS: ReadLimits = ReadLimits {
    threads_max_count: CLIENT_READ_THREADS_MAX_COUNT,
    waiting_max_count: CLIENT_READS_WAITING_MAX_COUNT,
};
const RAFT_READS: ReadLimits = ReadLimits {
    threads_max_count: RAFT_READ_THREADS_MAX_COUNT,
    waiting_max_count: RAFT_READS_WAITING_MAX_COUNT,
};

pub(crate) struct StorageEnv {
    /// For readers and for opening a group: a call without a free descriptor fails, and may be
    /// retried.
    pub(crate) files: Files,
    /// For writers: a call waits for a free descriptor.
    pub(crate) write_files: Files,
    pub(crate) config: StorageConfig,
    pub(crate) identity: Mutex<Option<Identity>>,
    pub(crate) tail_caches: TailCaches,
    pub(crate) recycler: Recycler,
    pub(crate) room: DiskRoom,
    pub(crate) open_segments: Arc<OpenSegments>,
    pub(crate) fail_stop: Arc<FailStop>,
    pub(crate) write_budget: Arc<WriteBudget>,
    /// Bytes of the corrupt copies, as far as they were measured.
    pub(crate) copies_bytes: Mutex<BTreeMap<PathBuf, u64>>,
    /// Groups with operations that wait for room on the disk.
    parked: Mutex<BTreeMap<GroupId, Weak<dyn OpRunner>>>,
    client_reads: ReadPool,
    raft_reads: ReadPool,
    write_queues: Vec<Arc<WriteQueue>>,
    /// Dropped last: once it is free, another process may use the data directory.
    _lock: Box<dyn Send + Sync>,
}

impl StorageEnv {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        config: StorageConfig,
        on_fatal: OnFatal,
        lock: Box<dyn Send + Sync>,
    ) -> Result<Self, StorageError> {
        let write_budget = Arc::new(WriteBudget::new(config.unflushed_max_bytes));
        let write_queues = match config.writers {
            WriterDrive::Threads(count) => (0..count.max(1))
                .map(|nth| WriteQueue::with_thread(nth, Arc::clone(&write_budget)))
                .collect::<Result<_, _>>()
                .map_err(|source| StorageError::Spawn(Arc::new(source)))?,
            WriterDrive::Manual => vec![WriteQueue::manual(Arc::clone(&write_budget))],
        };
        let open_segments = Arc::new(OpenSegments::default());
        let patient = PatientFs {
            inner: Arc::clone(&fs),
            open_segments: Arc::clone(&open_segments),
        };
        Ok(Self {
            files: Files::new(fs),
            write_files: Files::new(Arc::new(patient)),
            identity: Mutex::default(),
            tail_caches: TailCaches::new(config.tail_cache_max_bytes),
            room: DiskRoom::new(&config.data_dir),
            recycler: Recycler::new(recycled_dir(&config.data_dir), config.segment_max_bytes),
            open_segments,
            fail_stop: Arc::new(FailStop::new(on_fatal)),
            write_budget,
            copies_bytes: Mutex::default(),
            parked: Mutex::default(),
            client_reads: ReadPool::new("client-read", CLIENT_READS),
            raft_reads: ReadPool::new("raft-read", RAFT_READS),
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

    /// Runs a read on a thread for reads. Fails with [`StorageError::ReadsBusy`].
    pub(crate) fn run_read(
        &self,
        lane: ReadLane,
        read: impl FnOnce() + Send + 'static,
    ) -> Result<(), StorageError> {
        let (pool, limits) = match lane {
            ReadLane::Client => (&self.client_reads, CLIENT_READS),
            ReadLane::Raft => (&self.raft_reads, RAFT_READS),
        };
        pool.run(read).map_err(|PoolFull| StorageError::ReadsBusy {
            max_count: limits.waiting_max_count,
        })
    }

    /// How far the writer of a group is behind; zero with [`WriterDrive::Manual`], where the
    /// caller decides when operations are executed.
    pub(crate) fn delay_of(&self, group: GroupId) -> QueueDelay {
        match self.config.writers {
            WriterDrive::Threads(_) => self.write_queue(group).delay(),
            WriterDrive::Manual => QueueDelay::default(),
        }
    }

    /// The time for which the oldest read for replication or a state machine has been running.
    pub(crate) fn raft_read_lag(&self) -> Duration {
        self.raft_reads.oldest_running()
    }

    /// A write has found no room: gives up the reserve and the recycled segments. Returns whether
    /// there were any.
    pub(crate) fn make_room(&self) -> bool {
        let has_recycled = self.recycler.clear(&self.files).unwrap_or(false);
        self.room.on_no_room(&self.files) || has_recycled
    }

    /// Notes that operations of a group wait for room.
    pub(crate) fn register_parked(&self, group: GroupId, runner: Weak<dyn OpRunner>) {
        self.parked.lock().insert(group, runner);
    }

    /// Tries the operations that wait for room again.
    pub(crate) fn retry_parked(&self) {
        let parked = std::mem::take(&mut *self.parked.lock());
        for group in parked.values().filter_map(Weak::upgrade) {
            group.retry();
        }
    }

    /// Observes the writers.
    pub(crate) fn probe(&self) -> WriteProbe {
        let queues = match self.config.writers {
            WriterDrive::Threads(_) => self.write_queues.clone(),
            WriterDrive::Manual => Vec::new(),
        };
        WriteProbe {
            queues,
            fail_stop: self.fail_stop.clone(),
        }
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
