//! Changes of the number of replicas: of topics whose replication factor was changed, of those that
//! follow the size of the cluster, and of the coordinators of consumer groups.
//!
//! The topic has the number that its partitions should have. Partitions get there one move at a
//! time, so a change outlives the leader of the meta group that planned it.

#[cfg(test)]
mod tests;

use crate::assignment::{Candidate, candidates, final_replicas, pick};
use crate::ids::NodeId;
use crate::limits::{COORDINATOR_REPLICAS_MAX_COUNT, FACTOR_CHANGES_MAX_COUNT};
use crate::metadata::{Command, FactorChange, Metadata, Node, Partition, Topic};
use crate::topic_config::TopicSettings;

/// Plans the next steps towards the number of replicas that topics should have: raises topics that
/// follow the size of the cluster, then changes the replicas of partitions, a few at a time.
/// `default` is the replication factor of new topics in a cluster of enough nodes. Only nodes that
/// `is_whole` accepts get a replica, and one is removed only while it accepts all that stay.
pub fn plan_factors(
    metadata: &Metadata,
    default: u32,
    is_whole: impl Fn(NodeId) -> bool,
) -> Vec<Command> {
    let nodes_count = u32::try_from(metadata.active_nodes().count()).unwrap_or(u32::MAX);
    let raised: Vec<Command> = metadata
        .topics()
        .filter_map(|topic| raise(topic, default.min(nodes_count)))
        .take(FACTOR_CHANGES_MAX_COUNT)
        .collect();
    if !raised.is_empty() {
        return raised;
    }
    let mut unequal = metadata
        .partitions()
        .map(|place| {
            let wanted = wanted_count(place.topic, place.partition, nodes_count);
            (place.partition, wanted)
        })
        .filter(|(partition, wanted)| is_settled(partition) && partition.replicas.len() != *wanted)
        .peekable();
    // Most of the time there is none, and this runs several times a second: the load of the nodes
    // is counted only if it is needed.
    if unequal.peek().is_none() {
        return Vec::new();
    }
    let running = metadata
        .partitions()
        .filter(|place| is_resized(place.partition));
    let free = FACTOR_CHANGES_MAX_COUNT.saturating_sub(running.count());
    let nodes = candidates(metadata);
    let mut takers = nodes.clone();
    takers.retain(|candidate| is_whole(candidate.id));
    unequal
        .filter_map(|(partition, wanted)| {
            let replicas = if partition.replicas.len() < wanted {
                grown(partition, wanted, &mut takers)
            } else {
                shrunk(metadata, partition, wanted, &nodes)
                    .filter(|staying| staying.iter().all(|node| is_whole(*node)))
            }?;
            let group = partition.group;
            Some(Command::SetTarget { group, replicas })
        })
        .take(free)
        .collect()
}

/// Whether a partition has started, and nothing is changed about its replicas.
fn is_settled(partition: &Partition) -> bool {
    partition.started
        && partition.target.is_none()
        && partition.repair.is_none()
        && partition.pending_recovery().is_none()
}

/// Number of partitions of a topic that have fewer replicas than the topic should have, moves in
/// progress not counted.
pub fn below_factor_count(topic: &Topic) -> usize {
    let factor = topic.replication_factor as usize;
    let partitions = topic.partitions.iter();
    partitions.filter(|p| p.replicas.len() < factor).count()
}

/// The change that raises a topic which follows the size of the cluster to `wanted` replicas. Such
/// a topic is never lowered: its nodes may come back.
fn raise(topic: &Topic, wanted: u32) -> Option<Command> {
    let is_lower = topic.follows_default && topic.replication_factor < wanted;
    is_lower.then(|| Command::AlterTopic {
        name: topic.name.clone(),
        retention: None,
        settings: TopicSettings::default(),
        reset: Vec::new(),
        growth: None,
        topic_id: Some(topic.id),
        replication_factor: Some(FactorChange {
            count: wanted,
            follows_default: true,
        }),
    })
}

/// The number of replicas that a partition should have. Coordinators have as many as the number of
/// nodes allows, and keep those that they have: only a drain takes one away.
fn wanted_count(topic: &Topic, partition: &Partition, nodes_count: u32) -> usize {
    if topic.is_coordinators() {
        let wanted = nodes_count.min(COORDINATOR_REPLICAS_MAX_COUNT) as usize;
        return wanted.max(partition.replicas.len());
    }
    topic.replication_factor as usize
}

/// Whether a move in progress changes the number of replicas.
fn is_resized(partition: &Partition) -> bool {
    final_replicas(partition).len() != partition.replicas.len()
}

/// The replicas with more of them, as far as there are nodes; `None` if there are none.
fn grown(partition: &Partition, wanted: usize, nodes: &mut [Candidate]) -> Option<Vec<NodeId>> {
    let mut replicas = partition.replicas.clone();
    while replicas.len() < wanted
        && let Some(node) = pick(nodes, &replicas, false, partition.group.get())
    {
        replicas.push(node);
    }
    (replicas.len() > partition.replicas.len()).then_some(replicas)
}

/// The replicas without those that are needed least: first those on nodes that are lost or drained,
/// then those that share a zone with another one, then those on the fullest nodes. The preferred
/// leader stays, unless its node is lost or drained. `None` if a replica that would stay is on a
/// lost node: fewer copies must not be left to it.
fn shrunk(
    metadata: &Metadata,
    partition: &Partition,
    wanted: usize,
    nodes: &[Candidate],
) -> Option<Vec<NodeId>> {
    let load = |node: NodeId| nodes.iter().find(|candidate| candidate.id == node);
    let mut replicas = partition.replicas.clone();
    while replicas.len() > wanted.max(1) {
        let zone_of = |node: NodeId| load(node).map(|c| c.zone.as_str()).unwrap_or_default();
        let shares_zone = |node: NodeId| {
            let zone = zone_of(node);
            let mut others = replicas.iter().filter(|other| **other != node);
            !zone.is_empty() && others.any(|other| zone_of(*other) == zone)
        };
        let (position, _) = replicas.iter().enumerate().max_by_key(|(position, node)| {
            let node = **node;
            let is_going = load(node).is_none();
            let is_follower = *position > 0;
            let found = load(node).map_or(0, |candidate| candidate.replicas);
            (is_going, is_follower, shares_zone(node), found, node)
        })?;
        replicas.remove(position);
    }
    let is_lost = |node: &NodeId| metadata.node(*node).is_none_or(Node::is_lost);
    (!replicas.iter().any(is_lost)).then_some(replicas)
}
