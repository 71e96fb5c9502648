//! Carries the plan of a LogTopic out in its order and makes no decisions.

use kube::Api;
use lograft_crds::LogTopic;
use lograft_operator_desired::topic::{Failure, FinalizerChange, Outcome, Request, status};
use tracing::{info, warn};

use super::{Decision, TopicError, Topics};
use crate::controller::dependents::{publish, set_finalizer, write_status};
use crate::kinds::key;

/// Fails if a write to the API server fails: what follows it depends on it.
pub(super) async fn apply(
    topics: &Topics,
    api: &Api<LogTopic>,
    raw: &LogTopic,
    decision: &Decision,
) -> Result<Outcome, TopicError> {
    let plan = &decision.plan;
    match plan.finalizer {
        FinalizerChange::Add => set_finalizer(topics, api, raw, true).await?,
        FinalizerChange::Remove => set_finalizer(topics, api, raw, false).await?,
        FinalizerChange::Keep | FinalizerChange::RemoveOnceDone => {}
    }
    // Before the request: its answer may be lost.
    if plan.marks_creation {
        let marked = status::marked_as_creating(raw);
        write_status(topics, api, raw, (raw.status.as_ref(), &marked)).await?;
    }
    let outcome = match &plan.request {
        Some(request) => carry_out(topics, raw, decision, request).await,
        None => Outcome::Unchanged,
    };
    if plan.finalizer == FinalizerChange::RemoveOnceDone && outcome == Outcome::Deleted {
        set_finalizer(topics, api, raw, false).await?;
    }
    for event in &plan.events {
        publish(topics, raw, event).await;
    }
    let is_done = matches!(outcome, Outcome::Topic(_) | Outcome::Deleted);
    if let Some(event) = plan.done.as_ref().filter(|_| is_done) {
        publish(topics, raw, event).await;
    }
    Ok(outcome)
}

async fn carry_out(
    topics: &Topics,
    raw: &LogTopic,
    decision: &Decision,
    request: &Request,
) -> Outcome {
    let client = decision.snapshot.as_ref().and_then(|it| it.client.as_ref());
    let (Some(client), Some(snapshot)) = (client, &decision.snapshot) else {
        return Outcome::Unchanged;
    };
    let (call, name) = match request {
        Request::Create(_) => ("create", request.topic()),
        Request::Alter(_) => ("alter", request.topic()),
        Request::Delete { .. } => ("delete", request.topic()),
    };
    let calls = &topics.reconciler.metrics.topics.calls;
    calls.with_label_values(&[call]).inc();
    let outcome = client.carry_out(request).await;
    match &outcome {
        Outcome::Topic(topic) => {
            snapshot.enter(name, Some(topic.clone()));
            // Elections take less time than a list counts.
            if let Some(valid) = decision.valid.as_ref().filter(|_| topic.leaderless > 0) {
                topics.clusters.outdate(&valid.cluster);
            }
        }
        Outcome::Deleted => snapshot.enter(name, None),
        // The list does not show the cluster as it is.
        Outcome::Failed(failure) => {
            if let Some(valid) = &decision.valid {
                topics.clusters.outdate(&valid.cluster);
            }
            let error = failure_text(failure);
            warn!(
                log_topic = key(raw),
                call, error, "request for a topic failed"
            );
        }
        Outcome::Unchanged => {}
    }
    if !matches!(outcome, Outcome::Failed(_)) {
        info!(
            log_topic = key(raw),
            topic = name,
            call,
            "request for a topic done"
        );
    }
    outcome
}

fn failure_text(failure: &Failure) -> &str {
    match failure {
        Failure::Refused(why) | Failure::Unknown(why) => why,
        Failure::Exists => "a topic with this name exists",
        Failure::Replaced => "the topic with this name has another ID",
    }
}
