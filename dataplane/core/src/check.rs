//! The named checks: everything that can be wrong with a node or the cluster, in one table.
//!
//! A node evaluates its own checks from local facts ([`evaluate`]). `/readyz`, metrics, `lograft
//! cluster status`, DescribeCluster and the status of a LogCluster all show the same list.

mod evaluate;
mod placement;
mod report;

use std::fmt;

use crate::ids::{ClusterId, NodeId};

pub use evaluate::{ClockState, ForeignDisk, NodeFacts, StartPhase, evaluate};
pub use placement::PlacementFindings;
pub use report::{CheckReport, NodeChecks};

/// How severe a raised check is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Expected for a while; the cluster counts as healthy.
    #[default]
    Note,
    /// Something is at risk, or works worse than it should.
    Warning,
    /// Something does not work.
    Critical,
}

impl Severity {
    /// All severities, the lowest first.
    pub const ALL: [Self; 3] = [Self::Note, Self::Warning, Self::Critical];

    /// The public name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity of this name. An unknown one is of a later version and counts as a warning.
    pub fn from_wire(name: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|severity| severity.as_str() == name)
            .unwrap_or(Self::Warning)
    }

    /// Whether the cluster counts as unhealthy because of it.
    pub const fn degrades(self) -> bool {
        !matches!(self, Self::Note)
    }
}

/// Whose state a check describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckScope {
    /// One node: evaluated by the node itself.
    Node,
    /// One node, which is not ready while the check is raised.
    NotReady,
    /// The cluster: evaluated by the node that describes it.
    Cluster,
    /// The cluster: evaluated by each node from the metadata alone, with the same result.
    Metadata,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct CheckInfo {
    /// The public name.
    pub name: &'static str,
    /// Its severity while it is raised.
    pub severity: Severity,
    /// Whose state it describes.
    pub scope: CheckScope,
    /// The rest of a sentence about the node, with evidence in braces. For the cluster: the
    /// meaning.
    pub summary: &'static str,
    /// Next step of the operator.
    pub next_step: &'static str,
}

macro_rules! checks {
    (
        $($scope:ident $severity:ident $kind:ident = $name:literal, $summary:literal,
            $next:literal;)*
    ) => {
        /// Name of a check.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the table says what each means")]
        pub enum CheckName {
            $($kind,)*
        }

        impl CheckName {
            /// All checks, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The row of the check.
            pub const fn info(self) -> CheckInfo {
                match self {
                    $(Self::$kind => CheckInfo {
                        name: $name,
                        severity: Severity::$severity,
                        scope: CheckScope::$scope,
                        summary: $summary,
                        next_step: $next,
                    },)*
                }
            }
        }
    };
}

