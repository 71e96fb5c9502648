//! Joining a cluster: an empty node registers through one of its seeds.

use std::sync::Arc;

use lograft_core::limits::JOIN_MAX;
use lograft_core::{FeatureLevel, Reason};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::node_info::NodeInfo;
use super::peer_calls::{JoinAnswer, JoinCall, PeerCalls, PeerFailure};
use super::registration::{Phase, RegistrationError, RegistrationFile, RegistrationState};
use super::seeds::Seeds;
use crate::identity::Member;
use crate::net::AddressBook;

/// The answer of the seeds to a join request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SeedAnswer {
    /// The node is registered.
    Member(Member),
    /// The cluster has finalized a feature level that this node does not know; a sentence.
    VersionTooOld(String),
    /// No seed answered, or knew a cluster.
    None,
}

/// Registers this node with the cluster of its seeds.
#[derive(Clone)]
pub(crate) struct SeedJoin {
    pub(crate) info: NodeInfo,
    /// The newest feature level that this node knows.
    pub(crate) level: FeatureLevel,
    pub(crate) seeds: Seeds,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) registration: RegistrationFile,
    pub(crate) addresses: watch::Sender<AddressBook>,
}

impl SeedJoin {
    /// Sends a join request to each seed in turn until one accepts it, or refuses this version. The
    /// request may be repeated, its token makes it idempotent.
    pub(crate) async fn register(&self) -> Result<SeedAnswer, RegistrationError> {
        let mut state = self.registration.load_or_create().await?;
        for seed in self.seeds.list() {
            let registration = self.info.registration(state.token);
            let call = JoinCall {
                registration,
                level: self.level,
            };
            let joined = self.peers.join(Arc::clone(&seed), call, JOIN_MAX);
            match joined.await {
                Ok(answer) => {
                    return self.accept(answer, state).await.map(SeedAnswer::Member);
                }
                Err(error) => match error.failure {
                    // The token was registered, and its node decommissioned before it started. An
                    // id is never reused, so the node registers again under a new token.
                    PeerFailure::Refused(refusal)
                        if refusal.reason() == Some(Reason::NodeDecommissioned) =>
                    {
                        warn!(%seed, "registered node was decommissioned, joining as a new node");
                        state = self.registration.renew().await?;
                    }
                    PeerFailure::Refused(refusal)
                        if refusal.reason() == Some(Reason::VersionTooOld) =>
                    {
                        return Ok(SeedAnswer::VersionTooOld(error.text));
                    }
                    PeerFailure::MalformedAnswer => {
                        warn!(%seed, %error, "cannot decode the seed's answer");
                    }
                    _ => debug!(%seed, %error, "cannot join through the seed"),
                },
            }
        }
        Ok(SeedAnswer::None)
    }

    async fn accept(
        &self,
        answer: JoinAnswer,
        state: RegistrationState,
    ) -> Result<Member, RegistrationError> {
        let JoinAnswer { member, members } = answer;
        info!(cluster = %member.cluster, node_id = %member.node, "node registered");
        // The meta group's leader must be reachable before the metadata arrives from it.
        let members = members.into_iter().map(|(node, at)| (node, at.into()));
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
