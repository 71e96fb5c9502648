//! Problems of the cluster, with a sentence for each.

use lograft_core::check::{CheckName, CheckReport, Evidence, PlacementFindings, RaisedCheck};
use lograft_core::limits::PROBLEM_NAMES_MAX_COUNT;
use lograft_core::metadata::Metadata;
use lograft_core::{NodeId, NodeState};

use super::description::{
    NodeDescription, PartitionDescription, PartitionHealth, Problem, ReplicaState,
};
use super::reports::Reports;
use super::silent_nodes::SilentNodes;
use crate::control::node_report::NodeReport;

/// State of the meta group, as far as problems depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetaHealth {
    /// Whether it has a leader.
    pub(crate) has_leader: bool,
    /// Whether it could have more voters.
    pub(crate) lacks_voters: bool,
}

/// Whether problems may name a topic.
pub(crate) type IsNamed<'a> = &'a (dyn Fn(&str) -> bool + Sync);

/// The problems, the most severe first.
pub(crate) fn find(
    nodes: &[NodeDescription],
    partitions: &[PartitionDescription],
    (meta, is_named): (MetaHealth, IsNamed<'_>),
    silent: SilentNodes<'_>,
) -> Vec<Problem> {
    let name = |partition: &PartitionDescription| {
        is_named(&partition.topic).then(|| format!("{}/{}", partition.topic, partition.partition))
    };
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
    problems.extend(nodes.iter().flat_map(|node| node_problems(node, silent)));
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
pub(crate) fn of_placement(
    metadata: &Metadata,
    findings: &PlacementFindings,
    is_named: IsNamed<'_>,
) -> Vec<Problem> {
    let topics = |names: &[String]| {
        let named = |name: &String| is_named(name).then(|| name.clone());
        Names::of(names.iter().map(named))
    };
    let raised = findings.raised().into_iter();
    let problems = raised.map(|RaisedCheck { name, evidence }| {
        let text = match name {
            CheckName::PartitionSingleReplica => format!(
                "{} partitions with one replica, although more nodes could hold one: a lost disk \
                 loses their records",
                having("topic", &topics(&findings.single))
            ),
            CheckName::PartitionFewReplicas => format!(
                "{} partitions with fewer replicas than new topics get",
                having("topic", &topics(&findings.few))
            ),
            CheckName::PartitionBelowFactor => format!(
                "{} partitions with fewer replicas than their replication factor",
                having("topic", &topics(&findings.below_factor))
            ),
            _ => {
                let nodes = findings.empty.iter();
                let names = Names::of(nodes.map(|id| Some(node(metadata, *id))));
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

/// Things that have a problem: the first names of those that may be named, and how many there are.
struct Names {
    first: Vec<String>,
    count: usize,
}

impl Names {
    fn of(names: impl Iterator<Item = Option<String>>) -> Self {
        let mut all = Self {
            first: Vec::new(),
            count: 0,
        };
        for name in names {
            all.count += 1;
            let has_room = all.first.len() < PROBLEM_NAMES_MAX_COUNT;
            all.first.extend(name.filter(|_| has_room));
        }
        all
    }

    /// The first names, and how many more there are; `None` if none may be named.
    fn list(&self) -> Option<String> {
        let text = self.first.join(", ");
        match self.count - self.first.len() {
            _ if self.first.is_empty() => None,
            0 => Some(text),
            others => Some(format!("{text} and {others} more")),
        }
    }
}

/// Start of a sentence about things that have something.
fn having(kind: &str, names: &Names) -> String {
    match (names.count, names.list()) {
        (1, Some(name)) => format!("{kind} {name} has"),
        (1, None) => format!("1 {kind} has"),
        (_, Some(list)) => format!("{kind}s {list} have"),
        (count, None) => format!("{count} {kind}s have"),
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

/// The problems of a node: those that the others see, and the checks that it raises itself.
fn node_problems(node: &NodeDescription, silent: SilentNodes<'_>) -> Vec<Problem> {
    let who = format!("node {} ({})", node.id, node.registration.name);
    if node.state == NodeState::Removed {
        return Vec::new();
    }
    let Some(report) = &node.report else {
        return vec![silent.problem(node, &who)];
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

/// A problem of partitions, each of which has `defect`; `None` if there are none.
fn partition_problem(
    check: CheckName,
    names: impl Iterator<Item = Option<String>>,
    defect: &str,
) -> Option<Problem> {
    let names = Names::of(names);
    let text = match (names.count, names.list()) {
        (0, _) => return None,
        (1, Some(name)) => format!("partition {name} has {defect}"),
        (1, None) => format!("1 partition has {defect}"),
        (n, Some(list)) => format!("{n} partitions have {defect}: {list}"),
        (n, None) => format!("{n} partitions have {defect}"),
    };
    let count = Evidence::Count(names.count as u64);
    Some(Problem::of_cluster(check, text, &[count]))
}
