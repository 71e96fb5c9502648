//! The controllers: they watch LogClusters with their objects, LogTopics and LogUsers, and
//! reconcile those that changed.

pub(crate) mod cluster;
mod dependents;
pub(crate) mod topic;
pub(crate) mod user;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, ready};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Action, Config, Error};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Client, Resource};
use lograft_crds::LogCluster;
use lograft_crds::limits::{RECONCILES_MAX_COUNT, RETRY_MAX_SECONDS, RETRY_MIN_SECONDS};
use lograft_crds::names::{LABEL_CLUSTER, LABEL_MANAGED_BY, OPERATOR};
use lograft_operator_desired::cluster::Contest;
use lograft_operator_desired::cluster::build::BuildError;
use lograft_operator_desired::{ObjectKey, Settings};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

use crate::args::Args;
use crate::cluster_topics::ClusterTopics;
use crate::error_text::error_text;
use crate::events::Publisher;
use crate::fleet::Fleet;
use crate::host_zones::HostZones;
use crate::kinds::{key, scoped};
use crate::metrics::Metrics;
use crate::scope::Scopes;
use cluster::{ReconcileError, Warned};
use topic::Topics;
use user::Users;

/// Clients and counters that all reconciles share.
pub(crate) struct Reconciler {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) events: Publisher,
    pub(crate) warned: Warned,
    /// The watched namespaces; empty for all.
    pub(crate) watched: Vec<String>,
    /// Which namespaces it manages.
    pub(crate) scopes: Scopes,
    /// Which cluster gets a changed template next.
    pub(crate) fleet: Fleet,
    /// Zones of hosts.
    pub(crate) host_zones: HostZones,
    /// Address of all nodes, instead of their DNS names.
    pub(crate) dialed: Option<SocketAddr>,
    /// Contested fields by cluster.
    contests: Mutex<BTreeMap<String, BTreeMap<ObjectKey, Contest>>>,
    /// Number of consecutive failures by object.
    failures: Mutex<BTreeMap<String, u32>>,
}

impl Reconciler {
    /// Fails if no template can be built with the settings.
    pub(crate) fn new(client: Client, args: &Args, metrics: Metrics) -> Result<Self, BuildError> {
        let settings = args.settings()?;
        let now = Timestamp::now().as_second();
        Ok(Self {
            fleet: Fleet::new(args.rollout_policy(), settings.revision.clone(), now),
            events: Publisher::new(client.clone(), args.pod_name.clone()),
            warned: Warned::default(),
            watched: args.namespaces(),
            scopes: Scopes::new(client.clone(), args.identity()),
            host_zones: HostZones::new(client.clone()),
            dialed: args.dial,
            contests: Mutex::default(),
            client,
            settings,
            metrics,
            failures: Mutex::default(),
        })
    }

    /// The back-off after a failure; it doubles with each consecutive failure of the object.
    fn back_off(&self, object: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object.to_owned()).or_default();
        let seconds = RETRY_MIN_SECONDS
            .checked_shl(*count)
            .unwrap_or(RETRY_MAX_SECONDS);
        *count = (*count + 1).min(16);
        Duration::from_secs(seconds.min(RETRY_MAX_SECONDS))
    }

    /// The contested fields of a cluster.
    pub(crate) fn contests(&self, cluster: &str) -> BTreeMap<ObjectKey, Contest> {
        let contests = self.contests.lock().unwrap_or_else(PoisonError::into_inner);
        contests.get(cluster).cloned().unwrap_or_default()
    }

    /// Keeps the contested fields of a cluster for its next plan.
    pub(crate) fn keep_contests(&self, cluster: &str, next: BTreeMap<ObjectKey, Contest>) {
        let mut contests = self.contests.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_empty() {
            contests.remove(cluster);
        } else {
            contests.insert(cluster.to_owned(), next);
        }
    }

    /// Resets the back-off of an object after a success.
    pub(crate) fn reset_back_off(&self, object: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(object);
    }
}

