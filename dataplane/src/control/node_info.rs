//! The data under which a node registers with its cluster.

use lograft_core::metadata::{Registration, RegistrationToken};

/// Name and addresses of this node, from its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeInfo {
    /// The node's name.
    pub(crate) name: String,
    /// The failure domain; empty if none.
    pub(crate) zone: String,
    /// `host:port` of the client port.
    pub(crate) client_address: String,
    /// `host:port` of the peer port.
    pub(crate) peer_address: String,
}

impl NodeInfo {
    /// The registration of this node under a token.
    pub(crate) fn registration(&self, token: RegistrationToken) -> Registration {
        let Self {
            name,
            zone,
            client_address,
            peer_address,
        } = self.clone();
        Registration {
            token,
            name,
            client_address,
            peer_address,
            zone,
        }
    }
}
