//! The cluster is bootstrapped exactly once: its ID is stored first, then the pod that bootstraps
//! it, then the node of that pod is asked, then a mark is stored.
//!
//! Safety: a second bootstrap would create a second cluster under the same name (split brain), and
//! records of the first would be lost. Four rules prevent it.
//!
//! 1. No ID is generated and no node is asked before every known disk has reported to be empty,
//!    since any disk may hold a cluster. A pod that no host ever took and that has no volume has no
//!    disk yet; it reports nothing and joins later, even if it is the first one.
//! 2. One node is asked, however often: two nodes that bootstrap with the same ID would both be
//!    node 1 of it. A report of an empty disk does not prove that its node was not asked, since a
//!    request may be on its way. So the choice is stored before the request and never changes, even
//!    if another pod would be chosen now.
//! 3. The API server refuses another choice, and its removal (`rules::STATUS`). So of two operators
//!    that both believe to be the leader, one stores its choice, and the write of the other fails
//!    before it has asked any node.
//! 4. `status.bootstrapped` never returns to false: after it an empty disk joins.
//!
//! The ID is stored before the bootstrap too, so that a repeated request carries the same ID: on a
//! node it is idempotent, and an interrupted one is completed when the node starts again. A node
//! asks its seeds first, and joins if one of them knows a cluster.

use std::collections::BTreeSet;

use lograft_crds::names::ClusterNames;

use crate::cluster::action::{Action, Ask, Identity};
use crate::cluster::lane::Lane;
use crate::cluster::observed::{NodeAnswer, Observed, ObservedDisk, ObservedPod};
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::{Intervention, Progress, Wait};

/// Plans the bootstrap of a cluster of `pods` pods.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed, pods: i32) -> Lane {
    let names = ClusterNames(&cluster.name);
    let ids = cluster_ids(observed);
    let Some(own) = &cluster.cluster_id else {
        return match former_cluster(cluster, observed) {
            Some(wait) => Lane::waiting(wait),
            None => find_identity(cluster, observed, &ids, pods),
        };
    };
    if let Some(found) = ids.iter().find(|id| *id != own) {
        return Lane::waiting(Intervention::ForeignDisk {
            found: found.clone(),
            own: own.clone(),
        });
    }
    let mut lane = Lane::default();
    if cluster.bootstrapped {
        return lane;
    }
    if !ids.is_empty() {
        lane.actions.push(Action::MarkBootstrapped);
        return lane;
    }
    let ordinal = match first_node(cluster, observed, pods) {
        Ok(ordinal) => ordinal,
        Err(wait) => return Lane::waiting(wait),
    };
    if cluster.bootstrap_ordinal.is_none() {
        lane.actions.push(Action::SetBootstrapOrdinal(ordinal));
    }
    let text = format!("bootstrapping the cluster on {}", names.pod(ordinal));
    lane.emit_event("Bootstrapping", text);
    lane.waits.push(Progress::Bootstrapping.into());
    lane.asks.push(Ask::Bootstrap {
        cluster_id: own.clone(),
        ordinal,
    });
    lane
}

