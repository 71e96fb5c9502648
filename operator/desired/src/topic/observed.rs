//! An observation of everything that the plan of a LogTopic depends on.

use std::collections::BTreeMap;

use lograft_crds::LogCluster;
use lograft_crds::log_cluster::{AllowedNamespaces, LogDefaults, UserGrant};

use crate::cluster::super_users;
use crate::cluster_wait::ClusterWait;
use crate::consent::{Applicant, ClusterKey, ConsentRefusal, consent};
use crate::topic::setting::SettingKey;

/// All reads of a reconcile.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The time now, seconds since 1970.
    pub now_unix_seconds: i64,
    /// The LogCluster that the LogTopic names.
    pub cluster: ObservedCluster,
    /// Labels of the LogTopic's namespace; none if they are not needed or could not be read.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// The topics of the cluster.
    pub topics: ObservedTopics,
    /// Other LogTopics that name the same topic.
    pub rivals: Vec<Claimant>,
    /// Why the cluster has refused the last request for this generation of the spec, while the
    /// request is not repeated.
    pub refusal: Option<String>,
}

impl Observed {
    /// The observation for a LogTopic whose spec is invalid: nothing depends on it.
    pub fn nothing(now_unix_seconds: i64) -> Self {
        Self {
            now_unix_seconds,
            cluster: ObservedCluster::Missing,
            namespace_labels: None,
            topics: ObservedTopics::NotAsked,
            rivals: Vec::new(),
            refusal: None,
        }
    }
}

/// The LogCluster that a LogTopic names.
#[derive(Clone, Debug, PartialEq)]
pub enum ObservedCluster {
    /// The operator does not watch its namespace.
    NotWatched,
    /// It does not exist.
    Missing,
    /// It exists.
    Found(FoundCluster),
}

impl ObservedCluster {
    /// The LogCluster `key`, if it exists and consents.
    pub(crate) fn consenting(
        &self,
        key: &ClusterKey,
        applicant: Applicant<'_>,
    ) -> Result<&FoundCluster, ClusterWait> {
        match self {
            Self::NotWatched => Err(ClusterWait::NotWatched(key.clone())),
            Self::Missing if key.namespace == applicant.namespace => {
                Err(ClusterWait::NotFound(key.clone()))
            }
            Self::Missing => {
                let refusal = ConsentRefusal::of_missing(applicant, key);
                Err(ClusterWait::NotAllowed(refusal))
            }
            Self::Found(found) => {
                let consented = consent(applicant, key, found.allowed.as_ref());
                consented.map(|()| found).map_err(ClusterWait::NotAllowed)
            }
        }
    }
}

/// The facts of a LogCluster that its topics depend on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundCluster {
    /// ID of the cluster, once it has been bootstrapped.
    pub id: Option<String>,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Whether it is being deleted.
    pub is_deleting: bool,
    /// Other namespaces whose objects may name it.
    pub allowed: Option<AllowedNamespaces>,
    /// Users who may do everything, as principals.
    pub super_users: Vec<String>,
    /// What LogUsers may grant.
    pub user_grants: Vec<UserGrant>,
    /// Lifetime of its certificates.
    pub leaf_seconds: i64,
    /// Its defaults for new topics.
    pub defaults: BTreeMap<SettingKey, u64>,
}

impl FoundCluster {
    /// The facts of a LogCluster.
    pub fn new(cluster: &LogCluster) -> Self {
        let status = cluster.status.as_ref();
        let leaf = cluster.spec.tls.leaf_validity.seconds();
        let bootstrapped = status.filter(|status| status.bootstrapped);
        Self {
            id: bootstrapped.and_then(|status| status.cluster_id.clone()),
            is_paused: cluster.spec.paused,
            is_deleting: cluster.metadata.deletion_timestamp.is_some(),
            allowed: cluster.spec.allowed_namespaces.clone(),
            super_users: super_users(&cluster.spec.authorization),
            user_grants: cluster.spec.user_grants.clone(),
            leaf_seconds: leaf.ok().and_then(|it| i64::try_from(it).ok()).unwrap_or(0),
            defaults: defaults(&cluster.spec.log),
        }
    }

    /// The ID of the LogCluster `key`, if it may be managed: it is not being deleted, is not paused
    /// and has been bootstrapped.
    pub(crate) fn open_id(&self, key: &ClusterKey) -> Result<&str, ClusterWait> {
        if self.is_deleting {
            return Err(ClusterWait::Deleting(key.clone()));
        }
        if self.is_paused {
            return Err(ClusterWait::Paused(key.clone()));
        }
        let id = self.id.as_deref();
        id.ok_or_else(|| ClusterWait::NotBootstrapped(key.clone()))
    }

    /// Whether its nodes may be asked.
    pub fn may_be_asked(&self) -> bool {
        self.id.is_some() && !self.is_paused && !self.is_deleting
    }
}

fn defaults(log: &LogDefaults) -> BTreeMap<SettingKey, u64> {
    let bytes = |size: &Option<lograft_crds::ByteSize>| size.as_ref()?.bytes().ok();
    let time = log.retention.time.as_ref();
    let ms = time.and_then(|time| time.seconds().ok()?.checked_mul(1000));
    let all = [
        (SettingKey::RetentionBytes, bytes(&log.retention.size)),
        (SettingKey::RetentionMs, ms),
        (SettingKey::BatchMaxBytes, bytes(&log.max_batch_size)),
        (SettingKey::RecordMaxBytes, bytes(&log.max_record_size)),
    ];
    let set = all
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    set.collect()
}

/// The topics of a cluster as its nodes list them.
#[derive(Clone, Debug, PartialEq)]
pub enum ObservedTopics {
    /// The nodes were not asked: the LogCluster does not permit it.
    NotAsked,
    /// No node gave an answer that can be used.
    Unreachable(String),
    /// The topic with the name that the LogTopic has; none if there is no such topic.
    Listed(Option<ObservedTopic>),
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedTopic {
    /// ID in the cluster.
    pub id: u64,
    /// Number of partitions.
    pub partitions: u32,
    /// Number of replicas of a partition.
    pub replication_factor: u32,
    /// The settings that are set.
    pub settings: BTreeMap<SettingKey, u64>,
    /// Number of partitions that have no leader.
    pub leaderless: u32,
    /// Number of partitions with a leader that lack a replica.
    pub under_replicated: u32,
    /// Bytes on the disks of the leaders; none if they were not asked for.
    pub bytes: Option<u64>,
}

/// A LogTopic that names a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its creation, seconds since 1970.
    pub created_unix_seconds: i64,
    /// ID of the topic in its status, if that is of the same cluster.
    pub topic_id: Option<u64>,
    /// Labels of its namespace; none if they are not needed or could not be read.
    pub namespace_labels: Option<BTreeMap<String, String>>,
}
