//! The addresses at which a node looks for its cluster.

use std::sync::Arc;

use futures_util::future::join_all;
use lograft_core::limits::{DESCRIBE_MAX, NODES_MAX_COUNT};
use lograft_discovery::{MemberView, MembershipReader};

use super::node_info::NodeInfo;
use super::peer_calls::PeerCalls;
use crate::identity::Member;

/// Peer addresses of nodes that may know the cluster: those of the membership view, then the
/// configured ones. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Seeds {
    configured: Arc<[Arc<str>]>,
    membership: MembershipReader,
    own: Arc<str>,
}

impl Seeds {
    /// The addresses except this node's own.
    pub(crate) fn new(
        configured: &[Arc<str>],
        membership: MembershipReader,
        info: &NodeInfo,
    ) -> Self {
        Self {
            configured: configured.into(),
            membership,
            own: info.peer_address.as_str().into(),
        }
    }

    /// The addresses now, without duplicates: first those of nodes that gossip says are ready.
    pub(crate) fn list(&self) -> Vec<Arc<str>> {
        let view = self.membership.load();
        let mut members: Vec<&MemberView> = view.members.iter().collect();
        members.sort_by_key(|member| !is_ready(member));
        let found = members.into_iter().flat_map(MemberView::addresses);
        let mut out: Vec<Arc<str>> = Vec::new();
        for address in found.chain(self.configured.iter().cloned()) {
            if out.len() < NODES_MAX_COUNT && address != self.own && !out.contains(&address) {
                out.push(address);
            }
        }
        out
    }
}

/// The nodes at these addresses that have answered and belong to a cluster, with their addresses.
pub(super) async fn members_at(
    addresses: Vec<Arc<str>>,
    peers: &dyn PeerCalls,
) -> Vec<(Member, Arc<str>)> {
    let asked = addresses.into_iter().map(|address| async move {
        let report = peers.describe_at(Arc::clone(&address), DESCRIBE_MAX);
        Some((report.await.ok()?.member?, address))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn is_ready(member: &MemberView) -> bool {
    let gossip = member.gossip.as_ref();
    gossip.is_some_and(|gossip| gossip.is_alive && gossip.facts.is_ready)
}
