//! The nodes that can receive replicas, by zone and number of replicas.

use std::collections::BTreeSet;

/// The nodes that can receive a replica. An index over the loads, so that the least loaded node of
/// each zone is found without a search.
#[derive(Clone, Debug, Default)]
pub(super) struct Takers {
    /// Load and node, by zone.
    zones: Vec<BTreeSet<(u32, usize)>>,
    /// The smallest load of each zone that has nodes, and the zone.
    least: BTreeSet<(u32, usize)>,
}

impl Takers {
    /// Without nodes.
    pub(super) fn new(zone_count: usize) -> Self {
        Self {
            zones: vec![BTreeSet::new(); zone_count],
            least: BTreeSet::new(),
        }
    }

    /// The zones, the one with the least loaded node first, with the load of that node.
    pub(super) fn zones(&self) -> impl Iterator<Item = (u32, usize)> {
        self.least.iter().copied()
    }

    /// The nodes of a zone with their load, the least loaded first.
    pub(super) fn in_zone(&self, zone: usize) -> impl Iterator<Item = (u32, usize)> {
        self.zones.get(zone).into_iter().flatten().copied()
    }

    /// Adds a node.
    pub(super) fn insert(&mut self, zone: usize, load: u32, node: usize) {
        self.change(zone, |nodes| nodes.insert((load, node)));
    }

    /// Removes a node with this load, if it is there.
    pub(super) fn remove(&mut self, zone: usize, load: u32, node: usize) {
        self.change(zone, |nodes| nodes.remove(&(load, node)));
    }

    fn change(&mut self, zone: usize, edit: impl FnOnce(&mut BTreeSet<(u32, usize)>) -> bool) {
        let Some(nodes) = self.zones.get_mut(zone) else {
            return;
        };
        let before = nodes.first().map(|(load, _)| (*load, zone));
        edit(nodes);
        let after = nodes.first().map(|(load, _)| (*load, zone));
        if before != after {
            before.inspect(|least| {
                self.least.remove(least);
            });
            self.least.extend(after);
        }
    }
}