/// The cluster IDs on the disks, without repetition.
fn cluster_ids(observed: &Observed) -> Vec<String> {
    let answers = observed.answers.values();
    let mut ids: Vec<String> = answers
        .filter_map(|answer| match answer {
            NodeAnswer::Member { cluster_id, .. } => Some(cluster_id.clone()),
            NodeAnswer::Empty | NodeAnswer::Silent(_) => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Remains of a deleted LogCluster of this name that are being deleted. Their disks and answers say
/// nothing about what stays, so nothing is adopted before they are gone.
fn former_cluster(cluster: &ValidCluster, observed: &Observed) -> Option<Wait> {
    let set = observed.stateful_set.as_ref().map(|set| &set.metadata);
    let owners = set.and_then(|set| set.owner_references.as_ref());
    let mut owners = owners.into_iter().flatten();
    if owners.any(|owner| owner.controller == Some(true) && owner.uid != cluster.uid) {
        return Some(Wait::FormerSetDeleted);
    }
    let uid = set.and_then(|set| set.uid.as_ref());
    let is_former = |pod: &&ObservedPod| {
        pod.terminating || (pod.owner_uid.is_some() && pod.owner_uid.as_ref() != uid)
    };
    let pods = observed.pods.values().filter(is_former).count();
    let disks = observed.disks.values();
    let disks = disks.filter(|disk| disk.terminating).count();
    (pods + disks > 0).then_some(Wait::FormerPodsDeleted { pods, disks })
}

/// Adopts the cluster on the existing disks, or generates an ID if all of them are empty.
fn find_identity(cluster: &ValidCluster, observed: &Observed, ids: &[String], pods: i32) -> Lane {
    let mut lane = Lane::default();
    let mut unlabelled = observed.metadata.keys();
    if unlabelled.any(|key| key.kind == "PersistentVolumeClaim") {
        // Any disk may hold a cluster. In the next step it has its labels and is one of the disks.
        return lane;
    }
    match ids {
        [] => {
            let has_disks = !observed.disks.is_empty();
            match first_node(cluster, observed, pods) {
                Err(wait) if has_disks => lane.waits.push(wait),
                Ok(_) | Err(_) => lane.actions.push(Action::SetIdentity(Identity::Mint)),
            }
        }
        [id] => {
            lane.emit_event("AdoptingDisks", format!("adopting cluster {id}"));
            if observed.former_authorization().is_none() && !cluster.authorization.is_chosen {
                let text = "the authorization mode of the adopted cluster is not known, so it is \
                            disabled; once its users have rules, set spec.authorization.mode to \
                            enforced";
                lane.emit_warning("AuthorizationDisabled", text.to_owned());
            }
            let identity = Identity::Adopt(id.clone());
            lane.actions.push(Action::SetIdentity(identity));
        }
        [one, other, ..] => {
            let ids = [one.clone(), other.clone()];
            lane.waits
                .push(Intervention::DifferentClusters { ids }.into());
        }
    }
    lane
}

/// Whether no host takes the pod, and its PVC has no volume: it holds no cluster, and there may
/// never be a host, if there are fewer than pods that exclude each other. Those that run make the
/// cluster, and it joins them once there is a host.
fn is_homeless(observed: &Observed, at: i32) -> bool {
    let has_volume = |disk: &ObservedDisk| disk.actual_bytes.is_some() || disk.volume.is_some();
    let pod = observed.pods.get(&at);
    pod.is_some_and(|pod| pod.unscheduled.is_some() && pod.host.is_none())
        && !observed.disks.get(&at).is_some_and(has_volume)
}

/// The ordinal of the pod that bootstraps the cluster: the one that is stored, else the lowest that
/// has a disk. Fails while some node has not reported an empty disk.
fn first_node(cluster: &ValidCluster, observed: &Observed, pods: i32) -> Result<i32, Wait> {
    // A disk without a pod may hold a cluster too: its pod has to start and report first.
    let with_disk = observed.disks.keys().filter(|at| **at < pods);
    let others = with_disk.chain(observed.pods.keys()).copied();
    let ordinals = cluster.bootstrap_ordinal.into_iter();
    let ordinals = ordinals.chain(
        (0..1)
            .chain(others)
            .filter(|at| !is_homeless(observed, *at)),
    );
    let ordinals: BTreeSet<i32> = ordinals.collect();
    let is_empty = |at: &&i32| matches!(observed.answers.get(at), Some(NodeAnswer::Empty));
    let unstarted: Vec<i32> = ordinals
        .iter()
        .filter(|at| !is_empty(at))
        .copied()
        .collect();
    let lowest = ordinals.first().copied();
    let (count, first) = match (unstarted.first(), cluster.bootstrap_ordinal.or(lowest)) {
        (None, Some(chosen)) => return Ok(chosen),
        (Some(first), _) => (unstarted.len(), *first),
        // No host takes any of the pods.
        (None, None) => (1, 0),
    };
    let pod = observed.pods.get(&first);
    let trouble = pod.and_then(|pod| pod.trouble.clone());
    let why = trouble.or_else(|| match observed.answers.get(&first) {
        Some(NodeAnswer::Silent(why)) => Some(why.clone()),
        _ => None,
    });
    Err(Wait::NodesStarted {
        count,
        first: ClusterNames(&cluster.name).pod(first),
        why,
    })
}
