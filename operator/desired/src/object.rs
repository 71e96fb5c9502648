//! References to Kubernetes objects in the namespace of the reconciled resource, and the marks that
//! applied objects carry.

use std::fmt;

use lograft_crds::names::ANNOTATION_APPLIED;
use serde_json::{Value, json};

use crate::text::hash_text;

/// Kind and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Kind. The operator uses no two API groups with the same kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of this kind and name.
    pub fn new(kind: &str, name: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.into(),
        }
    }

    /// The key of an object in the form of the API server.
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self::new(&text(&object["kind"]), text(&object["metadata"]["name"]))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One particular object: a later object with the same name has another UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// Kind and name.
    pub key: ObjectKey,
    /// UID.
    pub uid: String,
}

/// Annotates an object with a hash of its desired state. It distinguishes a new desired state from
/// an edit by somebody else, and shows that an annotation is no longer desired: others may add
/// annotations.
pub(crate) fn with_hash_annotation(mut object: Value) -> Value {
    let hash = hash_text(&object.to_string());
    let metadata = &mut object["metadata"];
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"][ANNOTATION_APPLIED] = Value::from(hash);
    object
}

/// Whether the live object was last applied with this desired state.
pub(crate) fn has_same_hash(desired: &Value, live: &Value) -> bool {
    hash_of(desired) == hash_of(live)
}

/// The hash of the desired state in the annotations of an object; empty if there is none.
pub(crate) fn hash_of(object: &Value) -> &str {
    let hash = &object["metadata"]["annotations"][ANNOTATION_APPLIED];
    hash.as_str().unwrap_or_default()
}

/// The controller of an object, if it is not the owner with `owner_uid`.
pub(crate) fn foreign_owner(live: &Value, owner_uid: &str) -> Option<String> {
    let owners = live["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (owner["uid"] != owner_uid)
        .then(|| format!("{} {}", text(&owner["kind"]), text(&owner["name"])))
}

/// The UID of an object that the owner with `owner_uid` controls.
pub(crate) fn owned_uid(live: &Value, owner_uid: &str) -> Option<String> {
    let has_owners = live["metadata"]["ownerReferences"].is_array();
    let is_own = has_owners && foreign_owner(live, owner_uid).is_none();
    let uid = live["metadata"]["uid"].as_str().filter(|_| is_own)?;
    Some(uid.to_owned())
}
