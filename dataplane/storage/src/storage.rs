//! A node's storage: the data directory and what stands in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use lograft_core::limits::CORRUPT_COPIES_MAX_COUNT;
use lograft_core::{ClusterId, GroupId};
use parking_lot::Mutex;

use crate::config::{Flushed, GroupOptions, Identity, Space, StorageConfig};
use crate::error::{Action, OpenError, StorageError};
use crate::format::{decode_identity, encode_identity};
use crate::fs::Fs;
use crate::group_log::{Group, GroupLog, Recovered, SegmentSizes};
use crate::recovery::{self, Failure, Opened};
use crate::storage_env::Node;

/// A node's storage. Clones share it; when the last one goes, it waits for the writes under way.
/// The data directory stays locked until all clones and all
/// `GroupLog`s are gone.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    node: Arc<Node>,
    groups: Mutex<BTreeMap<GroupId, Slot>>,
}

/// A group that somebody works with.
enum Slot {
    Opening,
    Open(Weak<Group>),
}

impl Slot {
    fn is_in_use(&self) -> bool {
        match self {
            Self::Opening => true,
            Self::Open(group) => group.strong_count() > 0,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.node.drain();
    }
}

/// Between a group's directory name and the number of its damaged copy.
const CORRUPT: &str = ".corrupt-";
/// Ends the name of a directory that is being removed.
const REMOVED: &str = ".removed";

impl Storage {
    /// Opens the data directory, alone: a second process gets [`StorageError::InUse`].
    /// `on_fatal` is called once, when a write or sync fails; nothing is written after that, and
    /// the process should end.
    pub fn open(
        fs: Arc<dyn Fs>,
        config: StorageConfig,
        on_fatal: Arc<dyn Fn(StorageError) + Send + Sync>,
    ) -> Result<Self, StorageError> {
        let dir = config.data_dir.clone();
        fs.create_dir_all(&dir)
            .map_err(|source| StorageError::io(Action::Create, &dir, source))?;
        let lock_path = dir.join("LOCK");
        let lock = fs.lock(&lock_path).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => StorageError::InUse {
                path: lock_path.clone(),
            },
            _ => StorageError::io(Action::Lock, &lock_path, source),
        })?;
        let node = Arc::new(Node::new(fs, config, on_fatal, lock)?);
        let groups = node.groups_dir();
        node.create_dir(&groups)?;
        node.recycler.recover(&node)?;
        for name in node
            .list(&groups)?
            .iter()
            .filter(|name| name.ends_with(REMOVED))
        {
            node.remove_dir_all(&groups.join(name))?;
        }
        node.sync_dir(&dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            node.sync_dir(parent)?;
        }
        *node.identity.lock() = read_identity(&node)?;
        Ok(Self(Arc::new(Inner {
            node,
            groups: Mutex::default(),
        })))
    }

    /// Whose data directory it is; `None` until [`Self::write_identity`].
    pub fn identity(&self) -> Option<Identity> {
        *self.0.node.identity.lock()
    }

    /// Writes the identity, durably. The same one again is fine, another one is refused.
    pub fn write_identity(&self, identity: &Identity) -> Result<(), StorageError> {
        let mut held = self.0.node.identity.lock();
        match *held {
            Some(held) if held == *identity => Ok(()),
            Some(Identity {
                cluster_id,
                node_id,
            }) => Err(StorageError::IdentityExists {
                cluster_id,
                node_id,
            }),
            None => {
                let path = identity_path(&self.0.node);
                self.0
                    .node
                    .write_file(&path, &encode_identity(identity), true)?;
                *held = Some(*identity);
                Ok(())
            }
        }
    }

    /// Opens a group's log, or makes an empty one. Damaged files are kept aside under another
    /// name and reported as [`OpenError::Corrupt`]; the next open then begins with nothing.
    pub fn open_group(
        &self,
        group: GroupId,
        options: GroupOptions,
    ) -> Result<(GroupLog, Recovered), OpenError> {
        let cluster = self
            .0
            .node
            .cluster_id()
            .ok_or(OpenError::NoIdentity(group))?;
        {
            let mut groups = self.0.groups.lock();
            if groups.get(&group).is_some_and(Slot::is_in_use) {
                return Err(OpenError::AlreadyOpen(group));
            }
            // Others open at the same time: recovery reads a lot.
            groups.insert(group, Slot::Opening);
        }
        let opened = self.recover(group, cluster, options);
        let mut groups = self.0.groups.lock();
        match &opened {
            Ok((log, _)) => groups.insert(group, Slot::Open(Arc::downgrade(&log.0))),
            Err(_) => groups.remove(&group),
        };
        opened
    }

    fn recover(
        &self,
        group: GroupId,
        cluster: ClusterId,
        options: GroupOptions,
    ) -> Result<(GroupLog, Recovered), OpenError> {
        let node = &self.0.node;
        let max_bytes = options
            .segment_max_bytes
            .unwrap_or(node.config.segment_max_bytes);
        let min_bytes = node.config.segment_min_bytes.min(max_bytes);
        let sizes = SegmentSizes {
            min_bytes,
            max_bytes,
        };
        let Opened {
            state,
            writer,
            recovered,
        } = recovery::open_group(node, group, cluster, sizes)
            .map_err(|failure| self.refuse(group, failure))?;
        let open = Arc::new(Group {
            id: group,
            node: Arc::clone(node),
            state: Mutex::new(state),
            writer: Mutex::new(writer),
        });
        Ok((GroupLog(open), recovered))
    }

    fn refuse(&self, group: GroupId, failure: Failure) -> OpenError {
        match failure {
            Failure::OtherCluster(path, found) => OpenError::OtherCluster { group, path, found },
            Failure::OtherVersion(path, found) => OpenError::OtherVersion { group, path, found },
            Failure::Storage(source) => OpenError::Storage { group, source },
            Failure::Damaged(damage, hard_state) => match self.keep_aside(group) {
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

    /// Closes a group and keeps its files aside, as those of a damaged replica: to be called when
    /// a read has met [`StorageError::Corrupt`]. Returns where they are; the next open begins
    /// with nothing.
    pub fn set_aside_group(&self, group: GroupId) -> Result<PathBuf, StorageError> {
        self.close_group(group)?;
        self.keep_aside(group)
    }

    fn keep_aside(&self, group: GroupId) -> Result<PathBuf, StorageError> {
        let node = &self.0.node;
        let dir = node.group_dir(group);
        let prefix = format!("group-{group}{CORRUPT}");
        let mut numbers: BTreeSet<u64> = node
            .list(&node.groups_dir())?
            .iter()
            .filter_map(|name| name.strip_prefix(&prefix)?.parse().ok())
            .collect();
        let copy = |number: u64| node.groups_dir().join(format!("{prefix}{number}"));
        let kept = copy(numbers.last().map_or(1, |last| last + 1));
        while numbers.len() >= CORRUPT_COPIES_MAX_COUNT {
            if let Some(oldest) = numbers.pop_first() {
                node.remove_dir_all(&copy(oldest))?;
            }
        }
        node.rename(&dir, &kept)?;
        node.sync_dir(&node.groups_dir())?;
        Ok(kept)
    }

    /// Closes a group, so that it can be opened again: waits until all of its writes are done;
    /// further calls on its `GroupLog`s fail. Not to be called by a flush callback.
    pub fn close_group(&self, group: GroupId) -> Result<(), StorageError> {
        let open = match self.0.groups.lock().get(&group) {
            None => None,
            Some(Slot::Opening) => return Err(StorageError::Opening(group)),
            Some(Slot::Open(open)) => open.upgrade(),
        };
        if let Some(open) = open {
            open.close()?;
        }
        self.0.groups.lock().remove(&group);
        Ok(())
    }

    /// Closes a group and removes its files. Blocks while they are removed.
    pub fn remove_group(&self, group: GroupId) -> Result<(), StorageError> {
        self.close_group(group)?;
        let node = &self.0.node;
        let dir = node.group_dir(group);
        if node.list(&dir)?.is_empty() {
            return Ok(());
        }
        let removed = crate::storage_env::with_suffix(&dir, REMOVED);
        node.rename(&dir, &removed)?;
        node.sync_dir(&node.groups_dir())?;
        node.remove_dir_all(&removed)
    }

    /// The groups in the data directory, open or not.
    pub fn groups(&self) -> Result<Vec<GroupId>, StorageError> {
        let names = self.0.node.list(&self.0.node.groups_dir())?;
        let mut groups: Vec<GroupId> = names
            .iter()
            .filter_map(|name| name.strip_prefix("group-")?.parse().ok())
            .map(GroupId)
            .collect();
        groups.sort_unstable();
        Ok(groups)
    }

    /// The groups whose damaged files were kept aside and that have had no files since. What such
    /// a replica voted for and acknowledged is forgotten: opening it makes an empty one.
    pub fn set_aside_groups(&self) -> Result<Vec<GroupId>, StorageError> {
        let names = self.0.node.list(&self.0.node.groups_dir())?;
        let mut groups: Vec<GroupId> = names
            .iter()
            .filter_map(|name| name.strip_prefix("group-")?.split_once(CORRUPT))
            .filter_map(|(group, _)| group.parse().ok().map(GroupId))
            .filter(|group| !names.iter().any(|name| *name == format!("group-{group}")))
            .collect();
        groups.dedup();
        Ok(groups)
    }

    /// Removes a group's damaged files that were kept aside. Blocks while they are removed.
    pub fn remove_set_aside(&self, group: GroupId) -> Result<(), StorageError> {
        let node = &self.0.node;
        let prefix = format!("group-{group}{CORRUPT}");
        for name in node.list(&node.groups_dir())? {
            if name.starts_with(&prefix) {
                node.remove_dir_all(&node.groups_dir().join(name))?;
            }
        }
        Ok(())
    }

    /// The room on the disk.
    pub fn space(&self) -> Result<Space, StorageError> {
        let config = &self.0.node.config;
        let space = self
            .0
            .node
            .fs
            .space(&config.data_dir)
            .map_err(|source| StorageError::io(Action::Measure, &config.data_dir, source))?;
        Ok(Space {
            total_bytes: space.total_bytes,
            free_bytes: space.free_bytes,
            reserve_bytes: config.reserve_bytes,
        })
    }

    /// Whether less than the reserve is free: take no more produces then. Recycled segments are
    /// given up first.
    pub fn is_disk_low(&self) -> bool {
        let is_low = || self.space().is_ok_and(Space::is_low);
        is_low() && {
            let node = &self.0.node;
            !node.recycler.clear(node).unwrap_or(false) || is_low()
        }
    }

    /// Bytes in the tail caches of all groups.
    pub fn tail_cache_bytes(&self) -> usize {
        self.0.node.budget.used()
    }

    /// Has every flush reported to `observer`, on the writer's thread; only the first call counts.
    pub fn observe_flushes(&self, observer: impl Fn(Flushed) + Send + Sync + 'static) {
        let _ = self.0.node.observer.set(Box::new(observer)); // a second observer is not heard
    }

    /// Why nothing is written any more, once a write or sync has failed.
    pub fn stopped(&self) -> Option<StorageError> {
        self.0.node.stopped()
    }

    /// With [`crate::WriterDrive::Manual`]: writes all that waits. Returns whether there was
    /// anything.
    pub fn step(&self) -> bool {
        self.0.node.step_if_manual()
    }
}

fn identity_path(node: &Node) -> PathBuf {
    node.config.data_dir.join("identity")
}

fn read_identity(node: &Node) -> Result<Option<Identity>, StorageError> {
    let path = identity_path(node);
    let damaged = |path: &Path| StorageError::IdentityDamaged {
        path: path.to_owned(),
    };
    match node.read_file(&path)? {
        None => Ok(None),
        Some(bytes) => decode_identity(&bytes)
            .map(Some)
            .ok_or_else(|| damaged(&path)),
    }
}
