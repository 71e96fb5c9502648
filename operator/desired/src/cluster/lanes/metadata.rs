//! Labels and owners by which objects are found are put back: those of Secrets, pods and PVCs,
//! which are not applied as a whole.
//!
//! Without its labels a pod belongs to no StatefulSet, whose controller then cannot create another
//! one under the same name, and no Service leads to it. A PVC without them does not grow. A Secret
//! without its owner outlives the cluster, with the key of its CA; that is the state in which an
//! orphaning delete leaves it, and the next LogCluster of the name takes it over.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use lograft_crds::names::{ClusterNames, LABEL_AUTHORIZATION};
use serde_json::{Value, json};

use crate::cluster::action::{Action, Mend};
use crate::cluster::build::owner;
use crate::cluster::contest::Difference;
use crate::cluster::contests::Contests;
use crate::cluster::lane::Lane;
use crate::cluster::observed::{Observed, ObservedMetadata};
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::{Intervention, shortened};
use crate::{ObjectKey, ObjectRef};

/// Plans the repair of metadata. `written` are the Secrets that other lanes write in this step,
/// with their metadata.
pub(crate) fn plan(
    cluster: &ValidCluster,
    observed: &Observed,
    written: &BTreeSet<&str>,
    contests: &mut Contests<'_>,
) -> Lane {
    let names = ClusterNames(&cluster.name);
    let mut lane = Lane::default();
    for (key, found) in &observed.metadata {
        let is_written = written.contains(key.name.as_str());
        let is_foreign = observed.foreign_secrets.contains_key(&key.name);
        let (labels, owner) = match key.kind.as_str() {
            "Secret" if is_written || is_foreign => continue,
            "Secret" => (names.labels(), Some(owner(cluster))),
            _ => (names.selector(), None),
        };
        let missing = missing_labels(&labels, found);
        let is_owned = owner.as_ref().is_none_or(|own| is_owned(found, own));
        if missing.is_empty() && is_owned {
            continue;
        }
        if let Some(owner) = stranger(key, found, observed) {
            let key = key.clone();
            lane.waits
                .push(Intervention::ForeignObject { key, owner }.into());
            continue;
        }
        let labels = missing
            .keys()
            .map(|label| format!("metadata.labels.{label}"));
        let owners = (!is_owned).then(|| "metadata.ownerReferences".to_owned());
        let difference = Difference {
            desired: String::new(),
            fields: labels.chain(owners).collect(),
            managers: BTreeSet::new(),
        };
        let fields: Vec<String> = difference.fields.iter().cloned().collect();
        if !contests.may_write(key, difference) {
            continue;
        }
        lane.actions.push(Action::Mend(Mend {
            object: ObjectRef {
                key: key.clone(),
                uid: found.uid.clone(),
            },
            patch: patch(&missing, found, owner.filter(|_| !is_owned)),
        }));
        let text = format!("restoring metadata of {key}: {}", shortened(&fields));
        lane.emit_event_about(key.clone(), "RestoringMetadata", text);
    }
    if cluster.cluster_id.is_some() {
        note_authorization(cluster, observed, contests, &mut lane);
    }
    lane
}

/// Writes the authorization mode on the disks: a LogCluster that adopts them keeps it.
fn note_authorization(
    cluster: &ValidCluster,
    observed: &Observed,
    contests: &mut Contests<'_>,
    lane: &mut Lane,
) {
    let names = ClusterNames(&cluster.name);
    let mode = cluster.authorization.mode;
    let outdated = observed.disks.iter().filter(|(_, disk)| {
        let is_noted = disk.authorization == Some(mode);
        !is_noted && !disk.terminating
    });
    for (ordinal, disk) in outdated {
        let key = ObjectKey::new("PersistentVolumeClaim", names.disk_claim(*ordinal));
        let difference = Difference {
            desired: mode.name().to_owned(),
            fields: [format!("metadata.labels.{LABEL_AUTHORIZATION}")].into(),
            managers: BTreeSet::new(),
        };
        if !contests.may_write(&key, difference) {
            continue;
        }
        let labels = json!({LABEL_AUTHORIZATION: mode.name()});
        let uid = disk.uid.clone();
        lane.actions.push(Action::Mend(Mend {
            patch: json!({"metadata": {"uid": uid, "labels": labels}}),
            object: ObjectRef { key, uid },
        }));
    }
}

fn missing_labels(
    labels: &BTreeMap<String, String>,
    found: &ObservedMetadata,
) -> BTreeMap<String, String> {
    let labels = labels.iter();
    let missing = labels.filter(|(key, value)| found.labels.get(*key) != Some(value));
    missing.map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn is_owned(found: &ObservedMetadata, own: &OwnerReference) -> bool {
    let mut owners = found.owners.iter();
    owners.any(|owner| owner.uid == own.uid && owner.controller == Some(true))
}

/// Whose pod it is, if it is not the cluster's: it has another controller than the StatefulSet, or
/// none and no mark of the template.
fn stranger(key: &ObjectKey, found: &ObservedMetadata, observed: &Observed) -> Option<String> {
    if key.kind != "Pod" {
        return None;
    }
    let set = observed.stateful_set.as_ref();
    let set_uid = set.and_then(|set| set.metadata.uid.as_ref());
    let mut owners = found.owners.iter();
    match owners.find(|owner| owner.controller == Some(true)) {
        Some(owner) if Some(&owner.uid) == set_uid => None,
        Some(owner) => Some(format!("{} {}", owner.kind, owner.name)),
        None => found.hash.is_none().then(|| "somebody else".to_owned()),
    }
}

/// The patch that adds labels, and an owner beside those that there are.
fn patch(
    labels: &BTreeMap<String, String>,
    found: &ObservedMetadata,
    owner: Option<OwnerReference>,
) -> Value {
    let mut patch = json!({"metadata": {"uid": found.uid}});
    let metadata = &mut patch["metadata"];
    if !labels.is_empty() {
        metadata["labels"] = json!(labels);
    }
    if let Some(owner) = owner {
        let is_other = |other: &&OwnerReference| other.uid != owner.uid;
        let mut owners: Vec<_> = found.owners.iter().filter(is_other).cloned().collect();
        owners.push(owner);
        metadata["ownerReferences"] = json!(owners);
        // The list is replaced as a whole.
        metadata["resourceVersion"] = json!(found.resource_version);
    }
    patch
}
