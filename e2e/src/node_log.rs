//! The log of a node, one JSON object per line.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// When a node has first logged a message at or after `since`; about the node with this id, if one
/// is given.
pub(crate) fn logged(
    text: &str,
    message: &str,
    node: Option<&str>,
    since: Timestamp,
) -> Option<Timestamp> {
    let lines = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let time: Timestamp = line["timestamp"].as_str()?.parse().ok()?;
        let fields = &line["fields"];
        let is_about = node.is_none_or(|node| fields["node_id"] == node);
        (fields["message"] == message && is_about && time >= since).then_some(time)
    });
    lines.min()
}
