//! The partition replicas of this node: what the log service, the control loops and health share.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use lograft_core::{GroupId, PartitionId};
use lograft_raft::RaftGroup;
use lograft_storage::GroupLog;

use super::append::Door;
use crate::state_machine::SharedState;

/// A partition's replica on this node.
pub struct Replica {
    /// Its raft group.
    pub group: GroupId,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: PartitionId,
    /// Its part in the group.
    pub raft: RaftGroup,
    /// Its log.
    pub log: GroupLog,
    /// What its committed entries made of it.
    pub state: SharedState,
    /// Where batches get in while it leads.
    pub door: Arc<Door>,
}

/// The meta group's replica on this node.
#[derive(Clone)]
pub struct MetaReplica {
    /// Its part in the group.
    pub raft: RaftGroup,
    /// Its log.
    pub log: GroupLog,
}

/// All replicas of this node. Reading takes no lock. Cheap to clone.
#[derive(Clone, Default)]
pub struct ReplicaMap(Arc<Held>);

#[derive(Default)]
struct Held {
    meta: ArcSwapOption<MetaReplica>,
    partitions: ArcSwap<BTreeMap<GroupId, Arc<Replica>>>,
    corrupt: ArcSwap<BTreeMap<GroupId, Arc<str>>>,
}

impl ReplicaMap {
    /// The replica of a partition's group.
    pub fn get(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.0.partitions.load().get(&group).cloned()
    }

    /// The replicas of all partitions.
    pub fn all(&self) -> Arc<BTreeMap<GroupId, Arc<Replica>>> {
        self.0.partitions.load_full()
    }

    /// The meta group's replica, once the node belongs to a cluster.
    pub fn meta(&self) -> Option<Arc<MetaReplica>> {
        self.0.meta.load_full()
    }

    /// The part in any group, the meta group included: for what peers send.
    pub fn raft(&self, group: GroupId) -> Option<RaftGroup> {
        if group == GroupId::META {
            return self.meta().map(|meta| meta.raft.clone());
        }
        self.get(group).map(|replica| replica.raft.clone())
    }

    /// Why the replica of a group is not served, if its files are damaged.
    pub fn corrupt(&self, group: GroupId) -> Option<Arc<str>> {
        self.0.corrupt.load().get(&group).cloned()
    }

    /// All replicas whose files are damaged.
    pub fn all_corrupt(&self) -> Arc<BTreeMap<GroupId, Arc<str>>> {
        self.0.corrupt.load_full()
    }

    /// Adds the meta group's.
    pub fn set_meta(&self, replica: MetaReplica) {
        self.0.meta.store(Some(Arc::new(replica)));
    }

    /// Adds one, or takes the place of the group's; it is not corrupt then.
    pub fn insert(&self, replica: &Arc<Replica>) {
        self.set_corrupt(replica.group, None);
        self.0.partitions.rcu(|map| {
            let mut map = BTreeMap::clone(map);
            map.insert(replica.group, Arc::clone(replica));
            map
        });
    }

    /// Takes one out.
    pub fn remove(&self, group: GroupId) {
        self.0.partitions.rcu(|map| {
            let mut map = BTreeMap::clone(map);
            map.remove(&group);
            map
        });
    }

    /// Notes, or no longer notes, that a group's files are damaged.
    pub fn set_corrupt(&self, group: GroupId, reason: Option<&str>) {
        if reason.is_none() && !self.0.corrupt.load().contains_key(&group) {
            return;
        }
        self.0.corrupt.rcu(|map| {
            let mut map = BTreeMap::clone(map);
            match reason {
                Some(reason) => map.insert(group, reason.into()),
                None => map.remove(&group),
            };
            map
        });
    }
}
