//! A reconcile, in five steps: observe, validate, plan, apply, update status.

mod apply;
mod observe;
mod update_status;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::runtime::controller::Action;
use lograft_crds::LogCluster;
use lograft_crds::limits::{RECONCILE_MAX_SECONDS, REQUEUE_QUIET_SECONDS};
use lograft_crds::names::ClusterNames;
use lograft_operator_desired::plan::{PlanError, plan};
use lograft_operator_desired::{ValidCluster, status};
use tracing::{debug, info};

use crate::controller::Context;

/// Why a reconcile failed. Each is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// The world cannot be read.
    #[error("reading {what}")]
    Observe {
        /// What of it.
        what: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object is not of the shape of its kind.
    #[error("decoding {what}")]
    Decode {
        /// The object.
        what: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// There is no plan.
    #[error("planning")]
    Plan(#[source] PlanError),
    /// Parts of the plan were not carried out; status tells them.
    #[error("{first} ({count} step(s) failed)")]
    Apply {
        /// The first one.
        first: String,
        /// How many.
        count: usize,
    },
    /// Status cannot be written.
    #[error("writing status")]
    Status(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("no end within {RECONCILE_MAX_SECONDS} s")]
    TimedOut,
}

/// Namespace and name.
pub(crate) fn key(cluster: &LogCluster) -> String {
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}")
}

/// Looks at a cluster and does the next step.
pub(crate) async fn reconcile(
    cluster: Arc<LogCluster>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let timer = context.metrics.reconcile_seconds.start_timer();
    let most = Duration::from_secs(RECONCILE_MAX_SECONDS);
    let result = tokio::time::timeout(most, Box::pin(steps(&cluster, &context))).await;
    timer.observe_duration();
    let result = result.unwrap_or(Err(ReconcileError::TimedOut));
    let outcome = if result.is_ok() { "ok" } else { "failed" };
    context
        .metrics
        .reconciles
        .with_label_values(&[outcome])
        .inc();
    if result.is_ok() {
        context.succeeded(&key(&cluster));
    }
    result
}

async fn steps(cached: &LogCluster, context: &Context) -> Result<Action, ReconcileError> {
    let namespace = cached.metadata.namespace.as_deref().unwrap_or_default();
    let name = cached.metadata.name.as_deref().unwrap_or_default();
    let api: Api<LogCluster> = Api::namespaced(context.client.clone(), namespace);
    // What was watched may be old: an id that was just made must not be made again.
    let found = api
        .get_opt(name)
        .await
        .map_err(|source| ReconcileError::Observe {
            what: format!("LogCluster {name}"),
            source: Box::new(source),
        })?;
    let Some(raw) = found.filter(|raw| raw.metadata.deletion_timestamp.is_none()) else {
        // What stands is deleted by its owner's deletion.
        return Ok(Action::await_change());
    };
    let now = Timestamp::now().as_second();
    let cluster = match ValidCluster::new(&raw) {
        Ok(cluster) => cluster,
        Err(why) => {
            let next = status::refused(&raw, &why, now);
            update_status::write(&api, &raw, &next, context).await?;
            return Ok(Action::requeue(Duration::from_secs(REQUEUE_QUIET_SECONDS)));
        }
    };
    let names = ClusterNames(&cluster.name);
    let world = observe::observe(context, &cluster, names, now).await?;
    let settings = &context.settings;
    let plan = plan(&cluster, &world.observed, settings).map_err(ReconcileError::Plan)?;
    if plan.is_empty() {
        debug!(cluster = key(&raw), "nothing to do");
    } else {
        let (applies, asks, deletes) = (plan.apply.len(), plan.ask.len(), plan.delete.len());
        info!(
            cluster = key(&raw),
            applies, asks, deletes, "carries out a plan"
        );
    }
    let outcome = apply::apply(context, &raw, &world, &plan).await;
    let next = status::next(&raw, &cluster, &world.observed, (&plan, &outcome));
    update_status::write(&api, &raw, &next, context).await?;
    if outcome.api_failures_count > 0 {
        return Err(ReconcileError::Apply {
            first: outcome.failures.first().cloned().unwrap_or_default(),
            count: outcome.api_failures_count,
        });
    }
    // What is refused stays refused for a while; other lanes keep their pace.
    let is_moving = plan.stop.is_some() || !(plan.drain.is_empty() && plan.ask.is_empty());
    let seconds = if outcome.growth_refused.is_some() && !is_moving {
        REQUEUE_QUIET_SECONDS
    } else {
        plan.requeue_seconds
    };
    Ok(Action::requeue(Duration::from_secs(seconds)))
}
