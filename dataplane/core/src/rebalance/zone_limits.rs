//! How many replicas of a partition may be in one zone.

use crate::limits::REPLICATION_FACTOR_MAX_COUNT;

/// The number of all nodes whose zone is unknown. Each of them is a zone of its own with one node,
/// so their bounds together are no bound, or one replica on each of them.
pub(super) const NO_ZONE: usize = 0;

/// The bounds of the number of replicas of a partition in each zone.
///
/// The most even division of `n` replicas fills the zones to a common level, as far as they have
/// nodes: a zone with enough nodes has `level - 1` or `level` replicas. With at least `n` zones the
/// level is 1, so all replicas are in different zones.
#[derive(Clone, Debug)]
pub(super) struct ZoneLimits {
    /// Number of nodes in each zone.
    nodes: Vec<usize>,
    /// The level, by number of replicas.
    levels: Vec<usize>,
}

/// The smallest and the greatest number of replicas in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ZoneBounds {
    pub(super) least: usize,
    pub(super) most: usize,
}

impl ZoneLimits {
    /// The limits for zones with these numbers of nodes. The first one is `NO_ZONE`.
    pub(super) fn new(nodes: Vec<usize>) -> Self {
        let levels = (0..=REPLICATION_FACTOR_MAX_COUNT as usize)
            .map(|replicas| Self::level(&nodes, replicas))
            .collect();
        Self { nodes, levels }
    }

    fn level(nodes: &[usize], replicas: usize) -> usize {
        let (unknown, zones) = nodes.split_first().unwrap_or((&0, &[]));
        let room = |level: usize| -> usize {
            let of_zones: usize = zones.iter().map(|nodes| level.min(*nodes)).sum();
            of_zones + unknown
        };
        (1..=replicas)
            .find(|level| room(*level) >= replicas)
            .unwrap_or(replicas.max(1))
    }

    /// The number of zones, `NO_ZONE` included.
    pub(super) fn zone_count(&self) -> usize {
        self.nodes.len()
    }

    /// The bounds in a zone for a partition with so many replicas.
    pub(super) fn bounds(&self, zone: usize, replicas: usize) -> ZoneBounds {
        let nodes = self.nodes.get(zone).copied().unwrap_or(0);
        let level = self.levels.get(replicas).copied().unwrap_or(replicas);
        if zone == NO_ZONE {
            return ZoneBounds {
                least: if level > 1 { nodes } else { 0 },
                most: usize::MAX,
            };
        }
        ZoneBounds {
            least: level.saturating_sub(1).min(nodes),
            most: level.min(nodes),
        }
    }

    /// Whether some zone must have a replica of a partition with so many replicas.
    pub(super) fn has_least(&self, replicas: usize) -> bool {
        self.levels.get(replicas).is_some_and(|level| *level > 1)
    }
}
