//! Carries the plan of a LogTopic out in its order and makes no decisions.

use kube::Api;
use kube::api::{Patch, PatchParams};
use lograft_crds::LogTopic;
use lograft_crds::names::{OPERATOR, TOPIC_FINALIZER};
use lograft_operator_desired::topic::{Event, Failure, FinalizerChange, Outcome, Request, status};
use serde_json::json;
use tracing::{info, warn};

use super::{Decision, TopicError, Topics, update_status};
use crate::events::Happening;
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
        update_status::write(topics, api, raw, (raw.status.as_ref(), &marked)).await?;
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

/// Adds or removes the operator's finalizer. Others' stay.
async fn set_finalizer(
    topics: &Topics,
    api: &Api<LogTopic>,
    raw: &LogTopic,
    is_set: bool,
) -> Result<(), TopicError> {
    let finalizers = raw.metadata.finalizers.iter().flatten();
    let mut finalizers: Vec<&str> = finalizers
        .map(String::as_str)
        .filter(|it| *it != TOPIC_FINALIZER)
        .collect();
    if is_set {
        finalizers.push(TOPIC_FINALIZER);
    }
    // The list is replaced as a whole, so somebody else's change in between must not be undone. The
    // resource version cannot serve for that: the status has been written since it was read.
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": raw.metadata.uid},
        {"op": "test", "path": "/metadata/finalizers", "value": raw.metadata.finalizers},
        {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
    ]);
    let patch = serde_json::from_value(patch).unwrap_or_default();
    let name = raw.metadata.name.as_deref().unwrap_or_default();
    let params = PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        ..PatchParams::default()
    };
    let written = api
        .patch_metadata(name, &params, &Patch::<()>::Json(patch))
        .await;
    let writes = &topics.reconciler.metrics.writes;
    writes.with_label_values(&["LogTopic"]).inc();
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 && !is_set => Ok(()),
        Err(source) => Err(TopicError::Write {
            what: "the finalizer",
            source: Box::new(source),
        }),
    }
}

/// Publishes an event about a LogTopic.
pub(super) async fn publish(topics: &Topics, raw: &LogTopic, event: &Event) {
    let happening = Happening {
        is_warning: event.is_warning,
        reason: event.reason,
        text: &event.text,
        about: None,
    };
    topics.reconciler.events.report(raw, &happening).await;
}
