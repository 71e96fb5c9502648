//! Writes the status of a LogTopic, if it has changed.

use kube::Api;
use kube::api::{Patch, PatchParams};
use lograft_crds::names::{API_VERSION, OPERATOR};
use lograft_crds::{LogTopic, LogTopicStatus};
use serde_json::json;

use super::{TopicError, Topics};

/// Writes `next` unless it equals the stored status. The UID makes the API server reject it if
/// the LogTopic was deleted and created again: the new one does not own the topic of the old one.
pub(super) async fn write(
    topics: &Topics,
    api: &Api<LogTopic>,
    raw: &LogTopic,
    (stored, next): (Option<&LogTopicStatus>, &LogTopicStatus),
) -> Result<(), TopicError> {
    if stored == Some(next) {
        return Ok(());
    }
    let name = raw.metadata.name.as_deref().unwrap_or_default();
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": "LogTopic",
        "metadata": {"name": name, "uid": raw.metadata.uid},
        "status": next,
    });
    let params = PatchParams::apply(OPERATOR).force();
    let written = api.patch_status(name, &params, &Patch::Apply(&patch)).await;
    let writes = &topics.reconciler.metrics.writes;
    writes.with_label_values(&["LogTopic/status"]).inc();
    written.map(drop).map_err(|source| TopicError::Write {
        what: "the status",
        source: Box::new(source),
    })
}
