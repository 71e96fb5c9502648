//! The topics of each LogCluster, listed once for all of its LogTopics, and the facts that its
//! LogUsers depend on, read at the same time if there are any.
//!
//! A list counts for some seconds. Who needs a newer one, because what it is about to do cannot be
//! undone, waits for one that was requested after a given time; all that wait share it. Everybody
//! else takes the last one if a new one is not there within a second: a cluster that does not
//! answer holds up nobody.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use lograft_crds::limits::{
    TOPICS_FRESH_SECONDS, TOPICS_RETRY_SECONDS, TOPICS_UNUSED_SECONDS, TOPICS_WAIT_MAX_SECONDS,
};
use lograft_crds::log_cluster::MemberRole;
use lograft_crds::names::ClusterNames;
use lograft_crds::{LogCluster, LogClusterStatus};
use lograft_operator_desired::cluster::FeatureLevel;
use lograft_operator_desired::consent::ClusterKey;
use lograft_operator_desired::topic::{
    FoundCluster, ObservedCluster, ObservedTopic, ObservedTopics,
};
use tokio::time::timeout;

use crate::admin_client::{AdminClient, NodeError, TopicClient};
use crate::cluster_users::{self, ClusterUsers};
use crate::error_text::error_text;
use crate::metrics::TopicMetrics;

/// Time for which a reconcile waits for a list that another one has requested.
const WAIT: Duration = Duration::from_secs(TOPICS_WAIT_MAX_SECONDS);

/// A LogCluster and its topics at one time.
pub(crate) struct Snapshot {
    /// Start of its reads.
    started: Instant,
    /// Time for which it counts.
    kept: Duration,
    pub(crate) cluster: ObservedCluster,
    topics: Listing,
    /// Connection to the node that gave the list.
    pub(crate) client: Option<TopicClient>,
    /// The facts that LogUsers depend on; none if no LogUser names the cluster.
    users: Option<ClusterUsers>,
}

/// The topics of a snapshot.
enum Listing {
    NotAsked,
    Unreachable(String),
    Listed(Mutex<BTreeMap<String, ObservedTopic>>),
}

impl Snapshot {
    /// The facts that LogUsers depend on, if they were read.
    pub(crate) fn users(&self) -> Option<&ClusterUsers> {
        self.users.as_ref()
    }

    fn is_listed(&self) -> bool {
        matches!(self.topics, Listing::Listed(_))
    }

    /// The topic with this name.
    pub(crate) fn topic(&self, name: &str) -> ObservedTopics {
        match &self.topics {
            Listing::NotAsked => ObservedTopics::NotAsked,
            Listing::Unreachable(why) => ObservedTopics::Unreachable(why.clone()),
            Listing::Listed(topics) => ObservedTopics::Listed(lock(topics).get(name).cloned()),
        }
    }

    /// Enters the result of a request.
    pub(crate) fn enter(&self, name: &str, topic: Option<ObservedTopic>) {
        let Listing::Listed(topics) = &self.topics else {
            return;
        };
        match topic {
            Some(topic) => lock(topics).insert(name.to_owned(), topic),
            None => lock(topics).remove(name),
        };
    }
}

/// The answer of a node to a list.
struct Listed {
    topics: Listing,
    client: Option<TopicClient>,
    finalized: FeatureLevel,
    /// Version of the metadata that each member has applied, by its name.
    members: BTreeMap<String, u64>,
}

impl Listed {
    fn not(topics: Listing) -> Self {
        Self {
            topics,
            client: None,
            finalized: FeatureLevel::default(),
            members: BTreeMap::new(),
        }
    }
}

/// Why there is no list; none if the nodes were not asked.
fn why_not(topics: &Listing) -> Option<String> {
    match topics {
        Listing::Unreachable(why) => Some(why.clone()),
        Listing::NotAsked | Listing::Listed(_) => None,
    }
}

/// The last snapshot of a LogCluster.
#[derive(Default)]
struct Slot {
    last: Mutex<Option<Arc<Snapshot>>>,
    is_outdated: AtomicBool,
    /// Whether a LogUser has named the cluster.
    has_users: AtomicBool,
    /// Held while a snapshot is taken.
    taking: tokio::sync::Mutex<()>,
}

impl Slot {
    fn last(&self) -> Option<Arc<Snapshot>> {
        lock(&self.last).clone()
    }

