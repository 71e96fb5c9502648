//! Ports of the nodes: ten for each node, on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use lograft_core::limits::DEV_NODES_MAX_COUNT;

/// Default client port of node 1.
pub(crate) const DEFAULT_BASE_PORT: u16 = 9400;
/// Distance between the ports of consecutive nodes.
const STRIDE: u16 = 10;
/// Maximum number of attempts to find a free range.
const FREE_RANGE_TRIES: u32 = 50;

/// Ports cannot be assigned or are not free.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("port {port} ({role} of {node}) is in use by another program")]
    InUse {
        port: u16,
        role: &'static str,
        node: String,
    },
    #[error("cannot listen on port {port} ({role} of {node})")]
    Bind {
        port: u16,
        role: &'static str,
        node: String,
        source: io::Error,
    },
    #[error("--base-port must be at most {max} for the ports of node-{number}, got {base}")]
    TooHigh { base: u16, max: u32, number: u32 },
    #[error("cannot find {} consecutive free ports", nodes * usize::from(STRIDE))]
    NoneFree { nodes: usize },
}

/// The addresses of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodePorts {
    /// Number of the node, from 1.
    pub(crate) number: u32,
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) health: SocketAddr,
    /// UDP.
    pub(crate) gossip: SocketAddr,
}

/// Name of a node by its number.
pub(crate) fn node_name(number: u32) -> String {
    format!("node-{number}")
}

/// Addresses of the nodes with these numbers.
pub(crate) fn plan(base: u16, numbers: &[u32]) -> Result<Vec<NodePorts>, PortError> {
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ports = |number: &u32| {
        let first = u16::try_from(number.saturating_sub(1))
            .ok()
            .and_then(|index| index.checked_mul(STRIDE)?.checked_add(base))
            .filter(|first| first.checked_add(STRIDE - 1).is_some())
            .ok_or(PortError::TooHigh {
                base,
                max: 65_536_u32.saturating_sub(u32::from(STRIDE).saturating_mul(*number)),
                number: *number,
            })?;
        Ok(NodePorts {
            number: *number,
            client: at(first),
            peer: at(first + 1),
            http: at(first + 2),
            health: at(first + 3),
            gossip: at(first + 4),
        })
    };
    numbers.iter().map(ports).collect()
}

/// Checks that all ports are free now.
pub(crate) fn check_free(plan: &[NodePorts]) -> Result<(), PortError> {
    for ports in plan {
        let node = node_name(ports.number);
        let all = [
            (ports.client, "client"),
            (ports.peer, "peer"),
            (ports.http, "http"),
            (ports.health, "health"),
        ];
        let tcp = all.map(|(address, role)| (address, role, TcpListener::bind(address).map(drop)));
        let udp = UdpSocket::bind(ports.gossip).map(drop);
        for (address, role, bound) in tcp.into_iter().chain([(ports.gossip, "gossip", udp)]) {
            let (port, node) = (address.port(), node.clone());
            match bound {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(PortError::InUse { port, role, node });
                }
                Err(source) => {
                    return Err(PortError::Bind {
                        port,
                        role,
                        node,
                        source,
                    });
                }
            }
        }
    }
    Ok(())
}

/// Base port of a free range, for `--base-port 0`. Derived from ports that the system chooses.
pub(crate) fn find_free(numbers: &[u32]) -> Result<u16, PortError> {
    for _ in 0..FREE_RANGE_TRIES {
        let Ok(probe) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else {
            continue;
        };
        let Ok(address) = probe.local_addr() else {
            continue;
        };
        drop(probe);
        // Below the ephemeral range, whose ports outgoing connections may take at any time.
        let base = 10_000 + address.port() % 20_000 / STRIDE * STRIDE;
        if plan(base, numbers).is_ok_and(|plan| check_free(&plan).is_ok()) {
            return Ok(base);
        }
    }
    Err(PortError::NoneFree {
        nodes: numbers.len(),
    })
}

/// Valid values of `--nodes`.
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
            (
                node.client.port(),
                node.peer.port(),
                node.http.port(),
                node.health.port(),
                node.gossip.port(),
            )
        };
        assert_eq!(ports(0), (9400, 9401, 9402, 9403, 9404));
        assert_eq!(ports(1), (9420, 9421, 9422, 9423, 9424));
    }

    #[test]
    fn a_range_beyond_the_last_port_is_rejected() {
        assert!(plan(65_520, &[1]).is_ok());
        assert!(matches!(
            plan(65_520, &[1, 2]),
            Err(PortError::TooHigh { .. })
        ));
        let error = plan(65_530, &[1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--base-port must be at most 65526 for the ports of node-1, got 65530"
        );
    }

    #[test]
    fn the_error_for_a_used_port_names_it() {
        let base = find_free(&[1, 2]).unwrap();
        let plan = plan(base, &[1, 2]).unwrap();
        let taken = TcpListener::bind(plan[1].peer).unwrap();
        let text = check_free(&plan).unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "port {} (peer of node-2) is in use by another program",
                base + 11
            )
        );
        drop(taken);
        let _taken = UdpSocket::bind(plan[0].gossip).unwrap();
        let text = check_free(&plan).unwrap_err().to_string();
        assert!(text.contains("(gossip of node-1) is in use"), "{text}");
    }
}
