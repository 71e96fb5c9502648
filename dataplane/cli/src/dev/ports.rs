//! Which node listens where: ten ports to each, on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use lograft_core::limits::DEV_NODES_MAX_COUNT;

/// Node 1's client port unless told otherwise.
pub(crate) const DEFAULT_BASE_PORT: u16 = 9400;
/// Ports from one node to the next.
const STRIDE: u16 = 10;
/// Tries to find a free range.
const FREE_RANGE_TRIES: u32 = 50;

/// What can go wrong with ports.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("port {port} ({what} of {node}) is in use by another program")]
    InUse {
        port: u16,
        what: &'static str,
        node: String,
    },
    #[error("listening on port {port} ({what} of {node})")]
    Bind {
        port: u16,
        what: &'static str,
        node: String,
        source: io::Error,
    },
    #[error("--base-port {base} leaves no room for node {number}: its ports would be above 65535")]
    NoRoom { base: u16, number: u32 },
    #[error("found no {nodes} times ten free ports in a row")]
    NoneFree { nodes: usize },
}

/// The addresses of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodePorts {
    /// The node's number, from 1.
    pub(crate) number: u32,
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) health: SocketAddr,
}

/// A node's name by its number, from 1.
pub(crate) fn node_name(number: u32) -> String {
    format!("node-{number}")
}

/// The addresses of the nodes with these numbers.
pub(crate) fn plan(base: u16, numbers: &[u32]) -> Result<Vec<NodePorts>, PortError> {
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ports = |number: &u32| {
        let first = u16::try_from(number.saturating_sub(1))
            .ok()
            .and_then(|index| index.checked_mul(STRIDE)?.checked_add(base))
            .filter(|first| first.checked_add(STRIDE - 1).is_some())
            .ok_or(PortError::NoRoom {
                base,
                number: *number,
            })?;
        Ok(NodePorts {
            number: *number,
            client: at(first),
            peer: at(first + 1),
            health: at(first + 3),
        })
    };
    numbers.iter().map(ports).collect()
}

/// Whether all of them can be listened on now.
pub(crate) fn check_free(plan: &[NodePorts]) -> Result<(), PortError> {
    for ports in plan {
        let node = node_name(ports.number);
        let all = [
            (ports.client, "client"),
            (ports.peer, "peer"),
            (ports.health, "health"),
        ];
        for (address, what) in all {
            let (port, node) = (address.port(), node.clone());
            match TcpListener::bind(address) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(PortError::InUse { port, what, node });
                }
                Err(source) => {
                    return Err(PortError::Bind {
                        port,
                        what,
                        node,
                        source,
                    });
                }
            }
        }
    }
    Ok(())
}

/// A base port with a free range behind it, for `--base-port 0`. The system chooses where to look.
pub(crate) fn find_free(numbers: &[u32]) -> Result<u16, PortError> {
    for _ in 0..FREE_RANGE_TRIES {
        let Ok(probe) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else {
            continue;
        };
        let Ok(address) = probe.local_addr() else {
            continue;
        };
        drop(probe);
        // Below the range that the system gives to outgoing connections, which would come between.
        let base = 10_000 + address.port() % 20_000 / STRIDE * STRIDE;
        if plan(base, numbers).is_ok_and(|plan| check_free(&plan).is_ok()) {
            return Ok(base);
        }
    }
    Err(PortError::NoneFree {
        nodes: numbers.len(),
    })
}

/// The range of `--nodes`.
pub(crate) fn nodes_range() -> std::ops::RangeInclusive<i64> {
    1..=i64::from(DEV_NODES_MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_ten_ports() {
        let plan = plan(9400, &[1, 3]).unwrap();
        let ports = |at: usize| {
            let node: &NodePorts = &plan[at];
            (node.client.port(), node.peer.port(), node.health.port())
        };
        assert_eq!(ports(0), (9400, 9401, 9403));
        assert_eq!(ports(1), (9420, 9421, 9423));
    }

    #[test]
    fn a_range_beyond_the_last_port_is_refused() {
        assert!(plan(65_520, &[1]).is_ok());
        assert!(matches!(
            plan(65_520, &[1, 2]),
            Err(PortError::NoRoom { .. })
        ));
        assert!(matches!(plan(65_530, &[1]), Err(PortError::NoRoom { .. })));
    }

    #[test]
    fn a_taken_port_is_named() {
        let base = find_free(&[1, 2]).unwrap();
        let plan = plan(base, &[1, 2]).unwrap();
        let _taken = TcpListener::bind(plan[1].peer).unwrap();
        let text = check_free(&plan).unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "port {} (peer of node-2) is in use by another program",
                base + 11
            )
        );
    }
}
