//! JSON merge patches (RFC 7396).

use serde_json::{Map, Value};

/// The patch that makes `to` of `from`: removed fields are null, lists are replaced as a whole.
pub(crate) fn merge_patch(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return to.clone();
    };
    let mut patch = Map::new();
    for (key, value) in to {
        match from.get(key) {
            Some(old) if old == value => {}
            old => {
                let old = old.unwrap_or(&Value::Null);
                patch.insert(key.clone(), merge_patch(old, value));
            }
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}
