//! An observation of everything that the plan of a LogUser depends on.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::FeatureLevel;
use crate::cluster_wait::ClusterWait;
use crate::consent::ClusterKey;
use crate::topic::ObservedCluster;
use crate::user::access::{Revocation, RuleSet};

/// All reads of a reconcile.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The time now, seconds since 1970.
    pub now_unix_seconds: i64,
    /// The LogCluster that the LogUser names.
    pub cluster: ObservedCluster,
    /// Labels of the LogUser's namespace; none if they are not needed or could not be read.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// The CA of the cluster; none if it has not been created.
    pub authority: Option<ObservedAuthority>,
    /// The Secret of the user.
    pub secret: ObservedUserSecret,
    /// Rules and revocations of the user.
    pub access: ObservedAccess,
}

impl Observed {
    /// The observation for a LogUser whose spec is invalid: nothing depends on it.
    pub fn nothing(now_unix_seconds: i64) -> Self {
        Self {
            now_unix_seconds,
            cluster: ObservedCluster::Missing,
            namespace_labels: None,
            authority: None,
            secret: ObservedUserSecret::Missing,
            access: ObservedAccess::NotAsked,
        }
    }
}

/// The CA of a cluster, and the bundle that its first user has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedAuthority {
    /// Key identifier of the CA.
    pub key: String,
    /// Whether certificates of a former CA may be replaced: everybody trusts the new one. The first
    /// user's certificate is then issued by it.
    pub is_settled: bool,
    /// Fingerprints of the roots in the bundle.
    pub roots: Vec<String>,
}

/// The Secret of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObservedUserSecret {
    /// There is none.
    #[default]
    Missing,
    /// It belongs to somebody else. Nothing in it is read.
    Foreign {
        /// Kind and name of its owner; none if it has none.
        owner: Option<String>,
    },
    /// It belongs to the LogUser.
    Own {
        /// The certificate, if it is usable and has the key beside it.
        certificate: Option<UserCertificate>,
        /// Fingerprints of the roots in its bundle.
        roots: Vec<String>,
    },
}

impl ObservedUserSecret {
    /// The certificate, if the Secret belongs to the LogUser.
    pub(super) fn certificate(&self) -> Option<&UserCertificate> {
        match self {
            Self::Own { certificate, .. } => certificate.as_ref(),
            Self::Missing | Self::Foreign { .. } => None,
        }
    }
}

/// A certificate of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserCertificate {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Start of its validity, seconds since 1970.
    pub not_before: i64,
    /// End of its validity, seconds since 1970.
    pub not_after: i64,
    /// Key identifier of its issuer.
    pub issuer_key: String,
    /// Its names.
    pub names: BTreeSet<String>,
    /// Whether its key is an Ed25519 key.
    pub is_ed25519: bool,
}

/// Rules and revocations of a user as the cluster has them.
#[derive(Clone, Debug, PartialEq)]
pub enum ObservedAccess {
    /// The nodes were not asked: the LogCluster does not permit it.
    NotAsked,
    /// No node gave an answer that can be used.
    Unreachable(String),
    /// They were listed.
    Listed(UserAccess),
}

impl ObservedAccess {
    /// The listed ones, or the wait for an answer of the LogCluster.
    pub(super) fn listed(&self, cluster: &ClusterKey) -> Result<&UserAccess, ClusterWait> {
        let cluster = cluster.clone();
        match self {
            Self::Listed(access) => Ok(access),
            Self::Unreachable(why) => {
                let why = why.clone();
                Err(ClusterWait::Unreachable { cluster, why })
            }
            Self::NotAsked => Err(ClusterWait::not_asked(cluster)),
        }
    }
}

/// Rules and revocations of a user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserAccess {
    /// The finalized feature level.
    pub finalized: FeatureLevel,
    /// Its rules.
    pub rules: RuleSet,
    /// The revocation of the principal.
    pub revocation: Option<Revocation>,
    /// The end of that revocation, seconds since 1970; none if it has none.
    pub revocation_end: Option<i64>,
    /// Serial numbers that are revoked.
    pub serials: BTreeSet<String>,
    /// Version of the metadata that rules and revocations were listed from; 0 if it is not known.
    pub version: u64,
    /// Version that each member has applied, by its name; 0 if it is not known.
    pub members: BTreeMap<String, u64>,
}
