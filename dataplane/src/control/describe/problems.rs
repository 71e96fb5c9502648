//! What is wrong, in sentences.

use lograft_core::limits::PROBLEM_NAMES_MAX_COUNT;
use lograft_proto::admin::v1::{
    NodeDescription, NodeState, PartitionDescription, PartitionHealth, Problem, ReplicaState,
};

/// The problems, the worst first.
pub(super) fn find(
    nodes: &[NodeDescription],
    partitions: &[PartitionDescription],
    (has_meta_leader, lacks_meta_voters): (bool, bool),
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !has_meta_leader {
        problems.push(Problem {
            kind: "META_NO_LEADER".to_owned(),
            text: "nobody leads the meta group, as far as the answering node can see: topics and \
                   nodes cannot be changed"
                .to_owned(),
            degrades: true,
        });
    }
    if lacks_meta_voters {
        problems.push(Problem {
            kind: "META_FEW_VOTERS".to_owned(),
            text: "the meta group has fewer voters than the nodes allow: it may not survive the \
                   loss of one"
                .to_owned(),
            degrades: true,
        });
    }
    let with = |health: PartitionHealth| {
        partitions
            .iter()
            .filter(move |p| p.health() == health)
            .map(name)
    };
    let kind = "PARTITION_UNAVAILABLE";
    problems.extend(partition_problem(
        kind,
        with(PartitionHealth::Unavailable),
        "no leader",
    ));
    let corrupt = partitions.iter().filter(|partition| {
        partition
            .replicas
            .iter()
            .any(|replica| replica.state() == ReplicaState::Corrupt)
    });
    let text = "a replica with damaged files, which is not served";
    problems.extend(partition_problem(
        "REPLICA_CORRUPT",
        corrupt.map(name),
        text,
    ));
    problems.extend(nodes.iter().filter_map(node_problem));
    let kind = "PARTITION_UNDER_REPLICATED";
    let text = "a replica that is missing or behind";
    problems.extend(partition_problem(
        kind,
        with(PartitionHealth::UnderReplicated),
        text,
    ));
    problems
}

fn name(partition: &PartitionDescription) -> String {
    format!("{}/{}", partition.topic, partition.partition)
}

fn node_problem(node: &NodeDescription) -> Option<Problem> {
    let who = format!("node {} ({})", node.node_id, node.name);
    let (kind, text, degrades) = match node.state() {
        NodeState::Removed => return None,
        _ if !node.reachable => ("NODE_UNREACHABLE", format!("{who} does not answer"), true),
        _ if node.disk_low => {
            let free_mib = node.disk_free_bytes / (1024 * 1024);
            let text = format!("{who} refuses writes: only {free_mib} MiB of its disk are free");
            ("DISK_LOW", text, true)
        }
        NodeState::Draining => {
            let text = format!(
                "{who} is being decommissioned, {} replicas are left",
                node.replicas
            );
            ("NODE_DRAINING", text, false)
        }
        NodeState::Active | NodeState::Unspecified => return None,
    };
    Some(Problem {
        kind: kind.to_owned(),
        text,
        degrades,
    })
}

fn partition_problem(
    kind: &str,
    names: impl Iterator<Item = String>,
    has: &str,
) -> Option<Problem> {
    let names: Vec<String> = names.collect();
    let (first, rest) = (names.iter().take(PROBLEM_NAMES_MAX_COUNT), names.len());
    let listed: Vec<&str> = first.map(String::as_str).collect();
    let listed = listed.join(", ");
    let text = match rest {
        0 => return None,
        1 => format!("partition {listed} has {has}"),
        n if n <= PROBLEM_NAMES_MAX_COUNT => format!("{n} partitions have {has}: {listed}"),
        n => format!(
            "{n} partitions have {has}: {listed} and {} more",
            n - PROBLEM_NAMES_MAX_COUNT
        ),
    };
    Some(Problem {
        kind: kind.to_owned(),
        text,
        degrades: true,
    })
}
