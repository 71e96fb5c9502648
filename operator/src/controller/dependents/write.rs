//! Writes the finalizer and the status of a LogTopic or LogUser, and publishes events about it.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource as _};
use lograft_crds::names::{API_VERSION, OPERATOR};
use lograft_operator_desired::topic::Event;
use serde::Serialize;
use serde_json::json;

use crate::controller::Reconciler;
use crate::controller::dependents::{Dependent, Dependents};
use crate::events::Happening;

/// A write to the API server failed. It is retried with a back-off.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {what}")]
pub(crate) struct WriteError {
    /// Part of the object, or an object that belongs to it.
    pub(crate) what: &'static str,
    /// Cause.
    #[source]
    pub(crate) source: Box<kube::Error>,
}

/// Adds or removes the operator's finalizer. Others' stay.
pub(crate) async fn set_finalizer<T: Dependents>(
    shared: &T,
    api: &Api<T::Object>,
    raw: &T::Object,
    is_set: bool,
) -> Result<(), WriteError> {
    let metadata = raw.meta();
    let finalizers = metadata.finalizers.iter().flatten();
    let mut finalizers: Vec<&str> = finalizers
        .map(String::as_str)
        .filter(|it| *it != T::Object::FINALIZER)
        .collect();
    if is_set {
        finalizers.push(T::Object::FINALIZER);
    }
    // The list is replaced as a whole, so somebody else's change in between must not be undone. The
    // resource version cannot serve for that: the status may have been written since it was read.
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "test", "path": "/metadata/finalizers", "value": metadata.finalizers},
        {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
    ]);
    let patch = serde_json::from_value(patch).unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    let params = PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        ..PatchParams::default()
    };
    let written = api
        .patch_metadata(name, &params, &Patch::<()>::Json(patch))
        .await;
    count_write(shared.reconciler(), &T::Object::kind(&()));
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 && !is_set => Ok(()),
        Err(source) => Err(WriteError {
            what: "the finalizer",
            source: Box::new(source),
        }),
    }
}

/// Whether the object is being deleted and the operator has nothing to do with it any more.
pub(crate) fn is_released<K: Dependent>(object: &K) -> bool {
    let metadata = object.meta();
    let mut finalizers = metadata.finalizers.iter().flatten();
    let is_held = finalizers.any(|it| it == K::FINALIZER);
    metadata.deletion_timestamp.is_some() && !is_held
}

/// Writes `next` unless it equals the stored status. The UID makes the API server reject it if the
/// object was deleted and created again: the new one does not own what the old one did.
pub(crate) async fn write_status<T: Dependents, S: Serialize + PartialEq>(
    shared: &T,
    api: &Api<T::Object>,
    raw: &T::Object,
    (stored, next): (Option<&S>, &S),
) -> Result<(), WriteError> {
    if stored == Some(next) {
        return Ok(());
    }
    let kind = T::Object::kind(&());
    let name = raw.meta().name.as_deref().unwrap_or_default();
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "uid": raw.meta().uid},
        "status": next,
    });
    let params = PatchParams::apply(OPERATOR).force();
    let written = api.patch_status(name, &params, &Patch::Apply(&patch)).await;
    count_write(shared.reconciler(), &format!("{kind}/status"));
    written.map(drop).map_err(|source| WriteError {
        what: "the status",
        source: Box::new(source),
    })
}

/// Publishes an event about an object.
pub(crate) async fn publish<T: Dependents>(shared: &T, raw: &T::Object, event: &Event) {
    let happening = Happening {
        is_warning: event.is_warning,
        reason: event.reason,
        text: &event.text,
        about: None,
    };
    shared.reconciler().events.report(raw, &happening).await;
}

/// Counts a write to the API server.
pub(crate) fn count_write(reconciler: &Reconciler, kind: &str) {
    let writes = &reconciler.metrics.writes;
    writes.with_label_values(&[kind]).inc();
}
