//! A reconcile of a LogUser in five steps, as for a LogCluster: observe, validate, plan, apply,
//! update status. As for a LogTopic, the first look uses the watched object and what is shared by
//! all LogUsers of the cluster; only if something is to be done is the object read from the API
//! server, and everything is decided again by newer reads.

mod apply;
mod observe;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::runtime::controller::Action;
use lograft_crds::limits::{RECONCILE_MAX_SECONDS, SCOPE_CONCEDED_SECONDS};
use lograft_crds::{LogUser, LogUserStatus};
use lograft_operator_desired::user::{Observed, Plan, ValidUser, of_invalid, plan, status};

use crate::cluster_topics::ClusterTopics;
use crate::controller::Reconciler;
use crate::controller::dependents::{self, WriteError, back_off_key, is_released};
use crate::namespace_labels::NamespaceLabels;
use crate::pki::PkiError;
use crate::scope::Claim;
use apply::Outcome;
use observe::Sources;

pub(crate) use watch::run;

/// Why a reconcile failed. Each is retried with a back-off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// A read from the API server failed.
    #[error("cannot read {what}")]
    Read {
        /// Object.
        what: String,
        /// Cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// A write to the API server failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The certificate could not be issued.
    #[error("cannot issue the certificate")]
    Issue(#[source] PkiError),
    /// It is not known which operator manages the namespace.
    #[error("cannot claim the Lease of the namespace")]
    Claim(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("reconcile did not finish within {RECONCILE_MAX_SECONDS} s")]
    TimedOut,
}

/// Everything that the reconciles of LogUsers share.
pub(crate) struct Users {
    reconciler: Arc<Reconciler>,
    clusters: Arc<ClusterTopics>,
    labels: NamespaceLabels,
}

impl Users {
    pub(crate) fn new(reconciler: Arc<Reconciler>, clusters: Arc<ClusterTopics>) -> Self {
        Self {
            labels: NamespaceLabels::new(reconciler.client.clone()),
            clusters,
            reconciler,
        }
    }
}

/// Plans the next step of a LogUser and carries it out.
async fn reconcile(user: Arc<LogUser>, users: Arc<Users>) -> Result<Action, UserError> {
    let max = Duration::from_secs(RECONCILE_MAX_SECONDS);
    let result = tokio::time::timeout(max, Box::pin(steps(&user, &users))).await;
    let result = result.unwrap_or(Err(UserError::TimedOut));
    let outcome = if result.is_ok() { "ok" } else { "failed" };
    let counter = &users.reconciler.metrics.user_reconciles;
    counter.with_label_values(&[outcome]).inc();
    result.inspect(|_| users.reconciler.reset_back_off(&back_off_key(&*user)))
}

/// A LogUser with everything that its plan depends on, and the plan.
struct Decision {
    valid: Option<ValidUser>,
    observed: Observed,
    sources: Sources,
    plan: Plan,
}

impl Decision {
    async fn new(users: &Users, raw: &LogUser, newer: Option<Instant>) -> Result<Self, UserError> {
        match ValidUser::new(raw) {
            Ok(valid) => {
                let (observed, sources) = observe::observe(users, raw, &valid, newer).await?;
                Ok(Self {
                    plan: plan(&valid, &observed),
                    valid: Some(valid),
                    observed,
                    sources,
                })
            }
            Err(error) => Ok(Self {
                plan: of_invalid(raw, &error),
                valid: None,
                observed: Observed::nothing(Timestamp::now().as_second()),
                sources: Sources::default(),
            }),
        }
    }

    /// The status after the plan was carried out.
    fn status(&self, raw: &LogUser, outcome: &Outcome) -> LogUserStatus {
        let Some(valid) = &self.valid else {
            return status::invalid(raw, &self.plan, self.observed.now_unix_seconds);
        };
        let result = (outcome.written.as_ref(), outcome.failure.as_ref());
        status::next(raw, valid, &self.observed, &self.plan, result)
    }

    fn action(&self) -> Action {
        Action::requeue(Duration::from_secs(self.plan.requeue_seconds()))
    }
}

async fn steps(cached: &LogUser, users: &Users) -> Result<Action, UserError> {
    let started = Instant::now();
    if is_released(cached) {
        return Ok(Action::await_change());
    }
    let first = Decision::new(users, cached, None).await?;
    let settled = first.status(cached, &Outcome::default());
    if first.plan.is_empty() && cached.status.as_ref() == Some(&settled) {
        return Ok(first.action());
    }
    let namespace = cached.metadata.namespace.as_deref().unwrap_or_default();
    let claim = users.reconciler.scopes.claim(namespace).await;
    let claim = claim.map_err(|source| UserError::Claim(Box::new(source)))?;
    // Another release of the operator manages the LogUsers of this namespace.
    if claim != Claim::Held {
        let pause = Duration::from_secs(SCOPE_CONCEDED_SECONDS);
        return Ok(Action::requeue(pause));
    }
    let name = cached.metadata.name.as_deref().unwrap_or_default();
    let api: Api<LogUser> = Api::namespaced(users.reconciler.client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found.map_err(|source| UserError::Read {
        what: format!("LogUser {name}"),
        source: Box::new(source),
    })?;
    let Some(raw) = found.filter(|raw| !is_released(raw)) else {
        return Ok(Action::await_change());
    };
    // Rules of a list from before the last change would be taken for an edit by others.
    let newer = (!first.plan.is_empty()).then_some(started);
    let decision = Decision::new(users, &raw, newer).await?;
    act(users, &api, &raw, &decision).await?;
    Ok(decision.action())
}

/// Carries a plan out and writes the status.
async fn act(
    users: &Users,
    api: &Api<LogUser>,
    raw: &LogUser,
    decision: &Decision,
) -> Result<(), UserError> {
    let outcome = apply::apply(users, api, raw, decision).await?;
    // The API server has removed the object together with its last finalizer.
    if outcome.is_released && raw.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let next = decision.status(raw, &outcome);
    dependents::write_status(users, api, raw, (raw.status.as_ref(), &next)).await?;
    if let Some(warning) = status::warning(raw.status.as_ref(), &next) {
        dependents::publish(users, raw, &warning).await;
    }
    Ok(())
}
