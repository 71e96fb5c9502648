//! Problems of the cluster, with a sentence for each.

use lograft_core::NodeState;
use lograft_core::limits::PROBLEM_NAMES_MAX_COUNT;
use lograft_core::metadata::Metadata;

use super::description::{
    NodeDescription, PartitionDescription, PartitionHealth, Problem, ProblemKind, ReplicaState,
};
use super::reports::Reports;

/// State of the meta group, as far as problems depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetaHealth {
    /// Whether it has a leader.
    pub(crate) has_leader: bool,
    /// Whether it could have more voters.
    pub(crate) lacks_voters: bool,
}

/// The problems, the most severe first.
pub(crate) fn find(
    nodes: &[NodeDescription],
    partitions: &[PartitionDescription],
    meta: MetaHealth,
) -> Vec<Problem> {
    let with = |health: PartitionHealth| {
        let matching = partitions.iter().filter(move |p| p.health == health);
        matching.map(name)
    };
    let is_corrupt = |partition: &&PartitionDescription| {
        let mut states = partition.replicas.iter().map(|replica| replica.state);
        states.any(|state| state == ReplicaState::Corrupt)
    };
    let mut problems = meta_problems(meta);
    problems.extend(partition_problem(
        ProblemKind::PartitionUnavailable,
        with(PartitionHealth::Unavailable),
        "no leader",
    ));
    problems.extend(partition_problem(
        ProblemKind::ReplicaCorrupt,
        partitions.iter().filter(is_corrupt).map(name),
        "a corrupt replica, which is not served",
    ));
    problems.extend(nodes.iter().filter_map(node_problem));
    problems.extend(partition_problem(
        ProblemKind::PartitionUnderReplicated,
        with(PartitionHealth::UnderReplicated),
        "a replica that is missing or behind",
    ));
    problems
}

/// A note while an upgrade could be finalized. It degrades nothing: the cluster may stay so, to be
/// able to return to the former version.
pub(crate) fn not_finalized(metadata: &Metadata, reports: &Reports) -> Option<Problem> {
    let finalized = metadata.finalized_level();
    let common = reports.lowest_level(metadata).ok()?;
    (common > finalized).then(|| Problem {
        kind: ProblemKind::UpgradeNotFinalized,
        text: format!(
            "all nodes know feature level {common}, and the cluster uses level {finalized}: \
             run \"lograft cluster finalize\" once no return to the former version is needed"
        ),
        degrades: false,
    })
}

fn meta_problems(meta: MetaHealth) -> Vec<Problem> {
    let problem = |kind, text: &str| Problem {
        kind,
        text: text.to_owned(),
        degrades: true,
    };
    let mut problems = Vec::new();
    if !meta.has_leader {
        problems.push(problem(
            ProblemKind::MetaNoLeader,
            "the meta group has no leader, as far as the answering node can see: topics and nodes \
             cannot be changed",
        ));
    }
    if meta.lacks_voters {
        problems.push(problem(
            ProblemKind::MetaFewVoters,
            "the meta group has fewer voters than the number of nodes allows: it may not survive \
             the loss of one",
        ));
    }
    problems
}

fn name(partition: &PartitionDescription) -> String {
    format!("{}/{}", partition.topic, partition.partition)
}

fn node_problem(node: &NodeDescription) -> Option<Problem> {
    let who = format!("node {} ({})", node.id, node.registration.name);
    if node.state == NodeState::Removed {
        return None;
    }
    let Some(report) = &node.report else {
        return Some(Problem {
            kind: ProblemKind::NodeUnreachable,
            text: format!("{who} does not answer"),
            degrades: true,
        });
    };
    if report.disk_low {
        let free_mib = report.disk_free_bytes / (1024 * 1024);
        return Some(Problem {
            kind: ProblemKind::DiskLow,
            text: format!("{who} rejects writes: its disk has only {free_mib} MiB free"),
            degrades: true,
        });
    }
    (node.state == NodeState::Draining).then(|| Problem {
        kind: ProblemKind::NodeDraining,
        text: format!(
            "{who} is being decommissioned, {} replicas left",
            node.replica_count
        ),
        degrades: false,
    })
}

/// A problem of the named partitions, each of which has `defect`; `None` if there are none.
fn partition_problem(
    kind: ProblemKind,
    names: impl Iterator<Item = String>,
    defect: &str,
) -> Option<Problem> {
    let names: Vec<String> = names.collect();
    let (first, count) = (names.iter().take(PROBLEM_NAMES_MAX_COUNT), names.len());
    let listed: Vec<&str> = first.map(String::as_str).collect();
    let listed = listed.join(", ");
    let text = match count {
        0 => return None,
        1 => format!("partition {listed} has {defect}"),
        n if n <= PROBLEM_NAMES_MAX_COUNT => format!("{n} partitions have {defect}: {listed}"),
        n => format!(
            "{n} partitions have {defect}: {listed} and {} more",
            n - PROBLEM_NAMES_MAX_COUNT
        ),
    };
    Some(Problem {
        kind,
        text,
        degrades: true,
    })
}