// The names are public and keep their meaning. The most important checks are first: lists of raised
// checks are in this order.
checks! {
    Cluster Critical MetaNoLeader = "META_NO_LEADER",
        "the meta group has no leader",
        "start enough nodes that a majority of the meta group's voters runs";
    Cluster Critical PartitionUnavailable = "PARTITION_UNAVAILABLE",
        "a partition has no leader",
        "start the nodes that hold its replicas";
    NotReady Note Decommissioned = "DECOMMISSIONED",
        "has been decommissioned permanently",
        "delete the node and its disk";
    NotReady Critical DiskForeign = "DISK_FOREIGN",
        "has a disk of cluster {disk_cluster}, but its seeds belong to cluster {cluster}",
        "give the node its own disk, or an empty data directory: then it joins as a new node";
    NotReady Note NotInCluster = "NOT_IN_CLUSTER",
        "does not belong to a cluster",
        "bootstrap it, or configure seeds";
    NotReady Note MetaLeaderUnknown = "META_LEADER_UNKNOWN",
        "knows no leader of the meta group",
        "check that it reaches the other nodes";
    NotReady Note CatchingUp = "CATCHING_UP",
        "is catching up with the meta group's log",
        "wait";
    NotReady Note ReplicasOpening = "REPLICAS_OPENING",
        "has {count} replicas that are not open yet",
        "wait; its log names replicas that cannot be opened";
    Cluster Critical ReplicaCorrupt = "REPLICA_CORRUPT",
        "a replica is corrupt",
        "check the disk of its node; the replica is repaired from the others";
    Cluster Critical NodeUnreachable = "NODE_UNREACHABLE",
        "a node does not answer",
        "check whether the node runs, and its network";
    Cluster Critical NodeLost = "NODE_LOST",
        "a node is lost, and its replicas are replaced by replicas on other nodes",
        "wait; replicas without a majority need the node, or \"lograft cluster recover\"";
    NotReady Critical DiskHung = "DISK_HUNG",
        "has a disk that hangs: a write has not returned for {for_ms} ms",
        "check the disk; the node ends by itself and is back once the disk works";
    Node Critical DiskRunsTwice = "DISK_RUNS_TWICE",
        "shares its disk with another process, which runs on a copy of it",
        "stop one of the two processes, and restart the other one";
    Node Critical DiskOlder = "DISK_OLDER",
        "has a disk that is older than its votes: {count} groups do not vote on it before the \
         other nodes have caught them up",
        "wait; groups without a majority on other nodes wait for \"lograft cluster \
         accept-older-disk\"";
    Node Critical DiskFull = "DISK_FULL",
        "takes no records: its disk has only {free_bytes} and {free_inodes} inodes free",
        "grow the disk, or lower the retention of topics";
    Node Critical DiskLow = "DISK_LOW",
        "rejects writes: its disk has only {free_bytes} free",
        "grow the disk, or lower the retention of topics";
    Node Warning ClockOff = "CLOCK_OFF",
        "has a clock that differs by {difference_ms} ms from most nodes: age retention and expiry \
         of producers are paused on it",
        "correct the clock of its machine";
    Node Note ClockUnconfirmed = "CLOCK_UNCONFIRMED",
        "has recent clock readings of {count} nodes, fewer than a majority: age retention and \
         expiry of producers are paused on it",
        "check that it reaches the other nodes";
    Cluster Warning MetaFewVoters = "META_FEW_VOTERS",
        "the meta group has fewer voters than the number of nodes allows",
        "wait; check that all nodes run";
    Cluster Note NodeDraining = "NODE_DRAINING",
        "a node is being decommissioned",
        "wait, or cancel with \"lograft cluster recommission\"";
    Cluster Note NodeReplaced = "NODE_REPLACED",
        "a node is lost, and all of its replicas were replaced",
        "start the node again, or give its id up with \"lograft cluster decommission\"";
    Cluster Warning PartitionUnderReplicated = "PARTITION_UNDER_REPLICATED",
        "a partition has a replica that is missing or behind",
        "wait; check the nodes that hold its replicas";
    Metadata Note PartitionSingleReplica = "PARTITION_SINGLE_REPLICA",
        "{count} topics have partitions with one replica, although more nodes could hold one: a \
         lost disk loses their records",
        "run \"lograft topic alter --replication-factor\"";
    Metadata Note PartitionFewReplicas = "PARTITION_FEW_REPLICAS",
        "{count} topics have partitions with fewer replicas than new topics get",
        "run \"lograft topic alter --replication-factor\"";
    Metadata Note PartitionBelowFactor = "PARTITION_BELOW_FACTOR",
        "{count} topics have partitions with fewer replicas than their replication factor",
        "wait until they are copied; check that there are as many nodes, and that they run";
    Metadata Note NodeWithoutReplicas = "NODE_WITHOUT_REPLICAS",
        "{count} nodes have no replicas, while others have several",
        "create topics or add partitions: they use these nodes; existing replicas stay where they \
         are";
    Cluster Note UpgradeNotFinalized = "UPGRADE_NOT_FINALIZED",
        "all nodes know a newer feature level than the finalized one",
        "run \"lograft cluster finalize\" once no return to the former version is needed";
}

