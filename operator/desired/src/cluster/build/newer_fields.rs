//! Fields of the node configuration above feature level 0, and which of them may be written.
//!
//! One ConfigMap serves all pods, and a pod may restart at any time during a rolling upgrade or a
//! rollback, with the older program. A program refuses a field that it does not know, unless the
//! file lists the field in `ignore_if_unknown`; programs of level 0 do not know that list either.
//! So a newer field and the list are written only once the finalized level is at least
//! [`FeatureLevel::NEWER_FIELDS`]: from then on every program that can start knows the list. Until
//! then the file is byte for byte the one of level 0.

use serde::Serialize;
use serde_yaml::{Mapping, Value};

use crate::cluster::view::FeatureLevel;

const LIST: &str = "ignore_if_unknown";

/// A field above level 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewerField {
    /// Path in the file, with dots for nesting.
    pub(super) path: &'static str,
    /// The level that brought it.
    pub(super) level: FeatureLevel,
}

/// Every field above level 0 that the operator writes. A field that is added to `node_config.rs`
/// must be added here too, or nodes of the former level refuse their configuration.
pub(super) const NEWER_FIELDS: &[NewerField] = &[
    NewerField {
        path: "topics.batch_max_bytes",
        level: FeatureLevel(1),
    },
    NewerField {
        path: "topics.record_max_bytes",
        level: FeatureLevel(2),
    },
    NewerField {
        path: "discovery",
        level: FeatureLevel(2),
    },
    NewerField {
        path: "authorization",
        level: FeatureLevel(2),
    },
    NewerField {
        path: "recovery",
        level: FeatureLevel(2),
    },
    NewerField {
        path: "listen.http",
        level: FeatureLevel(2),
    },
    NewerField {
        path: "http",
        level: FeatureLevel(2),
    },
];

/// The part of a configuration that may be written at this finalized level, without the list.
/// Fails if it cannot be encoded.
pub(super) fn written(
    config: &impl Serialize,
    finalized: FeatureLevel,
    fields: &[NewerField],
) -> Result<Value, serde_yaml::Error> {
    let mut config = serde_yaml::to_value(config)?;
    if finalized < FeatureLevel::NEWER_FIELDS {
        for field in fields {
            remove(&mut config, field.path);
        }
    }
    Ok(config)
}

/// The text of a node's configuration, with the list of its newer fields if there are any. Fails if
/// it cannot be encoded.
pub(super) fn text(
    config: &impl Serialize,
    finalized: FeatureLevel,
    fields: &[NewerField],
) -> Result<String, serde_yaml::Error> {
    let mut config = written(config, finalized, fields)?;
    let above = fields.iter().filter(|field| field.level > FeatureLevel(0));
    let used: Vec<&str> = above
        .map(|field| field.path)
        .filter(|path| contains(&config, path))
        .collect();
    if let (Value::Mapping(mapping), false) = (&mut config, used.is_empty()) {
        mapping.insert(LIST.into(), serde_yaml::to_value(used)?);
    }
    serde_yaml::to_string(&config)
}

fn contains(config: &Value, path: &str) -> bool {
    path.split('.')
        .try_fold(config, |value, name| value.get(name))
        .is_some()
}

/// Removes a field, and sections that have no other field.
fn remove(config: &mut Value, path: &str) {
    let Value::Mapping(mapping) = config else {
        return;
    };
    let Some((section, rest)) = path.split_once('.') else {
        mapping.shift_remove(path);
        return;
    };
    if let Some(inner) = mapping.get_mut(section) {
        remove(inner, rest);
        if inner.as_mapping().is_some_and(Mapping::is_empty) {
            mapping.shift_remove(section);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[NewerField] = &[
        NewerField {
            path: "storage.scrub_ms",
            level: FeatureLevel(1),
        },
        NewerField {
            path: "tiering.bucket",
            level: FeatureLevel(2),
        },
        NewerField {
            path: "unset",
            level: FeatureLevel(2),
        },
    ];

    fn config() -> Value {
        let text = "name: a\nstorage: {max: 5, scrub_ms: 7, min: 1}\ntiering: {bucket: b}\nlog: c";
        serde_yaml::from_str(text).unwrap()
    }

    /// An old pod that restarts before the level is finalized reads this file.
    #[test]
    fn at_level_0_neither_newer_fields_nor_the_list_are_written() {
        let text = text(&config(), FeatureLevel(0), FIELDS).unwrap();
        assert_eq!(text, "name: a\nstorage:\n  max: 5\n  min: 1\nlog: c\n");
    }

    /// A node of level 1 ignores the field of level 2: it is listed before level 2 is finalized.
    #[test]
    fn from_level_1_on_newer_fields_are_written_and_listed() {
        let text = text(&config(), FeatureLevel(1), FIELDS).unwrap();
        let read: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read["storage"]["scrub_ms"], 7);
        assert_eq!(read["tiering"]["bucket"], "b");
        let list: Vec<String> = serde_yaml::from_value(read[LIST].clone()).unwrap();
        assert_eq!(list, ["storage.scrub_ms", "tiering.bucket"]);
    }

    #[test]
    fn without_newer_fields_there_is_no_list() {
        let config: Value = serde_yaml::from_str("name: a\nstorage: {max: 5}").unwrap();
        for level in [0, 1, 9] {
            let text = text(&config, FeatureLevel(level), FIELDS).unwrap();
            assert_eq!(text, "name: a\nstorage:\n  max: 5\n");
        }
    }

    /// The rollout hash is made from what is written: a field that a node does not get must not be
    /// part of it, or its appearance would not restart the node.
    #[test]
    fn what_is_written_changes_when_the_level_is_finalized() {
        let at = |level| written(&config(), FeatureLevel(level), FIELDS).unwrap();
        assert_ne!(at(0), at(1));
        assert_eq!(at(1), config());
    }
}
