//! Causes that keep a LogUser from being ready: a reason of its conditions and a sentence.

use std::fmt;

use lograft_crds::conditions::user::UserReason;

use crate::cluster::FeatureLevel;
use crate::consent::{ClusterKey, ConsentRefusal};

/// Something that a LogUser waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The spec is invalid.
    InvalidSpec {
        /// Cause.
        why: String,
    },
    /// The LogCluster does not exist.
    ClusterNotFound(ClusterKey),
    /// The operator does not watch the namespace of the LogCluster.
    NotWatched(ClusterKey),
    /// The LogCluster does not consent.
    NotAllowed(ConsentRefusal),
    /// The LogCluster is being deleted.
    ClusterDeleting(ClusterKey),
    /// The LogCluster is paused.
    ClusterPaused(ClusterKey),
    /// The LogCluster has no nodes with a cluster yet.
    ClusterNotBootstrapped(ClusterKey),
    /// No node gives an answer that can be used.
    ClusterUnreachable {
        /// The LogCluster.
        cluster: ClusterKey,
        /// Cause.
        why: String,
    },
    /// The principal is a super user of the LogCluster.
    NameReserved {
        /// The principal.
        principal: String,
        /// The LogCluster.
        cluster: ClusterKey,
    },
    /// The Secret belongs to somebody else.
    SecretNotOwned {
        /// Name of the Secret.
        secret: String,
        /// Its owner, if it has one.
        owner: Option<String>,
    },
    /// The LogCluster does not permit to grant a rule.
    GrantNotAllowed {
        /// Cause.
        why: String,
    },
    /// Somebody else has suspended the principal.
    SuspendedByAnother {
        /// The principal.
        principal: String,
    },
    /// The feature level that rules and revocations need is not finalized.
    LevelNotFinalized(FeatureLevel),
    /// The cluster refuses a request.
    Refused {
        /// Its error, with the action that it is about.
        why: String,
    },
    /// The CA of the cluster does not exist yet.
    AuthorityMissing(ClusterKey),
    /// The certificate, rules or revocations are changed in this step.
    Applying {
        /// The principal.
        principal: String,
    },
    /// The revocation is requested.
    Deleting {
        /// The principal.
        principal: String,
    },
    /// The revocation of a deleted user waits for something else.
    Deletion(Box<Wait>),
}

impl Wait {
    /// The reason of the condition `Ready` and in `status.blocked`.
    pub fn reason(&self) -> UserReason {
        match self {
            Self::InvalidSpec { .. } => UserReason::InvalidSpec,
            Self::ClusterNotFound(_) => UserReason::ClusterNotFound,
            Self::NotWatched(_) => UserReason::NamespaceNotWatched,
            Self::NotAllowed(_) => UserReason::NamespaceNotAllowed,
            Self::ClusterDeleting(_) => UserReason::ClusterDeleting,
            Self::ClusterPaused(_) => UserReason::ClusterPaused,
            Self::ClusterNotBootstrapped(_) => UserReason::ClusterNotBootstrapped,
            Self::ClusterUnreachable { .. } => UserReason::ClusterUnreachable,
            Self::NameReserved { .. } => UserReason::NameReserved,
            Self::SecretNotOwned { .. } => UserReason::SecretNotOwned,
            Self::GrantNotAllowed { .. } => UserReason::GrantNotAllowed,
            Self::SuspendedByAnother { .. } => UserReason::SuspendedByAnother,
            Self::LevelNotFinalized(_) => UserReason::LevelNotFinalized,
            Self::Refused { .. } => UserReason::Refused,
            Self::AuthorityMissing(_) => UserReason::AuthorityMissing,
            Self::Applying { .. } => UserReason::Applying,
            Self::Deleting { .. } => UserReason::Deleting,
            Self::Deletion(wait) => wait.reason(),
        }
    }

    /// Whether it may end without a change of the LogUser, so that it is looked at again soon.
    pub(super) fn may_end_soon(&self) -> bool {
        match self {
            Self::ClusterUnreachable { .. }
            | Self::AuthorityMissing(_)
            | Self::Applying { .. }
            | Self::Deleting { .. } => true,
            Self::Deletion(wait) => wait.may_end_soon(),
            _ => false,
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSpec { why } | Self::Refused { why } | Self::GrantNotAllowed { why } => {
                f.write_str(why)
            }
            Self::ClusterNotFound(cluster) => write!(f, "LogCluster {cluster} does not exist"),
            Self::NotWatched(cluster) => write!(
                f,
                "the operator does not watch namespace {}; add it to watchNamespaces of the chart",
                cluster.namespace
            ),
            Self::NotAllowed(refusal) => refusal.fmt(f),
            Self::ClusterDeleting(cluster) => write!(f, "LogCluster {cluster} is being deleted"),
            Self::ClusterPaused(cluster) => {
                write!(
                    f,
                    "LogCluster {cluster} is paused; set its spec.paused to false"
                )
            }
            Self::ClusterNotBootstrapped(cluster) => {
                write!(f, "LogCluster {cluster} has not been bootstrapped yet")
            }
            Self::ClusterUnreachable { cluster, why } => {
                write!(f, "no usable answer from LogCluster {cluster}: {why}")
            }
            Self::NameReserved { principal, cluster } => write!(
                f,
                "{principal} is a super user of LogCluster {cluster}, which a LogUser cannot be; \
                 choose another name"
            ),
            Self::SecretNotOwned { secret, owner } => {
                let owner = owner.as_deref().unwrap_or("somebody else");
                write!(
                    f,
                    "Secret {secret} belongs to {owner}; delete it, or create a LogUser with \
                     another spec.secretName"
                )
            }
            Self::SuspendedByAnother { principal } => write!(
                f,
                "somebody else has suspended {principal}; `lograft acl restore {principal}` \
                 takes it back"
            ),
            Self::LevelNotFinalized(finalized) => write!(
                f,
                "rules and revocations need {}, and {finalized} is finalized; the certificate is \
                 issued all the same",
                FeatureLevel::AUTHORIZATION
            ),
            Self::AuthorityMissing(cluster) => {
                write!(f, "the CA of LogCluster {cluster} does not exist yet")
            }
            Self::Applying { principal } => write!(f, "applying the changes of {principal}"),
            Self::Deleting { principal } => write!(f, "revoking {principal}"),
            Self::Deletion(wait) => write!(f, "the user is not revoked yet: {wait}"),
        }
    }
}
