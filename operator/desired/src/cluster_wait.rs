//! Causes in the named LogCluster that keep a LogTopic or LogUser from being ready.

use std::fmt;

use crate::consent::{ClusterKey, ConsentRefusal};

/// Something about the named LogCluster that an object waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterWait {
    /// The LogCluster does not exist.
    NotFound(ClusterKey),
    /// The operator does not watch the namespace of the LogCluster.
    NotWatched(ClusterKey),
    /// The LogCluster does not consent.
    NotAllowed(ConsentRefusal),
    /// The LogCluster is being deleted.
    Deleting(ClusterKey),
    /// The LogCluster is paused.
    Paused(ClusterKey),
    /// The LogCluster has no nodes with a cluster yet.
    NotBootstrapped(ClusterKey),
    /// No node gives an answer that can be used.
    Unreachable {
        /// The LogCluster.
        cluster: ClusterKey,
        /// Cause.
        why: String,
    },
}

impl ClusterWait {
    /// The wait for the first answer of a LogCluster.
    pub(crate) fn not_asked(cluster: ClusterKey) -> Self {
        let why = "it has not been asked yet".to_owned();
        Self::Unreachable { cluster, why }
    }
}

impl fmt::Display for ClusterWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(cluster) => write!(f, "LogCluster {cluster} does not exist"),
            Self::NotWatched(cluster) => write!(
                f,
                "the operator does not watch namespace {}; add it to watchNamespaces of the chart",
                cluster.namespace
            ),
            Self::NotAllowed(refusal) => refusal.fmt(f),
            Self::Deleting(cluster) => write!(f, "LogCluster {cluster} is being deleted"),
            Self::Paused(cluster) => {
                write!(
                    f,
                    "LogCluster {cluster} is paused; set its spec.paused to false"
                )
            }
            Self::NotBootstrapped(cluster) => {
                write!(f, "LogCluster {cluster} has not been bootstrapped yet")
            }
            Self::Unreachable { cluster, why } => {
                write!(f, "no usable answer from LogCluster {cluster}: {why}")
            }
        }
    }
}
