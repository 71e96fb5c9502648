//! Objects are applied when they differ from their desired state, and recreated when they were
//! deleted. Objects of other owners are left alone.

use lograft_crds::names::ClusterNames;
use serde_json::Value;

use crate::cluster::action::{Action, Delete};
use crate::cluster::lane::Lane;
use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::{Intervention, Progress};
use crate::drift::is_subset_of;
use crate::object::{foreign_owner, owned_uid, with_hash_annotation};
use crate::{ObjectKey, ObjectRef};

/// Plans the application of the desired `objects`. `recreates_set` is a result of the disks' lane.
pub(crate) fn plan(
    cluster: &ValidCluster,
    observed: &Observed,
    objects: Vec<Value>,
    recreates_set: bool,
) -> Lane {
    let names = ClusterNames(&cluster.name);
    let set = ObjectKey::new("StatefulSet", names.stateful_set());
    let recreated = owned(cluster, observed, &set).filter(|_| recreates_set);
    let desired: Vec<Value> = objects.into_iter().map(with_hash_annotation).collect();
    let mut lane = Lane::default();
    delete_policy(&mut lane, cluster, observed, &desired);
    for object in desired {
        let key = ObjectKey::of(&object);
        let live = observed.live.get(&key);
        if live.is_some_and(|live| is_subset_of(&object, live)) {
            continue;
        }
        if let Some(owner) = live.and_then(|live| foreign_owner(live, &cluster.uid)) {
            let foreign = Intervention::ForeignObject { key, owner };
            lane.waits.push(foreign.into());
            continue;
        }
        if live.is_none() {
            let key = key.clone();
            lane.waits.push(Progress::CreatingObject { key }.into());
        }
        if recreated.is_some() && key == set {
            continue;
        }
        lane.actions.push(Action::Apply(object));
    }
    if let Some(object) = recreated {
        // The pods stay and keep serving; the next plan creates the set again and it adopts them.
        let text = "recreating the StatefulSet for larger disks; pods keep running".to_owned();
        lane.emit_event("RenewingStatefulSet", text);
        lane.actions.push(Action::Delete(Delete {
            object,
            orphan: true,
        }));
    }
    lane
}

/// Deletes the network policy if it is switched off.
fn delete_policy(lane: &mut Lane, cluster: &ValidCluster, observed: &Observed, desired: &[Value]) {
    let names = ClusterNames(&cluster.name);
    let policy = ObjectKey::new("NetworkPolicy", names.network_policy());
    if desired.iter().any(|object| ObjectKey::of(object) == policy) {
        return;
    }
    if let Some(object) = owned(cluster, observed, &policy) {
        lane.actions.push(Action::Delete(Delete {
            object,
            orphan: false,
        }));
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
