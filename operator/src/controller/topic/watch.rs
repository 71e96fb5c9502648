//! Watches LogTopics and LogClusters, and reconciles the LogTopics that changed or whose LogCluster
//! did.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, ready};
use kube::runtime::controller::{Action, Config, Error};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use lograft_crds::limits::TOPIC_RECONCILES_MAX_COUNT;
use lograft_crds::{LogCluster, LogTopic};
use lograft_operator_desired::consent::ClusterKey;
use tokio::sync::watch;
use tracing::warn;

use super::{TopicError, Topics, back_off_key, reconcile};
use crate::error_text::error_text;
use crate::kinds::{key, scoped};

/// Runs a controller for each scope, a namespace or all, until `stopped` is true.
pub(crate) async fn run(
    topics: Arc<Topics>,
    scopes: &[Option<String>],
    stopped: watch::Receiver<bool>,
) {
    let client = &topics.reconciler.client;
    let controllers = scopes.iter().map(|scope| {
        let api = scoped::<LogTopic>(client, scope.as_deref());
        Controller::new(api, watcher::Config::default())
    });
    let controllers: Vec<Controller<LogTopic>> = controllers.collect();
    // Before any of them runs: a LogTopic may have a rival in another scope.
    let stores = controllers.iter().map(Controller::store).collect();
    *topics.stores.lock().unwrap_or_else(PoisonError::into_inner) = stores;
    let running = controllers
        .into_iter()
        .zip(scopes)
        .map(|(controller, scope)| {
            let stopped = stopped.clone();
            run_one(Arc::clone(&topics), controller, scope.as_deref(), stopped)
        });
    join_all(running).await;
}

async fn run_one(
    topics: Arc<Topics>,
    controller: Controller<LogTopic>,
    scope: Option<&str>,
    mut stopped: watch::Receiver<bool>,
) {
    let clusters = scoped::<LogCluster>(&topics.reconciler.client, scope);
    let config = Config::default()
        .concurrency(TOPIC_RECONCILES_MAX_COUNT)
        .debounce(Duration::from_millis(500));
    let store = controller.store();
    let of_cluster = {
        let topics = Arc::clone(&topics);
        move |cluster: LogCluster| of_cluster(&topics, &store, &cluster)
    };
    controller
        .with_config(config)
        .watches(clusters, watcher::Config::default(), of_cluster)
        .graceful_shutdown_on(async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        })
        .run(reconcile, on_error, Arc::clone(&topics))
        .for_each(|result| {
            match result {
                // A failure was logged before; an object that is gone needs nothing.
                Ok(_) | Err(Error::ReconcilerFailed(..) | Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    topics.reconciler.metrics.watch_errors.inc();
                    warn!(error = error_text(&error), "watch failed, restarting");
                }
            }
            ready(())
        })
        .await;
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the controller passes what it shares by value"
)]
fn on_error(topic: Arc<LogTopic>, error: &TopicError, topics: Arc<Topics>) -> Action {
    let pause = topics.reconciler.back_off(&back_off_key(&topic));
    warn!(
        log_topic = key(&*topic),
        error = error_text(error),
        pause_seconds = pause.as_secs(),
        "reconcile failed, will retry"
    );
    Action::requeue(pause)
}

/// The LogTopics that name a LogCluster which has changed.
fn of_cluster(
    topics: &Topics,
    store: &Store<LogTopic>,
    cluster: &LogCluster,
) -> Vec<ObjectRef<LogTopic>> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let changed = ClusterKey {
        namespace: text(&cluster.metadata.namespace),
        name: text(&cluster.metadata.name),
    };
    topics.clusters.outdate(&changed);
    let all = store.state().into_iter();
    let own = all.filter(|topic| {
        let namespace = topic.metadata.namespace.as_deref().unwrap_or_default();
        ClusterKey::new(&topic.spec.cluster_ref, namespace) == changed
    });
    own.map(|topic| ObjectRef::from_obj(&*topic)).collect()
}
