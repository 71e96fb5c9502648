//! The configured seed addresses.

use std::sync::Arc;

use super::node_info::NodeInfo;

/// Peer addresses of nodes that may know the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Seeds(Arc<[Arc<str>]>);

impl Seeds {
    /// The configured addresses except this node's own.
    pub(crate) fn new(configured: &[Arc<str>], info: &NodeInfo) -> Self {
        let own = info.peer_address.as_str();
        let others = configured.iter().filter(|seed| ***seed != *own);
        Self(others.cloned().collect())
    }

    /// The addresses, in the configured order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<str>> {
        self.0.iter().cloned()
    }
}
