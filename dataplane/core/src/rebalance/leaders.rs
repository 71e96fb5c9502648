//! Changes of preferred leaders.

use super::chains::{Exchange, Unvisited, move_along_chains};
use super::placement::Placement;

/// Spreads the preferred leaders evenly over the nodes.
pub(super) fn spread(placement: &mut Placement) {
    let node_count = placement.nodes.len();
    let mut leaders = Leaders::new(placement);
    leaders.change_directly();
    move_along_chains(&mut leaders, node_count);
}

struct Leaders<'a> {
    counts: Vec<u32>,
    /// The movable partitions that each node leads.
    led: Vec<Vec<usize>>,
    placement: &'a mut Placement,
}

impl<'a> Leaders<'a> {
    fn new(placement: &'a mut Placement) -> Self {
        let mut led = vec![Vec::new(); placement.nodes.len()];
        for (number, item) in placement.items.iter().enumerate() {
            if let Some(leader) = item.replicas.first().filter(|_| item.is_movable) {
                led[*leader].push(number);
            }
        }
        Self {
            counts: placement.leader_counts(),
            led,
            placement,
        }
    }

    /// Changes leaders from nodes above the mean directly to nodes below it. One pass: a node that
    /// is not below the mean now will not be later.
    fn change_directly(&mut self) {
        let nodes = self.placement.nodes.iter().enumerate();
        let balanced: Vec<usize> = nodes
            .filter(|(_, node)| node.gives && node.takes)
            .map(|(number, _)| number)
            .collect();
        let sum: u64 = balanced.iter().map(|n| u64::from(self.counts[*n])).sum();
        let mean = sum.checked_div(balanced.len() as u64).unwrap_or(0);
        let mean = u32::try_from(mean).unwrap_or(u32::MAX);
        for from in balanced {
            let mut kept = Vec::new();
            for item in std::mem::take(&mut self.led[from]) {
                let to = if self.counts[from] > mean + 1 {
                    self.follower_below(item, mean)
                } else {
                    None
                };
                match to {
                    Some(to) => self.change(item, from, to),
                    None => kept.push(item),
                }
            }
            self.led[from].append(&mut kept);
        }
    }

    /// The follower of a partition with the fewest leaders, if that is below `mean`.
    fn follower_below(&self, item: usize, mean: u32) -> Option<usize> {
        let followers = self.placement.items[item].replicas.iter().skip(1).copied();
        let takers = followers.filter(|node| self.has_room(*node) && self.counts[*node] < mean);
        takers.min_by_key(|node| (self.counts[*node], *node))
    }

    fn change(&mut self, item: usize, from: usize, to: usize) {
        self.counts[from] -= 1;
        self.counts[to] += 1;
        self.led[to].push(item);
        self.placement.set_leader(item, to);
    }
}

impl Exchange for Leaders<'_> {
    fn load(&self, node: usize) -> u32 {
        self.counts[node]
    }

    fn gives(&self, node: usize) -> bool {
        self.placement.nodes[node].gives
    }

    fn has_room(&self, node: usize) -> bool {
        self.placement.nodes[node].takes
    }

    fn zone(&self, node: usize) -> usize {
        self.placement.nodes[node].zone
    }

    fn visit(&self, from: usize, unvisited: &mut Unvisited) {
        for item in &self.led[from] {
            for node in &self.placement.items[*item].replicas {
                unvisited.visit(*node, *item);
            }
        }
    }

    fn transfer(&mut self, item: usize, from: usize, to: usize) {
        if let Some(position) = self.led[from].iter().position(|led| *led == item) {
            self.led[from].swap_remove(position);
        }
        self.change(item, from, to);
    }
}
