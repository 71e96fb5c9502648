//! Cluster status as text and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lograft_client::admin_wire::{
    DescribeClusterReply, MetaRole, NodeDescription, NodeState, PartitionDescription,
    PartitionHealth, RebalanceState,
};
use serde::Serialize;

use crate::output::{Cell, Paint, Table, Tone, plural};
use crate::topic::{PartitionJson, partition_json, partition_table};
use crate::units;

/// Clusters with more partitions than this show only unhealthy ones by default.
const PARTITIONS_SHOWN_COUNT: usize = 24;

/// JSON of `cluster status`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusJson {
    cluster_id: String,
    healthy: bool,
    meta_leader_node: Option<u64>,
    answered_by: u64,
    topic_count: u32,
    partition_count: u32,
    finalized_level: u32,
    rebalancing: &'static str,
    moves_in_progress: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_recovery_epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_recovered_at_ms: Option<i64>,
    problems: Vec<ProblemJson>,
    nodes: Vec<NodeJson>,
    partitions: Vec<PartitionJson>,
}

#[derive(Debug, Serialize)]
struct ProblemJson {
    kind: String,
    text: String,
    degrades: bool,
    severity: String,
    next_step: String,
    evidence: BTreeMap<String, String>,
    node_id: Option<u64>,
}

#[derive(Debug, Serialize)]
struct NodeJson {
    node_id: u64,
    name: String,
    client_address: String,
    peer_address: String,
    zone: String,
    state: &'static str,
    reachable: bool,
    version: String,
    feature_level: u32,
    disk_total_bytes: u64,
    disk_free_bytes: u64,
    disk_low: bool,
    replicas: u32,
    leaders: u32,
    meta_role: &'static str,
    certificate_not_after_s: Option<i64>,
    ca_fingerprints: Vec<String>,
    gossip_key_ids: Vec<String>,
    waits_for: String,
    lag_entries: u64,
    lost_since_ms: Option<i64>,
}

/// Converts a cluster description to JSON.
pub(crate) fn status_json(cluster: &DescribeClusterReply) -> StatusJson {
    let problem = |problem: &lograft_client::admin_wire::Problem| ProblemJson {
        kind: problem.kind.clone(),
        text: problem.text.clone(),
        degrades: problem.degrades,
        severity: problem.severity.clone(),
        next_step: problem.next_step.clone(),
        evidence: problem.evidence.clone().into_iter().collect(),
        node_id: problem.node_id,
    };
    let recovered = cluster.metadata_recovery_epoch != 0;
    StatusJson {
        cluster_id: cluster.cluster_id.clone(),
        healthy: cluster.healthy,
        meta_leader_node: cluster.meta_leader_node,
        answered_by: cluster.answered_by,
        topic_count: cluster.topic_count,
        partition_count: cluster.partition_count,
        finalized_level: cluster.finalized_level,
        rebalancing: rebalance_state_name(cluster.rebalance_state()),
        moves_in_progress: cluster.moves_in_progress,
        metadata_recovery_epoch: recovered.then_some(cluster.metadata_recovery_epoch),
        metadata_recovered_at_ms: recovered.then_some(cluster.metadata_recovered_at_ms),
        problems: cluster.problems.iter().map(problem).collect(),
        nodes: cluster.nodes.iter().map(node_json).collect(),
        partitions: cluster.partitions.iter().map(partition_json).collect(),
    }
}

/// The state of the balancing of replicas, for people and in JSON.
pub(super) const fn rebalance_state_name(state: RebalanceState) -> &'static str {
    match state {
        RebalanceState::Running => "running",
        RebalanceState::Paused => "paused",
        RebalanceState::Idle | RebalanceState::Unspecified => "idle",
    }
}

fn node_json(node: &NodeDescription) -> NodeJson {
    NodeJson {
        node_id: node.node_id,
        name: node.name.clone(),
        client_address: node.client_address.clone(),
        peer_address: node.peer_address.clone(),
        zone: node.zone.clone(),
        state: state_name(node.state()),
        reachable: node.reachable,
        version: node.version.clone(),
        feature_level: node.feature_level,
        disk_total_bytes: node.disk_total_bytes,
        disk_free_bytes: node.disk_free_bytes,
        disk_low: node.disk_low,
        replicas: node.replicas,
        leaders: node.leaders,
        meta_role: meta_role(node.meta_role()),
        certificate_not_after_s: node.certificate_not_after_s,
        ca_fingerprints: node.ca_fingerprints.clone(),
        gossip_key_ids: node.gossip_key_ids.clone(),
        waits_for: node.waits_for.clone(),
        lag_entries: node.lag_entries,
        lost_since_ms: node.lost_since_ms,
    }
}

