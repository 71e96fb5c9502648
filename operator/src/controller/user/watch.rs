//! Watches LogUsers with their Secrets, and LogClusters, and reconciles the LogUsers that changed
//! or whose LogCluster did.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, ready};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::{Action, Config, Error};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use lograft_crds::limits::USER_RECONCILES_MAX_COUNT;
use lograft_crds::names::{LABEL_MANAGED_BY, OPERATOR};
use lograft_crds::{LogCluster, LogUser};
use lograft_operator_desired::consent::ClusterKey;
use tokio::sync::watch;
use tracing::warn;

use super::{UserError, Users, back_off_key, reconcile};
use crate::error_text::error_text;
use crate::kinds::{key, scoped};

/// Runs a controller for each scope, a namespace or all, until `stopped` is true.
pub(crate) async fn run(
    users: Arc<Users>,
    scopes: &[Option<String>],
    stopped: watch::Receiver<bool>,
) {
    let running = scopes
        .iter()
        .map(|scope| run_one(Arc::clone(&users), scope.as_deref(), stopped.clone()));
    join_all(running).await;
}

async fn run_one(users: Arc<Users>, scope: Option<&str>, mut stopped: watch::Receiver<bool>) {
    let client = &users.reconciler.client;
    let objects = scoped::<LogUser>(client, scope);
    let clusters = scoped::<LogCluster>(client, scope);
    let secrets = scoped::<Secret>(client, scope);
    let controller = Controller::new(objects, watcher::Config::default());
    let config = Config::default()
        .concurrency(USER_RECONCILES_MAX_COUNT)
        .debounce(Duration::from_millis(500));
    let store = controller.store();
    let of_cluster = {
        let users = Arc::clone(&users);
        move |cluster: LogCluster| of_cluster(&users, &store, &cluster)
    };
    let own = watcher::Config::default().labels(&format!("{LABEL_MANAGED_BY}={OPERATOR}"));
    controller
        .with_config(config)
        .watches(clusters, watcher::Config::default(), of_cluster)
        .watches(secrets, own, |secret: Secret| of_secret(&secret))
        .graceful_shutdown_on(async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        })
        .run(reconcile, on_error, Arc::clone(&users))
        .for_each(|result| {
            match result {
                // A failure was logged before; an object that is gone needs nothing.
                Ok(_) | Err(Error::ReconcilerFailed(..) | Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    users.reconciler.metrics.watch_errors.inc();
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
fn on_error(user: Arc<LogUser>, error: &UserError, users: Arc<Users>) -> Action {
    let pause = users.reconciler.back_off(&back_off_key(&user));
    warn!(
        log_user = key(&*user),
        error = error_text(error),
        pause_seconds = pause.as_secs(),
        "reconcile failed, will retry"
    );
    Action::requeue(pause)
}

/// The LogUser that owns a Secret.
fn of_secret(secret: &Secret) -> Option<ObjectRef<LogUser>> {
    let mut owners = secret.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.kind == "LogUser")?;
    let namespace = secret.metadata.namespace.as_ref()?;
    Some(ObjectRef::new(&owner.name).within(namespace))
}

/// The LogUsers that name a LogCluster which has changed.
fn of_cluster(
    users: &Users,
    store: &Store<LogUser>,
    cluster: &LogCluster,
) -> Vec<ObjectRef<LogUser>> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let changed = ClusterKey {
        namespace: text(&cluster.metadata.namespace),
        name: text(&cluster.metadata.name),
    };
    users.clusters.outdate(&changed);
    let all = store.state().into_iter();
    let own = all.filter(|user| {
        let namespace = user.metadata.namespace.as_deref().unwrap_or_default();
        ClusterKey::new(&user.spec.cluster_ref, namespace) == changed
    });
    own.map(|user| ObjectRef::from_obj(&*user)).collect()
}
