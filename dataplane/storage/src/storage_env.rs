//! What all groups of a node share: the disk, the writers' lanes, the cache budget, the files
//! kept open, the recycled segments.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use lograft_core::limits::{OPEN_SEGMENTS_MAX_COUNT, TAIL_CACHE_EVICT_MIN_BYTES};
use lograft_core::{ClusterId, GroupId, LogIndex};
use parking_lot::Mutex;

use crate::config::{Flushed, Identity, StorageConfig, WriterDrive};
use crate::error::{Action, StorageError};
use crate::format::SEGMENT_HEADER_BYTES;
use crate::fs::{Fs, FsFile, OpenMode};
use crate::group_log::{CacheBudget, Group};
use crate::recycler::Recycler;
use crate::segment::Segment;
use crate::write_queue::Lane;

pub(crate) type Observer = Box<dyn Fn(Flushed) + Send + Sync>;
type OnFatal = Arc<dyn Fn(StorageError) + Send + Sync>;

pub(crate) struct Node {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) config: StorageConfig,
    pub(crate) budget: CacheBudget,
    pub(crate) identity: Mutex<Option<Identity>>,
    pub(crate) recycler: Recycler,
    lanes: Vec<Arc<Lane>>,
    /// Sealed segments with open files, longest open first.
    open_segments: Mutex<VecDeque<Weak<Segment>>>,
    /// Groups that have something cached, in the order of eviction.
    caching: Mutex<VecDeque<Weak<Group>>>,
    fatal: OnceLock<Arc<StorageError>>,
    on_fatal: OnFatal,
    /// Told of every flush.
    pub(crate) observer: OnceLock<Observer>,
    /// Goes last: another process may come when it is free.
    _lock: Box<dyn Send + Sync>,
}

/// Shares of a group's cache that one round of eviction takes.
const EVICT_SHARE: usize = 8;

