//! The state of the cluster for operators: nodes, partitions and problems.

use lograft_core::check::{CheckName, CheckReport, Evidence, Severity};
use lograft_core::lost_nodes::LostReplicas;
use lograft_core::metadata::{Recovery, Registration, TopicId};
use lograft_core::{
    ClusterId, FeatureLevel, GroupId, NodeId, NodeState, Offset, PartitionId, RecoveryEpoch, Term,
    TopicConfig,
};

use crate::control::node_report::NodeReport;

/// The whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterDescription {
    /// The cluster's id; `None` if the answering node belongs to no cluster.
    pub(crate) cluster: Option<ClusterId>,
    /// The finalized feature level.
    pub(crate) finalized_level: FeatureLevel,
    /// The last recovery of the metadata: its epoch and time.
    pub(crate) metadata_recovery: Option<(RecoveryEpoch, i64)>,
    /// Whether no problem degrades the cluster.
    pub(crate) healthy: bool,
    /// The leader of the meta group.
    pub(crate) meta_leader: Option<NodeId>,
    /// The node that made the description.
    pub(crate) answered_by: Option<NodeId>,
    /// All nodes, including removed ones.
    pub(crate) nodes: Vec<NodeDescription>,
    /// Number of topics.
    pub(crate) topic_count: usize,
    /// All partitions.
    pub(crate) partitions: Vec<PartitionDescription>,
    /// What is wrong, the most severe first.
    pub(crate) problems: Vec<Problem>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeDescription {
    /// Its id.
    pub(crate) id: NodeId,
    /// Its name and addresses.
    pub(crate) registration: Registration,
    /// Its state in the metadata.
    pub(crate) state: NodeState,
    /// Its report, without the replicas; `None` if it did not answer.
    pub(crate) report: Option<NodeReport>,
    /// Its part in the meta group.
    pub(crate) meta_role: MetaRole,
    /// Number of partition replicas that it has or gets.
    pub(crate) replica_count: u32,
    /// Number of partitions that it leads.
    pub(crate) leader_count: u32,
    /// Entries that it is behind, summed over all groups.
    pub(crate) lag_entries: u64,
    /// Set while it is marked as lost.
    pub(crate) lost: Option<LostNode>,
}

/// A node that is marked as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostNode {
    /// The time of its last sign, milliseconds since the Unix epoch.
    pub(crate) since_ms: i64,
    /// Its replicas.
    pub(crate) replicas: LostReplicas,
}

/// A node's part in the meta group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaRole {
    /// Not known, because the group has no leader.
    Unknown,
    /// The leader.
    Leader,
    /// A voter.
    Voter,
    /// A learner.
    Learner,
    /// Not a member of the group.
    None,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicDescription {
    /// Its name.
    pub(crate) name: String,
    /// Its id.
    pub(crate) id: TopicId,
    /// Number of replicas of each partition.
    pub(crate) replication_factor: u32,
    /// Its settings.
    pub(crate) config: TopicConfig,
    /// Its partitions.
    pub(crate) partitions: Vec<PartitionDescription>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionDescription {
    /// The topic's name.
    pub(crate) topic: String,
    /// The partition's number.
    pub(crate) partition: PartitionId,
    /// Its raft group.
    pub(crate) group: GroupId,
    /// Its leader.
    pub(crate) leader: Option<NodeId>,
    /// The term of the leader; 0 without one.
    pub(crate) leader_epoch: Term,
    /// The leader that the metadata prefers.
    pub(crate) preferred_leader: Option<NodeId>,
    /// Its last recovery after the loss of its majority.
    pub(crate) recovery: Option<Recovery>,
    /// Its replicas: first the assigned ones, then those that are added or removed.
    pub(crate) replicas: Vec<ReplicaDescription>,
    /// The first readable offset; 0 without a leader.
    pub(crate) log_start_offset: Offset,
    /// The end of the readable offsets, exclusive; 0 without a leader.
    pub(crate) high_watermark: Offset,
    /// Bytes on the leader's disk.
    pub(crate) bytes: u64,
    /// The replicas after a reassignment that is in progress; empty without one.
    pub(crate) target: Vec<NodeId>,
    /// Its health.
    pub(crate) health: PartitionHealth,
}

/// Health of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartitionHealth {
    /// All assigned replicas are in sync.
    Healthy,
    /// It has a leader, but not all assigned replicas are in sync.
    UnderReplicated,
    /// It has no leader.
    Unavailable,
}

/// A replica of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaDescription {
    /// Its node.
    pub(crate) node: NodeId,
    /// Its state.
    pub(crate) state: ReplicaState,
    /// Entries that it is behind the leader, if the leader knows.
    pub(crate) lag_entries: Option<u64>,
    /// Whether it is a voter.
    pub(crate) voter: bool,
}

/// State of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaState {
    /// At most `IN_SYNC_LAG_MAX_COUNT` entries behind.
    InSync,
    /// Further behind, or its progress is unknown.
    Behind,
    /// Its node has not created it yet.
    Missing,
    /// Its files are corrupt.
    Corrupt,
    /// Its node did not answer.
    Unreachable,
}

/// A raised check, of one node or of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The public name of the check, which may be one of a later version.
    pub(crate) kind: String,
    /// A sentence for people.
    pub(crate) text: String,
    /// Its severity.
    pub(crate) severity: Severity,
    /// Next step, for people.
    pub(crate) next_step: String,
    /// The facts: key and value.
    pub(crate) evidence: Vec<(String, String)>,
    /// The node that raised it; `None` if it is about the cluster.
    pub(crate) node: Option<NodeId>,
}

impl Problem {
    /// A check of the cluster, with a sentence that says what it is about.
    pub(crate) fn of_cluster(name: CheckName, text: String, evidence: &[Evidence]) -> Self {
        let info = name.info();
        Self {
            kind: info.name.to_owned(),
            text,
            severity: info.severity,
            next_step: info.next_step.to_owned(),
            evidence: evidence.iter().copied().map(Evidence::pair).collect(),
            node: None,
        }
    }

    /// A check that a node has raised; `subject` names the node.
    pub(crate) fn of_node(node: NodeId, subject: &str, check: &CheckReport) -> Self {
        let CheckReport {
            name,
            severity,
            not_ready: _,
            text,
            next_step,
            evidence,
        } = check.clone();
        Self {
            kind: name,
            text: format!("{subject} {text}"),
            severity,
            next_step,
            evidence,
            node: Some(node),
        }
    }

    /// Rank among the problems of a cluster: the order of the table of checks, then unknown ones.
    pub(crate) fn rank(&self) -> usize {
        let mut all = CheckName::ALL.iter();
        let known = all.position(|name| name.as_str() == self.kind);
        known.unwrap_or(usize::MAX)
    }
}