impl CheckName {
    /// The check with this public name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|check| check.info().name == name)
    }

    /// The public name.
    pub const fn as_str(self) -> &'static str {
        self.info().name
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fact for which a check is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A number of things that the check is about.
    Count(u64),
    /// Free bytes of the disk.
    FreeBytes(u64),
    /// Free inodes of the disk.
    FreeInodes(u64),
    /// Difference to the expected value, milliseconds; negative if it is behind.
    DifferenceMs(i64),
    /// Time since it started, milliseconds.
    ForMs(u64),
    /// A node that the check is about.
    Node(NodeId),
    /// The cluster that the check is about.
    Cluster(ClusterId),
    /// The cluster that the disk of the node belongs to.
    DiskCluster(ClusterId),
}

impl Evidence {
    /// The key: the name of the value, which ends in its unit.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Count(_) => "count",
            Self::FreeBytes(_) => "free_bytes",
            Self::FreeInodes(_) => "free_inodes",
            Self::DifferenceMs(_) => "difference_ms",
            Self::ForMs(_) => "for_ms",
            Self::Node(_) => "node_id",
            Self::Cluster(_) => "cluster",
            Self::DiskCluster(_) => "disk_cluster",
        }
    }

    /// The value, for programs.
    pub fn value(self) -> String {
        match self {
            Self::Count(n) | Self::FreeBytes(n) | Self::FreeInodes(n) | Self::ForMs(n) => {
                n.to_string()
            }
            Self::DifferenceMs(ms) => ms.to_string(),
            Self::Node(node) => node.to_string(),
            Self::Cluster(cluster) | Self::DiskCluster(cluster) => cluster.to_string(),
        }
    }

    /// Key and value, for programs.
    pub fn pair(self) -> (String, String) {
        (self.key().to_owned(), self.value())
    }

    /// The value, for people.
    fn text(self) -> String {
        match self {
            Self::FreeBytes(bytes) => format!("{} MiB", bytes / (1024 * 1024)),
            other => other.value(),
        }
    }
}

/// A check that is raised, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaisedCheck {
    /// The check.
    pub name: CheckName,
    /// The facts.
    pub evidence: Vec<Evidence>,
}

impl RaisedCheck {
    /// A raised check with its evidence.
    pub fn new(name: CheckName, evidence: impl Into<Vec<Evidence>>) -> Self {
        let evidence = evidence.into();
        Self { name, evidence }
    }

    /// The summary with its evidence: the rest of a sentence that starts with the node.
    pub fn text(&self) -> String {
        let mut text = self.name.info().summary.to_owned();
        for evidence in &self.evidence {
            let place = format!("{{{}}}", evidence.key());
            text = text.replace(&place, &evidence.text());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_known() {
        for (at, check) in CheckName::ALL.iter().enumerate() {
            assert_eq!(CheckName::from_name(check.as_str()), Some(*check));
            let others = &CheckName::ALL[at + 1..];
            assert!(others.iter().all(|other| other.as_str() != check.as_str()));
            let CheckInfo {
                summary, next_step, ..
            } = check.info();
            assert!(!summary.is_empty() && !next_step.is_empty(), "{check}");
        }
        assert_eq!(CheckName::from_name("NO_SUCH"), None);
    }

    #[test]
    fn every_place_in_a_summary_is_a_key_of_evidence() {
        let all = [
            Evidence::Count(1),
            Evidence::FreeBytes(2 << 20),
            Evidence::FreeInodes(3),
            Evidence::DifferenceMs(-4),
            Evidence::ForMs(5),
            Evidence::Node(NodeId(6)),
            Evidence::Cluster(ClusterId::from_bytes([7; 16])),
            Evidence::DiskCluster(ClusterId::from_bytes([8; 16])),
        ];
        for check in CheckName::ALL {
            let text = RaisedCheck::new(*check, all).text();
            assert!(!text.contains(['{', '}']), "{text}");
        }
        let low = RaisedCheck::new(CheckName::DiskLow, [Evidence::FreeBytes(5 << 20)]);
        assert_eq!(low.text(), "rejects writes: its disk has only 5 MiB free");
    }

    #[test]
    fn an_unknown_severity_degrades() {
        for severity in Severity::ALL {
            assert_eq!(Severity::from_wire(severity.as_str()), severity);
        }
        assert!(Severity::from_wire("").degrades());
        assert!(!Severity::Note.degrades());
    }
}