    /// The last snapshot, if it still counts.
    fn fresh(&self) -> Option<Arc<Snapshot>> {
        let is_outdated = self.is_outdated.load(Ordering::Relaxed);
        let last = self.last().filter(|_| !is_outdated);
        last.filter(|it| it.started.elapsed() < it.kept)
    }
}

/// The LogClusters that LogTopics name.
pub(crate) struct ClusterTopics {
    client: Client,
    dialed: Option<SocketAddr>,
    /// The watched namespaces; empty for all.
    watched: Vec<String>,
    calls: TopicMetrics,
    slots: Mutex<BTreeMap<ClusterKey, Arc<Slot>>>,
}

impl ClusterTopics {
    pub(crate) fn new(
        client: Client,
        dialed: Option<SocketAddr>,
        watched: Vec<String>,
        calls: TopicMetrics,
    ) -> Self {
        Self {
            client,
            dialed,
            watched,
            calls,
            slots: Mutex::default(),
        }
    }

    /// A snapshot that counts, or the last one if taking another takes longer. Fails if the API
    /// server does not answer.
    pub(crate) async fn recent(&self, cluster: &ClusterKey) -> Result<Arc<Snapshot>, kube::Error> {
        let slot = self.slot(cluster);
        if let Some(fresh) = slot.fresh() {
            return Ok(fresh);
        }
        let taking = match (slot.taking.try_lock(), slot.last()) {
            (Ok(taking), _) => taking,
            (Err(_), None) => slot.taking.lock().await,
            (Err(_), Some(last)) if !last.is_listed() => return Ok(last),
            // Nodes that answer do so within this time.
            (Err(_), Some(last)) => match timeout(WAIT, slot.taking.lock()).await {
                Ok(taking) => taking,
                Err(_) => return Ok(last),
            },
        };
        if let Some(fresh) = slot.fresh() {
            return Ok(fresh);
        }
        let taken = self.take(cluster, &slot).await;
        drop(taking);
        taken
    }

    /// A snapshot whose reads started after `earliest`.
    pub(crate) async fn newer_than(
        &self,
        cluster: &ClusterKey,
        earliest: Instant,
    ) -> Result<Arc<Snapshot>, kube::Error> {
        let slot = self.slot(cluster);
        let _taking = slot.taking.lock().await;
        if let Some(last) = slot.last().filter(|last| last.started > earliest) {
            return Ok(last);
        }
        self.take(cluster, &slot).await
    }

    /// The same with everything that LogUsers depend on; the last snapshot may be without.
    pub(crate) async fn recent_users(
        &self,
        cluster: &ClusterKey,
    ) -> Result<Arc<Snapshot>, kube::Error> {
        self.with_users(cluster);
        self.recent(cluster).await
    }

    /// The same whose reads started after `earliest`.
    pub(crate) async fn newer_users(
        &self,
        cluster: &ClusterKey,
        earliest: Instant,
    ) -> Result<Arc<Snapshot>, kube::Error> {
        self.with_users(cluster);
        self.newer_than(cluster, earliest).await
    }

    fn with_users(&self, cluster: &ClusterKey) {
        let slot = self.slot(cluster);
        if !slot.has_users.swap(true, Ordering::Relaxed) {
            slot.is_outdated.store(true, Ordering::Relaxed);
        }
    }

    /// The last snapshot of a LogCluster does not count any more: the LogCluster has changed.
    pub(crate) fn outdate(&self, cluster: &ClusterKey) {
        if let Some(slot) = lock(&self.slots).get(cluster) {
            slot.is_outdated.store(true, Ordering::Relaxed);
        }
    }

    fn slot(&self, cluster: &ClusterKey) -> Arc<Slot> {
        Arc::clone(lock(&self.slots).entry(cluster.clone()).or_default())
    }

    /// Drops the clusters that no LogTopic has named for some time.
    fn drop_unused(&self) {
        let unused = Duration::from_secs(TOPICS_UNUSED_SECONDS);
        let is_used = |slot: &Arc<Slot>| {
            let last = slot.last();
            last.is_none_or(|last| last.started.elapsed() < unused)
        };
        lock(&self.slots).retain(|_, slot| is_used(slot));
    }

