//! The cluster as one of its nodes describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lograft_crds::log_cluster::MemberRole;

/// Feature level of a program or of the cluster. A program of level N has all features of the
/// levels up to N; the cluster uses those up to its finalized level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeatureLevel(pub u32);

impl FeatureLevel {
    /// The level from which nodes ignore fields of the configuration that it lists and they do not
    /// know.
    pub const NEWER_FIELDS: Self = Self(1);
    /// The level that brings authorization.
    pub const AUTHORIZATION: Self = Self(2);
}

impl fmt::Display for FeatureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "feature level {}", self.0)
    }
}

/// The cluster as one of its nodes describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// All nodes, removed ones included.
    pub nodes: Vec<ObservedNode>,
    /// At least the unhealthy partitions. In those that are missing every voter is in sync.
    pub partitions: Vec<ObservedPartition>,
    /// ID of the node that leads the metadata group.
    pub meta_leader: Option<u64>,
    /// Finalized feature level; 0 from a node that reports none.
    pub finalized_level: FeatureLevel,
    /// Checks that nodes have raised and that make the cluster unhealthy, the most important first.
    pub checks: Vec<ObservedCheck>,
    /// Checks of the whole cluster that do not make it unhealthy.
    pub notes: Vec<ObservedNote>,
    /// Nodes as the others discover them, by name.
    pub seen: BTreeMap<String, SeenNode>,
}

/// A node as the other nodes discover it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenNode {
    /// `host:port` for the other nodes.
    pub address: Option<String>,
    /// Names of the sources that see it.
    pub sources: BTreeSet<String>,
    /// Number of starts on its disk; none if it does not gossip.
    pub incarnation: Option<u64>,
}

impl SeenNode {
    /// The views of several nodes together, whatever their order. The address of the newest process
    /// counts: a node may remember where it was before.
    pub fn merged(views: &[Self]) -> Self {
        let located = views.iter().filter(|view| view.address.is_some());
        let latest = located.max_by_key(|view| (view.incarnation, &view.address));
        let sources = views.iter().flat_map(|view| &view.sources);
        Self {
            address: latest.and_then(|view| view.address.clone()),
            sources: sources.cloned().collect(),
            incarnation: views.iter().filter_map(|view| view.incarnation).max(),
        }
    }
}

/// A check of the whole cluster that does not make it unhealthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedNote {
    /// Name of the check.
    pub check: String,
    /// What is so: a sentence.
    pub text: String,
    /// Next step.
    pub next_step: String,
}

/// A check that a node has raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedCheck {
    /// What is wrong: a sentence that names the node.
    pub text: String,
    /// Next step.
    pub next_step: String,
}

/// A node as its peers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedNode {
    /// Node ID. It is never used again for another node.
    pub id: u64,
    /// Name of the pod.
    pub name: String,
    /// Membership state.
    pub state: NodeState,
    /// Whether it answers its peers.
    pub reachable: bool,
    /// Version of the program; empty if the node is not reachable.
    pub version: String,
    /// Feature level of the program; 0 if the node is not reachable or reports none.
    pub feature_level: FeatureLevel,
    /// Size of its disk, bytes; 0 if the node is not reachable.
    pub disk_total_bytes: u64,
    /// Free bytes on its disk.
    pub disk_free_bytes: u64,
    /// Whether it refuses writes because only the reserve of its disk is free.
    pub disk_low: bool,
    /// Number of partitions that it leads.
    pub leaders: u32,
    /// Role in the metadata group.
    pub meta: Option<MemberRole>,
    /// Replication lag of all its replicas together, log entries.
    pub lag_entries: u64,
    /// Expiry of the certificate that it has loaded, seconds since 1970; none if not reachable.
    pub certificate_not_after: Option<i64>,
    /// SHA-256 of each CA root that it has loaded, hexadecimal; none if not reachable.
    pub roots: Vec<String>,
    /// Ids of the gossip keys that it has loaded, the one that it sends with first; none if gossip
    /// is off or it is not reachable.
    pub gossip_key_ids: Vec<String>,
    /// Why it cannot serve yet, one sentence; empty if it is ready or not reachable.
    pub waits_for: String,
}

/// All nodes run one version in good health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StableNodes {
    /// The version.
    pub version: String,
    /// Since when, seconds since 1970.
    pub since_unix_seconds: i64,
}

