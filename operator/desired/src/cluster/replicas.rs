//! The number of pods: growing is immediate unless an old disk is in the way, shrinking follows the
//! decommission of the nodes.

use std::collections::BTreeSet;

use lograft_crds::names::ClusterNames;

use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidCluster;

/// The number of pods that the StatefulSet should have now.
pub(crate) fn desired_replicas(cluster: &ValidCluster, observed: &Observed) -> i32 {
    let in_use = observed.replicas_in_use(cluster);
    let allowed = allowed_replicas(cluster, observed, in_use);
    next_replicas(allowed, in_use, &observed.emptied(cluster))
}

/// The number of pods when `wanted` are requested and `in_use` ordinals are in use.
///
/// Growing is immediate. Shrinking removes the highest ordinals, and only those whose node has left
/// the cluster: a pod is removed after the decommission of its node, never before.
///
/// ```text
/// wanted 3, in use 5, emptied {4}      -> 4
/// wanted 3, in use 5, emptied {3, 4}   -> 3
/// wanted 3, in use 5, emptied {3}      -> 5     (4 still holds replicas)
/// ```
fn next_replicas(wanted: i32, in_use: i32, emptied: &BTreeSet<i32>) -> i32 {
    let surplus = (wanted..in_use).rev();
    let removable = surplus.take_while(|ordinal| emptied.contains(ordinal));
    removable.last().unwrap_or(in_use).max(wanted)
}

/// How many pods may be wanted now: new pods wait until leftover disks are deleted, or until a node
/// reports whether there are any.
fn allowed_replicas(cluster: &ValidCluster, observed: &Observed, in_use: i32) -> i32 {
    let wanted = cluster.spec.replicas;
    let leftover = leftover_disks(cluster, observed).first().copied();
    let is_unknown = |at: &i32| {
        cluster.bootstrapped && observed.view.is_none() && observed.disks.contains_key(at)
    };
    let unknown = (in_use..wanted).find(is_unknown);
    let first = leftover.into_iter().chain(unknown).min();
    first.map_or(wanted, |first| first.min(wanted))
}

/// Ordinals of disks that new pods would start on although their node was decommissioned.
///
/// The data of such a disk is outdated and its node ID is never used again, so the node could not
/// join. Only disks of ordinals that are not in use and have no pod are returned, and only if a
/// node of the cluster confirms the removal: a disk that may hold the only copy is never deleted.
pub(crate) fn leftover_disks(cluster: &ValidCluster, observed: &Observed) -> Vec<i32> {
    let names = ClusterNames(&cluster.name);
    let Some(view) = &observed.view else {
        return Vec::new();
    };
    let is_leftover = |at: &i32| {
        let pod = names.pod(*at);
        let was_member = view.nodes.iter().any(|node| node.name == pod);
        was_member && view.node_of(&pod).is_none() && !observed.pods.contains_key(at)
    };
    let new_ordinals = observed.replicas_in_use(cluster)..cluster.spec.replicas;
    let with_disk = new_ordinals.filter(|at| observed.disks.contains_key(at));
    with_disk.filter(is_leftover).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(wanted: i32, in_use: i32, emptied: &[i32]) -> i32 {
        next_replicas(wanted, in_use, &emptied.iter().copied().collect())
    }

    #[test]
    fn growing_is_immediate() {
        assert_eq!(next(3, 0, &[]), 3);
        assert_eq!(next(5, 3, &[]), 5);
    }

    #[test]
    fn shrinking_waits_for_each_node_from_the_highest() {
        assert_eq!(next(3, 5, &[]), 5);
        assert_eq!(next(3, 5, &[4]), 4);
        assert_eq!(next(3, 5, &[3]), 5);
        assert_eq!(next(3, 5, &[3, 4]), 3);
        assert_eq!(next(3, 4, &[3, 4]), 3);
    }

    #[test]
    fn no_pod_below_the_wanted_number_is_removed() {
        assert_eq!(next(3, 3, &[0, 1, 2]), 3);
        assert_eq!(next(3, 5, &[0, 1, 2, 3, 4]), 3);
    }
}
