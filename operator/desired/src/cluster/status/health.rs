//! Waits that the health of the cluster causes, not a lane.

use lograft_crds::LogClusterStatus;
use lograft_crds::limits::{
    DELETION_SLACK_SECONDS, LEADERLESS_MAX_SECONDS, REACHED_AFTER_SECONDS, REPLACEMENT_MAX_SECONDS,
};
use lograft_crds::names::ClusterNames;

use super::blocked;
use crate::cluster::observed::{NodeAnswer, Observed};
use crate::cluster::view::{ClusterView, ObservedNode};
use crate::cluster::wait::{Obstacle, Progress, Wait};

/// The arguments of [`waits`].
pub(super) struct Input<'a> {
    pub(super) names: ClusterNames<'a>,
    /// The status before.
    pub(super) old: &'a LogClusterStatus,
    pub(super) observed: &'a Observed,
    pub(super) obstacles: &'a [Obstacle],
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
    let leaderless = input
        .observed
        .view
        .as_ref()
        .and_then(ClusterView::leaderless_group);
    let is_writable = input.observed.view.is_some() && leaderless.is_none();
    if input.bootstrapped {
        waits.extend(leaderless.map(|group| leader_wait(input, group)));
        waits.extend(unreachable_node(input));
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
    if input.bootstrapped {
        waits.extend(records_that_exist_once(input.observed));
    }
    waits
}

/// Records that one lost disk loses. The cluster is not degraded: that may be wanted.
fn records_that_exist_once(observed: &Observed) -> Option<Wait> {
    const CHECK: &str = "PARTITION_SINGLE_REPLICA";
    let view = observed.view.as_ref()?;
    let mut notes = view.notes.iter();
    let progress = match notes.find(|note| note.check == CHECK) {
        Some(note) => Progress::SingleReplica {
            text: note.text.clone(),
        },
        None if view.members().count() == 1 => Progress::SingleNode,
        None => return None,
    };
    Some(progress.into())
}

/// A new topic has no leader at first, and an election takes a moment: neither is a lost majority.
fn leader_wait(input: &Input<'_>, group: String) -> Wait {
    let now = input.observed.now_unix_seconds;
    if now - blocked::leaderless_since(input.old, now) >= LEADERLESS_MAX_SECONDS {
        Wait::Majority { group }
    } else {
        Wait::Leader { group }
    }
}

/// A node that is lost: its peers do not reach it, and its pod is not about to start or to be
/// replaced.
fn unreachable_node(input: &Input<'_>) -> Option<Wait> {
    let mut members = input.observed.view.iter().flat_map(ClusterView::members);
    let is_lost = |node: &&ObservedNode| !node.reachable && !is_being_replaced(input, &node.name);
    let node = members.find(is_lost)?;
    Some(Wait::UnderWay(Progress::NodeUnreachable {
        node_id: node.id,
        pod: node.name.clone(),
    }))
}

fn is_being_replaced(input: &Input<'_>, pod: &str) -> bool {
    if input.obstacles.iter().any(|obstacle| obstacle.pod == pod) {
        return false;
    }
    let now = input.observed.now_unix_seconds;
    let is_younger = |since: i64, seconds: i64| now - since < seconds;
    let ordinal = input.names.ordinal(pod);
    match ordinal.and_then(|at| input.observed.pods.get(&at)) {
        // The StatefulSet creates it. If it could not, that would be an obstacle.
        None => ordinal.is_some_and(|at| at < input.observed.replicas()),
        Some(pod) if pod.terminating => pod
            .gone_by
            .is_some_and(|gone_by| is_younger(gone_by, DELETION_SLACK_SECONDS)),
        Some(pod) if pod.ready => pod
            .ready_since
            .is_some_and(|since| is_younger(since, REACHED_AFTER_SECONDS)),
        Some(pod) => pod
            .never_ready_since
            .is_some_and(|since| is_younger(since, REPLACEMENT_MAX_SECONDS)),
    }
}

/// The most important check that a node has raised.
fn raised_check(observed: &Observed) -> Option<Wait> {
    let checks = &observed.view.as_ref()?.checks;
    let check = checks.first()?.clone();
    let others = checks.len() - 1;
    Some(Progress::CheckRaised { check, others }.into())
}

/// No node describes the cluster: nothing is known about its partitions.
fn no_answer(observed: &Observed) -> Option<Wait> {
    if observed.view.is_some() {
        return None;
    }
    let why = observed.answers.values().find_map(|answer| match answer {
        NodeAnswer::Silent(why) => Some(why.clone()),
        NodeAnswer::Empty | NodeAnswer::Member { .. } => None,
    });
    let is_running = observed.pods.values().any(|pod| pod.running);
    let none_asked = if is_running {
        "no node was asked"
    } else {
        "no node runs"
    };
    let why = why.unwrap_or_else(|| none_asked.to_owned());
    Some(Wait::AnyAnswer { why })
}
