//! Joining a cluster: an empty node registers through one of its seeds.

use std::sync::Arc;

use lograft_core::Reason;
use lograft_core::limits::JOIN_MAX;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::node_info::NodeInfo;
use super::peer_calls::{JoinAnswer, PeerCalls, PeerFailure};
use super::registration::{Phase, RegistrationError, RegistrationFile, RegistrationState};
use super::seeds::Seeds;
use crate::identity::Member;
use crate::net::AddressBook;

/// Registers this node with the cluster of its seeds.
#[derive(Clone)]
pub(crate) struct SeedJoin {
    pub(crate) info: NodeInfo,
    pub(crate) seeds: Seeds,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) registration: RegistrationFile,
    pub(crate) addresses: watch::Sender<AddressBook>,
}

impl SeedJoin {
    /// Sends a join request to each seed in turn until one accepts it. `None` if none did; the
    /// request may be repeated, its token makes it idempotent.
    pub(crate) async fn register(&self) -> Result<Option<Member>, RegistrationError> {
        let mut state = self.registration.load_or_create().await?;
        for seed in self.seeds.iter() {
            let registration = self.info.registration(state.token);
            let joined = self.peers.join(Arc::clone(&seed), registration, JOIN_MAX);
            match joined.await {
                Ok(answer) => return self.accept(answer, state).await.map(Some),
                Err(error) => match error.failure {
                    // The token was registered, and its node decommissioned before it started. An
                    // id is never reused, so the node registers again under a new token.
                    PeerFailure::Refused(Reason::NodeDecommissioned) => {
                        warn!(%seed, "registered node was decommissioned, joining as a new node");
                        state = self.registration.renew().await?;
                    }
                    PeerFailure::MalformedAnswer => {
                        warn!(%seed, %error, "cannot decode the seed's answer");
                    }
                    _ => debug!(%seed, %error, "cannot join through the seed"),
                },
            }
        }
        Ok(None)
    }

    async fn accept(
        &self,
        answer: JoinAnswer,
        state: RegistrationState,
    ) -> Result<Member, RegistrationError> {
        let JoinAnswer { member, members } = answer;
        info!(cluster = %member.cluster, node_id = %member.node, "node registered");
        // The meta group's leader must be reachable before the metadata arrives from it.
        self.addresses.send_modify(|book| book.extend(members));
        self.registration
            .store(RegistrationState {
                phase: Phase::Joining,
                ..state
            })
            .await?;
        Ok(member)
    }
}
