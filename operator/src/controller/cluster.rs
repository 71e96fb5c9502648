//! A reconcile of a LogCluster in five steps: observe, validate, plan, apply, update status.

mod apply;
mod observe;
mod ownership;
mod turn;
mod update_status;
mod warn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::runtime::controller::Action;
use lograft_crds::limits::{RECONCILE_MAX_SECONDS, REQUEUE_QUIET_SECONDS};
use lograft_crds::names::ClusterNames;
use lograft_crds::{LogCluster, LogClusterStatus};
use lograft_operator_desired::cluster::{
    Contest, Outcome, Plan, PlanError, Proposal, Step, ValidCluster, plan, plan_certificates,
    status,
};
use lograft_operator_desired::{ObjectKey, ValidationError};
use tracing::{debug, info};

use crate::controller::Reconciler;
use crate::kinds::key;

pub(crate) use warn::Warned;

/// Why a reconcile failed. Each is retried with a back-off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// A read from the API server failed.
    #[error("cannot read {what}")]
    Observe {
        /// Object or list.
        what: String,
        /// Cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// It is not known which operator manages the namespace.
    #[error("cannot claim the Lease of the namespace")]
    Claim(#[source] Box<kube::Error>),
    /// An object does not have the form of its kind.
    #[error("cannot decode {what}")]
    Decode {
        /// The object.
        what: String,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// There is no plan.
    #[error("cannot plan the next step")]
    Plan(#[source] PlanError),
    /// Some writes of the plan failed; status reports the first.
    #[error("{first} ({count} step(s) failed)")]
    Apply {
        /// The first failure.
        first: String,
        /// Number of failures.
        count: usize,
    },
    /// The status could not be written.
    #[error("cannot write the status")]
    Status(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("reconcile did not finish within {RECONCILE_MAX_SECONDS} s")]
    TimedOut,
}

/// Plans the next step of a cluster and carries it out.
pub(crate) async fn reconcile(
    cluster: Arc<LogCluster>,
    reconciler: Arc<Reconciler>,
) -> Result<Action, ReconcileError> {
    let timer = reconciler.metrics.reconcile_seconds.start_timer();
    let max = Duration::from_secs(RECONCILE_MAX_SECONDS);
    let result = tokio::time::timeout(max, Box::pin(steps(&cluster, &reconciler))).await;
    timer.observe_duration();
    let result = result.unwrap_or(Err(ReconcileError::TimedOut));
    let outcome = if result.is_ok() { "ok" } else { "failed" };
    reconciler
        .metrics
        .reconciles
        .with_label_values(&[outcome])
        .inc();
    if result.is_ok() {
        reconciler.reset_back_off(&key(&*cluster));
    }
    result
}

async fn steps(cached: &LogCluster, reconciler: &Reconciler) -> Result<Action, ReconcileError> {
    let namespace = cached.metadata.namespace.as_deref().unwrap_or_default();
    let name = cached.metadata.name.as_deref().unwrap_or_default();
    let api: Api<LogCluster> = Api::namespaced(reconciler.client.clone(), namespace);
    // Fail closed on a stale status: the cached object may not have the cluster ID or the bootstrap
    // mark that the last reconcile stored. Planning from it could generate a second ID or bootstrap
    // again, so the object is read from the API server.
    let found = api
        .get_opt(name)
        .await
        .map_err(|source| ReconcileError::Observe {
            what: format!("LogCluster {name}"),
            source: Box::new(source),
        })?;
    let Some(raw) = found.filter(|raw| raw.metadata.deletion_timestamp.is_none()) else {
        // Kubernetes deletes the objects together with their owner.
        reconciler.scopes.reclaim(&key(cached));
        reconciler.keep_contests(&key(cached), BTreeMap::new());
        reconciler.fleet.forget(&key(cached));
        return Ok(Action::await_change());
    };
    if let Some(action) = ownership::stand_aside(reconciler, &raw).await? {
        return Ok(action);
    }
    let now = Timestamp::now().as_second();
    let cluster = match ValidCluster::new(&raw) {
        Ok(cluster) => cluster,
        Err(error) => match ValidCluster::for_certificates(&raw, &error) {
            Some(cluster) => cluster,
            None => return refuse(reconciler, (&api, &raw), &error, now).await,
        },
    };
    let names = ClusterNames(&cluster.name);
    let contests = reconciler.contests(&key(&raw));
    let observation = observe::observe(reconciler, &cluster, names, (contests, now)).await?;
    let observed = &observation.observed;
    let plan = if cluster.certificates_only {
        reconciler.fleet.forget(&key(&raw));
        plan_certificates(&cluster, observed)
    } else {
        let proposal = Proposal::new(&cluster, observed, &reconciler.settings);
        let proposal = proposal.map_err(ReconcileError::Plan)?;
        let held = turn::ask(reconciler, &key(&raw), proposal.member(), now).await?;
        plan(proposal, held.as_ref()).map_err(ReconcileError::Plan)?
    };
    log(&key(&raw), &plan);
    let outcome = apply::apply(reconciler, &raw, &observation, &plan).await;
    reconciler.keep_contests(&key(&raw), lasting_contests(&plan, &outcome));
    let mut next = status::next(&raw, &cluster, observed, &plan, &outcome);
    next.operator = Some(reconciler.scopes.identity().to_owned());
    update_status::write(&api, &raw, &next, reconciler).await?;
    warn::publish(reconciler, &raw, &next, now).await;
    if let Some(first) = outcome.api_failures().next() {
        return Err(ReconcileError::Apply {
            first: first.to_string(),
            count: outcome.api_failures().count(),
        });
    }
    Ok(requeue(requeue_seconds(&plan, &outcome), &next, now))
}

/// Reports that a new cluster is not created because its spec is invalid.
async fn refuse(
    reconciler: &Reconciler,
    (api, raw): (&Api<LogCluster>, &LogCluster),
    error: &ValidationError,
    now: i64,
) -> Result<Action, ReconcileError> {
    let mut next = status::invalid(raw, error, now);
    next.operator = Some(reconciler.scopes.identity().to_owned());
    reconciler.fleet.forget(&key(raw));
    update_status::write(api, raw, &next, reconciler).await?;
    warn::publish(reconciler, raw, &next, now).await;
    Ok(requeue(REQUEUE_QUIET_SECONDS, &next, now))
}

/// Reconciles again after `seconds`, or earlier if a warning is due before.
fn requeue(seconds: u64, status: &LogClusterStatus, now: i64) -> Action {
    let warning = status::next_warning_seconds(status, now);
    let seconds = warning.map_or(seconds, |warning| warning.min(seconds));
    Action::requeue(Duration::from_secs(seconds))
}

/// The contests of a plan without objects whose write failed: nobody has undone that.
fn lasting_contests(plan: &Plan, outcome: &Outcome) -> BTreeMap<ObjectKey, Contest> {
    let mut contests = plan.contests.clone();
    for failure in &outcome.failures {
        if let Step::Mend(key) | Step::Apply(key) = &failure.step {
            contests.remove(key);
        }
    }
    contests
}

fn log(cluster: &str, plan: &Plan) {
    if plan.is_empty() {
        debug!(cluster, "nothing to do");
        return;
    }
    info!(
        cluster,
        applies = plan.apply.len(),
        asks = plan.ask.len(),
        mends = plan.mend.len(),
        deletes = plan.delete.len(),
        "applying plan"
    );
}

/// A growth that was refused would be refused again at once; a rollout or a decommission keeps its
/// pace.
fn requeue_seconds(plan: &Plan, outcome: &Outcome) -> u64 {
    let is_moving = plan.stop.is_some() || !(plan.drain.is_empty() && plan.ask.is_empty());
    if outcome.refused_growth.is_some() && !is_moving {
        REQUEUE_QUIET_SECONDS
    } else {
        plan.requeue_seconds
    }
}
