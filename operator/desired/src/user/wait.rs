//! Causes that keep a LogUser from being ready: a reason of its conditions and a sentence.

use std::fmt;

use lograft_crds::conditions::user::UserReason;

use crate::cluster::FeatureLevel;
use crate::cluster_wait::ClusterWait;
use crate::consent::ClusterKey;
use crate::validation::ValidationError;

/// Something that a LogUser waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The spec is invalid.
    InvalidSpec {
        /// Cause.
        why: String,
    },
    /// Something about the LogCluster.
    Cluster(ClusterWait),
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
    /// The wait for another spec, with the chain of causes.
    pub(super) fn invalid(error: &ValidationError) -> Self {
        let why = error.sentence();
        Self::InvalidSpec { why }
    }

    /// The reason of the condition `Ready` and in `status.blocked`.
    pub fn reason(&self) -> UserReason {
        match self {
            Self::InvalidSpec { .. } => UserReason::InvalidSpec,
            Self::Cluster(ClusterWait::NotFound(_)) => UserReason::ClusterNotFound,
            Self::Cluster(ClusterWait::NotWatched(_)) => UserReason::NamespaceNotWatched,
            Self::Cluster(ClusterWait::NotAllowed(_)) => UserReason::NamespaceNotAllowed,
            Self::Cluster(ClusterWait::Deleting(_)) => UserReason::ClusterDeleting,
            Self::Cluster(ClusterWait::Paused(_)) => UserReason::ClusterPaused,
            Self::Cluster(ClusterWait::NotBootstrapped(_)) => UserReason::ClusterNotBootstrapped,
            Self::Cluster(ClusterWait::Unreachable { .. }) => UserReason::ClusterUnreachable,
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

    /// Whether the cluster's rules or revocations are not those of the spec and are left so.
    pub(super) fn leaves_access(&self) -> bool {
        matches!(
            self,
            Self::GrantNotAllowed { .. }
                | Self::SuspendedByAnother { .. }
                | Self::LevelNotFinalized(_)
                | Self::Refused { .. }
        )
    }

    /// Whether it may end without a change of the LogUser, so that it is looked at again soon.
    pub(super) fn may_end_soon(&self) -> bool {
        match self {
            Self::Cluster(ClusterWait::Unreachable { .. })
            | Self::AuthorityMissing(_)
            | Self::Applying { .. }
            | Self::Deleting { .. } => true,
            Self::Deletion(wait) => wait.may_end_soon(),
            _ => false,
        }
    }
}

impl From<ClusterWait> for Wait {
    fn from(wait: ClusterWait) -> Self {
        Self::Cluster(wait)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSpec { why } | Self::Refused { why } | Self::GrantNotAllowed { why } => {
                f.write_str(why)
            }
            Self::Cluster(wait) => wait.fmt(f),
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
