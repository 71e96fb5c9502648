//! Pods are replaced one at a time: the hash that tells whether a running pod has what it should,
//! and the next step towards it.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use lograft_crds::names::ClusterNames;
use serde::Serialize;
use twox_hash::XxHash64;

use crate::{Observed, PodSeen, ValidCluster};

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

/// A pod whose node is to be asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) ordinal: i32,
    pub(crate) node: u64,
    /// Whether its time to hand over has passed.
    pub(crate) is_due: bool,
}

/// What the rollout's lane came to: at most one pod is touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// The pod to replace without a word: nothing runs in it that anybody counts on.
    pub(crate) delete: Option<i32>,
    /// The pod whose draining begins.
    pub(crate) drain: Option<i32>,
    /// The pod to replace once its node says that it may be stopped.
    pub(crate) stop: Option<Stop>,
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
    let mut pods: Vec<_> = observed
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
    let down: Vec<_> = pods
        .iter()
        .filter(|(_, pod)| !pod.ready || pod.terminating)
        .collect();
    // One that is down and outdated is the next: its new template may be what mends it.
    let mendable = match down.as_slice() {
        [(at, pod)] if outdated(pod) && !pod.terminating && missing.is_none() => Some(**at),
        _ => None,
    };
    // Before there is a cluster nothing can be lost, and no pod is ready.
    let waits_for = missing.or(down.first().map(|(at, _)| **at));
    if let Some(at) = waits_for.filter(|_| cluster.bootstrapped && mendable.is_none()) {
        found.wait = Some(format!("{} to be ready before the next pod", names.pod(at)));
        return found;
    }
    if cluster.bootstrapped {
        let is_candidate = |at: i32| mendable.is_none_or(|only| only == at);
        pods.retain(|(at, _)| is_candidate(**at));
        next_step(&mut found, (cluster, observed), &pods, wanted);
    } else {
        found.delete = pods
            .iter()
            .find(|(_, pod)| outdated(pod))
            .map(|(at, _)| **at);
    }
    found
}

/// No other pod is down: drains or replaces the next one, meta's leader last, else from above.
fn next_step(
    found: &mut Rollout,
    (cluster, observed): (&ValidCluster, &Observed),
    pods: &[(&i32, &PodSeen)],
    wanted: &str,
) {
    let names = ClusterNames(&cluster.name);
    let Some(view) = &observed.view else {
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
    found.stop = Some(Stop {
        ordinal: **at,
        node: node.id,
        is_due: observed.now_unix_seconds - since >= cluster.drain_max_seconds,
    });
}
