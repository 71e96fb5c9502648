//! The LogClusters of this release as a fleet: which of them gets a changed template next is
//! decided in one place, one cluster after the other.
//!
//! A cluster that was granted its turn counts as rolling from that moment on, so that two
//! reconciles at the same time do not both get the last slot. All of it is in status too: a new
//! leader first looks at all clusters.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::api::ListParams;
use kube::{Client, ResourceExt as _};
use lograft_crds::LogCluster;
use lograft_crds::limits::{FLEET_MEMBER_FRESH_SECONDS, FLEET_SURVEY_MAX_SECONDS};
use lograft_operator_desired::cluster::wave_of_annotations;
use lograft_operator_desired::fleet::{Held, Member, Policy, Progress, admit};
use tracing::info;

use crate::kinds::{key, scoped};

/// The fleet.
pub(crate) struct Fleet {
    policy: Policy,
    revision: String,
    /// Start of this leader, seconds since 1970.
    started: i64,
    clusters: Mutex<Clusters>,
}

/// The clusters as they were at their last reconciles, by key.
#[derive(Debug, Default)]
struct Clusters {
    members: BTreeMap<String, Member>,
    /// Times of the reconciles, seconds since 1970.
    seen: BTreeMap<String, i64>,
    /// Those that wait for others.
    held: BTreeMap<String, Held>,
}

/// Numbers of clusters, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) rolling: usize,
    pub(crate) stuck: usize,
    pub(crate) held: usize,
}

impl Fleet {
    /// A fleet without clusters. `started` is the time now, seconds since 1970.
    pub(crate) fn new(policy: Policy, revision: String, started: i64) -> Self {
        Self {
            policy,
            revision,
            started,
            clusters: Mutex::default(),
        }
    }

    /// Enters all existing clusters of these scopes, so that none is granted its turn before those
    /// that go first have been looked at.
    pub(crate) async fn survey(
        &self,
        client: &Client,
        scopes: &[Option<String>],
    ) -> Result<(), kube::Error> {
        for scope in scopes {
            let api = scoped::<LogCluster>(client, scope.as_deref());
            let found = api.list_metadata(&ListParams::default()).await?;
            let mut clusters = self.lock();
            for cluster in found.items {
                let unknown = Member::unknown(wave_of_annotations(cluster.annotations()));
                let key = key(&cluster);
                clusters.seen.entry(key.clone()).or_insert(self.started);
                clusters.members.entry(key).or_insert(unknown);
            }
        }
        Ok(())
    }

    /// Whether a cluster may get its changed template now, or why not.
    pub(crate) fn decide(&self, cluster: &str, member: &Member, now: i64) -> Option<Held> {
        let mut clusters = self.lock();
        let Clusters {
            members,
            seen,
            held,
        } = &mut *clusters;
        if now - self.started >= FLEET_SURVEY_MAX_SECONDS {
            // Their reconciles fail: they must not hold up the others.
            members.retain(|_, member| member.progress != Progress::Unknown);
        }
        members.insert(cluster.to_owned(), member.clone());
        seen.insert(cluster.to_owned(), now);
        let former = held.remove(cluster);
        let request = member.request.as_ref()?;
        // It waits for a person or for its maintenance window.
        if !request.may_start {
            return None;
        }
        match admit(members, cluster, &self.revision, &self.policy, now) {
            Ok(()) => {
                info!(cluster, cause = ?request.cause, "rolling out a changed template");
                let granted = Member {
                    progress: Progress::Rolling,
                    revision: Some(self.revision.clone()),
                    cause: Some(request.cause),
                    request: None,
                    ..member.clone()
                };
                members.insert(cluster.to_owned(), granted);
                None
            }
            Err(why) => {
                if former.as_ref() != Some(&why) {
                    info!(cluster, waiting_for = %why, "a changed template waits");
                }
                held.insert(cluster.to_owned(), why.clone());
                Some(why)
            }
        }
    }

    /// Removes a cluster that is gone, or that another release manages.
    pub(crate) fn forget(&self, cluster: &str) {
        let mut clusters = self.lock();
        clusters.members.remove(cluster);
        clusters.seen.remove(cluster);
        clusters.held.remove(cluster);
    }

    /// Whether a cluster that another one waits for may be gone: it has not been reconciled for
    /// longer than each one is.
    pub(crate) fn may_be_gone(&self, cluster: &str, now: i64) -> bool {
        let clusters = self.lock();
        let seen = clusters.seen.get(cluster);
        seen.is_some_and(|seen| now - seen > FLEET_MEMBER_FRESH_SECONDS)
    }

    /// Numbers of clusters.
    pub(crate) fn counts(&self) -> Counts {
        let clusters = self.lock();
        let members = || clusters.members.values();
        let count = |progress| members().filter(|it| it.progress == progress).count();
        Counts {
            rolling: count(Progress::Rolling),
            stuck: count(Progress::Stuck),
            held: members().filter(|it| it.request.is_some()).count(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clusters> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
