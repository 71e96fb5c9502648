//! Keeps the peer addresses of the other nodes up to date.

use std::sync::Arc;

use lograft_core::limits::{DESCRIBE_MAX, META_LEADER_UNKNOWN_MAX};
use lograft_core::metadata::Metadata;
use lograft_core::{NodeId, NodeState};
use tokio::sync::watch;

use super::local_member::LocalMember;
use super::peer_calls::PeerCalls;
use super::seeds::Seeds;
use crate::net::AddressBook;
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

/// The addresses of the members, and of removed nodes that the meta group still replicates to:
/// without its address, a removed node would never learn of its removal.
fn known_addresses(metadata: &Metadata, is_in_meta_group: impl Fn(NodeId) -> bool) -> AddressBook {
    metadata
        .nodes()
        .filter(|node| node.state != NodeState::Removed || is_in_meta_group(node.id))
        .map(|node| (node.id, node.registration.peer_address.as_str().into()))
        .collect()
}

/// The address book loop.
///
/// Addresses are taken from the metadata. If the meta group has no known leader for a while, the
/// node requests the ids of its seeds: after all nodes have moved to new addresses, the metadata
/// cannot be updated without a quorum, and no quorum forms with the old addresses.
pub(crate) struct AddressBookLoop {
    pub(crate) member: LocalMember,
    pub(crate) view: MetaView,
    pub(crate) replicas: ReplicaMap,
    pub(crate) seeds: Seeds,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) addresses: watch::Sender<AddressBook>,
}

impl AddressBookLoop {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        let mut version = self.view.watch();
        let mut discovered = AddressBook::new();
        loop {
            self.publish(&discovered);
            match tokio::time::timeout(META_LEADER_UNKNOWN_MAX, version.changed()).await {
                Ok(Err(_)) => return,
                Ok(Ok(())) => discovered.clear(),
                Err(_) if self.knows_meta_leader() => {}
                Err(_) => discovered = self.discover().await,
            }
        }
    }

    fn knows_meta_leader(&self) -> bool {
        let Some(meta) = self.replicas.meta() else {
            return false;
        };
        meta.raft.watch().borrow().leader.is_some()
    }

    fn is_in_meta_group(&self, node: NodeId) -> bool {
        let Some(meta) = self.replicas.meta() else {
            return false;
        };
        let status = meta.raft.watch();
        let status = status.borrow();
        status.voters.contains(&node) || status.learners.contains(&node)
    }

    /// Publishes the addresses in the metadata; those in `discovered` take precedence.
    fn publish(&self, discovered: &AddressBook) {
        let metadata = self.view.load();
        if metadata.cluster_id().is_none() {
            return;
        }
        let mut book = known_addresses(&metadata, |node| self.is_in_meta_group(node));
        for (node, address) in discovered {
            if let Some(known) = book.get_mut(node) {
                *known = Arc::clone(address);
            }
        }
        self.addresses.send_if_modified(|current| {
            let is_new = *current != book;
            *current = book;
            is_new
        });
    }

    /// The nodes of this cluster at the seed addresses.
    async fn discover(&self) -> AddressBook {
        let Some(me) = self.member.get() else {
            return AddressBook::new();
        };
        let asked = self.seeds.iter().map(|seed| async move {
            let report = self.peers.describe_at(Arc::clone(&seed), DESCRIBE_MAX);
            let found = report.await.ok()?.member?;
            (found.cluster == me.cluster).then_some((found.node, seed))
        });
        futures_util::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::metadata::Command;

    use super::*;
    use crate::control::test_metadata::{apply, cluster};

    #[test]
    fn a_removed_node_keeps_its_address_while_the_meta_group_replicates_to_it() {
        let mut metadata = cluster(2);
        let node = NodeId(2);
        apply(&mut metadata, &Command::DrainNode { node });
        apply(&mut metadata, &Command::RemoveNode { node });
        let known = |is_in| known_addresses(&metadata, |_| is_in).contains_key(&node);
        assert!(known(true), "it must receive its removal");
        assert!(!known(false), "another node may use its address now");
    }
}