/// Text of `cluster status`: health, nodes, partitions and problems. A large cluster shows only
/// unhealthy partitions, unless `all` is set.
pub(crate) fn status(cluster: &DescribeClusterReply, all: bool, paint: Paint) -> String {
    let mut out = headline(cluster, paint);
    out.push('\n');
    out.push_str(&nodes(&cluster.nodes, paint));
    let show_all = all || cluster.partitions.len() <= PARTITIONS_SHOWN_COUNT;
    let is_shown = |p: &&PartitionDescription| show_all || is_unhealthy(p);
    let shown: Vec<_> = cluster
        .partitions
        .iter()
        .filter(is_shown)
        .cloned()
        .collect();
    if !shown.is_empty() {
        out.push('\n');
        out.push_str(&partition_table(&shown, paint, true));
    }
    if !cluster.problems.is_empty() {
        out.push('\n');
    }
    for problem in &cluster.problems {
        let mark = if problem.degrades {
            paint.bad("problem")
        } else {
            paint.warn("note")
        };
        let _ = writeln!(out, "{mark}: {}", problem.text);
        // Some sentences already end with the step; nodes before 0.3.0 send none.
        if !problem.next_step.is_empty() && !problem.text.ends_with(&problem.next_step) {
            let _ = writeln!(out, "  next step: {}", problem.next_step);
        }
    }
    out
}

fn is_unhealthy(partition: &PartitionDescription) -> bool {
    partition.health() != PartitionHealth::Healthy
}

fn headline(cluster: &DescribeClusterReply, paint: Paint) -> String {
    let health = if cluster.healthy {
        paint.good("healthy")
    } else {
        paint.bad("NOT healthy")
    };
    let unhealthy = cluster
        .partitions
        .iter()
        .filter(|p| is_unhealthy(p))
        .count();
    let is_member = |node: &&NodeDescription| node.state() != NodeState::Removed;
    let nodes = cluster.nodes.iter().filter(is_member).count();
    let reachable = cluster
        .nodes
        .iter()
        .filter(is_member)
        .filter(|node| node.reachable)
        .count();
    let meta = match cluster.meta_leader_node {
        Some(node) => format!("meta leader {node}"),
        None => "no meta leader".into(),
    };
    let mut partitions = plural(cluster.partition_count as usize, "partition");
    if unhealthy > 0 {
        let _ = write!(partitions, " ({unhealthy} unhealthy)");
    }
    let moving = cluster.moves_in_progress;
    let balance = match cluster.rebalance_state() {
        RebalanceState::Running => format!(", rebalancing ({moving} replicas are being moved)"),
        RebalanceState::Paused => ", rebalancing is paused".to_owned(),
        RebalanceState::Idle | RebalanceState::Unspecified => String::new(),
    };
    format!(
        "cluster {}: {health}; {reachable} of {nodes} nodes reachable, {}, {partitions}, {meta}, \
         feature level {}{balance}\n",
        cluster.cluster_id,
        plural(cluster.topic_count as usize, "topic"),
        cluster.finalized_level
    )
}

