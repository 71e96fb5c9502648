//! The part that the controllers of LogTopics and LogUsers share. Both kinds depend on the
//! LogCluster that they name: a change of it triggers their reconcile.

mod write;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, ready};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Action, Config, Error};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use lograft_crds::LogCluster;
use lograft_crds::log_topic::ClusterRef;
use lograft_operator_desired::consent::ClusterKey;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

use crate::cluster_topics::ClusterTopics;
use crate::controller::Reconciler;
use crate::error_text::error_text;
use crate::kinds::{key, scoped};

pub(crate) use write::WriteError;
pub(super) use write::{count_write, is_released, publish, set_finalizer, write_status};

/// A kind of objects that name a LogCluster.
pub(super) trait Dependent:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The operator's finalizer.
    const FINALIZER: &'static str;
    /// Reconciles of a scope that run at the same time.
    const CONCURRENCY: u16;

    /// The LogCluster as the spec names it.
    fn cluster_ref(&self) -> &ClusterRef;
}

/// Everything that the reconciles of such a kind share.
pub(super) trait Dependents: Send + Sync + 'static {
    /// The kind.
    type Object: Dependent;
    /// Why a reconcile failed.
    type Error: std::error::Error + Send + Sync + 'static;

    fn reconciler(&self) -> &Reconciler;

    fn clusters(&self) -> &ClusterTopics;

    /// Plans the next step of an object and carries it out.
    fn reconcile(
        object: Arc<Self::Object>,
        shared: Arc<Self>,
    ) -> impl Future<Output = Result<Action, Self::Error>> + Send;

    /// Logs that the reconcile of the object with this key failed: each kind has its own field.
    fn log_failure(object: &str, error: &str, pause_seconds: u64);
}

/// Runs the controller of each scope until `stopped` is true.
pub(super) async fn run<T: Dependents>(
    shared: Arc<T>,
    controllers: Vec<Controller<T::Object>>,
    scopes: &[Option<String>],
    stopped: watch::Receiver<bool>,
) {
    let running = controllers
        .into_iter()
        .zip(scopes)
        .map(|(controller, scope)| {
            let stopped = stopped.clone();
            run_one(Arc::clone(&shared), controller, scope.as_deref(), stopped)
        });
    join_all(running).await;
}

async fn run_one<T: Dependents>(
    shared: Arc<T>,
    controller: Controller<T::Object>,
    scope: Option<&str>,
    mut stopped: watch::Receiver<bool>,
) {
    let clusters = scoped::<LogCluster>(&shared.reconciler().client, scope);
    let config = Config::default()
        .concurrency(T::Object::CONCURRENCY)
        .debounce(Duration::from_millis(500));
    let store = controller.store();
    let of_cluster = {
        let shared = Arc::clone(&shared);
        move |cluster: LogCluster| of_cluster(shared.clusters(), &store, &cluster)
    };
    let on_error = |object: Arc<T::Object>, error: &T::Error, shared: Arc<T>| {
        let pause = shared.reconciler().back_off(&back_off_key(&*object));
        T::log_failure(&key(&*object), &error_text(error), pause.as_secs());
        Action::requeue(pause)
    };
    controller
        .with_config(config)
        .watches(clusters, watcher::Config::default(), of_cluster)
        .graceful_shutdown_on(async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        })
        .run(T::reconcile, on_error, Arc::clone(&shared))
        .for_each(|result| {
            match result {
                // A failure was logged before; an object that is gone needs nothing.
                Ok(_) | Err(Error::ReconcilerFailed(..) | Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    shared.reconciler().metrics.watch_errors.inc();
                    warn!(error = error_text(&error), "watch failed, restarting");
                }
            }
            ready(())
        })
        .await;
}

/// The objects that name a LogCluster which has changed.
fn of_cluster<K: Dependent>(
    clusters: &ClusterTopics,
    store: &Store<K>,
    cluster: &LogCluster,
) -> Vec<ObjectRef<K>> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let changed = ClusterKey {
        namespace: text(&cluster.metadata.namespace),
        name: text(&cluster.metadata.name),
    };
    clusters.outdate(&changed);
    let all = store.state().into_iter();
    let own = all.filter(|object| {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        ClusterKey::new(object.cluster_ref(), namespace) == changed
    });
    own.map(|object| ObjectRef::from_obj(&*object)).collect()
}

/// The key of an object's back-off, beside those of LogClusters.
pub(super) fn back_off_key<K: Dependent>(object: &K) -> String {
    format!("{} {}", K::kind(&()), key(object))
}