    async fn take(&self, cluster: &ClusterKey, slot: &Slot) -> Result<Arc<Snapshot>, kube::Error> {
        self.drop_unused();
        let started = Instant::now();
        slot.is_outdated.store(false, Ordering::Relaxed);
        let found = self.read(cluster).await?;
        let Listed {
            topics,
            client,
            finalized,
            members,
        } = match &found {
            Some(found) => self.list(cluster, found).await?,
            None => Listed::not(Listing::NotAsked),
        };
        let users = if found.is_some() && slot.has_users.load(Ordering::Relaxed) {
            self.calls.calls.with_label_values(&["list_access"]).inc();
            let asked = client.as_ref().ok_or_else(|| why_not(&topics));
            let state = (finalized, members);
            Some(cluster_users::read(&self.client, cluster, asked, state).await?)
        } else {
            None
        };
        let seconds = if matches!(topics, Listing::Listed(_)) {
            TOPICS_FRESH_SECONDS
        } else {
            TOPICS_RETRY_SECONDS
        };
        let snapshot = Arc::new(Snapshot {
            started,
            kept: Duration::from_secs(seconds),
            cluster: match &found {
                Some(found) => ObservedCluster::Found(FoundCluster::new(found)),
                None if self.is_watched(&cluster.namespace) => ObservedCluster::Missing,
                None => ObservedCluster::NotWatched,
            },
            topics,
            client,
            users,
        });
        *lock(&slot.last) = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn is_watched(&self, namespace: &str) -> bool {
        self.watched.is_empty() || self.watched.iter().any(|it| it == namespace)
    }

    /// The LogCluster; none if it does not exist, or in a namespace that is not watched.
    async fn read(&self, cluster: &ClusterKey) -> Result<Option<LogCluster>, kube::Error> {
        if !self.is_watched(&cluster.namespace) {
            return Ok(None);
        }
        let api: Api<LogCluster> = Api::namespaced(self.client.clone(), &cluster.namespace);
        api.get_opt(&cluster.name).await
    }

    async fn list(&self, key: &ClusterKey, cluster: &LogCluster) -> Result<Listed, kube::Error> {
        let facts = FoundCluster::new(cluster);
        if !facts.may_be_asked() {
            return Ok(Listed::not(Listing::NotAsked));
        }
        let names = ClusterNames(&key.name);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let secret = secrets.get_opt(&names.operator_tls()).await?;
        let Some(secret) = secret else {
            let why = "the operator has no certificate for it yet".to_owned();
            return Ok(Listed::not(Listing::Unreachable(why)));
        };
        self.calls.calls.with_label_values(&["list"]).inc();
        let host_of = |pod: &str| {
            let service = names.nodes_service();
            format!("{pod}.{service}.{}.svc", key.namespace)
        };
        let hosts: Vec<String> = pods(names, cluster)
            .iter()
            .map(|pod| host_of(pod))
            .collect();
        let asked = match AdminClient::new(&secret, self.dialed) {
            Ok(admin) => admin.topics(&hosts, host_of).await,
            Err(error) => Err(error),
        };
        Ok(match asked {
            Ok((client, list)) if Some(&list.cluster_id) == facts.id.as_ref() => Listed {
                topics: Listing::Listed(Mutex::new(list.topics)),
                client: Some(client),
                finalized: list.finalized,
                members: list.members,
            },
            Ok((_, list)) => {
                let why = format!("its nodes belong to cluster {}", list.cluster_id);
                Listed::not(Listing::Unreachable(why))
            }
            Err(error) => Listed::not(Listing::Unreachable(node_error(&error))),
        })
    }
}

fn node_error(error: &NodeError) -> String {
    error_text(error)
}

/// The pods to ask: the leader of the metadata group first, then those that are ready.
fn pods(names: ClusterNames<'_>, cluster: &LogCluster) -> Vec<String> {
    let members = |status: &LogClusterStatus| {
        let mut members = status.members.clone();
        members.sort_by_key(|member| (member.role != Some(MemberRole::Leader), !member.ready));
        let names = members.into_iter().map(|member| member.name);
        names.collect::<Vec<String>>()
    };
    let known = cluster.status.as_ref().map(members).unwrap_or_default();
    if known.is_empty() {
        return (0..cluster.spec.replicas).map(|at| names.pod(at)).collect();
    }
    known
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