fn nodes(nodes: &[NodeDescription], paint: Paint) -> String {
    let head = [
        ">ID",
        "NAME",
        "STATE",
        "CLIENT",
        "META",
        ">LEADERS",
        ">REPLICAS",
        ">DISK FREE",
        "VERSION",
        ">LEVEL",
    ];
    let mut table = Table::new(&head);
    for node in nodes
        .iter()
        .filter(|node| node.state() != NodeState::Removed)
    {
        let (state, tone) = match (node.reachable, node.state()) {
            (false, _) if node.lost_since_ms.is_some() => ("lost", Tone::Bad),
            (false, _) => ("unreachable", Tone::Bad),
            (true, NodeState::Active) if !node.waits_for.is_empty() => ("not ready", Tone::Warn),
            (true, NodeState::Active) => ("active", Tone::Good),
            (true, other) => (state_name(other), Tone::Warn),
        };
        let free = if node.reachable {
            units::size(node.disk_free_bytes)
        } else {
            "?".into()
        };
        let level = if node.reachable {
            node.feature_level.to_string()
        } else {
            "?".into()
        };
        table.row([
            node.node_id.to_string().into(),
            node.name.clone().into(),
            Cell::toned(state, tone),
            node.client_address.clone().into(),
            meta_role(node.meta_role()).into(),
            node.leaders.to_string().into(),
            node.replicas.to_string().into(),
            Cell::toned(
                free,
                if node.disk_low {
                    Tone::Bad
                } else {
                    Tone::Plain
                },
            ),
            node.version.clone().into(),
            level.into(),
        ]);
    }
    let mut out = table.render(paint, 0);
    for node in nodes.iter().filter(|node| !node.waits_for.is_empty()) {
        let _ = writeln!(out, "{} is not ready: {}", node.name, node.waits_for);
    }
    out
}

fn state_name(state: NodeState) -> &'static str {
    match state {
        NodeState::Active => "active",
        NodeState::Draining => "draining",
        NodeState::Removed => "removed",
        NodeState::Unspecified => "unknown",
    }
}

fn meta_role(role: MetaRole) -> &'static str {
    match role {
        MetaRole::Leader => "leader",
        MetaRole::Voter => "voter",
        MetaRole::Learner => "learner",
        MetaRole::None | MetaRole::Unspecified => "-",
    }
}

#[cfg(test)]
mod tests {
    use lograft_client::admin_wire::Problem;

    use super::*;

    fn node(node_id: u64, reachable: bool, state: NodeState) -> NodeDescription {
        NodeDescription {
            node_id,
            name: format!("node-{node_id}"),
            client_address: format!("127.0.0.1:{}", 9390 + 10 * node_id),
            state: state.into(),
            reachable,
            version: if reachable {
                "0.2.0".into()
            } else {
                String::new()
            },
            feature_level: 1,
            disk_total_bytes: 100 << 30,
            disk_free_bytes: if reachable { 12 << 30 } else { 0 },
            replicas: 3,
            leaders: 1,
            meta_role: if node_id == 1 {
                MetaRole::Leader
            } else {
                MetaRole::Voter
            }
            .into(),
            ..NodeDescription::default()
        }
    }

    fn cluster() -> DescribeClusterReply {
        DescribeClusterReply {
            cluster_id: "c-1".into(),
            healthy: false,
            nodes: vec![
                node(1, true, NodeState::Active),
                node(2, false, NodeState::Active),
                node(3, true, NodeState::Draining),
                node(4, false, NodeState::Removed),
            ],
            partitions: Vec::new(),
            problems: vec![Problem {
                kind: "NODE_UNREACHABLE".into(),
                text: "node 2 does not answer".into(),
                degrades: true,
                next_step: "check whether it runs".into(),
                ..Problem::default()
            }],
            meta_leader_node: Some(1),
            answered_by: 3,
            topic_count: 1,
            partition_count: 3,
            finalized_level: 1,
            ..DescribeClusterReply::default()
        }
    }

    #[test]
    fn status_shows_health_nodes_and_problems() {
        let expected = "\
cluster c-1: NOT healthy; 2 of 3 nodes reachable, 1 topic, 3 partitions, meta leader 1, feature level 1

ID  NAME    STATE        CLIENT          META    LEADERS  REPLICAS  DISK FREE  VERSION  LEVEL
 1  node-1  active       127.0.0.1:9400  leader        1         3   12.0 GiB  0.2.0        1
 2  node-2  unreachable  127.0.0.1:9410  voter         1         3          ?               ?
 3  node-3  draining     127.0.0.1:9420  voter         1         3   12.0 GiB  0.2.0        1

problem: node 2 does not answer
  next step: check whether it runs
";
        assert_eq!(status(&cluster(), false, Paint::plain()), expected);
    }

    #[test]
    fn json_includes_removed_nodes() {
        let json = serde_json::to_value(status_json(&cluster())).unwrap();
        assert_eq!(json["healthy"], false);
        assert_eq!(json["nodes"][3]["state"], "removed");
        assert_eq!(json["problems"][0]["kind"], "NODE_UNREACHABLE");
    }
}