/// Membership state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Regular member.
    Active,
    /// Decommission is running: its replicas are moved to other nodes.
    Draining,
    /// Decommissioned. The state is final.
    Removed,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPartition {
    /// Topic.
    pub topic: String,
    /// Number within the topic.
    pub number: u32,
    /// ID of the leading node.
    pub leader: Option<u64>,
    /// Replicas.
    pub replicas: Vec<ObservedReplica>,
}

/// A replica of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedReplica {
    /// ID of the node that holds it.
    pub node: u64,
    /// Whether it is in sync with the leader.
    pub in_sync: bool,
    /// Whether it votes.
    pub voter: bool,
}

/// Name of the metadata group in sentences.
pub(crate) const META_GROUP: &str = "the meta group";

impl ObservedPartition {
    /// Name of the partition in sentences.
    pub(crate) fn label(&self) -> String {
        format!("partition {}/{}", self.topic, self.number)
    }
}

impl ClusterView {
    /// The member that runs in this pod. Where a pod has lost its disk, two members have its name:
    /// the one that joined last runs there.
    pub fn node_of(&self, pod: &str) -> Option<&ObservedNode> {
        let is_here = |node: &&ObservedNode| node.name == pod && node.state != NodeState::Removed;
        self.nodes.iter().filter(is_here).max_by_key(|node| node.id)
    }

    /// Nodes that have not been removed.
    pub(crate) fn members(&self) -> impl Iterator<Item = &ObservedNode> {
        let nodes = self.nodes.iter();
        nodes.filter(|node| node.state != NodeState::Removed)
    }

    /// A partition without a leader, or else the metadata group if it has none.
    pub(crate) fn leaderless_group(&self) -> Option<String> {
        let mut partitions = self.partitions.iter();
        let partition = partitions.find(|partition| partition.leader.is_none());
        let meta = self.meta_leader.is_none().then(|| META_GROUP.to_owned());
        partition.map(ObservedPartition::label).or(meta)
    }

    /// Whether every member is reachable and every group has a leader.
    pub(crate) fn is_whole(&self) -> bool {
        self.leaderless_group().is_none() && self.members().all(|node| node.reachable)
    }

    /// The highest level that every member supports; none while one of them is not reachable.
    pub(crate) fn lowest_level(&self) -> Option<FeatureLevel> {
        let reached = |node: &ObservedNode| node.reachable.then_some(node.feature_level);
        let levels: Option<Vec<FeatureLevel>> = self.members().map(reached).collect();
        levels?.into_iter().min()
    }

    /// The groups that would have no majority of healthy voters without this node: the metadata
    /// group and partitions.
    pub(crate) fn groups_at_risk_without(&self, node: u64) -> Vec<String> {
        let mut groups = self.voters();
        groups.retain(|(_, voters)| !has_majority_without(voters, node));
        groups.into_iter().map(|(group, _)| group).collect()
    }

    /// The groups that have a majority of healthy voters, and would have none without this node.
    pub(crate) fn groups_lost_without(&self, node: u64) -> Vec<String> {
        let mut groups = self.voters();
        groups.retain(|(_, voters)| {
            let healthy = voters.iter().filter(|(_, is_healthy)| *is_healthy).count();
            healthy > voters.len() / 2 && !has_majority_without(voters, node)
        });
        groups.into_iter().map(|(group, _)| group).collect()
    }

    /// The groups of which this node holds a replica and that have no majority of healthy voters
    /// without it, or no leader: what it has may be the only copy of acknowledged records.
    pub(crate) fn groups_that_need(&self, node: u64) -> Vec<String> {
        let partitions = self.partitions.iter().filter(|partition| {
            let replicas = &partition.replicas;
            let voters = replicas.iter().filter(|replica| replica.voter);
            let others = voters.clone().filter(|it| it.node != node && it.in_sync);
            let has_majority = others.count() > voters.count() / 2 && partition.leader.is_some();
            replicas.iter().any(|replica| replica.node == node) && !has_majority
        });
        let mut groups: Vec<String> = partitions.map(ObservedPartition::label).collect();
        let is_voter =
            |it: &&ObservedNode| matches!(it.meta, Some(MemberRole::Leader | MemberRole::Voter));
        let voters = self.nodes.iter().filter(is_voter);
        let others = voters.clone().filter(|it| it.id != node && it.reachable);
        if others.count() <= voters.count() / 2 || self.meta_leader.is_none() {
            groups.push(META_GROUP.to_owned());
        }
        groups
    }

