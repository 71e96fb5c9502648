//! A reconcile of a LogTopic in five steps, as for a LogCluster: observe, validate, plan, apply,
//! update status.
//!
//! Most reconciles find nothing to do, so the first look uses the watched object and the shared
//! list of topics, and asks nobody. Only if something is to be done is the object read from the API
//! server, and everything is decided again: a watched object may lack the ID of the topic that the
//! last reconcile stored.

mod apply;
mod observe;
mod refusals;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::{Api, Client};
use lograft_crds::limits::{RECONCILE_MAX_SECONDS, SCOPE_CONCEDED_SECONDS};
use lograft_crds::{LogTopic, LogTopicStatus};
use lograft_operator_desired::topic::{
    FinalizerChange, Observed, Outcome, Plan, ValidTopic, of_invalid, plan, status,
};

use crate::cluster_topics::{ClusterTopics, Snapshot};
use crate::controller::Reconciler;
use crate::controller::dependents::{self, WriteError, back_off_key, is_released};
use crate::kinds::key;
use crate::namespace_labels::NamespaceLabels;
use crate::scope::Claim;
use refusals::Refusals;

pub(crate) use watch::run;

/// Why a reconcile failed. Each is retried with a back-off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
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
    /// It is not known which operator manages the namespace.
    #[error("cannot claim the Lease of the namespace")]
    Claim(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("reconcile did not finish within {RECONCILE_MAX_SECONDS} s")]
    TimedOut,
}

/// Everything that the reconciles of LogTopics share.
pub(crate) struct Topics {
    reconciler: Arc<Reconciler>,
    clusters: Arc<ClusterTopics>,
    labels: NamespaceLabels,
    refusals: Refusals,
    /// The watched LogTopics of all scopes.
    stores: Mutex<Vec<Store<LogTopic>>>,
    /// Namespaces that another release of the operator manages, and since when that is known.
    conceded: Mutex<BTreeMap<String, Instant>>,
}

impl Topics {
    pub(crate) fn new(reconciler: Arc<Reconciler>, clusters: Arc<ClusterTopics>) -> Self {
        let client: Client = reconciler.client.clone();
        Self {
            clusters,
            labels: NamespaceLabels::new(client),
            refusals: Refusals::default(),
            stores: Mutex::default(),
            conceded: Mutex::default(),
            reconciler,
        }
    }

