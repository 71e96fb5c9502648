//! How many replicas and connections a node may have, derived from its host.
//!
//! Each replica costs CPU time even when nothing is written: heartbeats, timers, status. With too
//! many of them, heartbeats are late, followers start elections, and the elections cost more time:
//! the cluster never settles. So the number is bounded by the cores. Each replica also has a file
//! open, and each connection a socket: together they are bounded by the limit of open files.

use crate::assignment::Candidate;
use crate::ids::NodeId;
use crate::limits::{
    CLIENT_CONNECTIONS_MAX_COUNT, FILES_PER_REPLICA_MAX_COUNT, OPEN_FILES_RESERVED_COUNT,
    PEER_CONNECTIONS_MAX_COUNT, REPLICAS_PER_CORE_MAX_COUNT,
};

/// The limits of the host that a node runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Cores that the node may use.
    pub cores: usize,
    /// Files and sockets that the node may have open.
    pub open_files: u64,
}

/// How much a node can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Maximum number of replicas that new topics may place on the node.
    pub replicas_max_count: u32,
    /// Maximum number of connections of clients.
    pub client_connections_max_count: usize,
    /// Maximum number of connections of clients over HTTP; they are part of those of clients.
    pub http_connections_max_count: usize,
    /// Maximum number of connections of other nodes.
    pub peer_connections_max_count: usize,
}

impl Capacity {
    /// The capacity of a node on this host. `replicas` is the configured maximum, which replaces
    /// the one derived from the cores; the limit of open files bounds both.
    pub fn of(host: HostLimits, replicas: Option<u32>) -> Self {
        let usable = host.open_files.saturating_sub(OPEN_FILES_RESERVED_COUNT);
        let connections = usize::try_from(usable / 2).unwrap_or(usize::MAX);
        let peer_connections_max_count = (connections / 4).min(PEER_CONNECTIONS_MAX_COUNT);
        let client_connections_max_count =
            (connections - peer_connections_max_count).min(CLIENT_CONNECTIONS_MAX_COUNT);
        let used = (peer_connections_max_count + client_connections_max_count) as u64;
        let by_files = (usable - used) / FILES_PER_REPLICA_MAX_COUNT;
        let by_cores = host
            .cores
            .max(1)
            .saturating_mul(REPLICAS_PER_CORE_MAX_COUNT);
        let wanted = replicas.map_or(by_cores as u64, u64::from);
        Self {
            replicas_max_count: u32::try_from(wanted.min(by_files)).unwrap_or(u32::MAX),
            client_connections_max_count,
            http_connections_max_count: 0,
            peer_connections_max_count,
        }
    }

    /// The capacity of a node that has an HTTP port: half of the connections of clients are for
    /// it.
    pub const fn with_http(self) -> Self {
        let http_connections_max_count = self.client_connections_max_count / 2;
        Self {
            client_connections_max_count: self.client_connections_max_count
                - http_connections_max_count,
            http_connections_max_count,
            ..self
        }
    }
}

/// New partitions would place more replicas on a node than it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "replicas of node {node} must be at most {max}, got {found}; add nodes, or use fewer partitions"
)]
pub struct TooManyReplicas {
    /// The node.
    pub node: NodeId,
    /// The number of replicas with the new ones.
    pub found: u64,
    /// The maximum.
    pub max: u32,
}

/// Checks that each node can carry its replicas once the new partitions are `assignment`.
/// `max` is the capacity of a node, `None` if it is not known: such a node is not checked.
///
/// The check is made before the command is proposed, from reports of the nodes: two topics that
/// are created at the same moment may exceed the bound together. It is far enough below what a node
/// was measured to carry.
pub fn check_replicas(
    nodes: &[Candidate],
    assignment: &[Vec<NodeId>],
    max: impl Fn(NodeId) -> Option<u32>,
) -> Result<(), TooManyReplicas> {
    for Candidate { id, replicas, .. } in nodes {
        let new = assignment.iter().flatten().filter(|node| *node == id);
        let new = new.count() as u64;
        let found = u64::from(*replicas) + new;
        match max(*id) {
            Some(max) if new > 0 && found > u64::from(max) => {
                return Err(TooManyReplicas {
                    node: *id,
                    found,
                    max,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, replicas: u32) -> Candidate {
        Candidate {
            id: NodeId(id),
            zone: String::new(),
            replicas,
            leaders: 0,
        }
    }

    #[test]
    fn a_node_takes_replicas_up_to_its_capacity() {
        let nodes = [node(1, 8), node(2, 2), node(3, 50)];
        let assignment = [vec![NodeId(1), NodeId(2)], vec![NodeId(1)]];
        let check = |max| check_replicas(&nodes, &assignment, |_| max);
        assert_eq!(check(Some(10)), Ok(()), "node 3 gets no new replica");
        assert_eq!(check(None), Ok(()), "an unknown capacity");
        let refused = check(Some(9)).unwrap_err();
        assert_eq!(
            (refused.node, refused.found, refused.max),
            (NodeId(1), 10, 9)
        );
        let text = refused.to_string();
        assert!(
            text.starts_with("replicas of node 1 must be at most 9, got 10"),
            "{text}"
        );
    }

    fn capacity(cores: usize, open_files: u64, replicas: Option<u32>) -> (u32, usize, usize) {
        let capacity = Capacity::of(HostLimits { cores, open_files }, replicas);
        (
            capacity.replicas_max_count,
            capacity.client_connections_max_count,
            capacity.peer_connections_max_count,
        )
    }

    #[test]
    fn cores_bound_the_replicas_and_a_configuration_replaces_that_bound() {
        let all = (CLIENT_CONNECTIONS_MAX_COUNT, PEER_CONNECTIONS_MAX_COUNT);
        assert_eq!(capacity(2, 524_288, None), (3000, all.0, all.1));
        assert_eq!(capacity(0, u64::MAX, None), (1500, all.0, all.1));
        assert_eq!(capacity(2, 524_288, Some(5000)), (5000, all.0, all.1));
        assert_eq!(capacity(usize::MAX, u64::MAX, None).0, u32::MAX);
    }

    #[test]
    fn the_http_port_gets_a_part_of_the_connections() {
        let host = HostLimits {
            cores: 2,
            open_files: 524_288,
        };
        let all = Capacity::of(host, None);
        let both = all.with_http();
        assert_eq!(both.http_connections_max_count, 2048);
        let sum = both.http_connections_max_count + both.client_connections_max_count;
        assert_eq!(sum, all.client_connections_max_count);
        assert_eq!(all.http_connections_max_count, 0);
    }

    #[test]
    fn all_that_is_open_at_once_is_within_the_limit_of_open_files() {
        assert_eq!(capacity(2, 1024, None), (192, 288, 96));
        assert_eq!(capacity(2, 1024, Some(5000)).0, 192);
        assert_eq!(capacity(2, 0, None), (0, 0, 0));
        for files in [256, 300, 512, 1024, 4096, 12_000, 20_000, 1 << 20] {
            let (replicas, clients, peers) = capacity(1 << 20, files, None);
            let replicas = u64::from(replicas) * FILES_PER_REPLICA_MAX_COUNT;
            let open = replicas + (clients + peers) as u64 + OPEN_FILES_RESERVED_COUNT;
            assert!(open <= files, "{open} of {files}");
            assert!(
                open + 8 > files || clients + peers == 5120,
                "{open} of {files}"
            );
        }
    }
}
