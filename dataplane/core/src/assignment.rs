//! Assignment of replicas and preferred leaders to nodes, balanced over nodes and zones.
//!
//! The plans are deterministic: a function of the metadata alone, with neither randomness nor a
//! hash map's order. After a change of leader, the new leader therefore computes the same plan and
//! repeats the commands of the old one, instead of planning a second, different set of moves.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::NodeId;
use crate::metadata::{Command, Metadata, Node, NodeState, Partition, Topic};
use crate::topic::{self, TopicError};

/// A node that can take replicas, with its current load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node's id.
    pub id: NodeId,
    /// The node's failure domain; empty if unknown.
    pub zone: String,
    /// Number of replicas on the node, including those that are being moved to it.
    pub replicas: u32,
    /// Number of partitions that have the node as preferred leader.
    pub leaders: u32,
}

/// The active nodes with their current load, by id.
pub fn candidates(metadata: &Metadata) -> Vec<Candidate> {
    let mut load: BTreeMap<NodeId, (u32, u32)> = BTreeMap::new();
    for place in metadata.partitions() {
        for node in place.partition.hosts() {
            load.entry(node).or_default().0 += 1;
        }
        if let Some(leader) = final_replicas(place.partition).first() {
            load.entry(*leader).or_default().1 += 1;
        }
    }
    metadata
        .active_nodes()
        .map(|node| {
            let (replicas, leaders) = load.get(&node.id).copied().unwrap_or_default();
            Candidate {
                id: node.id,
                zone: node.registration.zone.clone(),
                replicas,
                leaders,
            }
        })
        .collect()
}

/// Assigns `partitions` new partitions to nodes, with `replication_factor` replicas each. The first
/// replica of each is the preferred leader. Replicas of a partition are in different zones as far
/// as there are enough zones.
///
/// Fails if the replication factor is 0, or above the number of nodes or the limit.
pub fn place_topic(
    mut nodes: Vec<Candidate>,
    partitions: u32,
    replication_factor: u32,
) -> Result<Vec<Vec<NodeId>>, TopicError> {
    topic::validate_replication_factor(replication_factor, nodes.len())?;
    let mut assignment = Vec::new();
    for partition in 0..partitions {
        let mut replicas = Vec::new();
        while replicas.len() < replication_factor as usize {
            let Some(node) = pick(&mut nodes, &replicas, replicas.is_empty(), partition.into())
            else {
                break;
            };
            replicas.push(node);
        }
        assignment.push(replicas);
    }
    Ok(assignment)
}

/// Plans the remaining moves that free `node` of replicas: a `SetTarget` for each partition that
/// has a replica on it and is not being moved off it yet. Empty once all moves are in progress.
pub fn plan_drain(metadata: &Metadata, node: NodeId) -> Vec<Command> {
    let mut nodes = candidates(metadata);
    nodes.retain(|c| c.id != node);
    let mut plan = Vec::new();
    for place in metadata.partitions() {
        // Its survivor must lead first.
        if place.partition.pending_recovery().is_some() {
            continue;
        }
        let mut replicas = final_replicas(place.partition).to_vec();
        let Some(position) = replicas.iter().position(|n| *n == node) else {
            continue;
        };
        let group = place.partition.group;
        match pick(&mut nodes, &replicas, position == 0, group.get()) {
            Some(other) => replicas[position] = other,
            // It follows the number of nodes.
            None if replicas.len() > fewest_replicas(place.topic) => {
                replicas.remove(position);
            }
            None => continue,
        }
        plan.push(Command::SetTarget { group, replicas });
    }
    plan
}

/// The voters that the meta group should have: an odd number of active nodes, at most `max`. A node
/// becomes a voter after it has caught up. A node that is being drained stops being a voter as soon
/// as an active node is one. A node that is lost is replaced by another one, if there is one.
pub fn meta_voters(
    metadata: &Metadata,
    voters: &BTreeSet<NodeId>,
    caught_up: &BTreeSet<NodeId>,
    max: usize,
) -> BTreeSet<NodeId> {
    // Reachability is not an input, on purpose: a voter that does not answer stays a voter, and
    // only a drain makes the number of voters smaller. If silence removed voters, the two sides of
    // a network partition could each shrink to a quorum of their own (split brain). A voter that
    // the metadata say is lost changes places with another one: the voters of before, by their
    // majority, decide about the change, and their number stays.
    //
    // The number is odd because an even number tolerates no more failures than the odd number below
    // it, and needs one more reply for each commit.
    let is_active = |id: &NodeId| {
        metadata
            .node(*id)
            .is_some_and(|node| node.state == NodeState::Active)
    };
    let is_lost = |id: &NodeId| metadata.node(*id).is_some_and(Node::is_lost);
    let staying: BTreeSet<NodeId> = voters.iter().copied().filter(is_active).collect();
    let newcomers: Vec<NodeId> = caught_up
        .iter()
        .copied()
        .filter(|n| is_active(n) && !is_lost(n) && !voters.contains(n))
        .collect();
    let possible = (staying.len() + newcomers.len()).min(max);
    let odd = if possible.is_multiple_of(2) {
        possible.saturating_sub(1)
    } else {
        possible
    };
    let missing = odd.saturating_sub(staying.len());
    let mut result = staying;
    let mut newcomers = newcomers.into_iter();
    result.extend(newcomers.by_ref().take(missing));
    let lost: Vec<NodeId> = result.iter().copied().filter(is_lost).collect();
    for (lost, other) in lost.into_iter().zip(newcomers) {
        result.remove(&lost);
        result.insert(other);
    }
    if result.is_empty() {
        voters.clone()
    } else {
        result
    }
}

/// The number of replicas that a drain leaves to each partition of a topic, if there are no other
/// nodes.
fn fewest_replicas(topic: &Topic) -> usize {
    if topic.is_coordinators() {
        1
    } else {
        topic.replication_factor as usize
    }
}

/// The replicas of a partition after its current move.
pub(crate) fn final_replicas(partition: &Partition) -> &[NodeId] {
    partition.target.as_ref().unwrap_or(&partition.replicas)
}

/// Chooses the node for one more replica beside `taken`, and adds the replica to its load.
pub(crate) fn pick(
    nodes: &mut [Candidate],
    taken: &[NodeId],
    leads: bool,
    salt: u64,
) -> Option<NodeId> {
    let zones: Vec<String> = nodes
        .iter()
        .filter(|c| taken.contains(&c.id) && !c.zone.is_empty())
        .map(|c| c.zone.clone())
        .collect();
    let best = nodes
        .iter_mut()
        .filter(|c| !taken.contains(&c.id))
        .min_by_key(|c| {
            let is_zone_taken = zones.contains(&c.zone);
            let leaders = if leads { c.leaders } else { 0 };
            // Ties are broken by a hash of partition and node, differently for each partition.
            // Otherwise the same nodes would always share their partitions, and the load of a
            // failed node would move to few others.
            (
                is_zone_taken,
                leaders,
                c.replicas,
                mix(salt, c.id.get()),
                c.id,
            )
        })?;
    best.replicas += 1;
    best.leaders += u32::from(leads);
    Some(best.id)
}

/// Spreads the bits of two numbers (the finalizer of splitmix64).
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(b);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
