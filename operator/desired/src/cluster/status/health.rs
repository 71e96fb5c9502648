//! Waits that the health of the cluster causes, not a lane.

use crate::cluster::observed::{NodeAnswer, Observed};
use crate::cluster::view::{ClusterView, META_GROUP, ObservedPartition};
use crate::cluster::wait::{Progress, Wait};

/// The arguments of [`waits`].
pub(super) struct Input<'a> {
    pub(super) observed: &'a Observed,
    pub(super) bootstrapped: bool,
    /// Number of ready pods.
    pub(super) ready: i32,
    /// Number of requested nodes.
    pub(super) wanted: i32,
    /// Number of pods in the StatefulSet.
    pub(super) pods: i32,
}

/// The waits, the most important first.
pub(super) fn waits(input: &Input<'_>) -> Vec<Wait> {
    let mut waits = Vec::new();
    let leaderless = input.observed.view.as_ref().and_then(leaderless_group);
    let is_writable = input.observed.view.is_some() && leaderless.is_none();
    if input.bootstrapped {
        waits.extend(leaderless.map(|group| Wait::Leader { group }));
        waits.extend(unreachable_node(input.observed));
        waits.extend(no_answer(input.observed));
        waits.extend(raised_check(input.observed));
    }
    if !input.bootstrapped {
        waits.push(Progress::Starting.into());
    } else if input.ready < input.wanted {
        waits.push(Wait::NodesReady {
            missing: input.wanted - input.ready,
            wanted: input.wanted,
        });
    } else if !is_writable {
        waits.push(Progress::NotAllWritable.into());
    }
    if input.bootstrapped && input.ready < input.pods {
        let progress = Progress::StartingPods {
            ready: input.ready,
            pods: input.pods,
        };
        waits.push(progress.into());
    }
    waits
}

/// A partition without a leader, or else the metadata group if it has none.
fn leaderless_group(view: &ClusterView) -> Option<String> {
    let mut partitions = view.partitions.iter();
    let partition = partitions.find(|partition| partition.leader.is_none());
    let meta = view.meta_leader.is_none().then(|| META_GROUP.to_owned());
    partition.map(ObservedPartition::label).or(meta)
}

fn unreachable_node(observed: &Observed) -> Option<Wait> {
    let mut members = observed.view.iter().flat_map(ClusterView::members);
    let node = members.find(|node| !node.reachable)?;
    Some(Wait::UnderWay(Progress::NodeUnreachable {
        node_id: node.id,
        pod: node.name.clone(),
    }))
}

/// The most important check that a node has raised.
fn raised_check(observed: &Observed) -> Option<Wait> {
    let checks = &observed.view.as_ref()?.checks;
    let check = checks.first()?.clone();
    let others = checks.len() - 1;
    Some(Progress::CheckRaised { check, others }.into())
}

/// Pods run, but none of their nodes describes the cluster.
fn no_answer(observed: &Observed) -> Option<Wait> {
    let is_running = observed.pods.values().any(|pod| pod.running);
    if observed.view.is_some() || !is_running {
        return None;
    }
    let why = observed.answers.values().find_map(|answer| match answer {
        NodeAnswer::Silent(why) => Some(why.clone()),
        NodeAnswer::Empty | NodeAnswer::Member { .. } => None,
    });
    let why = why.unwrap_or_else(|| "no node was asked".to_owned());
    Some(Wait::AnyAnswer { why })
}
