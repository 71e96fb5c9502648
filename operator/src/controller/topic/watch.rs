//! Watches LogTopics and LogClusters, and reconciles the LogTopics that changed or whose LogCluster
//! did.

use std::sync::{Arc, PoisonError};

use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use lograft_crds::LogTopic;
use lograft_crds::limits::TOPIC_RECONCILES_MAX_COUNT;
use lograft_crds::log_topic::ClusterRef;
use lograft_crds::names::TOPIC_FINALIZER;
use tokio::sync::watch;
use tracing::warn;

use super::{TopicError, Topics};
use crate::cluster_topics::ClusterTopics;
use crate::controller::Reconciler;
use crate::controller::dependents::{self, Dependent, Dependents};
use crate::kinds::scoped;

impl Dependent for LogTopic {
    const FINALIZER: &'static str = TOPIC_FINALIZER;
    const CONCURRENCY: u16 = TOPIC_RECONCILES_MAX_COUNT;

    fn cluster_ref(&self) -> &ClusterRef {
        &self.spec.cluster_ref
    }
}

impl Dependents for Topics {
    type Object = LogTopic;
    type Error = TopicError;

    fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }

    fn clusters(&self) -> &ClusterTopics {
        &self.clusters
    }

    async fn reconcile(topic: Arc<LogTopic>, topics: Arc<Self>) -> Result<Action, TopicError> {
        super::reconcile(topic, topics).await
    }

    fn log_failure(topic: &str, error: &str, pause_seconds: u64) {
        warn!(
            log_topic = topic,
            error, pause_seconds, "reconcile failed, will retry"
        );
    }
}

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
    dependents::run(topics, controllers, scopes, stopped).await;
}
