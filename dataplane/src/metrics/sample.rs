//! Current values, taken when somebody scrapes.

use lograft_core::FeatureLevel;
use lograft_core::check::NodeChecks;
use lograft_discovery::gossip::GossipReport;

/// One replica of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSample {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
    /// The raft term.
    pub term: u64,
    /// Whether this node leads it.
    pub leads: bool,
    /// The offset below which records are committed.
    pub high_watermark: u64,
    /// The first offset still there.
    pub log_start: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Entries that the slowest follower is behind; on the leader.
    pub lag_entries: Option<u64>,
}

/// Other nodes as gossip knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberCounts {
    /// Phi is below its bound.
    pub reachable: usize,
    /// Phi is above it.
    pub unreachable: usize,
}

/// A node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Replicas that lead.
    pub leaders_count: usize,
    /// Replicas that follow and vote.
    pub followers_count: usize,
    /// Replicas that only learn.
    pub learners_count: usize,
    /// Replicas whose files are damaged.
    pub corrupt_count: usize,
    /// Replicas that do not vote because the disk is older than their votes, with the meta group.
    pub fenced_count: usize,
    /// Nodes that are marked as lost, as this node knows it.
    pub lost_nodes_count: usize,
    /// Replicas on lost nodes that are not replaced yet.
    pub lost_replicas_count: usize,
    /// Requests of other nodes that were refused for their recovery epoch.
    pub other_epoch_count: u64,
    /// Groups on this node that were recovered after the loss of their majority.
    pub recovered_count: usize,
    /// Each partition's replica; those beyond `METRICS_PARTITIONS_MAX_COUNT` are not shown.
    pub partitions: Vec<PartitionSample>,
    /// The finalized feature level, as this node knows it.
    pub finalized_level: FeatureLevel,
    /// Free space for the data.
    pub disk_free_bytes: u64,
    /// Size of the data's disk.
    pub disk_total_bytes: u64,
    /// Whether writes are refused for space.
    pub disk_low: bool,
    /// The raised checks.
    pub checks: NodeChecks,
    /// When the node's certificate expires, seconds since the Unix epoch.
    pub certificate_expiry_s: i64,
    /// The state of gossip, if it is on.
    pub gossip: Option<GossipReport>,
    /// The other nodes as gossip knows them.
    pub members: MemberCounts,
}

/// Knows the current values.
pub trait Sampler: Send + Sync + 'static {
    /// Takes them. Called in a request for metrics: no waiting, no disk.
    fn sample(&self) -> Sample;
}
