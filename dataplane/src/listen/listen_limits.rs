//! The limits of a port: connections, handshakes, and how long each may take.

use std::time::Duration;

use lograft_core::capacity::Capacity;
use lograft_core::limits::{
    CONNECTION_DRAIN_MAX, HANDSHAKE_MAX, HANDSHAKES_MAX_COUNT, HTTP2_PREFACE_MAX,
};

use crate::config::ConnectionSettings;
use crate::tls::Port;

/// The limits of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenLimits {
    /// Connections at once, those in their handshake included; more are closed unanswered.
    pub connections_max_count: usize,
    /// Connections of one identity at once; more are closed unanswered.
    pub per_user_max_count: usize,
    /// Connections of one address at once, those in their handshake included; more are closed
    /// unanswered.
    pub per_address_max_count: usize,
    /// Handshakes at once; more wait in the system's backlog.
    pub handshakes_max_count: usize,
    /// Longest wait for a handshake.
    pub handshake_max: Duration,
    /// Longest wait for the HTTP/2 preface after it.
    pub preface_max: Duration,
    /// Age from which a connection closes, if there is one.
    pub max_age: Option<Duration>,
    /// Longest time that a closing connection gets for its requests in progress.
    pub drain_max: Duration,
}

impl ListenLimits {
    /// Those of a port on a node with this capacity and configuration.
    pub(crate) fn of(port: Port, capacity: Capacity, settings: &ConnectionSettings) -> Self {
        let of_port = Self {
            connections_max_count: capacity.peer_connections_max_count,
            per_user_max_count: capacity.peer_connections_max_count,
            // Nodes may share an address, and nobody else passes the handshake.
            per_address_max_count: capacity.peer_connections_max_count,
            handshakes_max_count: HANDSHAKES_MAX_COUNT,
            handshake_max: HANDSHAKE_MAX,
            preface_max: HTTP2_PREFACE_MAX,
            // A few connections, between the same nodes for as long as the cluster lives.
            max_age: None,
            drain_max: CONNECTION_DRAIN_MAX,
        };
        let of_clients = |max_count| Self {
            connections_max_count: max_count,
            per_user_max_count: share(max_count, settings.per_user_percent),
            per_address_max_count: share(max_count, settings.per_address_percent),
            max_age: Some(settings.max_age()),
            ..of_port
        };
        match port {
            Port::Peer => of_port,
            Port::Client => of_clients(capacity.client_connections_max_count),
            Port::Http => of_clients(capacity.http_connections_max_count),
        }
    }
}

/// A share of the connections of a port, at least one.
fn share(max_count: usize, percent: u32) -> usize {
    (max_count * percent as usize / 100).max(1)
}
