//! Moves of replicas: first out of wrong zones, then from the most to the least loaded nodes.

use std::collections::BTreeSet;

use super::chains::{Exchange, Unvisited};
use super::placement::Placement;
use super::takers::Takers;
use crate::assignment::mix;

/// Number of nodes of a zone that are tried for a direct move. The search of chains finds the
/// others.
const TRIED_PER_ZONE_COUNT: usize = 4;

/// The movable partitions of a node, in the order in which they are tried. Followers first: the
/// move of a preferred leader also moves the leadership.
#[derive(Clone, Debug, Default)]
struct Hosted {
    followers: Vec<usize>,
    leaders: Vec<usize>,
}

/// The place in a list of partitions up to which none fits a zone.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    next: usize,
    is_exhausted: bool,
}

/// The cursors of a node for a zone.
#[derive(Clone, Copy, Debug, Default)]
struct Cursors {
    followers: Cursor,
    leaders: Cursor,
}

/// A direct move that was found.
#[derive(Clone, Copy, Debug)]
struct Found {
    item: usize,
    to: usize,
}

/// Moves replicas.
pub(super) struct Mover<'a> {
    placement: &'a mut Placement,
    takers: Takers,
    hosted: Vec<Hosted>,
    /// By node and zone. Empty until the node is a source.
    cursors: Vec<Vec<Cursors>>,
}

impl<'a> Mover<'a> {
    /// A mover of the replicas in `placement`.
    pub(super) fn new(placement: &'a mut Placement) -> Self {
        let mut takers = Takers::new(placement.limits.zone_count());
        for (number, node) in placement.nodes.iter().enumerate() {
            if placement.can_take(number) {
                takers.insert(node.zone, placement.loads[number], number);
            }
        }
        let count = placement.nodes.len();
        Self {
            placement,
            takers,
            hosted: vec![Hosted::default(); count],
            cursors: vec![Vec::new(); count],
        }
    }

    /// Moves replicas out of wrong zones. Called before all other moves.
    pub(super) fn fix_zones(&mut self) {
        for item in 0..self.placement.items.len() {
            if !self.placement.items[item].is_movable {
                continue;
            }
            for _ in 0..self.placement.zone_faults(item) {
                let Some((from, to)) = self.better_zone(item) else {
                    break;
                };
                self.change_load(item, from, to);
            }
        }
    }

    /// The replica of a partition in a wrong zone and the node that gets it instead: from the most
    /// to the least loaded of those that may be.
    fn better_zone(&self, item: usize) -> Option<(usize, usize)> {
        let Self {
            placement, takers, ..
        } = self;
        let replicas = &placement.items[item].replicas;
        let bounds = |zone| placement.limits.bounds(zone, replicas.len());
        let count = |zone| placement.count_in(item, zone);
        let zone_of = |node: usize| placement.nodes[node].zone;
        let most_loaded = |is_source: &dyn Fn(usize) -> bool| {
            let sources = replicas.iter().copied();
            let sources = sources.filter(|node| is_source(zone_of(*node)));
            sources.max_by_key(|node| (placement.loads[*node], *node))
        };
        let above = most_loaded(&|zone| count(zone) > bounds(zone).most);
        let has_least = placement.limits.has_least(replicas.len());
        let is_below = |zone: usize| has_least && count(zone) < bounds(zone).least;
        let from = above.or_else(|| most_loaded(&|zone| count(zone) > bounds(zone).least))?;
        let target = |is_target: &dyn Fn(usize) -> bool| {
            let zones = takers.zones().map(|(_, zone)| zone);
            let nodes = zones
                .filter(|zone| is_target(*zone))
                .find_map(|zone| takers.in_zone(zone).find(|(_, n)| !replicas.contains(n)));
            nodes.map(|(_, node)| node)
        };
        let to = target(&is_below).or_else(|| {
            // Without a zone above its bound, only one below its bound is an improvement.
            above.and_then(|_| target(&|zone| count(zone) < bounds(zone).most))
        })?;
        Some((from, to))
    }

    /// Moves replicas from the most to the least loaded nodes, as long as there is a direct move.
    pub(super) fn move_directly(&mut self) {
        self.list_hosted();
        let placement = &*self.placement;
        let numbers = 0..placement.nodes.len();
        let mut sources: BTreeSet<(u32, usize)> = numbers
            .filter(|node| placement.nodes[*node].gives)
            .map(|node| (placement.loads[node], node))
            .collect();
        while let Some((load, from)) = sources.last().copied() {
            let least = self.takers.zones().next();
            if least.is_none_or(|(least, _)| least + 2 > load) {
                return;
            }
            let Some(Found { item, to }) = self.direct_move(from) else {
                sources.remove(&(load, from));
                continue;
            };
            sources.remove(&(load, from));
            sources.insert((load - 1, from));
            let taken = self.placement.loads[to];
            if sources.remove(&(taken, to)) {
                sources.insert((taken + 1, to));
            }
            self.change_load(item, from, to);
        }
    }