impl Node {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        config: StorageConfig,
        on_fatal: OnFatal,
        lock: Box<dyn Send + Sync>,
    ) -> Result<Self, StorageError> {
        let lanes = match config.writers {
            WriterDrive::Threads(count) => (0..count.max(1))
                .map(Lane::with_thread)
                .collect::<Result<_, _>>()
                .map_err(|source| StorageError::Spawn(Arc::new(source)))?,
            WriterDrive::Manual => vec![Lane::manual()],
        };
        Ok(Self {
            budget: CacheBudget::new(config.tail_cache_max_bytes),
            recycler: Recycler::new(config.data_dir.join("recycled"), config.segment_max_bytes),
            identity: Mutex::default(),
            lanes,
            open_segments: Mutex::default(),
            caching: Mutex::default(),
            fatal: OnceLock::new(),
            observer: OnceLock::new(),
            on_fatal,
            _lock: lock,
            fs,
            config,
        })
    }

    pub(crate) fn groups_dir(&self) -> PathBuf {
        self.config.data_dir.join("groups")
    }

    pub(crate) fn group_dir(&self, group: GroupId) -> PathBuf {
        self.groups_dir().join(format!("group-{group}"))
    }

    /// The cluster, once there is an identity; groups are only opened after that.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        self.identity.lock().map(|identity| identity.cluster_id)
    }

    /// The lane that writes a group's files.
    pub(crate) fn lane(&self, group: GroupId) -> &Lane {
        let nth = group.0 % self.lanes.len() as u64;
        &self.lanes[usize::try_from(nth).unwrap_or(0)]
    }

    /// Without writer threads: does what waits, else nothing. Returns whether there was anything.
    pub(crate) fn step_if_manual(&self) -> bool {
        self.config.writers == WriterDrive::Manual
            && self.lanes.iter().filter(|lane| lane.step()).count() > 0
    }

    /// Ends what waits to be written.
    pub(crate) fn drain(&self) {
        for lane in &self.lanes {
            lane.drain();
        }
    }

    /// Why nothing is written any more, if so.
    pub(crate) fn stopped(&self) -> Option<StorageError> {
        self.fatal
            .get()
            .map(|first| StorageError::Stopped(Arc::clone(first)))
    }

    /// Ends all writing: `error` came from a write or a sync.
    pub(crate) fn fail(&self, error: &StorageError) {
        if self.fatal.set(Arc::new(error.clone())).is_ok() {
            (self.on_fatal)(error.clone());
        }
    }

    /// Notes that files of a sealed segment are open, and closes the longest open beyond the
    /// limit.
    pub(crate) fn note_open(&self, segment: &Arc<Segment>) {
        let mut open = self.open_segments.lock();
        open.push_back(Arc::downgrade(segment));
        let oldest = (open.len() > OPEN_SEGMENTS_MAX_COUNT)
            .then(|| open.pop_front())
            .flatten();
        drop(open);
        if let Some(segment) = oldest.and_then(|segment| segment.upgrade()) {
            segment.close();
        }
    }

    /// Notes that a group has something cached.
    pub(crate) fn note_caching(&self, group: &Arc<Group>) {
        self.caching.lock().push_back(Arc::downgrade(group));
    }

    /// Brings the caches back into their budget, as far as flushed entries allow: a share of each
    /// group in turn, so that idle groups give way to busy ones.
    pub(crate) fn evict(&self) {
        let mut turns = self.caching.lock().len();
        while self.budget.excess() > 0 && turns > 0 {
            turns -= 1;
            let Some(next) = self.caching.lock().pop_front() else {
                break;
            };
            let Some(group) = next.upgrade() else {
                continue;
            };
            let mut state = group.state.lock();
            let share = (state.cache.bytes() / EVICT_SHARE).max(TAIL_CACHE_EVICT_MIN_BYTES);
            let flushed_end = state.flushed_end;
            let freed = state.cache.evict(share, flushed_end, &self.budget);
            if state.cache.bytes() > 0 {
                // While there is progress, the round goes on.
                turns += usize::from(freed > 0);
                self.caching.lock().push_back(next);
            } else {
                state.is_caching = false;
            }
        }
    }

    /// Writes a small file under its name, whole or not at all.
    pub(crate) fn write_file(
        &self,
        path: &Path,
        bytes: &[u8],
        durable: bool,
    ) -> Result<(), StorageError> {
        let new = with_suffix(path, NEW_SUFFIX);
        let file = self
            .fs
            .open(&new, OpenMode::Create)
            .map_err(|source| StorageError::io(Action::Create, &new, source))?;
        file.write_vectored_at(&mut [std::io::IoSlice::new(bytes)], 0)
            .map_err(|source| StorageError::io(Action::Write, &new, source))?;
        if durable {
            file.sync_data()
                .map_err(|source| StorageError::io(Action::Sync, &new, source))?;
        }
        self.rename(&new, path)?;
        match path.parent() {
            Some(dir) if durable => self.sync_dir(dir),
            _ => Ok(()),
        }
    }

    /// All bytes of a file, or `None` if there is no such file.
    pub(crate) fn read_file(&self, path: &Path) -> Result<Option<Bytes>, StorageError> {
        self.read_up_to(path, u64::MAX)
    }

    /// The first bytes of a file, as many as its header may have.
    pub(crate) fn read_file_start(&self, path: &Path) -> Result<Option<Bytes>, StorageError> {
        self.read_up_to(path, SEGMENT_HEADER_BYTES)
    }

    fn read_up_to(&self, path: &Path, max: u64) -> Result<Option<Bytes>, StorageError> {
        let fail = |action, source| StorageError::io(action, path, source);
        let file = match self.fs.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(Action::Open, error)),
        };
        let len = file
            .len()
            .map_err(|source| fail(Action::Measure, source))?
            .min(max);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        file.read_at(0, len)
            .map(Some)
            .map_err(|source| fail(Action::Read, source))
    }

    /// Opens a file for writing, if it is there.
    pub(crate) fn open_if_there(
        &self,
        path: &Path,
    ) -> Result<Option<Arc<dyn FsFile>>, StorageError> {
        match self.fs.open(path, OpenMode::Write) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io(Action::Open, path, error)),
        }
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.fs
            .rename(from, to)
            .map_err(|source| StorageError::io(Action::Rename, from, source))
    }

    /// Removes a file; that it is not there is fine.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        match self.fs.remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StorageError::io(Action::Remove, path, error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        self.fs
            .remove_dir_all(path)
            .map_err(|source| StorageError::io(Action::Remove, path, source))
    }

    pub(crate) fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.fs
            .create_dir_all(path)
            .map_err(|source| StorageError::io(Action::Create, path, source))
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<String>, StorageError> {
        self.fs
            .list(path)
            .map_err(|source| StorageError::io(Action::List, path, source))
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.fs
            .sync_dir(path)
            .map_err(|source| StorageError::io(Action::Sync, path, source))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing waits in the lanes: every task keeps its group, and so the node, alive.
        for lane in &self.lanes {
            lane.stop();
        }
    }
}

/// Ends the name of a file that is not whole yet.
pub(crate) const NEW_SUFFIX: &str = ".new";

/// Ends the name of a checkpoint whose log does not begin after it yet.
pub(crate) const RESET_SUFFIX: &str = ".reset";

/// Where a segment's file stands in its group's directory.
pub(crate) fn segment_path(dir: &Path, base: LogIndex) -> PathBuf {
    dir.join(format!("{:020}.seg", base.0))
}

/// Where its index stands.
pub(crate) fn index_path(dir: &Path, base: LogIndex) -> PathBuf {
    dir.join(format!("{:020}.idx", base.0))
}

/// Where the checkpoint stands whose last entry is this one.
pub(crate) fn checkpoint_path(dir: &Path, last: LogIndex) -> PathBuf {
    dir.join(format!("{:020}.ckpt", last.0))
}

/// Where the hard state stands.
pub(crate) fn hard_state_path(dir: &Path) -> PathBuf {
    dir.join("hard_state")
}

/// The path with something appended to its last name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Before a file of an earlier run is read: what only lies in memory goes to disk; and where
/// that failed in the earlier run, memory still holds what the disk has not. So the pages go,
/// and what is read after this is what the disk has.
pub(crate) fn settle_file(path: &Path, file: &dyn FsFile) -> Result<(), StorageError> {
    file.sync_data()
        .map_err(|source| StorageError::io(Action::Sync, path, source))?;
    let _ = file.advise_dont_need(); // a hint
    Ok(())
}