/// Runs the controllers of each namespace, or those for all namespaces if none is given, until
/// `stopped` is true.
pub(crate) async fn run(
    reconciler: Arc<Reconciler>,
    namespaces: Vec<String>,
    stopped: watch::Receiver<bool>,
) {
    let clusters = Arc::new(ClusterTopics::new(
        reconciler.client.clone(),
        reconciler.dialed,
        namespaces.clone(),
        reconciler.metrics.topics.clone(),
    ));
    let users = Arc::new(Users::new(Arc::clone(&reconciler), Arc::clone(&clusters)));
    let topics = Arc::new(Topics::new(Arc::clone(&reconciler), clusters));
    let scopes: Vec<Option<String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.into_iter().map(Some).collect()
    };
    while let Err(error) = reconciler.fleet.survey(&reconciler.client, &scopes).await {
        warn!(
            error = error_text(&error),
            "cannot list the LogClusters, will retry"
        );
        let mut stopped = stopped.clone();
        let pause = Duration::from_secs(RETRY_MIN_SECONDS);
        let stop = stopped.wait_for(|is_stopped| *is_stopped);
        if tokio::time::timeout(pause, stop).await.is_ok() {
            return;
        }
    }
    let controllers = scopes.iter().map(|namespace| {
        let reconciler = Arc::clone(&reconciler);
        run_one(reconciler, namespace.as_deref(), stopped.clone())
    });
    let topics = topic::run(topics, &scopes, stopped.clone());
    let users = user::run(users, &scopes, stopped.clone());
    tokio::join!(join_all(controllers), topics, users);
}

async fn run_one(
    reconciler: Arc<Reconciler>,
    namespace: Option<&str>,
    mut stopped: watch::Receiver<bool>,
) {
    let client = &reconciler.client;
    // Pods and PVCs belong to the StatefulSet, so they are found by their label, not their owner.
    let by_label = watcher::Config::default().labels(LABEL_CLUSTER);
    let clusters = scoped::<LogCluster>(client, namespace);
    let config = Config::default()
        .concurrency(RECONCILES_MAX_COUNT)
        .debounce(Duration::from_millis(500));
    let controller = Controller::new(clusters, watcher::Config::default()).with_config(config);
    let controller = owns::<ServiceAccount>(controller, client, namespace);
    let controller = owns::<ConfigMap>(controller, client, namespace);
    let controller = owns::<Secret>(controller, client, namespace);
    let controller = owns::<Service>(controller, client, namespace);
    let controller = owns::<PodDisruptionBudget>(controller, client, namespace);
    let controller = owns::<NetworkPolicy>(controller, client, namespace);
    let controller = owns::<Role>(controller, client, namespace);
    let controller = owns::<RoleBinding>(controller, client, namespace);
    let controller = owns::<StatefulSet>(controller, client, namespace);
    let pods = scoped::<Pod>(client, namespace);
    let disks = scoped::<PersistentVolumeClaim>(client, namespace);
    let controller = controller
        .watches(pods, by_label.clone(), |pod| cluster_of(&pod))
        .watches(disks, by_label, |disk| cluster_of(&disk))
        .graceful_shutdown_on(async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        });
    let on_error =
        |cluster: Arc<LogCluster>, error: &ReconcileError, reconciler: Arc<Reconciler>| {
            let key = key(&*cluster);
            let pause = reconciler.back_off(&key);
            warn!(
                cluster = key,
                error = error_text(error),
                pause_seconds = pause.as_secs(),
                "reconcile failed, will retry"
            );
            Action::requeue(pause)
        };
    controller
        .run(cluster::reconcile, on_error, Arc::clone(&reconciler))
        .for_each(|result| {
            match result {
                // A failure was logged above; an object that is gone needs nothing.
                Ok(_) | Err(Error::ReconcilerFailed(..) | Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    reconciler.metrics.watch_errors.inc();
                    warn!(error = error_text(&error), "watch failed, restarting");
                }
            }
            ready(())
        })
        .await;
}

/// Watches objects with the operator's label. One that loses the label leaves the watch, which
/// triggers a reconcile too.
fn owns<K>(
    controller: Controller<LogCluster>,
    client: &Client,
    namespace: Option<&str>,
) -> Controller<LogCluster>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug + Send + 'static,
{
    let own = watcher::Config::default().labels(&format!("{LABEL_MANAGED_BY}={OPERATOR}"));
    // By its label if it has lost its owner: that has to be put back.
    let cluster = |object: K| owner_of(&object).or_else(|| cluster_of(&object));
    controller.watches(scoped::<K>(client, namespace), own, cluster)
}

fn owner_of<K: Resource>(object: &K) -> Option<ObjectRef<LogCluster>> {
    let mut owners = object.meta().owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.kind == "LogCluster")?;
    let namespace = object.meta().namespace.as_ref()?;
    Some(ObjectRef::new(&owner.name).within(namespace))
}

fn cluster_of<K: Resource>(object: &K) -> Option<ObjectRef<LogCluster>> {
    let name = object.meta().labels.as_ref()?.get(LABEL_CLUSTER)?;
    let namespace = object.meta().namespace.as_ref()?;
    Some(ObjectRef::new(name).within(namespace))
}
