//! Comparison of a live object with its desired state, as a whole: fields that somebody added are
//! drift too. A key that is added to the selector of a Service cuts off all of its endpoints, and
//! an edit of a pod template takes effect at the next start of a pod, whenever that is.
//!
//! A field that is not desired may stay in three cases:
//!
//! 1. [`allowed`] lists it: the API server or a controller fills it, or others may use it.
//! 2. It has the default that [`allowed`] lists.
//! 3. No field manager owns it, and it is a field of a type, not a key of a map nor an item of a
//!    list: then the API server has set a default that this version does not know. If it were
//!    removed, the API server would set it again, and the operator would write without end.

mod allowed;
mod managers;
mod merge_patch;
mod path;

pub(crate) use managers::managers_of;
pub(crate) use merge_patch::merge_patch;
pub(crate) use path::FieldPath;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::quantity::billionths;

/// Differences of a live object from its desired state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Drift {
    /// Desired fields that are missing or have another value.
    pub(crate) changed: Vec<FieldPath>,
    /// Fields that others have added.
    pub(crate) added: Vec<FieldPath>,
    /// The live object as it should be. Fields that may stay are kept.
    pub(crate) mended: Value,
}

impl Drift {
    /// Compares an object with its desired state. Lists whose items have names are compared by
    /// name, other lists item by item. Resource requests and limits are compared by value: `1000m`
    /// equals `1`.
    pub(crate) fn of(desired: &Value, live: &Value) -> Self {
        let mut comparison = Comparison {
            live,
            changed: Vec::new(),
            added: Vec::new(),
        };
        let mended = comparison.mend(desired, live, &FieldPath::default());
        Self {
            changed: comparison.changed,
            added: comparison.added,
            mended,
        }
    }

    /// Whether there are no differences.
    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty()
    }

    /// The paths of all differences.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &FieldPath> {
        self.changed.iter().chain(&self.added)
    }
}

struct Comparison<'a> {
    /// The live object.
    live: &'a Value,
    changed: Vec<FieldPath>,
    added: Vec<FieldPath>,
}

impl Comparison<'_> {
    /// The value that this part of the live object should have.
    fn mend(&mut self, desired: &Value, live: &Value, path: &FieldPath) -> Value {
        match (desired, live) {
            // The API server drops fields that are null, and empty maps, lists and texts that are
            // the default of their field. Requiring them would apply the object on every reconcile.
            (desired, Value::Null) if is_nothing(desired) => Value::Null,
            (Value::Object(desired), Value::Object(live)) => self.mend_map(desired, live, path),
            (Value::Array(desired), Value::Array(live)) => self.mend_list(desired, live, path),
            (Value::String(desired), Value::String(text)) if path.is_quantity() => {
                let value = billionths(desired);
                if desired != text && (value.is_none() || value != billionths(text)) {
                    self.changed.push(path.clone());
                    return Value::from(desired.as_str());
                }
                live.clone()
            }
            (desired, live) if desired == live => live.clone(),
            (desired, _) => {
                self.changed.push(path.clone());
                desired.clone()
            }
        }
    }

    fn mend_map(
        &mut self,
        desired: &Map<String, Value>,
        live: &Map<String, Value>,
        path: &FieldPath,
    ) -> Value {
        let mut mended = Map::new();
        let changes_before = self.changed.len();
        for (key, value) in desired.iter().filter(|(_, value)| !value.is_null()) {
            let old = live.get(key).unwrap_or(&Value::Null);
            let new = self.mend(value, old, &path.field(key));
            if live.contains_key(key) || !new.is_null() {
                mended.insert(key.clone(), new);
            }
        }
        // What belongs to the value that was changed is not kept: a default of a union's former
        // member would make the mended object invalid.
        let is_changed = self.changed.len() > changes_before;
        let is_desired = |key: &String| desired.get(key).is_some_and(|value| !value.is_null());
        for (key, value) in live.iter().filter(|(key, _)| !is_desired(key)) {
            let field = path.field(key);
            if is_nothing(value) || self.may_stay(&field, value, is_changed) {
                mended.insert(key.clone(), value.clone());
            } else {
                self.added.push(field);
            }
        }
        Value::Object(mended)
    }

    fn mend_list(&mut self, desired: &[Value], live: &[Value], path: &FieldPath) -> Value {
        if desired.is_empty() || !desired.iter().all(|item| name(item).is_some()) {
            return self.mend_sequence(desired, live, path);
        }
        let mut mended = Vec::new();
        let mut found = BTreeSet::new();
        for (index, item) in live.iter().enumerate() {
            let item_path = path.item(index, name(item));
            let mut same = desired.iter().filter(|other| name(other) == name(item));
            match same.next() {
                // A second item with the same name belongs to nobody.
                Some(_) if !found.insert(name(item)) => self.added.push(item_path),
                Some(desired) => mended.push(self.mend(desired, item, &item_path)),
                None if self.may_stay(&item_path, item, true) => mended.push(item.clone()),
                None => self.added.push(item_path),
            }
        }
        for item in desired.iter().filter(|item| !found.contains(&name(item))) {
            self.changed.push(path.item(mended.len(), name(item)));
            mended.push(item.clone());
        }
        Value::Array(mended)
    }

    fn mend_sequence(&mut self, desired: &[Value], live: &[Value], path: &FieldPath) -> Value {
        let mut mended = Vec::new();
        for (index, item) in desired.iter().enumerate() {
            let old = live.get(index).unwrap_or(&Value::Null);
            mended.push(self.mend(item, old, &path.item(index, None)));
        }
        for (index, item) in live.iter().enumerate().skip(desired.len()) {
            let item_path = path.item(index, None);
            if self.may_stay(&item_path, item, true) {
                mended.push(item.clone());
            } else {
                self.added.push(item_path);
            }
        }
        Value::Array(mended)
    }

    /// Whether a field or item that is not desired may stay.
    fn may_stay(&self, path: &FieldPath, value: &Value, is_changed: bool) -> bool {
        let kind = self.live["kind"].as_str().unwrap_or_default();
        if allowed::is_allowed(kind, path, value) {
            return true;
        }
        let is_field = path.ends_with_field() && !path.is_in_map();
        is_field && !is_changed && managers::is_unowned(self.live, path)
    }
}

fn name(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;
