//! The state that a node reports about itself and its replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lograft_core::check::NodeChecks;
use lograft_core::{FeatureLevel, GroupId, LogIndex, NodeId, Offset, RecoveryEpoch, Term};

use crate::identity::Member;

/// Report of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeReport {
    /// The node's cluster and id; `None` if it has not entered a cluster.
    pub(crate) member: Option<Member>,
    /// The version of its program.
    pub(crate) version: String,
    /// The newest feature level that it knows; 0 if it reports none.
    pub(crate) level: FeatureLevel,
    /// Size of the file system under its data directory; 0 if unknown.
    pub(crate) disk_total_bytes: u64,
    /// Free bytes of that file system; 0 if unknown.
    pub(crate) disk_free_bytes: u64,
    /// Whether it rejects writes because its disk is almost full.
    pub(crate) disk_low: bool,
    /// All replicas on the node, including the one of the meta group.
    pub(crate) replicas: Vec<ReplicaReport>,
    /// The index of the last metadata command that it has applied.
    pub(crate) meta_applied_index: LogIndex,
    /// Expiry of its certificate in seconds since the Unix epoch; `None` if not reported.
    pub(crate) certificate_not_after_s: Option<i64>,
    /// SHA-256 in hex of each CA certificate that it has loaded.
    pub(crate) ca_fingerprints: Vec<String>,
    /// Its raised checks; none from programs before 0.3.0.
    pub(crate) checks: NodeChecks,
    /// Peer addresses of the nodes that it knows; none from programs before 0.3.0.
    pub(crate) peers: Vec<(NodeId, Arc<str>)>,
    /// Ids of the gossip keys that it has loaded, the one that it sends with first.
    pub(crate) gossip_key_ids: Vec<String>,
    /// Why it cannot serve yet, one sentence; empty if it is ready.
    pub(crate) waits_for: String,
}

/// Report of a replica by its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplicaReport {
    /// The raft group.
    pub(crate) group: GroupId,
    /// Whether its files are corrupt. If so it neither votes nor serves, and only `group` is set.
    pub(crate) corrupt: bool,
    /// The current term.
    pub(crate) term: Term,
    /// The group's leader as far as this replica knows.
    pub(crate) leader: Option<NodeId>,
    /// Whether this replica leads and can serve.
    pub(crate) ready_leader: bool,
    /// The voters.
    pub(crate) voters: BTreeSet<NodeId>,
    /// The voters after a membership change that is in progress; empty without one.
    pub(crate) joint_voters: BTreeSet<NodeId>,
    /// The learners.
    pub(crate) learners: BTreeSet<NodeId>,
    /// Index of the last entry; 0 if the log is empty.
    pub(crate) last_index: LogIndex,
    /// Index of the last committed entry; 0 if there is none.
    pub(crate) committed_index: LogIndex,
    /// Index of the last applied entry; 0 if there is none.
    pub(crate) applied_index: LogIndex,
    /// The first readable offset.
    pub(crate) log_start_offset: Offset,
    /// The end of the readable offsets, exclusive.
    pub(crate) high_watermark: Offset,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// Entries that each follower is behind. Only a leader reports them.
    pub(crate) lags: BTreeMap<NodeId, u64>,
    /// Whether it does not vote, because the disk is older than its votes.
    pub(crate) fenced: bool,
    /// The term of the last entry; 0 if the log is empty, and from programs before 0.3.0.
    pub(crate) last_term: Term,
    /// The offset after the last record.
    pub(crate) log_end: Offset,
    /// The recovery epoch in which it takes part.
    pub(crate) recovery_epoch: RecoveryEpoch,
}
