//! The storage of a node: the data directory and the groups in it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use lograft_core::limits::READ_LAG_MAX;
use lograft_core::{DiskMark, GroupId};
use parking_lot::Mutex;

use crate::config::{GroupOptions, Identity, Space, StorageConfig};
use crate::error::{Action, OpenError, StorageError};
use crate::files::Files;
use crate::fs::Fs;
use crate::group_log::{GroupLog, OpenGroup, Recovered, SegmentSizes};
use crate::hard_file::FileOwner;
use crate::identity_files::{FoundIdentity, write_identity};
use crate::layout::{REMOVED_SUFFIX, lock_path, parse_group_name, with_suffix};
use crate::recovery::{self, RecoveredGroup, RecoveryError};
use crate::storage_env::StorageEnv;
use crate::write_budget::WriteBudget;
use crate::write_probe::WriteProbe;

/// The storage of a node. Clones share it; dropping the last one waits until the pending writes are
/// done. The data directory stays locked until all clones and all `GroupLog`s are dropped.
#[derive(Clone)]
pub struct Storage(Arc<StorageInner>);

struct StorageInner {
    env: Arc<StorageEnv>,
    groups: Mutex<BTreeMap<GroupId, GroupSlot>>,
    damaged_identity: Option<PathBuf>,
}

/// The state of a group that is in use.
enum GroupSlot {
    Opening,
    Open(Weak<OpenGroup>),
}

impl GroupSlot {
    fn is_in_use(&self) -> bool {
        match self {
            Self::Opening => true,
            Self::Open(group) => group.strong_count() > 0,
        }
    }
}

impl Drop for StorageInner {
    fn drop(&mut self) {
        self.env.drain();
    }
}

