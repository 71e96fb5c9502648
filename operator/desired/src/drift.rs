//! Whether what stands has all that is wanted.

use serde_json::{Map, Value};

/// Whether every field of `desired` is in `live` with an equal value. What else is in `live` is
/// somebody else's: defaults, status, other controllers' annotations.
///
/// Lists whose items have names are compared by name, other lists item by item and as a whole.
/// What is asked for of resources is compared by value: `1000m` is `1`.
pub fn covers(live: &Value, desired: &Value) -> bool {
    covers_at(live, desired, false)
}

fn covers_at(live: &Value, desired: &Value, is_amount: bool) -> bool {
    match (live, desired) {
        // What is wanted as null is not wanted; an empty map, list or text need not be there: the
        // API server drops those that are a field's default.
        (_, Value::Null) => true,
        (Value::Null, Value::Object(map)) => map.is_empty(),
        (Value::Null, Value::Array(list)) => list.is_empty(),
        (Value::Null, Value::String(text)) => text.is_empty(),
        (Value::Object(live), Value::Object(desired)) => covers_map(live, desired),
        (Value::Array(live), Value::Array(desired)) => covers_list(live, desired),
        (Value::String(live), Value::String(desired)) if is_amount => {
            live == desired || amount(live).is_some_and(|value| Some(value) == amount(desired))
        }
        (live, desired) => live == desired,
    }
}

fn covers_map(live: &Map<String, Value>, desired: &Map<String, Value>) -> bool {
    desired.iter().all(|(key, wanted)| {
        let amounts = key == "requests" || key == "limits";
        let found = live.get(key).unwrap_or(&Value::Null);
        match (found, wanted) {
            (Value::Object(found), Value::Object(wanted)) if amounts => {
                let found = |name: &String| found.get(name).unwrap_or(&Value::Null);
                let mut pairs = wanted.iter();
                pairs.all(|(name, wanted)| covers_at(found(name), wanted, true))
            }
            _ => covers_at(found, wanted, false),
        }
    })
}

fn covers_list(live: &[Value], desired: &[Value]) -> bool {
    fn name(item: &Value) -> Option<&str> {
        item.get("name").and_then(Value::as_str)
    }
    if !desired.is_empty() && desired.iter().all(|item| name(item).is_some()) {
        let stands = |wanted: &Value| {
            let found = live.iter().find(|item| name(item) == name(wanted));
            found.is_some_and(|found| covers(found, wanted))
        };
        return desired.iter().all(stands);
    }
    let mut pairs = live.iter().zip(desired);
    live.len() == desired.len() && pairs.all(|(live, desired)| covers(live, desired))
}

/// A quantity of Kubernetes', in thousandths; none if it is no such, or has a finer part.
pub(crate) fn amount(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let factor: i128 = match unit {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        "Pi" => 1000 << 50,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let value = digits.checked_mul(factor)?;
    (value % scale == 0).then_some(value / scale)
}

/// The bytes of a quantity of Kubernetes'; none if it is no such.
pub fn bytes(text: &str) -> Option<u64> {
    amount(text).and_then(|thousandths| u64::try_from(thousandths / 1000).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_added_is_left_alone() {
        let live = json!({"a": 1, "status": {}, "m": {"x": "1", "y": "2"}, "l": [1, 2]});
        assert!(covers(
            &live,
            &json!({"a": 1, "m": {"x": "1"}, "l": [1, 2]})
        ));
        for missing in [
            json!({"a": 2}),
            json!({"b": 1}),
            json!({"m": {"x": "2"}}),
            json!({"l": [1]}),
            json!({"l": [2, 1]}),
        ] {
            assert!(!covers(&live, &missing), "{missing}");
        }
    }

    #[test]
    fn named_items_are_found_by_name() {
        let live = json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]});
        assert!(covers(
            &live,
            &json!({"env": [{"name": "B", "value": "2"}]})
        ));
        assert!(!covers(
            &live,
            &json!({"env": [{"name": "B", "value": "1"}]})
        ));
        assert!(!covers(&live, &json!({"env": [{"name": "C"}]})));
    }

    #[test]
    fn amounts_are_compared_by_value() {
        let of = |cpu: &str| json!({"requests": {"cpu": cpu}});
        assert!(covers(&of("1"), &of("1000m")));
        assert!(covers(&of("1500m"), &of("1.5")));
        assert!(covers(&of("1024Mi"), &of("1Gi")));
        assert!(!covers(&of("1"), &of("1001m")));
        assert!(!covers(&of("1G"), &of("1Gi")));
        // Elsewhere a text is a text.
        assert!(!covers(&json!({"v": "1"}), &json!({"v": "1000m"})));
    }

    #[test]
    fn nothing_asked_for_is_there() {
        let live = json!({});
        assert!(covers(
            &live,
            &json!({"a": null, "b": {}, "c": [], "d": ""})
        ));
        assert!(!covers(&live, &json!({"a": "x"})));
        assert!(!covers(&json!({"a": "x"}), &json!({"a": ""})));
    }
}
