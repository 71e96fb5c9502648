//! The data under which a node registers with its cluster.

use lograft_core::metadata::{Registration, RegistrationToken};

use crate::config::Zone;

/// Name and addresses of this node, from its configuration.
#[derive(Clone, Debug)]
pub(crate) struct NodeInfo {
    /// The node's name.
    pub(crate) name: String,
    /// The failure zone, which may become known after the start.
    pub(crate) zone: Zone,
    /// `host:port` of the client port.
    pub(crate) client_address: String,
    /// `host:port` of the peer port.
    pub(crate) peer_address: String,
}

impl NodeInfo {
    /// The registration of this node under a token, as of now.
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
            zone: (*zone.get()).to_owned(),
        }
    }
}