impl Storage {
    /// Opens the data directory exclusively. Fails with [`StorageError::InUse`] if another process
    /// has opened it; the caller may retry once that process has ended.
    ///
    /// `on_fatal` is called at most once, after the first failed write or sync. Nothing is written
    /// after that, and the process should end.
    pub fn open(
        fs: Arc<dyn Fs>,
        config: StorageConfig,
        on_fatal: Arc<dyn Fn(StorageError) + Send + Sync>,
    ) -> Result<Self, StorageError> {
        let dir = config.data_dir.clone();
        let files = Files::new(Arc::clone(&fs));
        files.create_dir_all(&dir)?;
        let lock_path = lock_path(&dir);
        let lock = files
            .fs()
            .lock(&lock_path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::WouldBlock => StorageError::InUse {
                    path: lock_path.clone(),
                },
                _ => StorageError::io(Action::Lock, &lock_path, source),
            })?;
        let env = Arc::new(StorageEnv::new(fs, config, on_fatal, lock)?);
        // Before anything is changed: the directory may be of a newer version.
        let found = FoundIdentity::read(&env.write_files, &dir)?;
        *env.identity.lock() = found.identity;
        let groups = env.groups_dir();
        env.files.create_dir_all(&groups)?;
        env.recycler.recover(&env.write_files)?;
        remove_leftovers(&env)?;
        let storage = Self(Arc::new(StorageInner {
            env,
            groups: Mutex::default(),
            damaged_identity: found.damaged.clone(),
        }));
        // Before anything is written: on a disk that others have filled, this makes room.
        storage.check_disk()?;
        let files = &storage.0.env.write_files;
        found.complete(files)?;
        files.sync_dir(&dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            files.sync_dir(parent)?;
        }
        Ok(storage)
    }

    /// The cluster and node of the data directory; `None` until [`Self::write_identity`].
    pub fn identity(&self) -> Option<Identity> {
        *self.0.env.identity.lock()
    }

    /// The identity file that was damaged at the start, and replaced by its copy.
    pub fn damaged_identity(&self) -> Option<&Path> {
        self.0.damaged_identity.as_deref()
    }

    /// Writes the identity, durably. Writing the same one again succeeds; another one fails with
    /// [`StorageError::IdentityExists`].
    pub fn write_identity(&self, identity: &Identity) -> Result<(), StorageError> {
        let mut current = self.0.env.identity.lock();
        match *current {
            Some(current) if current == *identity => Ok(()),
            Some(Identity {
                cluster_id,
                node_id,
            }) => Err(StorageError::IdentityExists {
                cluster_id,
                node_id,
            }),
            None => {
                let env = &self.0.env;
                write_identity(&env.write_files, &env.config.data_dir, identity)?;
                *current = Some(*identity);
                Ok(())
            }
        }
    }

    /// Opens the log of a group, or creates an empty one. Damaged files are moved to another name
    /// and reported as [`OpenError::Corrupt`]; the next open then creates an empty log. Files of a
    /// newer version are reported as [`OpenError::NewerFormat`] and not changed.
    pub fn open_group(
        &self,
        group: GroupId,
        options: GroupOptions,
    ) -> Result<(GroupLog, Recovered), OpenError> {
        let cluster = self
            .0
            .env
            .cluster_id()
            .ok_or(OpenError::NoIdentity(group))?;
        {
            let mut groups = self.0.groups.lock();
            if groups.get(&group).is_some_and(GroupSlot::is_in_use) {
                return Err(OpenError::AlreadyOpen(group));
            }
            // The lock is not held during recovery, which may read a whole segment: groups are
            // opened in parallel.
            groups.insert(group, GroupSlot::Opening);
        }
        let opened = self.recover(FileOwner { cluster, group }, options);
        let mut groups = self.0.groups.lock();
        match &opened {
            Ok((log, _)) => groups.insert(group, GroupSlot::Open(Arc::downgrade(&log.0))),
            Err(_) => groups.remove(&group),
        };
        opened
    }

    fn recover(
        &self,
        owner: FileOwner,
        options: GroupOptions,
    ) -> Result<(GroupLog, Recovered), OpenError> {
        let env = &self.0.env;
        let max_bytes = options
            .segment_max_bytes
            .unwrap_or(env.config.segment_max_bytes);
        let min_bytes = env.config.segment_min_bytes.min(max_bytes);
        let sizes = SegmentSizes {
            min_bytes,
            max_bytes,
        };
        // Damage is read twice before the replica is set aside: an error on the way from the disk
        // does not come back. Recovery may be repeated: each of its changes leaves a valid log.
        let opened = match recovery::open_group(env, owner, sizes) {
            Err(RecoveryError::Damaged(..)) => recovery::open_group(env, owner, sizes),
            outcome => outcome,
        };
        let RecoveredGroup {
            state,
            writer,
            recovered,
        } = opened.map_err(|failure| self.open_error(owner.group, failure))?;
        let log = GroupLog(OpenGroup::new(owner.group, Arc::clone(env), state, writer));
        // While the caller waits for the disk anyway. A failure is met again when it is needed.
        let _ = log.last_append_time();
        Ok((log, recovered))
    }

    fn open_error(&self, group: GroupId, failure: RecoveryError) -> OpenError {
        match failure {
            RecoveryError::OtherCluster(path, found) => {
                OpenError::OtherCluster { group, path, found }
            }
            RecoveryError::Newer(newer) => OpenError::NewerFormat {
                group,
                newer: Box::new(newer),
            },
            RecoveryError::Storage(source) => OpenError::Storage { group, source },
            RecoveryError::Damaged(damage, hard_state) => match self.move_aside(group) {
                Ok(kept) => OpenError::Corrupt {
                    group,
                    kept,
                    damage: Box::new(damage),
                    hard_state,
                },
                Err(source) => OpenError::Storage { group, source },
            },
        }
    }

    pub(crate) fn env(&self) -> &StorageEnv {
        &self.0.env
    }

    /// Calls `with` if a group is in use, and keeps others from opening or closing it meanwhile.
    pub(crate) fn if_in_use<T>(&self, group: GroupId, with: impl FnOnce() -> T) -> Option<T> {
        let groups = self.0.groups.lock();
        let is_in_use = groups.get(&group).is_some_and(GroupSlot::is_in_use);
        is_in_use.then(with)
    }

    /// Closes a group, so that it can be opened again. Waits until all of its writes are done;
    /// further calls on its `GroupLog`s fail. MUST NOT be called by a flush callback: it would wait
    /// for the writer thread on which it runs.
    pub fn close_group(&self, group: GroupId) -> Result<(), StorageError> {
        let open = match self.0.groups.lock().get(&group) {
            None => None,
            Some(GroupSlot::Opening) => return Err(StorageError::Opening(group)),
            Some(GroupSlot::Open(open)) => open.upgrade(),
        };
        if let Some(open) = open {
            open.close()?;
        }
        self.0.groups.lock().remove(&group);
        Ok(())
    }

    /// Closes a group and removes its files. Blocks until they are removed.
    pub fn remove_group(&self, group: GroupId) -> Result<(), StorageError> {
        self.close_group(group)?;
        let env = &self.0.env;
        let dir = env.group_dir(group);
        if env.files.list(&dir)?.is_empty() {
            return Ok(());
        }
        // Renamed first: a crash during the removal must not leave a group with some of its files,
        // which recovery would report as corrupt.
        let removed = with_suffix(&dir, REMOVED_SUFFIX);
        env.files.rename(&dir, &removed)?;
        env.files.sync_dir(&env.groups_dir())?;
        env.files.remove_dir_all(&removed)
    }

    /// All groups in the data directory, open or not.
    pub fn groups(&self) -> Result<Vec<GroupId>, StorageError> {
        let names = self.0.env.files.list(&self.0.env.groups_dir())?;
        let mut groups: Vec<GroupId> = names
            .iter()
            .filter_map(|name| parse_group_name(name))
            .collect();
        groups.sort_unstable();
        Ok(groups)
    }

    /// Size and free space of the disk.
    pub fn space(&self) -> Result<Space, StorageError> {
        let config = &self.0.env.config;
        let space = self.0.env.files.space(&config.data_dir)?;
        Ok(Space {
            total_bytes: space.total_bytes,
            free_bytes: space.free_bytes,
            total_inodes: space.total_inodes,
            free_inodes: space.free_inodes,
            reserve_bytes: config.reserve_bytes,
        })
    }

    /// Measures the room on the disk, by bytes, inodes and quota. If it is not roomy, the recycled
    /// segments are removed first. Writes that wait for room are tried again. Blocks; the caller
    /// repeats it at an interval.
    pub fn check_disk(&self) -> Result<DiskMark, StorageError> {
        let env = &self.0.env;
        let mut space = self.space()?;
        if space.mark() != DiskMark::Ok && env.recycler.clear(&env.files)? {
            space = self.space()?;
        }
        let mark = env.room.update(&env.files, space);
        env.retry_parked();
        mark
    }

    /// The room on the disk at the last [`Self::check_disk`]. Makes no call to the disk.
    pub fn disk_mark(&self) -> DiskMark {
        self.0.env.room.mark()
    }

    /// Size and free space of the disk at the last [`Self::check_disk`]; `None` before it. Makes no
    /// call to the disk.
    pub fn measured_space(&self) -> Option<Space> {
        self.0.env.room.measured()
    }

    /// The age of the oldest write that is not on disk, or of the oldest read that raft waits for
    /// if it is above `limits::READ_LAG_MAX`. Makes no call to the disk.
    pub fn disk_lag(&self) -> Duration {
        let reads = self.0.env.raft_read_lag();
        let writes = self.write_probe().health().lag;
        if reads >= READ_LAG_MAX {
            writes.max(reads)
        } else {
            writes
        }
    }

    /// The budget of unflushed bytes.
    pub fn write_budget(&self) -> Arc<WriteBudget> {
        Arc::clone(&self.0.env.write_budget)
    }

    /// Observes the writers.
    pub fn write_probe(&self) -> WriteProbe {
        self.0.env.probe()
    }

    /// Bytes in the tail caches of all groups.
    pub fn tail_cache_bytes(&self) -> usize {
        self.0.env.tail_caches.budget.used_bytes()
    }

    /// The error of all further writes, once a write or sync has failed.
    pub fn stopped(&self) -> Option<StorageError> {
        self.0.env.fail_stop.stopped()
    }

    /// With [`crate::WriterDrive::Manual`], executes all pending writes. Returns whether there were
    /// any.
    pub fn step(&self) -> bool {
        self.0.env.step_if_manual()
    }
}

/// Removes the group directories whose removal a crash has interrupted.
fn remove_leftovers(env: &StorageEnv) -> Result<(), StorageError> {
    let groups = env.groups_dir();
    for name in env.files.list(&groups)? {
        if name.ends_with(REMOVED_SUFFIX) {
            env.files.remove_dir_all(&groups.join(name))?;
        }
    }
    Ok(())
}
