//! Watches LogUsers with their Secrets, and LogClusters, and reconciles the LogUsers that changed
//! or whose LogCluster did.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use lograft_crds::LogUser;
use lograft_crds::limits::USER_RECONCILES_MAX_COUNT;
use lograft_crds::log_topic::ClusterRef;
use lograft_crds::names::{LABEL_MANAGED_BY, OPERATOR, USER_FINALIZER};
use tokio::sync::watch;
use tracing::warn;

use super::{UserError, Users};
use crate::cluster_topics::ClusterTopics;
use crate::controller::Reconciler;
use crate::controller::dependents::{self, Dependent, Dependents};
use crate::kinds::scoped;

impl Dependent for LogUser {
    const FINALIZER: &'static str = USER_FINALIZER;
    const CONCURRENCY: u16 = USER_RECONCILES_MAX_COUNT;

    fn cluster_ref(&self) -> &ClusterRef {
        &self.spec.cluster_ref
    }
}

impl Dependents for Users {
    type Object = LogUser;
    type Error = UserError;

    fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }

    fn clusters(&self) -> &ClusterTopics {
        &self.clusters
    }

    async fn reconcile(user: Arc<LogUser>, users: Arc<Self>) -> Result<Action, UserError> {
        super::reconcile(user, users).await
    }

    fn log_failure(user: &str, error: &str, pause_seconds: u64) {
        warn!(
            log_user = user,
            error, pause_seconds, "reconcile failed, will retry"
        );
    }
}

/// Runs a controller for each scope, a namespace or all, until `stopped` is true.
pub(crate) async fn run(
    users: Arc<Users>,
    scopes: &[Option<String>],
    stopped: watch::Receiver<bool>,
) {
    let client = &users.reconciler.client;
    let own = watcher::Config::default().labels(&format!("{LABEL_MANAGED_BY}={OPERATOR}"));
    let controllers = scopes.iter().map(|scope| {
        let objects = scoped::<LogUser>(client, scope.as_deref());
        let secrets = scoped::<Secret>(client, scope.as_deref());
        Controller::new(objects, watcher::Config::default()).watches(
            secrets,
            own.clone(),
            |secret: Secret| of_secret(&secret),
        )
    });
    let controllers = controllers.collect();
    dependents::run(users, controllers, scopes, stopped).await;
}

/// The LogUser that owns a Secret.
fn of_secret(secret: &Secret) -> Option<ObjectRef<LogUser>> {
    let mut owners = secret.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.kind == "LogUser")?;
    let namespace = secret.metadata.namespace.as_ref()?;
    Some(ObjectRef::new(&owner.name).within(namespace))
}
