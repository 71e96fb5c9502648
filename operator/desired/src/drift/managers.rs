//! Field managers: who has set a field, from `metadata.managedFields`.

use lograft_crds::names::OPERATOR;
use serde_json::Value;

use super::path::{FieldPath, PathStep};

/// The managers of a field beside the operator, each once. Empty if there are none, or if the
/// object does not say.
pub(crate) fn managers_of(live: &Value, path: &FieldPath) -> Vec<String> {
    let mut managers: Vec<String> = entries(live)
        .filter(|entry| entry["manager"] != OPERATOR && owns(entry, live, path))
        .filter_map(|entry| entry["manager"].as_str().map(str::to_owned))
        .collect();
    managers.sort_unstable();
    managers.dedup();
    managers
}

/// Whether the object says who owns its fields, and nobody owns this one.
pub(super) fn is_unowned(live: &Value, path: &FieldPath) -> bool {
    let mut entries = entries(live).peekable();
    entries.peek().is_some() && !entries.any(|entry| owns(entry, live, path))
}

/// The entries about the object itself, not about its status.
fn entries(live: &Value) -> impl Iterator<Item = &Value> {
    let entries = live["metadata"]["managedFields"].as_array();
    let entries = entries.into_iter().flatten();
    entries.filter(|entry| entry["subresource"].as_str().unwrap_or_default().is_empty())
}

/// Whether a manager owns a field, something in it, or an atomic value that it is part of.
fn owns(entry: &Value, live: &Value, path: &FieldPath) -> bool {
    let mut owned = &entry["fieldsV1"];
    let mut value = live;
    for (depth, step) in path.0.iter().enumerate() {
        let next = match step {
            PathStep::Field(name) => {
                value = &value[name];
                owned.get(format!("f:{name}"))
            }
            PathStep::Item { index, .. } => {
                value = &value[index];
                let items = owned.as_object();
                let mut items = items.into_iter().flatten();
                items.find(|(key, _)| is_key_of(key, value)).map(|(_, v)| v)
            }
        };
        match next {
            Some(next) => owned = next,
            None => return depth > 0 && owned.as_object().is_some_and(serde_json::Map::is_empty),
        }
    }
    true
}

/// Whether this key of a list, such as `k:{"name":"node"}` or `v:"Ingress"`, is that of an item.
fn is_key_of(key: &str, item: &Value) -> bool {
    if let Some(fields) = key.strip_prefix("k:") {
        let fields: Value = serde_json::from_str(fields).unwrap_or_default();
        let mut fields = fields.as_object().into_iter().flatten();
        return fields.all(|(name, value)| item[name] == *value);
    }
    let value = key.strip_prefix("v:");
    value.is_some_and(|value| serde_json::from_str(value).is_ok_and(|value: Value| value == *item))
}
