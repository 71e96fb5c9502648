//! Where partitions go: pure, the same plan from the same metadata on every node, and balanced over
//! the nodes in replicas and in preferred leaders.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{GroupId, NodeId};
use crate::metadata::{Command, Metadata, NodeState, Partition};
use crate::topic::{self, TopicError};

/// A node that can take replicas, and what it holds already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub id: NodeId,
    /// Its failure domain; empty if none.
    pub zone: String,
    /// Replicas on it, those on their way in included.
    pub replicas: u32,
    /// Partitions that prefer it as their leader.
    pub leaders: u32,
}

/// The nodes that can take replicas, with what they hold, by id.
pub fn candidates(metadata: &Metadata) -> Vec<Candidate> {
    let mut load: BTreeMap<NodeId, (u32, u32)> = BTreeMap::new();
    for place in metadata.partitions() {
        for node in place.partition.hosts() {
            load.entry(node).or_default().0 += 1;
        }
        if let Some(leader) = settled(place.partition).first() {
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

/// Places `partitions` new partitions with `replication_factor` replicas each: first of each the
/// preferred leader. Zones are told apart as far as there are enough of them.
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

/// What is still to be asked for so that `node` holds nothing in the end: a `SetTarget` for each
/// partition that is neither free of it nor being freed. Empty once all is under way.
pub fn plan_drain(metadata: &Metadata, node: NodeId) -> Vec<Command> {
    let mut nodes = candidates(metadata);
    nodes.retain(|c| c.id != node);
    let mut plan = Vec::new();
    for place in metadata.partitions() {
        let mut replicas = settled(place.partition).to_vec();
        let Some(position) = replicas.iter().position(|n| *n == node) else {
            continue;
        };
        let group = place.partition.group;
        let Some(other) = pick(&mut nodes, &replicas, position == 0, group.get()) else {
            continue;
        };
        replicas[position] = other;
        plan.push(Command::SetTarget { group, replicas });
    }
    plan
}

/// What is to be asked for so that preferred leaders are spread evenly over the active nodes: a
/// `SetPreferredLeader` for each partition whose other replicas include a node with at least two
/// fewer. Partitions that are being moved are left alone.
pub fn plan_leaders(metadata: &Metadata) -> Vec<Command> {
    let mut leaders: BTreeMap<NodeId, u32> = candidates(metadata)
        .into_iter()
        .map(|c| (c.id, c.leaders))
        .collect();
    let mut preferred: BTreeMap<GroupId, NodeId> = BTreeMap::new();
    // Each change lowers the sum of squares: it ends. One pass can open the way for another.
    loop {
        let mut is_changed = false;
        for place in metadata
            .partitions()
            .filter(|p| p.partition.target.is_none())
        {
            let Partition {
                group, replicas, ..
            } = place.partition;
            let Some(current) = preferred.get(group).or(replicas.first()).copied() else {
                continue;
            };
            let least = replicas
                .iter()
                .filter_map(|n| leaders.get(n).map(|c| (*c, *n)))
                .min();
            let Some((count, node)) = least else { continue };
            // A leader that is being drained is not in the map: any other is better.
            let now = leaders.get(&current).copied().unwrap_or(u32::MAX);
            if count.saturating_add(2) > now {
                continue;
            }
            leaders.entry(current).and_modify(|c| *c -= 1);
            leaders.entry(node).and_modify(|c| *c += 1);
            preferred.insert(*group, node);
            is_changed = true;
        }
        if !is_changed {
            break;
        }
    }
    preferred
        .into_iter()
        .filter(|(group, node)| {
            metadata
                .group(*group)
                .is_some_and(|p| p.partition.preferred_leader() != Some(*node))
        })
        .map(|(group, node)| Command::SetPreferredLeader { group, node })
        .collect()
}

/// Who should vote in the meta group: an odd number of active nodes, at most `max`. Newcomers vote
/// once they are caught up; nodes that drain stop as soon as an active one votes. Who is silent is
/// no less a voter, and nothing but a drain makes the voters fewer.
pub fn meta_voters(
    metadata: &Metadata,
    voters: &BTreeSet<NodeId>,
    caught_up: &BTreeSet<NodeId>,
    max: usize,
) -> BTreeSet<NodeId> {
    let is_active = |id: &NodeId| {
        metadata
            .node(*id)
            .is_some_and(|node| node.state == NodeState::Active)
    };
    let staying: BTreeSet<NodeId> = voters.iter().copied().filter(is_active).collect();
    let newcomers: Vec<NodeId> = caught_up
        .iter()
        .copied()
        .filter(|n| is_active(n) && !voters.contains(n))
        .collect();
    let possible = (staying.len() + newcomers.len()).min(max);
    let odd = if possible.is_multiple_of(2) {
        possible.saturating_sub(1)
    } else {
        possible
    };
    let wished = odd.saturating_sub(staying.len());
    let mut result = staying;
    result.extend(newcomers.into_iter().take(wished));
    if result.is_empty() {
        voters.clone()
    } else {
        result
    }
}

/// Where the partition will be when all that is asked for is done.
fn settled(partition: &Partition) -> &[NodeId] {
    partition.target.as_ref().unwrap_or(&partition.replicas)
}

/// Picks the node for one more replica beside `taken`, and counts it.
fn pick(nodes: &mut [Candidate], taken: &[NodeId], leads: bool, salt: u64) -> Option<NodeId> {
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
            // Ties are broken differently for each partition: else the same nodes always go
            // together.
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
const fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(b);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