    /// The voters of each group, with their health, by the group's name in sentences.
    fn voters(&self) -> Vec<(String, Vec<(u64, bool)>)> {
        let is_voter =
            |role: Option<MemberRole>| matches!(role, Some(MemberRole::Leader | MemberRole::Voter));
        let meta = self.nodes.iter().filter(|other| is_voter(other.meta));
        let meta = meta.map(|voter| (voter.id, voter.reachable)).collect();
        let mut groups = vec![(META_GROUP.to_owned(), meta)];
        for partition in &self.partitions {
            let voters = partition.replicas.iter().filter(|replica| replica.voter);
            let voters = voters.map(|voter| (voter.node, voter.in_sync)).collect();
            groups.push((partition.label(), voters));
        }
        groups
    }
}

/// Whether voters, each with its health, form a majority of healthy ones without one of them.
///
/// The majority is counted over all voters, not over those that answer: raft needs more than half
/// of the configured voters, so an unhealthy voter counts against it. One or two voters can never
/// keep a majority without one of them; there all others must be healthy, so that the unavoidable
/// pause ends as soon as the pod is back.
fn has_majority_without(voters: &[(u64, bool)], without: u64) -> bool {
    if voters.iter().all(|(node, _)| *node != without) {
        return true;
    }
    let healthy = voters
        .iter()
        .filter(|(node, is_healthy)| *is_healthy && *node != without);
    let needed = if voters.len() <= 2 {
        voters.len() - 1
    } else {
        voters.len() / 2 + 1
    };
    healthy.count() >= needed
}

#[cfg(test)]
impl ObservedNode {
    /// A reachable member that has reported nothing else.
    pub(crate) fn member(id: u64, name: String) -> Self {
        Self {
            id,
            name,
            state: NodeState::Active,
            reachable: true,
            version: String::new(),
            feature_level: FeatureLevel(0),
            disk_total_bytes: 0,
            disk_free_bytes: 0,
            disk_low: false,
            leaders: 0,
            meta: None,
            lag_entries: 0,
            certificate_not_after: None,
            roots: Vec::new(),
            gossip_key_ids: Vec::new(),
            waits_for: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_nodes_see_is_put_together() {
        let seen = |address: Option<&str>, source: &str, incarnation| SeenNode {
            address: address.map(ToOwned::to_owned),
            sources: BTreeSet::from([source.to_owned()]),
            incarnation,
        };
        let mut views = vec![
            seen(Some("10.0.0.9:9401"), "gossip", Some(3)),
            seen(Some("10.0.0.1:9401"), "gossip", Some(4)),
            seen(None, "endpoints", Some(5)),
            seen(Some("10.0.0.8:9401"), "seeds", None),
        ];
        let merged = SeenNode::merged(&views);
        assert_eq!(merged.address.as_deref(), Some("10.0.0.1:9401"));
        assert_eq!(merged.incarnation, Some(5));
        assert_eq!(merged.sources.len(), 3);
        views.reverse();
        assert_eq!(SeenNode::merged(&views), merged);
        assert_eq!(SeenNode::merged(&[]), SeenNode::default());
    }

    #[test]
    fn a_majority_is_counted_over_all_voters() {
        let healthy = |ids: &[u64]| ids.iter().map(|id| (*id, true)).collect::<Vec<_>>();
        assert!(has_majority_without(&healthy(&[1, 2, 3]), 3));
        assert!(has_majority_without(&healthy(&[1, 2, 3]), 9));
        assert!(!has_majority_without(
            &[(1, true), (2, false), (3, true)],
            3
        ));
        // The unhealthy voter is the one that stops: nothing is lost with it.
        assert!(has_majority_without(&[(1, true), (2, true), (3, false)], 3));
        assert!(has_majority_without(&healthy(&[1]), 1));
        assert!(has_majority_without(&healthy(&[1, 2]), 2));
        assert!(!has_majority_without(&[(1, false), (2, true)], 2));
    }
}
