//! Which clusters are looked at, and when: watches on them and on what stands for them.

pub(crate) mod cluster;

use std::collections::BTreeMap;
use std::fmt::Debug;
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
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Action, Config, Error};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource};
use lograft_crds::LogCluster;
use lograft_crds::limits::{RECONCILES_MAX_COUNT, RETRY_MAX_SECONDS, RETRY_MIN_SECONDS};
use lograft_crds::names::{LABEL_CLUSTER, LABEL_MANAGED_BY, OPERATOR};
use lograft_operator_desired::Settings;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

use crate::args::Args;
use crate::error_text::sentence;
use crate::metrics::Metrics;
use cluster::ReconcileError;

/// What every reconcile has at hand.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) recorder: Recorder,
    /// Failures in a row, by cluster.
    failures: Mutex<BTreeMap<String, u32>>,
}

impl Context {
    pub(crate) fn new(client: Client, args: &Args, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: OPERATOR.to_owned(),
            instance: Some(args.pod_name.clone()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            settings: args.settings(),
            metrics,
            failures: Mutex::default(),
        }
    }

    /// The pause after a failure: it doubles with each in a row.
    fn pause(&self, cluster: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(cluster.to_owned()).or_default();
        let seconds = RETRY_MIN_SECONDS
            .checked_shl(*count)
            .unwrap_or(RETRY_MAX_SECONDS);
        *count = (*count + 1).min(16);
        Duration::from_secs(seconds.min(RETRY_MAX_SECONDS))
    }

    pub(crate) fn succeeded(&self, cluster: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(cluster);
    }
}

/// Looks after the clusters of these namespaces, of all if there are none, until told to stop.
pub(crate) async fn run(
    context: Arc<Context>,
    namespaces: Vec<String>,
    stopped: watch::Receiver<bool>,
) {
    let places: Vec<Option<String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.into_iter().map(Some).collect()
    };
    let controllers = places.into_iter().map(|place| {
        let context = Arc::clone(&context);
        let stopped = stopped.clone();
        async move { one(context, place.as_deref(), stopped).await }
    });
    join_all(controllers).await;
}

async fn one(context: Arc<Context>, place: Option<&str>, mut stopped: watch::Receiver<bool>) {
    let client = &context.client;
    // Pods and claims are the StatefulSet's: they are found by their label.
    let by_label = watcher::Config::default().labels(LABEL_CLUSTER);
    let clusters = scoped::<LogCluster>(client, place);
    let config = Config::default()
        .concurrency(RECONCILES_MAX_COUNT)
        .debounce(Duration::from_millis(500));
    let controller = Controller::new(clusters, watcher::Config::default()).with_config(config);
    let controller = owns::<ServiceAccount>(controller, client, place);
    let controller = owns::<ConfigMap>(controller, client, place);
    let controller = owns::<Secret>(controller, client, place);
    let controller = owns::<Service>(controller, client, place);
    let controller = owns::<PodDisruptionBudget>(controller, client, place);
    let controller = owns::<NetworkPolicy>(controller, client, place);
    let controller = owns::<StatefulSet>(controller, client, place);
    let pods = scoped::<Pod>(client, place);
    let disks = scoped::<PersistentVolumeClaim>(client, place);
    let controller = controller
        .watches(pods, by_label.clone(), |pod| cluster_of(&pod))
        .watches(disks, by_label, |disk| cluster_of(&disk))
        .graceful_shutdown_on(async move {
            // An error means that whoever tells is gone: then it ends too.
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        });
    let on_error = |cluster: Arc<LogCluster>, error: &ReconcileError, context: Arc<Context>| {
        let key = cluster::key(&cluster);
        let pause = context.pause(&key);
        warn!(
            cluster = key,
            error = sentence(error),
            pause_seconds = pause.as_secs(),
            "failed"
        );
        Action::requeue(pause)
    };
    controller
        .run(cluster::reconcile, on_error, Arc::clone(&context))
        .for_each(|result| {
            match result {
                // Told where it happened, or of an object that is gone.
                Ok(_) | Err(Error::ReconcilerFailed(..) | Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    context.metrics.watch_errors.inc();
                    warn!(
                        error = sentence(&error),
                        "a watch failed; it is begun again"
                    );
                }
            }
            ready(())
        })
        .await;
}

/// Objects whose label was taken away leave the watch, and that wakes the controller too.
fn owns<K>(
    controller: Controller<LogCluster>,
    client: &Client,
    place: Option<&str>,
) -> Controller<LogCluster>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug + Send + 'static,
{
    let own = watcher::Config::default().labels(&format!("{LABEL_MANAGED_BY}={OPERATOR}"));
    controller.owns(scoped::<K>(client, place), own)
}

fn cluster_of<K: Resource>(object: &K) -> Option<ObjectRef<LogCluster>> {
    let name = object.meta().labels.as_ref()?.get(LABEL_CLUSTER)?;
    let namespace = object.meta().namespace.as_ref()?;
    Some(ObjectRef::new(name).within(namespace))
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
