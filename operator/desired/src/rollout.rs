//! Pods are replaced one at a time: the hash that tells whether a running pod has what it should,
//! and the next step towards it.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use lograft_crds::limits::TRANSFERS_MAX_COUNT;
use lograft_crds::log_cluster::MemberRole;
use lograft_crds::names::ClusterNames;
use serde::Serialize;
use twox_hash::XxHash64;

use crate::{Ask, Observed, PodSeen, ReplicaSeen, ValidCluster, View};

/// Hash of all that a pod only takes up by a restart: its template and what all nodes'
/// configurations share. Seeds, zones and the number of pods are not in it.
///
/// Sixteen hexadecimal digits: xxh64 over the two as JSON, whose order is that of the types'
/// fields and of sorted maps. An operator that adds a field to the template replaces pods.
pub(crate) fn hash(
    template: &PodTemplateSpec,
    config: &impl Serialize,
) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(&(template, config))?;
    Ok(format!("{:016x}", XxHash64::oneshot(0, text.as_bytes())))
}

/// What the rollout's lane came to: at most one pod is touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// Pods to replace.
    pub(crate) delete: Option<i32>,
    /// The pod whose leaderships are to be taken away from now on.
    pub(crate) drain: Option<i32>,
    /// Leaderships to hand over.
    pub(crate) asks: Vec<Ask>,
    /// What it waits for.
    pub(crate) wait: Option<String>,
    /// Why it goes no further without somebody's help.
    pub(crate) stuck: Option<String>,
    /// Pods that are still of an older template.
    pub(crate) outdated: usize,
}

/// Plans the next step towards the template with hash `wanted`.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed, wanted: &str) -> Rollout {
    let names = ClusterNames(&cluster.name);
    let mut found = Rollout::default();
    let standing = |at: &i32| *at < observed.replicas();
    let pods: Vec<_> = observed
        .pods
        .iter()
        .filter(|(at, _)| standing(at))
        .collect();
    let outdated = |pod: &PodSeen| pod.hash.as_deref() != Some(wanted);
    found.outdated = pods.iter().filter(|(_, pod)| outdated(pod)).count();
    // The new pod that does not come up stops the rollout, whatever else there is to do.
    let broken = pods
        .iter()
        .find(|(_, pod)| !outdated(pod) && pod.trouble.is_some());
    if let Some((
        at,
        PodSeen {
            trouble: Some(why), ..
        },
    )) = broken
    {
        let pod = names.pod(**at);
        found.stuck = Some(format!(
            "{pod} to come up: {why}; change the spec, or go back"
        ));
    }
    // A pod that goes before the set has the new template would come back with the old one.
    let is_applied = observed.hash().is_some_and(|hash| hash == wanted);
    if found.outdated == 0 || cluster.spec.update.paused || !is_applied {
        return found;
    }
    // Nothing is lost with a pod that does not run: this is the way back from a bad image.
    let idle = |pod: &PodSeen| outdated(pod) && !pod.running && !pod.terminating;
    if let Some((at, _)) = pods.iter().find(|(_, pod)| idle(pod)) {
        found.delete = Some(**at);
        return found;
    }
    if found.stuck.is_some() {
        return found;
    }
    let missing = (0..observed.replicas()).find(|at| !observed.pods.contains_key(at));
    let down = pods.iter().find(|(_, pod)| !pod.ready || pod.terminating);
    // Before there is a cluster nothing can be lost, and no pod is ready.
    if let Some(at) = missing
        .or(down.map(|(at, _)| **at))
        .filter(|_| cluster.bootstrapped)
    {
        found.wait = Some(format!("{} to be ready before the next pod", names.pod(at)));
        return found;
    }
    if cluster.bootstrapped {
        next_step(&mut found, (cluster, observed), &pods, wanted);
    } else {
        found.delete = pods
            .iter()
            .find(|(_, pod)| outdated(pod))
            .map(|(at, _)| **at);
    }
    found
}

/// All pods are ready: drains or replaces the next one, meta's leader last, else from above.
fn next_step(
    found: &mut Rollout,
    (cluster, observed): (&ValidCluster, &Observed),
    pods: &[(&i32, &PodSeen)],
    wanted: &str,
) {
    let names = ClusterNames(&cluster.name);
    let Some(view) = observed.view.as_ref().filter(|view| view.is_whole) else {
        found.wait = Some("a node to describe the cluster".to_owned());
        return;
    };
    let leads_meta = |at: i32| {
        let node = view.node_of(&names.pod(at));
        node.is_some_and(|node| Some(node.id) == view.meta_leader)
    };
    let outdated = pods
        .iter()
        .filter(|(_, pod)| pod.hash.as_deref() != Some(wanted));
    // One that was begun is ended first.
    let next = outdated.min_by_key(|(at, pod)| {
        (
            pod.draining_since.is_none(),
            leads_meta(**at),
            Reverse(**at),
        )
    });
    let Some((at, pod)) = next else { return };
    let name = names.pod(**at);
    let Some(node) = view.node_of(&name) else {
        // It never joined: nobody counts on it.
        found.delete = Some(**at);
        return;
    };
    if !view.keeps_majority_without(node.id) {
        found.wait = Some(format!(
            "every partition to keep its majority without {name}"
        ));
        return;
    }
    let Some(since) = pod.draining_since else {
        found.drain = Some(**at);
        return;
    };
    let is_over = observed.now_unix_seconds - since >= cluster.drain_max_seconds;
    let asks = hand_over(view, node.id);
    if asks.is_empty() || is_over {
        found.delete = Some(**at);
    } else {
        found.wait = Some(format!("{name} to hand over {} leadership(s)", asks.len()));
        found.asks = asks;
        found.asks.truncate(TRANSFERS_MAX_COUNT);
    }
}

/// Each leadership of the node that another voter can take, the meta group's among them.
fn hand_over(view: &View, node: u64) -> Vec<Ask> {
    let is_up = |id: u64| {
        view.nodes
            .iter()
            .any(|other| other.id == id && other.reachable)
    };
    let led = view
        .partitions
        .iter()
        .filter(|partition| partition.leader == Some(node));
    let mut asks: Vec<Ask> = led
        .filter_map(|partition| {
            let fits = |replica: &&ReplicaSeen| {
                replica.voter && replica.in_sync && replica.node != node && is_up(replica.node)
            };
            // Spread by the partition's number, so that not one node gets all.
            let fitting: Vec<_> = partition.replicas.iter().filter(fits).collect();
            let at = usize::try_from(partition.number)
                .ok()?
                .checked_rem(fitting.len())?;
            Some(Ask::TransferLeadership {
                topic: partition.topic.clone(),
                partition: partition.number,
                to_node: fitting.get(at)?.node,
            })
        })
        .collect();
    if view.meta_leader == Some(node) {
        let voter = view.nodes.iter().find(|other| {
            other.id != node && other.reachable && other.meta == Some(MemberRole::Voter)
        });
        asks.extend(voter.map(|voter| Ask::TransferMeta { to_node: voter.id }));
    }
    asks
}
