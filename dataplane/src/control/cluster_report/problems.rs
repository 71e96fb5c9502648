//! Problems of the cluster, with a sentence for each.

use lograft_core::check::{CheckName, CheckReport, Evidence, PlacementFindings, RaisedCheck};
use lograft_core::limits::PROBLEM_NAMES_MAX_COUNT;
use lograft_core::metadata::Metadata;
use lograft_core::{NodeId, NodeState};

use super::description::{
    NodeDescription, PartitionDescription, PartitionHealth, Problem, ReplicaState,
};
use super::reports::Reports;
use crate::control::node_report::NodeReport;

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
        CheckName::PartitionUnavailable,
        with(PartitionHealth::Unavailable),
        "no leader",
    ));
    problems.extend(partition_problem(
        CheckName::ReplicaCorrupt,
        partitions.iter().filter(is_corrupt).map(name),
        "a corrupt replica, which is not served",
    ));
    problems.extend(nodes.iter().flat_map(node_problems));
    problems.extend(partition_problem(
        CheckName::PartitionUnderReplicated,
        with(PartitionHealth::UnderReplicated),
        "a replica that is missing or behind",
    ));
    problems.sort_by_key(Problem::rank);
    problems
}

/// A note while an upgrade could be finalized. It degrades nothing: the cluster may stay so, to be
/// able to return to the former version.
pub(crate) fn not_finalized(metadata: &Metadata, reports: &Reports) -> Option<Problem> {
    let finalized = metadata.finalized_level();
    let common = reports.lowest_level(metadata).ok()?;
    (common > finalized).then(|| {
        let text = format!(
            "all nodes know feature level {common}, and the cluster uses level {finalized}: \
             run \"lograft cluster finalize\" once no return to the former version is needed"
        );
        Problem::of_cluster(CheckName::UpgradeNotFinalized, text, &[])
    })
}

/// Notes about where replicas are. They degrade nothing: such topics may be wanted.
pub(crate) fn of_placement(metadata: &Metadata, findings: &PlacementFindings) -> Vec<Problem> {
    let raised = findings.raised().into_iter();
    let problems = raised.map(|RaisedCheck { name, evidence }| {
        let text = match name {
            CheckName::PartitionSingleReplica => format!(
                "{} partitions with one replica, although more nodes could hold one: a lost disk \
                 loses their records",
                having("topic", &findings.single)
            ),
            CheckName::PartitionFewReplicas => format!(
                "{} partitions with fewer replicas than new topics get",
                having("topic", &findings.few)
            ),
            _ => {
                let names: Vec<String> = findings
                    .empty
                    .iter()
                    .map(|id| node(metadata, *id))
                    .collect();
                format!(
                    "{} no replicas, while others have several",
                    having("node", &names)
                )
            }
        };
        Problem::of_cluster(name, text, &evidence)
    });
    problems.collect()
}

/// A node as its id and name.
fn node(metadata: &Metadata, id: NodeId) -> String {
    match metadata.node(id) {
        Some(node) => format!("{id} ({})", node.registration.name),
        None => id.to_string(),
    }
}

/// Start of a sentence about things that have something: the first names, and how many more.
fn having(kind: &str, names: &[String]) -> String {
    match names {
        [name] => format!("{kind} {name} has"),
        names => format!("{kind}s {} have", listed(names)),
    }
}

/// The first names, and how many more there are.
fn listed(names: &[String]) -> String {
    let first = &names[..names.len().min(PROBLEM_NAMES_MAX_COUNT)];
    let text = first.join(", ");
    match names.len() - first.len() {
        0 => text,
        others => format!("{text} and {others} more"),
    }
}

fn meta_problems(meta: MetaHealth) -> Vec<Problem> {
    let problem = |name, text: &str| Problem::of_cluster(name, text.to_owned(), &[]);
    let mut problems = Vec::new();
    if !meta.has_leader {
        problems.push(problem(
            CheckName::MetaNoLeader,
            "the meta group has no leader, as far as the answering node can see: topics and nodes \
             cannot be changed",
        ));
    }
    if meta.lacks_voters {
        problems.push(problem(
            CheckName::MetaFewVoters,
            "the meta group has fewer voters than the number of nodes allows: it may not survive \
             the loss of one",
        ));
    }
    problems
}

fn name(partition: &PartitionDescription) -> String {
    format!("{}/{}", partition.topic, partition.partition)
}

/// The problems of a node: those that the others see, and the checks that it raises itself.
fn node_problems(node: &NodeDescription) -> Vec<Problem> {
    let who = format!("node {} ({})", node.id, node.registration.name);
    if node.state == NodeState::Removed {
        return Vec::new();
    }
    let Some(report) = &node.report else {
        let text = format!("{who} does not answer");
        let evidence = [Evidence::Node(node.id)];
        return vec![Problem::of_cluster(
            CheckName::NodeUnreachable,
            text,
            &evidence,
        )];
    };
    let raised = report.checks.iter();
    let raised = raised.map(|check| Problem::of_node(node.id, &who, check));
    let mut problems: Vec<Problem> = raised.collect();
    problems.extend(disk_of_older_node(node.id, &who, report));
    if node.state == NodeState::Draining {
        let left = node.replica_count;
        let text = format!("{who} is being decommissioned, {left} replicas left");
        let evidence = [Evidence::Node(node.id), Evidence::Count(left.into())];
        problems.push(Problem::of_cluster(
            CheckName::NodeDraining,
            text,
            &evidence,
        ));
    }
    problems
}

/// The low disk of a node that reports no checks: it is older than 0.3.0.
fn disk_of_older_node(node: NodeId, who: &str, report: &NodeReport) -> Option<Problem> {
    let names = [CheckName::DiskLow, CheckName::DiskFull].map(CheckName::as_str);
    let mut raised = report.checks.iter();
    if !report.disk_low || raised.any(|check| names.contains(&check.name.as_str())) {
        return None;
    }
    let evidence = [Evidence::FreeBytes(report.disk_free_bytes)];
    let check = CheckReport::from(&RaisedCheck::new(CheckName::DiskLow, evidence));
    Some(Problem::of_node(node, who, &check))
}

/// A problem of the named partitions, each of which has `defect`; `None` if there are none.
fn partition_problem(
    check: CheckName,
    names: impl Iterator<Item = String>,
    defect: &str,
) -> Option<Problem> {
    let names: Vec<String> = names.collect();
    let (listed, count) = (listed(&names), names.len());
    let text = match count {
        0 => return None,
        1 => format!("partition {listed} has {defect}"),
        n => format!("{n} partitions have {defect}: {listed}"),
    };
    Some(Problem::of_cluster(
        check,
        text,
        &[Evidence::Count(count as u64)],
    ))
}