    fn stores(&self) -> Vec<Store<LogTopic>> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.clone()
    }

    /// Whether another release of the operator manages the namespace. That is asked once for all
    /// LogTopics of the namespace.
    async fn is_conceded(&self, namespace: &str) -> Result<bool, TopicError> {
        let kept = Duration::from_secs(SCOPE_CONCEDED_SECONDS);
        let since = self.conceded().get(namespace).copied();
        if since.is_some_and(|since| since.elapsed() < kept) {
            return Ok(true);
        }
        let claim = self.reconciler.scopes.claim(namespace).await;
        let claim = claim.map_err(|source| TopicError::Claim(Box::new(source)))?;
        let is_conceded = claim != Claim::Held;
        let mut conceded = self.conceded();
        if is_conceded {
            conceded.insert(namespace.to_owned(), Instant::now());
        } else {
            conceded.remove(namespace);
        }
        Ok(is_conceded)
    }

    fn conceded(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.conceded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a reconcile has ended.
enum End {
    /// Nothing was to be done.
    Rest(Action),
    /// Something was done.
    Done(Action),
}

/// Plans the next step of a LogTopic and carries it out.
async fn reconcile(topic: Arc<LogTopic>, topics: Arc<Topics>) -> Result<Action, TopicError> {
    let max = Duration::from_secs(RECONCILE_MAX_SECONDS);
    let result = tokio::time::timeout(max, Box::pin(steps(&topic, &topics))).await;
    let result = result.unwrap_or(Err(TopicError::TimedOut));
    let outcome = match &result {
        Ok(End::Rest(_)) => "rest",
        Ok(End::Done(_)) => "ok",
        Err(_) => "failed",
    };
    let counter = &topics.reconciler.metrics.topics.reconciles;
    counter.with_label_values(&[outcome]).inc();
    result.map(|end| {
        topics.reconciler.reset_back_off(&back_off_key(&*topic));
        let (End::Rest(action) | End::Done(action)) = end;
        action
    })
}

/// A LogTopic with everything that its plan depends on, and the plan.
struct Decision {
    valid: Option<ValidTopic>,
    observed: Observed,
    snapshot: Option<Arc<Snapshot>>,
    plan: Plan,
}

impl Decision {
    async fn new(topics: &Topics, raw: &LogTopic, look: observe::Look) -> Result<Self, TopicError> {
        let now = Timestamp::now().as_second();
        match ValidTopic::new(raw) {
            Ok(valid) => {
                let (observed, snapshot) = observe::observe(topics, raw, &valid, look).await?;
                Ok(Self {
                    plan: plan(&valid, &observed),
                    valid: Some(valid),
                    observed,
                    snapshot: Some(snapshot),
                })
            }
            Err(error) => Ok(Self {
                plan: of_invalid(raw, &error),
                valid: None,
                observed: Observed::nothing(now),
                snapshot: None,
            }),
        }
    }

    /// The status after the plan was carried out.
    fn status(&self, raw: &LogTopic, outcome: &Outcome) -> LogTopicStatus {
        match &self.valid {
            Some(valid) => status::next(raw, valid, &self.observed, &self.plan, outcome),
            None => status::invalid(raw, &self.plan, self.observed.now_unix_seconds),
        }
    }

    fn action(&self) -> Action {
        Action::requeue(Duration::from_secs(self.plan.requeue_seconds()))
    }
}

async fn steps(cached: &LogTopic, topics: &Topics) -> Result<End, TopicError> {
    let started = Instant::now();
    if is_released(cached) {
        topics.refusals.clear(&key(cached));
        return Ok(End::Rest(Action::await_change()));
    }
    let first = Decision::new(topics, cached, observe::Look::Quick).await?;
    let settled = first.status(cached, &Outcome::Unchanged);
    if first.plan.is_empty() && cached.status.as_ref() == Some(&settled) {
        return Ok(End::Rest(first.action()));
    }
    let namespace = cached.metadata.namespace.as_deref().unwrap_or_default();
    if topics.is_conceded(namespace).await? {
        let pause = Duration::from_secs(SCOPE_CONCEDED_SECONDS);
        return Ok(End::Rest(Action::requeue(pause)));
    }
    let name = cached.metadata.name.as_deref().unwrap_or_default();
    let api: Api<LogTopic> = Api::namespaced(topics.reconciler.client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found.map_err(|source| TopicError::Read {
        what: format!("LogTopic {name}"),
        source: Box::new(source),
    })?;
    let Some(raw) = found.filter(|raw| !is_released(raw)) else {
        topics.refusals.clear(&key(cached));
        return Ok(End::Rest(Action::await_change()));
    };
    let mut decision = Decision::new(topics, &raw, observe::Look::Careful).await?;
    if decision.plan.needs_recent_list {
        let look = observe::Look::NewerThan(started);
        decision = Decision::new(topics, &raw, look).await?;
    }
    act(topics, &api, &raw, &decision).await?;
    Ok(End::Done(decision.action()))
}

/// Carries a plan out and writes the status.
async fn act(
    topics: &Topics,
    api: &Api<LogTopic>,
    raw: &LogTopic,
    decision: &Decision,
) -> Result<(), TopicError> {
    let plan = &decision.plan;
    let outcome = apply::apply(topics, api, raw, decision).await?;
    topics
        .refusals
        .note(raw, &outcome, decision.observed.now_unix_seconds);
    let is_deleted = plan.finalizer == FinalizerChange::RemoveOnceDone;
    let is_released =
        plan.finalizer == FinalizerChange::Remove || (is_deleted && outcome == Outcome::Deleted);
    // The API server has removed the object together with its last finalizer.
    if is_released && raw.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let next = decision.status(raw, &outcome);
    let marked = status::marked_as_creating(raw);
    let stored = if plan.marks_creation {
        Some(&marked)
    } else {
        raw.status.as_ref()
    };
    dependents::write_status(topics, api, raw, (stored, &next)).await?;
    if let Some(warning) = status::warning(raw.status.as_ref(), &next) {
        dependents::publish(topics, raw, &warning).await;
    }
    Ok(())
}
