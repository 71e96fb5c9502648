//! How an empty node finds its cluster through its seeds, and how members find each other after
//! addresses have changed.

use std::sync::Arc;

use lograft_core::limits::{DESCRIBE_MAX, JOIN_MAX, SEEDS_ASKED_AFTER};
use lograft_core::metadata::{Command, Metadata, Registration, RegistrationToken};
use lograft_core::{ClusterId, NodeId, NodeState, Reason};
use lograft_proto::admin::v1::{JoinReply, JoinRequest};
use lograft_proto::raft::v1::DescribeNodeRequest;
use tonic::Status;
use tonic_types::StatusExt;
use tracing::{debug, info, warn};

use super::Control;
use super::bootstrap::EnterError;
use super::registration::{Phase, Ticket};
use super::task_registry::Work;
use crate::identity::Member;
use crate::net::AddressBook;
use crate::serving::meta_group::ProposeMeta;

impl Control {
    fn other_seeds(&self) -> impl Iterator<Item = Arc<str>> {
        let own = &self.parts().about.peer_address;
        self.parts()
            .seeds
            .iter()
            .filter(move |seed| ***seed != **own)
            .cloned()
    }

    /// Asks each seed once for a place. Whether it got one.
    pub(super) async fn join_once(&self) -> Result<bool, EnterError> {
        let mut ticket = self.load_ticket().await?;
        for seed in self.other_seeds() {
            let request = self.join_request(ticket.token);
            match self
                .parts()
                .peers
                .join(Arc::clone(&seed), request, JOIN_MAX)
                .await
            {
                Ok(reply) => {
                    let Some(member) = place(&reply) else {
                        warn!(%seed, "the seed's answer makes no sense");
                        continue;
                    };
                    self.enter_with(member, &reply, ticket).await?;
                    return Ok(true);
                }
                Err(status) if reason(&status) == Some(Reason::NodeDecommissioned) => {
                    // The token was used and its node decommissioned before it ever began.
                    warn!(%seed, "the registration was decommissioned; the next one is new");
                    ticket = Ticket::draw(&*self.parts().fs);
                    self.store_ticket(ticket).await?;
                }
                Err(status) => debug!(%seed, "no place: {}", status.message()),
            }
        }
        Ok(false)
    }

    async fn enter_with(
        &self,
        member: Member,
        reply: &JoinReply,
        ticket: Ticket,
    ) -> Result<(), EnterError> {
        info!(cluster = %member.cluster, node = %member.node, "registered");
        self.parts().addresses.send_modify(|book| {
            for other in &reply.members {
                book.insert(NodeId(other.node_id), other.peer_address.as_str().into());
            }
        });
        self.store_ticket(Ticket {
            phase: Phase::Joining,
            ..ticket
        })
        .await?;
        self.write_identity(member).await?;
        self.become_member(member, Phase::Joining).await
    }

    fn join_request(&self, token: RegistrationToken) -> JoinRequest {
        let about = self.parts().about.clone();
        JoinRequest {
            registration_token: token.to_string(),
            name: about.name,
            client_address: about.client_address,
            peer_address: about.peer_address,
            zone: about.zone,
        }
    }

    /// Keeps the address book as the metadata says. Where that knows no leader to hear of, the
    /// seeds are asked who they are: after a move of all nodes the metadata is wrong about all.
    pub(super) async fn run_addresses(self: Arc<Self>) {
        let mut version = self.view().watch();
        let mut found = AddressBook::new();
        loop {
            self.write_addresses(&found);
            match tokio::time::timeout(SEEDS_ASKED_AFTER, version.changed()).await {
                Ok(Err(_)) => return,
                Ok(Ok(())) => found.clear(),
                Err(_) if self.knows_meta_leader() => {}
                Err(_) => found = self.ask_seeds().await,
            }
        }
    }

    fn knows_meta_leader(&self) -> bool {
        let Some(meta) = self.replicas().meta() else {
            return false;
        };
        meta.raft.watch().borrow().leader.is_some()
    }

    fn write_addresses(&self, found: &AddressBook) {
        let metadata = self.view().load();
        if metadata.cluster_id().is_none() {
            return;
        }
        let mut book: AddressBook = metadata
            .members()
            .map(|node| (node.id, node.registration.peer_address.as_str().into()))
            .collect();
        for (node, address) in found {
            if let Some(known) = book.get_mut(node) {
                *known = Arc::clone(address);
            }
        }
        self.parts().addresses.send_if_modified(|current| {
            let is_new = *current != book;
            *current = book;
            is_new
        });
    }

    async fn ask_seeds(&self) -> AddressBook {
        let Some(me) = self.member() else {
            return AddressBook::new();
        };
        let asked = self.other_seeds().map(|seed| async move {
            let request = DescribeNodeRequest { route: None };
            let report = self
                .parts()
                .peers
                .describe_at(Arc::clone(&seed), request, DESCRIBE_MAX);
            let report = report.await.ok()?;
            let is_ours = report.cluster_id.as_ref() == me.cluster.to_bytes().as_slice();
            is_ours.then_some((NodeId(report.node_id), seed))
        });
        futures_util::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    /// Tells the cluster when this node is not any more where it said, or not called so.
    pub(super) fn look_at_own_registration(self: &Arc<Self>, metadata: &Metadata) {
        let Some(node) = self.member().and_then(|me| metadata.node(me.node)) else {
            return;
        };
        if node.state == NodeState::Removed {
            return;
        }
        let registration = self.registration(node.registration.token);
        if registration == node.registration {
            return;
        }
        let node = node.id;
        self.begin(Work::Update, |control| async move {
            let told = control
                .propose(Command::UpdateNode { node, registration })
                .await;
            match &told {
                Ok(_) => info!("the cluster knows of this node's new addresses"),
                Err(error) => warn!("cannot tell the cluster of this node's addresses: {error}"),
            }
            told.is_ok()
        });
    }
}

fn place(reply: &JoinReply) -> Option<Member> {
    let cluster: ClusterId = reply.cluster_id.parse().ok()?;
    (reply.node_id != 0).then_some(Member {
        cluster,
        node: NodeId(reply.node_id),
    })
}

fn reason(status: &Status) -> Option<Reason> {
    let details = status.get_details_error_info()?;
    Reason::from_wire(&details.reason)
}

/// What a joining node says of itself, checked by the meta group later.
pub fn registration_of(request: JoinRequest) -> Option<Registration> {
    let JoinRequest {
        registration_token,
        name,
        client_address,
        peer_address,
        zone,
    } = request;
    let token = registration_token.parse().ok()?;
    Some(Registration {
        token,
        name,
        client_address,
        peer_address,
        zone,
    })
}
