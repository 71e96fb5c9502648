//! The places of all replicas while a plan is being made. Nodes, zones and partitions are numbered.

use std::collections::BTreeMap;

use super::layout::{Layout, Participation};
use super::step::Step;
use super::zone_limits::{NO_ZONE, ZoneLimits};
use crate::ids::{GroupId, NodeId};

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) zone: usize,
    pub(super) gives: bool,
    pub(super) takes: bool,
    pub(super) replicas_max_count: u32,
}

/// A partition with the numbers of its nodes, the preferred leader first.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) group: GroupId,
    pub(super) replicas: Vec<usize>,
    pub(super) is_movable: bool,
    size_bytes: Option<u64>,
}

/// The places of all replicas.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    /// The nodes of the layout, and a last one in the place of all that are not in it.
    pub(super) nodes: Vec<Node>,
    pub(super) items: Vec<Item>,
    /// Number of replicas on each node.
    pub(super) loads: Vec<u32>,
    pub(super) limits: ZoneLimits,
    /// The steps until now.
    pub(super) steps: Vec<Step>,
}

impl Placement {
    /// The places in `layout`.
    pub(super) fn new(layout: &Layout) -> Self {
        let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
        let mut zone_nodes = vec![0];
        let mut nodes = Vec::with_capacity(layout.nodes.len() + 1);
        for node in &layout.nodes {
            let zone = if node.zone.is_empty() {
                NO_ZONE
            } else {
                *zones.entry(&node.zone).or_insert(zone_nodes.len())
            };
            zone_nodes.resize(zone_nodes.len().max(zone + 1), 0);
            zone_nodes[zone] += 1;
            nodes.push(Node {
                id: node.id,
                zone,
                gives: node.participation != Participation::Fixed,
                takes: node.participation == Participation::Full,
                replicas_max_count: node.replicas_max_count,
            });
        }
        let outside = nodes.len();
        nodes.push(Node {
            id: NodeId(0),
            zone: NO_ZONE,
            gives: false,
            takes: false,
            replicas_max_count: 0,
        });
        let mut placement = Self {
            loads: vec![0; nodes.len()],
            nodes,
            items: Vec::with_capacity(layout.partitions.len()),
            limits: ZoneLimits::new(zone_nodes),
            steps: Vec::new(),
        };
        placement.add_items(layout, outside);
        placement
    }

    fn add_items(&mut self, layout: &Layout, outside: usize) {
        let mut by_id: Vec<(NodeId, usize)> = layout.nodes.iter().map(|n| n.id).zip(0..).collect();
        by_id.sort_unstable();
        for partition in &layout.partitions {
            let numbers = partition.replicas.iter().map(|id| {
                let found = by_id.binary_search_by_key(id, |(id, _)| *id);
                found.map_or(outside, |at| by_id[at].1)
            });
            let replicas: Vec<usize> = numbers.collect();
            for node in &replicas {
                self.loads[*node] += 1;
            }
            let can_all_give = replicas.iter().all(|node| self.nodes[*node].gives);
            self.items.push(Item {
                group: partition.group,
                is_movable: partition.is_movable && can_all_give,
                replicas,
                size_bytes: partition.size_bytes,
            });
        }
    }

    /// Whether a partition has a replica on a node.
    pub(super) fn hosts(&self, item: usize, node: usize) -> bool {
        self.items[item].replicas.contains(&node)
    }

    /// Number of replicas of a partition in a zone.
    pub(super) fn count_in(&self, item: usize, zone: usize) -> usize {
        let replicas = self.items[item].replicas.iter();
        replicas
            .filter(|node| self.nodes[**node].zone == zone)
            .count()
    }

    /// Whether a replica on `from` may be replaced by one in `zone` without more replicas in a
    /// wrong zone.
    pub(super) fn fits_zone(&self, item: usize, from: usize, zone: usize) -> bool {
        let current = self.nodes[from].zone;
        if current == zone {
            return true;
        }
        let replicas = self.items[item].replicas.len();
        let most = self.limits.bounds(zone, replicas).most;
        if most != usize::MAX && self.count_in(item, zone) >= most {
            return false;
        }
        !self.limits.has_least(replicas)
            || self.count_in(item, current) > self.limits.bounds(current, replicas).least
    }

    /// Whether a node can receive one more replica.
    pub(super) fn can_take(&self, node: usize) -> bool {
        let Node {
            takes,
            replicas_max_count,
            ..
        } = self.nodes[node];
        takes && self.loads[node] < replicas_max_count
    }

    /// Replaces a replica. Does nothing if `from` has none.
    pub(super) fn move_replica(&mut self, item: usize, from: usize, to: usize) {
        let moved = &mut self.items[item];
        let Some(replica) = moved.replicas.iter_mut().find(|node| **node == from) else {
            return;
        };
        *replica = to;
        self.loads[from] -= 1;
        self.loads[to] += 1;
        self.steps.push(Step::Move {
            group: moved.group,
            from: self.nodes[from].id,
            to: self.nodes[to].id,
            size_bytes: moved.size_bytes,
        });
    }

    /// Makes a replica the preferred leader. Does nothing if `to` has none.
    pub(super) fn set_leader(&mut self, item: usize, to: usize) {
        let changed = &mut self.items[item];
        let Some(position) = changed.replicas.iter().position(|node| *node == to) else {
            return;
        };
        let from = changed.replicas[0];
        changed.replicas[..=position].rotate_right(1);
        self.steps.push(Step::Lead {
            group: changed.group,
            from: self.nodes[from].id,
            to: self.nodes[to].id,
        });
    }

    /// Number of preferred leaders on each node.
    pub(super) fn leader_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.nodes.len()];
        for item in &self.items {
            if let Some(leader) = item.replicas.first() {
                counts[*leader] += 1;
            }
        }
        counts
    }

    /// Number of replicas of a partition that are in a wrong zone: as many must be moved.
    pub(super) fn zone_faults(&self, item: usize) -> usize {
        let replicas = self.items[item].replicas.len();
        let zone_of = |node: &usize| self.nodes[*node].zone;
        let nodes = &self.items[item].replicas;
        let mut above = 0;
        for (position, node) in nodes.iter().enumerate() {
            let zone = zone_of(node);
            let earlier = nodes[..position].iter().filter(|n| zone_of(n) == zone);
            above += usize::from(earlier.count() >= self.limits.bounds(zone, replicas).most);
        }
        if !self.limits.has_least(replicas) {
            return above;
        }
        let zones = 0..self.limits.zone_count();
        let missing = |zone: usize| {
            let least = self.limits.bounds(zone, replicas).least;
            least.saturating_sub(self.count_in(item, zone))
        };
        above.max(zones.map(missing).sum())
    }
}
