//! A slow balance by trying everything, which the planner is compared with.

use std::collections::BTreeMap;

use crate::ids::{GroupId, NodeId};
use crate::rebalance::{BalancedPartition, Layout, Step};

/// Carries out a step. Panics if it leaves a partition with fewer replicas, or two on a node.
pub(super) fn apply(layout: &mut Layout, step: &Step) {
    let partition = layout.partitions.iter_mut();
    let partition = partition
        .into_iter()
        .find(|partition| partition.group == step.group())
        .unwrap();
    let replicas = &mut partition.replicas;
    match *step {
        Step::Move { from, to, .. } => {
            assert!(!replicas.contains(&to), "two on a node: {step:?}");
            *replicas.iter_mut().find(|node| **node == from).unwrap() = to;
        }
        Step::Lead { from, to, .. } => {
            assert_eq!(replicas[0], from);
            let position = replicas.iter().position(|node| *node == to).unwrap();
            replicas[..=position].rotate_right(1);
        }
    }
}

pub(super) fn replicas_of(layout: &Layout, group: GroupId) -> &[NodeId] {
    let mut partitions = layout.partitions.iter();
    &partitions.find(|p| p.group == group).unwrap().replicas
}

pub(super) fn load_of(layout: &Layout, node: u64) -> u32 {
    let replicas = layout.partitions.iter().flat_map(|p| &p.replicas);
    u32::try_from(replicas.filter(|id| id.get() == node).count()).unwrap()
}

fn leaders_of(layout: &Layout, node: u64) -> u32 {
    let leaders = layout.partitions.iter().filter_map(|p| p.replicas.first());
    u32::try_from(leaders.filter(|id| id.get() == node).count()).unwrap()
}

/// How unevenly nodes are divided among zones. A node without a zone is one of its own.
fn unevenness(layout: &Layout, nodes: &[NodeId]) -> usize {
    let mut zones: BTreeMap<String, usize> = BTreeMap::new();
    for node in nodes {
        let zone = layout.nodes.iter().find(|n| n.id == *node);
        let zone = zone.map_or("", |node| node.zone.as_str());
        let key = if zone.is_empty() {
            format!("node {node}")
        } else {
            format!("zone {zone}")
        };
        *zones.entry(key).or_default() += 1;
    }
    zones.values().map(|count| count * count).sum()
}

/// All sets of `count` nodes.
fn subsets(nodes: &[NodeId], count: usize) -> Vec<Vec<NodeId>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut sets = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        for mut set in subsets(&nodes[at + 1..], count - 1) {
            set.push(*node);
            sets.push(set);
        }
    }
    sets
}

/// The sets of as many nodes as the partition has that are divided most evenly among the zones.
fn best_sets(layout: &Layout, count: usize) -> Vec<Vec<NodeId>> {
    let nodes: Vec<NodeId> = layout.nodes.iter().map(|node| node.id).collect();
    let sets = subsets(&nodes, count);
    let best = sets
        .iter()
        .map(|set| unevenness(layout, set))
        .min()
        .unwrap();
    let is_best = |set: &Vec<NodeId>| unevenness(layout, set) == best;
    sets.into_iter().filter(is_best).collect()
}

/// The fewest replicas that must be moved so that all partitions are in the right zones.
pub(super) fn faults(layout: &Layout) -> u32 {
    if layout.nodes.len() > 8 {
        let worst = |p: &BalancedPartition| unevenness(layout, &p.replicas) > p.replicas.len();
        return u32::try_from(layout.partitions.iter().filter(|p| worst(p)).count()).unwrap();
    }
    let mut best: BTreeMap<usize, Vec<Vec<NodeId>>> = BTreeMap::new();
    let moved = layout.partitions.iter().map(|partition| {
        let replicas = &partition.replicas;
        let sets = best
            .entry(replicas.len())
            .or_insert_with(|| best_sets(layout, replicas.len()));
        let differs = |set: &Vec<NodeId>| replicas.iter().filter(|n| !set.contains(n)).count();
        sets.iter().map(differs).min().unwrap()
    });
    u32::try_from(moved.sum::<usize>()).unwrap()
}

/// The numbers that a plan lowers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Potential {
    /// How unevenly the replicas of the partitions are divided among the zones.
    pub(super) unevenness: usize,
    /// The sum of the squared numbers of replicas of the nodes.
    pub(super) replicas: u64,
    /// The sum of the squared numbers of preferred leaders.
    pub(super) leaders: u64,
}

pub(super) fn potential(layout: &Layout) -> Potential {
    let squares = |count: fn(&Layout, u64) -> u32| -> u64 {
        let nodes = layout.nodes.iter();
        nodes
            .map(|node| u64::from(count(layout, node.id.get())).pow(2))
            .sum()
    };
    let partitions = layout.partitions.iter();
    let uneven = partitions.map(|p| unevenness(layout, &p.replicas)).sum();
    Potential {
        unevenness: uneven,
        replicas: squares(load_of),
        leaders: squares(leaders_of),
    }
}

/// Whether no exchange of replicas or leaders, of any length, makes the numbers more even. All
/// replicas must be in the right zones.
pub(super) fn is_optimal(layout: &Layout) -> bool {
    let right = |nodes: &[NodeId]| -> bool {
        let best = best_sets(layout, nodes.len());
        unevenness(layout, nodes) == unevenness(layout, &best[0])
    };
    let gives_replica = |from: NodeId, to: NodeId| {
        let mut partitions = layout.partitions.iter();
        partitions.any(|partition| {
            let replaced = |node: &NodeId| if *node == from { to } else { *node };
            let nodes: Vec<NodeId> = partition.replicas.iter().map(replaced).collect();
            partition.replicas.contains(&from) && !partition.replicas.contains(&to) && right(&nodes)
        })
    };
    let gives_leader = |from: NodeId, to: NodeId| {
        let mut partitions = layout.partitions.iter();
        partitions.any(|p| p.replicas.first() == Some(&from) && p.replicas.contains(&to))
    };
    is_settled(layout, load_of, gives_replica) && is_settled(layout, leaders_of, gives_leader)
}

fn is_settled(
    layout: &Layout,
    count: fn(&Layout, u64) -> u32,
    gives: impl Fn(NodeId, NodeId) -> bool,
) -> bool {
    let ids: Vec<NodeId> = layout.nodes.iter().map(|node| node.id).collect();
    ids.iter().all(|start| {
        let mut reached = vec![*start];
        let mut next = 0;
        while let Some(from) = reached.get(next).copied() {
            next += 1;
            for to in &ids {
                if !reached.contains(to) && gives(from, *to) {
                    reached.push(*to);
                }
            }
        }
        let most = count(layout, start.get());
        let all = reached.iter();
        all.map(|id| count(layout, id.get()))
            .all(|least| least + 2 > most)
    })
}
