//! Comparison of a live object with its desired state.

use serde_json::{Map, Value};

use crate::quantity::billionths;

/// Whether every field of `desired` is in `live` with an equal value. Other fields of `live` belong
/// to others: defaults, status, annotations of other controllers.
///
/// Lists whose items have names are compared by name, other lists item by item and in full.
/// Resource requests and limits are compared by value: `1000m` equals `1`.
pub(crate) fn is_subset_of(desired: &Value, live: &Value) -> bool {
    is_value_in(desired, live, false)
}

fn is_value_in(desired: &Value, live: &Value, is_quantity: bool) -> bool {
    match (desired, live) {
        // The API server drops fields that are null, and empty maps, lists and texts that are the
        // default of their field. Requiring them would apply the object on every reconcile.
        (Value::Null, _) => true,
        (Value::Object(map), Value::Null) => map.is_empty(),
        (Value::Array(list), Value::Null) => list.is_empty(),
        (Value::String(text), Value::Null) => text.is_empty(),
        (Value::Object(desired), Value::Object(live)) => is_map_in(desired, live),
        (Value::Array(desired), Value::Array(live)) => is_list_in(desired, live),
        (Value::String(desired), Value::String(live)) if is_quantity => {
            desired == live || billionths(desired).is_some_and(|v| Some(v) == billionths(live))
        }
        (desired, live) => desired == live,
    }
}

fn is_map_in(desired: &Map<String, Value>, live: &Map<String, Value>) -> bool {
    desired.iter().all(|(key, desired)| {
        let has_quantities = key == "requests" || key == "limits";
        let live = live.get(key).unwrap_or(&Value::Null);
        match (desired, live) {
            (Value::Object(desired), Value::Object(live)) if has_quantities => {
                let of = |name: &String| live.get(name).unwrap_or(&Value::Null);
                let mut quantities = desired.iter();
                quantities.all(|(name, desired)| is_value_in(desired, of(name), true))
            }
            _ => is_value_in(desired, live, false),
        }
    })
}

fn is_list_in(desired: &[Value], live: &[Value]) -> bool {
    fn name(item: &Value) -> Option<&str> {
        item.get("name").and_then(Value::as_str)
    }
    if !desired.is_empty() && desired.iter().all(|item| name(item).is_some()) {
        let is_item_in = |desired: &Value| {
            let live = live.iter().find(|item| name(item) == name(desired));
            live.is_some_and(|live| is_subset_of(desired, live))
        };
        return desired.iter().all(is_item_in);
    }
    let mut pairs = desired.iter().zip(live);
    live.len() == desired.len() && pairs.all(|(desired, live)| is_subset_of(desired, live))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_others_are_ignored() {
        let live = json!({"a": 1, "status": {}, "m": {"x": "1", "y": "2"}, "l": [1, 2]});
        let desired = json!({"a": 1, "m": {"x": "1"}, "l": [1, 2]});
        assert!(is_subset_of(&desired, &live));
        for missing in [
            json!({"a": 2}),
            json!({"b": 1}),
            json!({"m": {"x": "2"}}),
            json!({"l": [1]}),
            json!({"l": [2, 1]}),
        ] {
            assert!(!is_subset_of(&missing, &live), "{missing}");
        }
    }

    #[test]
    fn named_items_are_matched_by_name() {
        let live = json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]});
        let env = |item: Value| json!({"env": [item]});
        assert!(is_subset_of(
            &env(json!({"name": "B", "value": "2"})),
            &live
        ));
        assert!(!is_subset_of(
            &env(json!({"name": "B", "value": "1"})),
            &live
        ));
        assert!(!is_subset_of(&env(json!({"name": "C"})), &live));
    }

    #[test]
    fn quantities_are_compared_by_value() {
        let of = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let is_equal = |desired: &str, live: &str| is_subset_of(&of(desired), &of(live));
        assert!(is_equal("1000m", "1"));
        assert!(is_equal("1.5", "1500m"));
        assert!(is_equal("1Gi", "1024Mi"));
        assert!(is_equal("1e3", "1k"));
        assert!(is_equal("1Ei", "1024Pi"));
        assert!(!is_equal("1001m", "1"));
        assert!(!is_equal("1Gi", "1G"));
        // Other texts are compared as texts.
        assert!(!is_subset_of(&json!({"v": "1000m"}), &json!({"v": "1"})));
    }

    #[test]
    fn empty_desired_values_need_no_field() {
        let empty = json!({"a": null, "b": {}, "c": [], "d": ""});
        assert!(is_subset_of(&empty, &json!({})));
        assert!(!is_subset_of(&json!({"a": "x"}), &json!({})));
        assert!(!is_subset_of(&json!({"a": ""}), &json!({"a": "x"})));
    }
}
