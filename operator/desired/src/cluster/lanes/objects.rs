//! Objects are applied when they differ from their desired state, and recreated when they were
//! deleted. Objects of other owners are left alone.
//!
//! Server-side apply sets fields and removes those that the operator has set before. It does not
//! remove what others have added, and with that an object may be invalid: a variable with a value
//! and a source, a budget with a minimum and a maximum. So an object with additions gets one patch
//! that removes them and sets the rest.

use lograft_crds::names::ClusterNames;
use serde_json::Value;

use crate::cluster::action::{Action, Delete, Deletion, Mend};
use crate::cluster::contest::Difference;
use crate::cluster::contests::Contests;
use crate::cluster::lane::Lane;
use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::{Intervention, Progress, shortened};
use crate::drift::{Drift, managers_of, merge_patch};
use crate::object::{foreign_owner, has_same_hash, hash_of, owned_uid, with_hash_annotation};
use crate::{ObjectKey, ObjectRef};

/// The arguments of [`plan`].
pub(crate) struct Input<'a, 'b> {
    pub(crate) cluster: &'a ValidCluster,
    pub(crate) observed: &'a Observed,
    /// The desired objects.
    pub(crate) objects: Vec<Value>,
    /// Whether the disks' lane recreates the StatefulSet.
    pub(crate) recreates_set: bool,
    pub(crate) contests: &'a mut Contests<'b>,
}

/// Plans the application of the desired objects.
pub(crate) fn plan(input: Input<'_, '_>) -> Lane {
    let Input {
        cluster,
        observed,
        objects,
        recreates_set,
        contests,
    } = input;
    let names = ClusterNames(&cluster.name);
    let set = ObjectKey::new("StatefulSet", names.stateful_set());
    let recreated = owned(cluster, observed, &set).filter(|_| recreates_set);
    let desired: Vec<Value> = objects.into_iter().map(with_hash_annotation).collect();
    let mut lane = Lane::default();
    delete_unwanted(&mut lane, cluster, observed, &desired);
    for object in desired {
        let key = ObjectKey::of(&object);
        let Some(live) = observed.live.get(&key) else {
            lane.waits.push(Progress::CreatingObject { key }.into());
            lane.actions.push(Action::Apply(object));
            continue;
        };
        let drift = Drift::of(&object, live);
        if drift.is_empty() {
            continue;
        }
        if let Some(owner) = foreign_owner(live, &cluster.uid) {
            let foreign = Intervention::ForeignObject { key, owner };
            lane.waits.push(foreign.into());
            continue;
        }
        if recreated.is_some() && key == set {
            continue;
        }
        let difference = difference(&object, live, &drift);
        let text = edit_text(&key, &difference);
        if !contests.may_write(&key, difference) {
            continue;
        }
        // A new desired state is no edit of somebody else.
        if has_same_hash(&object, live) {
            lane.emit_event_about(key.clone(), "RevertingEdit", text);
        }
        lane.actions.push(restoration(key, object, live, &drift));
    }
    if let Some(object) = recreated {
        // The pods stay and keep serving; the next plan creates the set again and it adopts them.
        let text = "recreating the StatefulSet for larger disks; pods keep running".to_owned();
        lane.emit_event("RenewingStatefulSet", text);
        lane.actions.push(Action::Delete(Delete {
            object,
            how: Deletion::Orphan,
        }));
    }
    lane
}

/// The action that ends the drift of an object.
fn restoration(key: ObjectKey, object: Value, live: &Value, drift: &Drift) -> Action {
    let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
    let reference = ObjectRef {
        key,
        uid: uid.to_owned(),
    };
    // Neither the data of an immutable object nor the mark can be changed, so it is made again.
    if live["immutable"] == true {
        return Action::Delete(Delete {
            object: reference,
            how: Deletion::Usual,
        });
    }
    if drift.added.is_empty() {
        return Action::Apply(object);
    }
    let mut patch = merge_patch(live, &drift.mended);
    // Lists are replaced as a whole: the API server refuses the patch if the object has changed.
    patch["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
    Action::Mend(Mend {
        object: reference,
        patch,
    })
}

/// Describes an edit: its first fields, and who has made it if that is known.
fn edit_text(key: &ObjectKey, difference: &Difference) -> String {
    let fields: Vec<String> = difference.fields.iter().cloned().collect();
    let managers: Vec<String> = difference.managers.iter().cloned().collect();
    let by = if managers.is_empty() {
        String::new()
    } else {
        format!(" by {}", managers.join(", "))
    };
    format!("reverting a change of {key}{by}: {}", shortened(&fields))
}

/// The fields that differ, and who has set them.
fn difference(desired: &Value, live: &Value, drift: &Drift) -> Difference {
    Difference {
        desired: hash_of(desired).to_owned(),
        fields: drift.paths().map(ToString::to_string).collect(),
        managers: drift
            .paths()
            .flat_map(|path| managers_of(live, path))
            .collect(),
    }
}

/// Deletes objects that the spec switches off.
fn delete_unwanted(
    lane: &mut Lane,
    cluster: &ValidCluster,
    observed: &Observed,
    desired: &[Value],
) {
    let names = ClusterNames(&cluster.name);
    // The binding first: a role is not changed while somebody has it.
    let optional = [
        ObjectKey::new("NetworkPolicy", names.network_policy()),
        ObjectKey::new("RoleBinding", names.endpoints_role()),
        ObjectKey::new("Role", names.endpoints_role()),
    ];
    for key in optional {
        if desired.iter().any(|object| ObjectKey::of(object) == key) {
            continue;
        }
        if let Some(object) = owned(cluster, observed, &key) {
            lane.actions.push(Action::Delete(Delete {
                object,
                how: Deletion::Usual,
            }));
        }
    }
}

/// The object, if it exists and the cluster owns it.
fn owned(cluster: &ValidCluster, observed: &Observed, key: &ObjectKey) -> Option<ObjectRef> {
    let uid = owned_uid(observed.live.get(key)?, &cluster.uid)?;
    Some(ObjectRef {
        key: key.clone(),
        uid,
    })
}
