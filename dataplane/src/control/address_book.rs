//! Keeps the peer addresses of the other nodes up to date.

use std::collections::BTreeMap;
use std::sync::Arc;

use lograft_core::limits::META_LEADER_UNKNOWN_MAX;
use lograft_core::metadata::Metadata;
use lograft_core::{NodeId, NodeState};
use lograft_discovery::{MembershipReader, MembershipView, NodeName};
use tokio::sync::watch;
use tokio::time::Instant;

use super::local_member::LocalMember;
use super::peer_calls::PeerCalls;
use super::seeds::{Seeds, members_at};
use crate::net::{AddressBook, PeerTarget};
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

/// The names and addresses of the members, and of removed nodes that the meta group still
/// replicates to: without its address, a removed node would never learn of its removal.
fn known_addresses(metadata: &Metadata, is_in_meta_group: impl Fn(NodeId) -> bool) -> AddressBook {
    metadata
        .nodes()
        .filter(|node| node.state != NodeState::Removed || is_in_meta_group(node.id))
        .map(|node| {
            let target = PeerTarget {
                name: Some(node.registration.name.as_str().into()),
                addresses: vec![node.registration.peer_address.as_str().into()],
            };
            (node.id, target)
        })
        .collect()
}

/// Puts the addresses that the membership view has of a node before those of the metadata. They
/// count if the node itself says that it has this id: a node with a wiped disk keeps its name. A
/// source that knows names only counts for a name that one node has: it says as much as the name
/// server says of the registered address.
fn add_discovered(book: &mut AddressBook, view: &MembershipView) {
    for member in &view.members {
        let node = match &member.gossip {
            Some(gossip) => gossip.facts.node,
            None => only_node_named(book, member.name.as_ref()),
        };
        if let Some(target) = node.and_then(|node| book.get_mut(&node))
            && target.name == member.name
        {
            put_first(target, &member.addresses());
        }
    }
}

fn only_node_named(book: &AddressBook, name: Option<&NodeName>) -> Option<NodeId> {
    let name = name?;
    let mut named = book
        .iter()
        .filter(|(_, known)| known.name.as_ref() == Some(name));
    let (node, _) = named.next()?;
    named.next().is_none().then_some(*node)
}

fn put_first(target: &mut PeerTarget, addresses: &[Arc<str>]) {
    let registered = std::mem::take(&mut target.addresses);
    let others = registered
        .into_iter()
        .filter(|known| !addresses.contains(known));
    target.addresses = addresses.iter().cloned().chain(others).collect();
}

/// The address book loop.
///
/// Names are taken from the metadata, and addresses from there and from the membership view, which
/// learns of a node that has moved without a quorum. If the meta group has no known leader for a
/// while, the node requests the ids of its seeds: after all nodes have moved to new addresses, the
/// metadata cannot be updated without a quorum, and no quorum forms with the old addresses.
pub(crate) struct AddressBookLoop {
    pub(crate) member: LocalMember,
    pub(crate) view: MetaView,
    pub(crate) replicas: ReplicaMap,
    pub(crate) membership: MembershipReader,
    pub(crate) seeds: Seeds,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) addresses: watch::Sender<AddressBook>,
}

impl AddressBookLoop {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        let (mut version, mut membership) = (self.view.watch(), self.membership.watch());
        let mut discovered = BTreeMap::new();
        let mut look_at = Instant::now() + META_LEADER_UNKNOWN_MAX;
        loop {
            self.publish(&discovered);
            tokio::select! {
                changed = version.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    discovered.clear();
                }
                Ok(()) = membership.changed() => continue,
                () = tokio::time::sleep_until(look_at) => {
                    if !self.knows_meta_leader() {
                        discovered = self.discover().await;
                    }
                }
            }
            look_at = Instant::now() + META_LEADER_UNKNOWN_MAX;
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
    fn publish(&self, discovered: &BTreeMap<NodeId, Arc<str>>) {
        let metadata = self.view.load();
        if metadata.cluster_id().is_none() {
            return;
        }
        let mut book = known_addresses(&metadata, |node| self.is_in_meta_group(node));
        add_discovered(&mut book, &self.membership.load());
        for (node, address) in discovered {
            if let Some(target) = book.get_mut(node) {
                put_first(target, std::slice::from_ref(address));
            }
        }
        self.addresses.send_if_modified(|current| {
            let is_new = *current != book;
            *current = book;
            is_new
        });
    }