    /// Lists the movable partitions of each node, in an order that differs from node to node, so
    /// that the partitions of a topic do not all move to the same node.
    fn list_hosted(&mut self) {
        for (number, item) in self.placement.items.iter().enumerate() {
            if !item.is_movable {
                continue;
            }
            for (position, node) in item.replicas.iter().enumerate() {
                let Hosted { followers, leaders } = &mut self.hosted[*node];
                let list = if position == 0 { leaders } else { followers };
                list.push(number);
            }
        }
        for (node, hosted) in self.hosted.iter_mut().enumerate() {
            let id = self.placement.nodes[node].id.get();
            let order = |item: &usize| mix(self.placement.items[*item].group.get(), id);
            hosted.followers.sort_by_cached_key(order);
            hosted.leaders.sort_by_cached_key(order);
        }
    }

    /// A move from a node to one that has at least two replicas fewer, the least loaded that there
    /// is. The partition is taken off the lists of `from` and put on those of the other node.
    fn direct_move(&mut self, from: usize) -> Option<Found> {
        let Self {
            placement,
            takers,
            hosted,
            cursors,
        } = self;
        let load = placement.loads[from];
        let cursors = &mut cursors[from];
        cursors.resize(placement.limits.zone_count(), Cursors::default());
        let zones = takers.zones().take_while(|(least, _)| least + 2 <= load);
        for (_, zone) in zones {
            let nodes = takers.in_zone(zone).filter(|(_, node)| *node != from);
            let nodes = nodes.take_while(|(taken, _)| taken + 2 <= load);
            for (_, to) in nodes.take(TRIED_PER_ZONE_COUNT) {
                let Hosted { followers, leaders } = &mut hosted[from];
                let cursors = &mut cursors[zone];
                if let Some(item) = cursors.followers.take(followers, placement, (from, to)) {
                    hosted[to].followers.push(item);
                    return Some(Found { item, to });
                }
                if let Some(item) = cursors.leaders.take(leaders, placement, (from, to)) {
                    hosted[to].leaders.push(item);
                    return Some(Found { item, to });
                }
            }
        }
        None
    }

    /// Moves a replica and updates the index of the loads.
    fn change_load(&mut self, item: usize, from: usize, to: usize) {
        let placement = &mut *self.placement;
        for node in [from, to] {
            let zone = placement.nodes[node].zone;
            self.takers.remove(zone, placement.loads[node], node);
        }
        placement.move_replica(item, from, to);
        for node in [from, to] {
            if placement.can_take(node) {
                let zone = placement.nodes[node].zone;
                self.takers.insert(zone, placement.loads[node], node);
            }
        }
    }
}

impl Cursor {
    /// Takes the next partition off the list that may be moved.
    fn take(
        &mut self,
        list: &mut Vec<usize>,
        placement: &Placement,
        (from, to): (usize, usize),
    ) -> Option<usize> {
        if self.is_exhausted {
            return None;
        }
        let zone = placement.nodes[to].zone;
        let mut is_any_fitting = false;
        for _ in 0..list.len() {
            if self.next >= list.len() {
                self.next = 0;
            }
            let item = list[self.next];
            let fits = placement.fits_zone(item, from, zone);
            if fits && !placement.hosts(item, to) {
                return Some(list.swap_remove(self.next));
            }
            is_any_fitting |= fits;
            self.next += 1;
        }
        self.is_exhausted = !is_any_fitting;
        None
    }
}

impl Exchange for Mover<'_> {
    fn load(&self, node: usize) -> u32 {
        self.placement.loads[node]
    }

    fn gives(&self, node: usize) -> bool {
        self.placement.nodes[node].gives
    }

    fn has_room(&self, node: usize) -> bool {
        self.placement.can_take(node)
    }

    fn zone(&self, node: usize) -> usize {
        self.placement.nodes[node].zone
    }

    fn visit(&self, from: usize, unvisited: &mut Unvisited) {
        let Hosted { followers, leaders } = &self.hosted[from];
        for item in followers.iter().chain(leaders) {
            if unvisited.is_empty() {
                return;
            }
            let fits = |zone| self.placement.fits_zone(*item, from, zone);
            unvisited.visit_zones(*item, fits, |node| !self.placement.hosts(*item, node));
        }
    }

    fn transfer(&mut self, item: usize, from: usize, to: usize) {
        let take = |list: &mut Vec<usize>| {
            let position = list.iter().position(|listed| *listed == item);
            position.map(|position| list.swap_remove(position))
        };
        let Hosted { followers, leaders } = &mut self.hosted[from];
        if take(followers).is_some() {
            self.hosted[to].followers.push(item);
        } else if take(leaders).is_some() {
            self.hosted[to].leaders.push(item);
        }
        self.change_load(item, from, to);
    }
}
