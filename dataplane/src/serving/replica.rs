//! The replicas on this node, shared by `serving`, `control` and the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use lograft_core::{GroupId, PartitionId};
use lograft_raft::RaftGroup;
use lograft_storage::GroupLog;

use super::append::{Coalescer, PartitionAppender};
use crate::state_machine::{SharedGroups, SharedState};

/// The partition that a replica belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionKey {
    /// Its raft group.
    pub(crate) group: GroupId,
    /// The topic's name.
    pub(crate) topic: Arc<str>,
    /// The number of the partition within the topic.
    pub(crate) partition: PartitionId,
}

/// A partition's replica on this node.
pub(crate) struct Replica {
    /// Its raft group.
    pub(crate) group: GroupId,
    /// The topic's name.
    pub(crate) topic: Arc<str>,
    /// The number of the partition within the topic.
    pub(crate) partition: PartitionId,
    /// The local member of the raft group.
    pub(crate) raft: RaftGroup,
    /// The local log.
    pub(crate) log: GroupLog,
    /// The applied state.
    pub(crate) state: SharedState,
    /// Appends batches while this node leads.
    pub(crate) appender: Arc<PartitionAppender>,
    /// Coalesces plain records of unary calls.
    pub(crate) coalescer: Arc<Coalescer>,
    /// The consumer groups of a coordinator; none of a partition. A coordinator has no records: no
    /// request of a client finds it by a topic's name.
    pub(crate) groups: Option<SharedGroups>,
}

impl Replica {
    /// A replica whose raft group runs over `log` and applies to `state`.
    pub(crate) fn new(
        key: PartitionKey,
        raft: RaftGroup,
        log: GroupLog,
        (state, groups): (SharedState, Option<SharedGroups>),
    ) -> Self {
        let PartitionKey {
            group,
            topic,
            partition,
        } = key;
        let appender = PartitionAppender::new(raft.clone(), log.clone(), state.clone());
        let appender = Arc::new(appender);
        Self {
            group,
            topic,
            partition,
            raft,
            log,
            state,
            coalescer: Arc::new(Coalescer::new(Arc::clone(&appender))),
            appender,
            groups,
        }
    }
}

/// The meta group's replica on this node.
#[derive(Clone)]
pub(crate) struct MetaReplica {
    /// The local member of the raft group.
    pub(crate) raft: RaftGroup,
    /// The local log.
    pub(crate) log: GroupLog,
}

/// All replicas of this node. Reading takes no lock. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct ReplicaMap(Arc<Replicas>);

#[derive(Default)]
struct Replicas {
    meta: ArcSwapOption<MetaReplica>,
    partitions: ArcSwap<BTreeMap<GroupId, Arc<Replica>>>,
    corrupt: ArcSwap<BTreeMap<GroupId, Arc<str>>>,
}

impl ReplicaMap {
    /// The replica of a partition's group.
    pub(crate) fn get(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.0.partitions.load().get(&group).cloned()
    }

    /// The replicas of all partitions.
    pub(crate) fn all(&self) -> Arc<BTreeMap<GroupId, Arc<Replica>>> {
        self.0.partitions.load_full()
    }

    /// The meta group's replica, once the node belongs to a cluster.
    pub(crate) fn meta(&self) -> Option<Arc<MetaReplica>> {
        self.0.meta.load_full()
    }

    /// The local member of any raft group, the meta group included.
    pub(crate) fn raft(&self, group: GroupId) -> Option<RaftGroup> {
        if group == GroupId::META {
            return self.meta().map(|meta| meta.raft.clone());
        }
        self.get(group).map(|replica| replica.raft.clone())
    }

    /// The local members of all raft groups, the meta group first.
    pub(crate) fn rafts(&self) -> Vec<RaftGroup> {
        let meta = self.raft(GroupId::META);
        let partitions = self.all();
        let partitions = partitions.values().map(|replica| replica.raft.clone());
        meta.into_iter().chain(partitions).collect()
    }

    /// All replicas with corrupt files, and why.
    pub(crate) fn all_corrupt(&self) -> Arc<BTreeMap<GroupId, Arc<str>>> {
        self.0.corrupt.load_full()
    }

    /// Adds the meta group's replica.
    pub(crate) fn set_meta(&self, replica: MetaReplica) {
        self.0.meta.store(Some(Arc::new(replica)));
    }

    /// Adds a replica, or replaces the one of its group. The group is no longer corrupt then.
    pub(crate) fn insert(&self, replica: &Arc<Replica>) {
        self.set_corrupt(replica.group, None);
        self.0.partitions.rcu(|map| {
            let mut map = BTreeMap::clone(map);
            map.insert(replica.group, Arc::clone(replica));
            map
        });
    }

    /// Removes the replica of a group.
    pub(crate) fn remove(&self, group: GroupId) {
        self.0.partitions.rcu(|map| {
            let mut map = BTreeMap::clone(map);
            map.remove(&group);
            map
        });
    }

    /// Marks a group's files as corrupt with a reason, or as sound with none.
    pub(crate) fn set_corrupt(&self, group: GroupId, reason: Option<&str>) {
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
