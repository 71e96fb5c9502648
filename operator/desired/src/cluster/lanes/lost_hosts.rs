//! The PVC of a pod whose host is gone for good is released: a local volume can be used on no other
//! host, so its pod could never start again. It starts elsewhere as a new node; the scale lane
//! decommissions the former one.
//!
//! Safety: deleting a PVC deletes records. It is done only if all of this holds:
//!
//! 1. The volume is bound to a host, and Kubernetes has no Node of that host.
//! 2. That has been so for `spec.recovery.deadNodeAfter`, by the status: the Node of a host that is
//!    registered again by then is back with its disk.
//! 3. A node describes the cluster, and says that the node of the pod does not answer; the operator
//!    does not hear of it either.
//! 4. Every group of which the node holds a replica has a majority of healthy voters without it.
//!    A partition with a single replica never has.
//! 5. No other PVC of the cluster is being deleted: one at a time.

use lograft_crds::log_cluster::{BlockedReason, LostPolicy};
use lograft_crds::names::ClusterNames;

use crate::cluster::action::{Action, Delete};
use crate::cluster::lane::Lane;
use crate::cluster::observed::{Observed, ObservedDisk};
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::{LostHost, LostHostWait, Wait};
use crate::{ObjectKey, ObjectRef};

pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed) -> Lane {
    let names = ClusterNames(&cluster.name);
    let mut lane = Lane::default();
    if !cluster.bootstrapped {
        return lane;
    }
    let mut is_free = observed.disks.values().all(|disk| !disk.terminating);
    for (at, disk) in &observed.disks {
        let Some(host) = disk.gone_host.clone() else {
            continue;
        };
        let (pod, claim) = (names.pod(*at), names.disk_claim(*at));
        let why = match obstacle(cluster, observed, &pod) {
            Some(why) => why,
            None if disk.terminating => LostHostWait::Releasing,
            None if observed.is_heard(*at, &pod) => continue,
            None => match due(cluster, &claim) {
                Some(due) if due <= observed.now_unix_seconds && is_free => {
                    is_free = false;
                    release(&mut lane, observed, (*at, disk), (&pod, &claim, &host));
                    LostHostWait::Releasing
                }
                _ => LostHostWait::Time {
                    after_seconds: cluster.dead_node_after_seconds,
                },
            },
        };
        lane.waits.push(Wait::HostBack(LostHost {
            pod,
            claim,
            host,
            why,
        }));
    }
    lane
}

/// The reason for which the PVC of a pod is not released, however long its host is gone.
fn obstacle(cluster: &ValidCluster, observed: &Observed, pod: &str) -> Option<LostHostWait> {
    if cluster.spec.recovery.lost_host == LostPolicy::Keep {
        return Some(LostHostWait::Kept);
    }
    let Some(view) = &observed.view else {
        return Some(LostHostWait::NotDescribed);
    };
    // Without a member of its name, the disk belongs to no node of the cluster.
    let groups = view.groups_that_need(view.node_of(pod)?.id);
    (!groups.is_empty()).then_some(LostHostWait::Majority { groups })
}

/// When the PVC may be released, seconds since 1970; none if the status does not say yet since when
/// its host is gone.
fn due(cluster: &ValidCluster, claim: &str) -> Option<i64> {
    let subject = LostHost::subject_of(claim);
    let mut blocked = cluster.rollout.blocked.iter();
    let since = blocked.find(|wait| {
        wait.reason == BlockedReason::HostLost.name()
            && wait.subject.as_deref() == Some(subject.as_str())
    })?;
    Some(since.since.0.as_second() + cluster.dead_node_after_seconds)
}

fn release(
    lane: &mut Lane,
    observed: &Observed,
    (at, disk): (i32, &ObservedDisk),
    (pod, claim, host): (&str, &str, &str),
) {
    let key = ObjectKey::new("PersistentVolumeClaim", claim.to_owned());
    let text = format!(
        "deleting PVC {claim}: its host {host} is gone; pod {pod} starts elsewhere as a new node"
    );
    lane.emit_event_about(key.clone(), "ReleasingDisk", text);
    let uid = disk.uid.clone();
    lane.actions.push(Action::Delete(Delete {
        object: ObjectRef { key, uid },
        orphan: false,
    }));
    // The StatefulSet makes a PVC only together with its pod.
    if let Some(found) = observed.pods.get(&at).filter(|found| !found.terminating) {
        let key = ObjectKey::new("Pod", pod.to_owned());
        let uid = found.uid.clone();
        lane.actions.push(Action::Delete(Delete {
            object: ObjectRef { key, uid },
            orphan: false,
        }));
    }
}
