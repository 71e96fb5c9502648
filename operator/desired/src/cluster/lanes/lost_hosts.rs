//! The PVC of a pod whose host is lost for good is released: a local volume can be used on no other
//! host, so its pod could never start again. It starts elsewhere as a new node; the scale lane
//! decommissions the former one.
//!
//! Safety: deleting a PVC deletes records. It is done only if all of this holds:
//!
//! 1. The volume can be used on lost hosts alone: Kubernetes has no Node of them, or their Nodes
//!    are not ready and have the taint that says that the host is off, or, with
//!    `ReplaceUnreachable`, their Nodes are not ready.
//! 2. That has been so for `spec.recovery.deadNodeAfter`, by the status: a host that is back by
//!    then is back with its disk. If the Node or the PVC shows a shorter time, that counts: the
//!    entry in status may be from an earlier loss.
//! 3. A node describes the cluster, and says that the node of the pod does not answer; the operator
//!    does not hear of it either.
//! 4. Every group of which the node holds a replica has a majority of healthy voters without it.
//!    A partition with a single replica never has.
//! 5. No other PVC of the cluster is being deleted: one at a time.
//!
//! A pod that has a host is deleted by force then: nobody confirms its end there, and until it is
//! gone its name is taken. Its process may still run, since a host that is off and one behind a
//! partition of the network look the same. Two processes of one name are no split brain:
//!
//! - They share no disk: a local volume is on one host. A network disk could be attached to both
//!   hosts and written by both processes, so its pod is never deleted by force.
//! - They share no node ID. The new process has an empty disk, joins, and gets an ID of its own;
//!   IDs are never used again. Votes and logs of the former one count for the former ID only, and
//!   peers check the ID of the process that they reach at an address.
//! - The former process acknowledges nothing and wins no election: both need a majority of voters,
//!   and all groups have theirs without it (4).
//! - Once the former ID is decommissioned, all others refuse it. The process ends when its kubelet
//!   is back, which stops pods that the API server does not know.
//!
//! Clients on its side of the partition see a node in a minority: writes fail and are retried at
//! other nodes, and reads return committed records only, whose end is some seconds old at most
//! before they fail too (`dataplane/docs/reads.md`).

use lograft_crds::log_cluster::{BlockedReason, LostHostPolicy};
use lograft_crds::names::ClusterNames;

use crate::cluster::action::{Action, Delete, Deletion};
use crate::cluster::disk_host::{DiskHost, HostLoss};
use crate::cluster::lane::Lane;
use crate::cluster::observed::{Observed, ObservedDisk};
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::{LostHost, LostHostWait, Wait};
use crate::{ObjectKey, ObjectRef};

/// A PVC on a host that seems to be lost.
struct Lost<'a> {
    ordinal: i32,
    disk: &'a ObservedDisk,
    host: &'a DiskHost,
    pod: String,
    claim: String,
}

pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed) -> Lane {
    let mut lane = Lane::default();
    if !cluster.bootstrapped {
        return lane;
    }
    let mut is_free = observed.disks.values().all(|disk| !disk.terminating);
    for lost in lost_disks(cluster, observed) {
        let is_due = due(cluster, &lost).is_some_and(|due| due <= observed.now_unix_seconds);
        let why = match obstacle(cluster, observed, &lost) {
            Some(why) => why,
            None if is_due && (is_free || lost.disk.terminating) => {
                is_free = false;
                release(&mut lane, observed, &lost);
                LostHostWait::Releasing
            }
            None if lost.disk.terminating => LostHostWait::Releasing,
            None => LostHostWait::Time {
                after_seconds: cluster.dead_node_after_seconds,
            },
        };
        lane.waits.push(Wait::HostBack(LostHost {
            pod: lost.pod,
            claim: lost.claim,
            host: lost.host.name.clone(),
            loss: lost.host.loss,
            why,
        }));
    }
    lane
}