    /// The nodes of this cluster at the seed addresses.
    async fn discover(&self) -> BTreeMap<NodeId, Arc<str>> {
        let Some(me) = self.member.get() else {
            return BTreeMap::new();
        };
        let found = members_at(self.seeds.list(), &*self.peers).await;
        found
            .into_iter()
            .filter(|(member, _)| member.cluster == me.cluster)
            .map(|(member, address)| (member.node, address))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::metadata::Command;

    use lograft_discovery::{GossipMember, MemberView, NodeFacts, SeenBy, SourceKind};

    use super::*;
    use crate::control::test_metadata::{apply, cluster};

    fn seen(name: &str, node: u64, address: &str) -> MemberView {
        MemberView {
            name: Some(name.into()),
            seen: vec![SeenBy {
                source: SourceKind::Gossip,
                addresses: vec![address.into()],
                since: std::time::Duration::ZERO,
            }],
            gossip: Some(GossipMember {
                name: name.into(),
                generation: 1,
                facts: NodeFacts {
                    node: Some(NodeId(node)),
                    ..NodeFacts::default()
                },
                gossip_address: None,
                phi_milli: 0,
                is_alive: true,
                since: std::time::Duration::ZERO,
            }),
        }
    }

    #[test]
    fn a_discovered_address_counts_for_the_node_that_has_both_name_and_id() {
        let metadata = cluster(2);
        let registered = known_addresses(&metadata, |_| false);
        let name = |node: u64| registered[&NodeId(node)].name.clone().unwrap();
        let found = |name: &str, node: u64| {
            let mut book = registered.clone();
            let view = MembershipView {
                members: vec![seen(name, node, "10.0.0.9:9401")],
                ..MembershipView::default()
            };
            add_discovered(&mut book, &view);
            book
        };
        let moved = found(&name(2), 2);
        let target = &moved[&NodeId(2)];
        assert_eq!(&*target.addresses[0], "10.0.0.9:9401");
        assert_eq!(target.addresses[1..], registered[&NodeId(2)].addresses);
        assert_eq!(moved[&NodeId(1)], registered[&NodeId(1)]);
        // Its disk was wiped: another node under the same name, or one that is not known yet.
        assert_eq!(found(&name(2), 1), registered);
        assert_eq!(found(&name(2), 7), registered);
    }

    #[test]
    fn an_address_without_an_id_counts_for_a_name_that_one_node_has() {
        let metadata = cluster(3);
        let registered = known_addresses(&metadata, |_| false);
        let name = registered[&NodeId(2)].name.clone();
        let named = |name: &str| MembershipView {
            members: vec![MemberView {
                gossip: None,
                ..seen(name, 2, "10.0.0.9:9401")
            }],
            ..MembershipView::default()
        };
        let view = named(&name.clone().unwrap());
        let mut book = registered.clone();
        add_discovered(&mut book, &view);
        let target = &book[&NodeId(2)];
        assert_eq!(&*target.addresses[0], "10.0.0.9:9401");
        assert_eq!(target.addresses[1..], registered[&NodeId(2)].addresses);
        // Its disk was wiped: a new node has the same name, and the pod is either of them.
        let mut twins = registered.clone();
        twins.get_mut(&NodeId(3)).unwrap().name = name;
        let mut book = twins.clone();
        add_discovered(&mut book, &view);
        assert_eq!(book, twins);
        add_discovered(&mut book, &named("somebody"));
        assert_eq!(book, twins);
    }

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
