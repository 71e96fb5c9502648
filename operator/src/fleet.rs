//! The LogClusters of this release as a fleet: which of them gets a changed template next is
//! decided in one place, one cluster after the other.
//!
//! A cluster that was granted its turn counts as rolling from that moment on, so that two
//! reconciles at the same time do not both get the last slot. All of it is in status too: a new
//! leader first looks at all clusters.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, ResourceExt as _};
use lograft_crds::LogCluster;
use lograft_crds::limits::{FLEET_MEMBER_FRESH_SECONDS, FLEET_SURVEY_MAX_SECONDS};
use lograft_operator_desired::cluster::wave_of_annotations;
use lograft_operator_desired::fleet::{Held, Member, Policy, Progress, admit};
use tracing::info;

/// The fleet.
pub(crate) struct Fleet {
    policy: Policy,
    revision: String,
    /// Start of this leader, seconds since 1970.
    started: i64,
    clusters: Mutex<BTreeMap<String, Entry>>,
}

/// A cluster as it was at its last reconcile.
#[derive(Clone, Debug)]
struct Entry {
    member: Member,
    seen: i64,
    held: Option<Held>,
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

    /// Enters all existing clusters, so that none is granted its turn before those that go first
    /// have been looked at.
    pub(crate) async fn survey(
        &self,
        client: &Client,
        namespaces: &[String],
    ) -> Result<(), kube::Error> {
        let apis: Vec<Api<LogCluster>> = if namespaces.is_empty() {
            vec![Api::all(client.clone())]
        } else {
            let scoped = namespaces.iter();
            scoped
                .map(|namespace| Api::namespaced(client.clone(), namespace))
                .collect()
        };
        for api in apis {
            let found = api.list_metadata(&ListParams::default()).await?;
            let mut clusters = self.lock();
            for cluster in found.items {
                clusters.entry(key(&cluster)).or_insert_with(|| Entry {
                    member: Member::unknown(wave_of_annotations(cluster.annotations())),
                    seen: self.started,
                    held: None,
                });
            }
        }
        Ok(())
    }

    /// Whether a cluster may get its changed template now, or why not.
    pub(crate) fn decide(&self, cluster: &str, member: Member, now: i64) -> Option<Held> {
        let mut clusters = self.lock();
        if now - self.started >= FLEET_SURVEY_MAX_SECONDS {
            // Their reconciles fail: they must not hold up the others.
            clusters.retain(|_, entry| entry.member.progress != Progress::Unknown);
        }
        let former = clusters.get(cluster).and_then(|entry| entry.held.clone());
        let entry = Entry {
            member,
            seen: now,
            held: None,
        };
        let request = entry.member.request.as_ref();
        let waits_by_itself = request.is_some_and(|request| !request.may_start);
        clusters.insert(cluster.to_owned(), entry);
        if waits_by_itself {
            return None;
        }
        let members: BTreeMap<String, Member> = clusters
            .iter()
            .map(|(key, entry)| (key.clone(), entry.member.clone()))
            .collect();
        let held = admit(&members, cluster, &self.revision, &self.policy, now).err();
        let entry = clusters.get_mut(cluster)?;
        if held.is_none()
            && let Some(request) = entry.member.request.take()
        {
            info!(
                cluster,
                cause = ?request.cause,
                "rolling out a changed template"
            );
            entry.member.progress = Progress::Rolling;
            entry.member.revision = Some(self.revision.clone());
            entry.member.cause = Some(request.cause);
        } else if held != former
            && let Some(held) = &held
        {
            info!(cluster, waiting_for = %held, "a changed template waits");
        }
        entry.held.clone_from(&held);
        held
    }

    /// Removes a cluster that is gone, or that another release manages.
    pub(crate) fn forget(&self, cluster: &str) {
        self.lock().remove(cluster);
    }

    /// Whether a cluster that another one waits for may be gone: it has not been reconciled for
    /// longer than each one is.
    pub(crate) fn may_be_gone(&self, cluster: &str, now: i64) -> bool {
        let clusters = self.lock();
        let entry = clusters.get(cluster);
        entry.is_some_and(|entry| now - entry.seen > FLEET_MEMBER_FRESH_SECONDS)
    }

    /// Numbers of clusters.
    pub(crate) fn counts(&self) -> Counts {
        let clusters = self.lock();
        let count = |is: fn(&Entry) -> bool| clusters.values().filter(|entry| is(entry)).count();
        Counts {
            rolling: count(|entry| entry.member.progress == Progress::Rolling),
            stuck: count(|entry| entry.member.progress == Progress::Stuck),
            held: count(|entry| entry.member.request.is_some()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(cluster: &PartialObjectMeta<LogCluster>) -> String {
    let namespace = cluster.namespace().unwrap_or_default();
    format!("{namespace}/{}", cluster.name_any())
}