/// The PVCs on hosts that seem to be lost, without those whose node is heard: its host is there,
/// whatever Kubernetes says. The PVC that a removed node has left is no pod's as long as its host
/// may be back.
fn lost_disks<'a>(cluster: &ValidCluster, observed: &'a Observed) -> Vec<Lost<'a>> {
    let names = ClusterNames(&cluster.name);
    let disks = observed.disks.iter().filter_map(|(at, disk)| {
        let host = disk.lost_host.as_ref()?;
        let is_in_use = *at < observed.replicas() || host.loss == HostLoss::Gone;
        let pod = names.pod(*at);
        (is_in_use && !observed.is_heard(*at, &pod)).then(|| Lost {
            ordinal: *at,
            disk,
            host,
            pod,
            claim: names.disk_claim(*at),
        })
    });
    disks.collect()
}

/// The reason for which the PVC of a pod is not released, however long its host is lost.
fn obstacle(cluster: &ValidCluster, observed: &Observed, lost: &Lost<'_>) -> Option<LostHostWait> {
    if lost.host.can_move {
        return Some(LostHostWait::Movable);
    }
    match (cluster.spec.recovery.lost_host, lost.host.loss) {
        (LostHostPolicy::Keep, _) => return Some(LostHostWait::Kept),
        (LostHostPolicy::Replace, HostLoss::Unreachable { .. }) => {
            return Some(LostHostWait::Registered);
        }
        (LostHostPolicy::Replace, HostLoss::Gone | HostLoss::OutOfService { .. })
        | (LostHostPolicy::ReplaceUnreachable, _) => {}
    }
    let Some(view) = &observed.view else {
        return Some(LostHostWait::NotDescribed);
    };
    // Without a member of its name, the disk belongs to no node of the cluster.
    let groups = view.groups_that_need(view.node_of(&lost.pod)?.id);
    (!groups.is_empty()).then_some(LostHostWait::Majority { groups })
}

/// When the PVC may be released, seconds since 1970; none if the status does not say yet since when
/// its host is lost.
fn due(cluster: &ValidCluster, lost: &Lost<'_>) -> Option<i64> {
    let subject = LostHost::subject_of(&lost.claim);
    let mut blocked = cluster.rollout.blocked.iter();
    let entry = blocked.find(|wait| {
        wait.reason == BlockedReason::HostLost.name()
            && wait.subject.as_deref() == Some(subject.as_str())
    })?;
    let since = entry.since.0.as_second().max(lost.disk.created);
    let since = lost.host.loss.since().map_or(since, |own| own.max(since));
    Some(since + cluster.dead_node_after_seconds)
}

fn release(lane: &mut Lane, observed: &Observed, lost: &Lost<'_>) {
    let (pod, claim, host) = (&lost.pod, &lost.claim, &lost.host.name);
    if !lost.disk.terminating {
        let key = ObjectKey::new("PersistentVolumeClaim", claim.clone());
        let text = format!(
            "deleting PVC {claim}: its host {host} is lost; pod {pod} starts elsewhere as a new \
             node"
        );
        lane.emit_event_about(key.clone(), "ReleasingDisk", text);
        let uid = lost.disk.uid.clone();
        lane.actions.push(Action::Delete(Delete {
            object: ObjectRef { key, uid },
            how: Deletion::Usual,
        }));
    }
    let Some(found) = observed.pods.get(&lost.ordinal) else {
        return;
    };
    // The StatefulSet makes a PVC only together with its pod. A pod without a host does not hold up
    // the deletion of its PVC.
    let how = match (&found.host, found.terminating || lost.disk.terminating) {
        (Some(_), _) => Deletion::Force,
        (None, false) => Deletion::Usual,
        (None, true) => return,
    };
    let key = ObjectKey::new("Pod", pod.clone());
    if how == Deletion::Force {
        let text = format!("deleting pod {pod} by force: its host {host} does not answer");
        lane.emit_event_about(key.clone(), "DeletingPodByForce", text);
    }
    let uid = found.uid.clone();
    lane.actions.push(Action::Delete(Delete {
        object: ObjectRef { key, uid },
        how,
    }));
}
