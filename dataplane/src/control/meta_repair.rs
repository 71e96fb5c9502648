//! Repair of a damaged log of the meta group.
//!
//! Every node replicates the metadata, and without them it serves nothing: so this is the one log
//! whose damage concerns the whole node. It restarts once, asks the meta group's leader to remove
//! it from the group, and rejoins with an empty log, which the leader fills. Its partitions'
//! replicas keep their logs and votes.
//!
//! The steps are in the data directory. The damaged files are set aside durably before anything
//! else, and as long as they are the only files of the group, the node does not start a replica of
//! it: an empty log has lost votes and acknowledged commands, so the node could vote twice in one
//! term, or elect a leader without committed commands. The leader answers only after a membership
//! without the node is committed; then the phase becomes `Joining`, as for a new node, and last the
//! copy is deleted. A crash between two of the steps repeats them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::{
    DESCRIBE_MAX, META_EVICTION_MAX, META_EVICTION_POLL_INTERVAL, NODES_MAX_COUNT,
};
use lograft_core::{GroupId, NodeId, Reason};
use lograft_raft::{GroupStatus, RaftError, RaftGroup};
use lograft_storage::{Storage, StorageError};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::peer_calls::{CallRoute, PeerCalls};
use super::registration::{Phase, RegistrationError, RegistrationFile, RegistrationState};
use super::seeds::Seeds;
use crate::blocking::run_blocking;
use crate::error::ApiError;
use crate::error_text::error_chain;
use crate::identity::Member;
use crate::net::AddressBook;
use crate::serving::replica::ReplicaMap;

/// Whether the damaged log of the meta group was set aside, and no other took its place.
pub(crate) fn is_set_aside(storage: &Storage) -> Result<bool, StorageError> {
    Ok(storage.set_aside_groups()?.contains(&GroupId::META))
}

/// Removes nodes from the meta group on their own request, on its leader.
#[derive(Clone)]
pub(crate) struct MetaEviction {
    pub(crate) replicas: ReplicaMap,
}

/// The next step of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The committed membership is without the node.
    Done,
    /// Make the other voters the only ones.
    RemoveVoter,
    /// Stop the replication to the node.
    RemoveLearner,
    /// Another change is in progress.
    Wait,
}

/// The next step of the eviction of `node`; `None` if it is the only voter.
fn next_step(status: &GroupStatus, node: NodeId) -> Option<Step> {
    if !status.membership_committed || status.joint.is_some() {
        return Some(Step::Wait);
    }
    if status.voters.contains(&node) {
        return (status.voters.len() > 1).then_some(Step::RemoveVoter);
    }
    let is_learner = status.learners.contains(&node);
    Some(if is_learner {
        Step::RemoveLearner
    } else {
        Step::Done
    })
}

impl MetaEviction {
    /// Returns once a membership of the meta group without `node` is committed. Fails if this node
    /// does not lead the group, if `node` is this node, or if it takes too long; the caller may
    /// retry.
    pub(crate) async fn evict(&self, node: NodeId) -> Result<(), ApiError> {
        let Some(meta) = self.replicas.meta() else {
            return Err(ApiError::not_leader(None));
        };
        let deadline = Instant::now() + META_EVICTION_MAX;
        while Instant::now() < deadline {
            let status = meta.raft.status();
            if !status.ready || status.node == node {
                return Err(ApiError::not_leader(None));
            }
            let Some(step) = next_step(&status, node) else {
                break;
            };
            // Only a leader that a majority confirms knows the last committed membership: one that
            // was deposed could answer by a membership that the node has joined again since.
            if step == Step::Done
                && meta.raft.ensure_linearizable().await.is_ok()
                && next_step(&meta.raft.status(), node) == Some(Step::Done)
            {
                info!(node_id = %node, "node evicted from the meta group: its log is damaged");
                return Ok(());
            }
            // The membership is committed when the call returns. It may not be found again later:
            // the control loop adds the node as a learner at once, now without any progress.
            match execute(&meta.raft, &status, node, &step).await {
                Ok(()) if step == Step::RemoveLearner => {
                    info!(node_id = %node, "node evicted from the meta group: its log is damaged");
                    return Ok(());
                }
                Ok(()) => {}
                Err(error) => {
                    let error = error_chain(&error);
                    debug!(node_id = %node, error, "eviction step failed, will retry");
                }
            }
            tokio::time::sleep(META_EVICTION_POLL_INTERVAL).await;
        }
        let text = format!("node {node} cannot be removed from the meta group now");
        Err(ApiError::new(Reason::Timeout, text))
    }
}

async fn execute(
    raft: &RaftGroup,
    status: &GroupStatus,
    node: NodeId,
    step: &Step,
) -> Result<(), RaftError> {
    match step {
        Step::RemoveVoter => {
            let mut voters = status.voters.clone();
            voters.remove(&node);
            raft.change_voters(voters).await
        }
        Step::RemoveLearner => raft.remove_learner(node).await,
        Step::Done | Step::Wait => Ok(()),
    }
}

/// Makes a node whose log of the meta group was set aside ready to rejoin the group.
#[derive(Clone)]
pub(crate) struct MetaRejoin {
    pub(crate) storage: Storage,
    pub(crate) registration: RegistrationFile,
    pub(crate) seeds: Seeds,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) addresses: watch::Sender<AddressBook>,
}

/// Error of preparing to rejoin the meta group.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetaRejoinError {
    /// No leader of the meta group was found, or it has not evicted this node.
    #[error(
        "the log of the meta group is damaged, and no leader of the group among the seeds and the \
         nodes that they know has evicted this node from it yet"
    )]
    NotEvicted,
    /// The registration file cannot be used.
    #[error("cannot use the registration file")]
    Registration(#[source] RegistrationError),
    /// The corrupt copy cannot be deleted.
    #[error("cannot delete the corrupt copy of the meta group's log")]
    Storage(#[source] StorageError),
    /// The runtime is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

impl MetaRejoin {
    /// Has this node evicted from the meta group, and records that it may start with an empty log.
    /// May be repeated after an error.
    pub(crate) async fn prepare(
        &self,
        member: Member,
        state: RegistrationState,
    ) -> Result<(), MetaRejoinError> {
        if !self.is_evicted(member).await {
            return Err(MetaRejoinError::NotEvicted);
        }
        let phase = Phase::Joining;
        self.registration
            .store(RegistrationState { phase, ..state })
            .await
            .map_err(MetaRejoinError::Registration)?;
        let storage = self.storage.clone();
        run_blocking(move || storage.remove_set_aside(GroupId::META))
            .await
            .ok_or(MetaRejoinError::Stopping)?
            .map_err(MetaRejoinError::Storage)?;
        warn!("damaged log of the meta group deleted, replicating it again");
        Ok(())
    }

    /// Asks each known node whether it leads the meta group, and the leader to evict this node.
    /// The metadata are lost, so the search starts at the seeds; the leader may be none of them.
    async fn is_evicted(&self, member: Member) -> bool {
        let mut known = KnownAddresses::default();
        known.extend(self.seeds.list().into_iter());
        while let Some(address) = known.next() {
            let asked = self.peers.describe_at(Arc::clone(&address), DESCRIBE_MAX);
            let Ok(report) = asked.await else { continue };
            let others = report.peers.iter().filter(|(node, _)| *node != member.node);
            known.extend(others.map(|(_, address)| Arc::clone(address)));
            let leads = report
                .replicas
                .iter()
                .any(|replica| replica.group == GroupId::META && replica.ready_leader);
            let same_cluster = report.member.filter(|peer| peer.cluster == member.cluster);
            let Some(leader) = same_cluster.filter(|_| leads) else {
                continue;
            };
            self.addresses
                .send_modify(|book| book.extend([(leader.node, Arc::clone(&address).into())]));
            let route = CallRoute {
                from: member,
                to: leader.node,
            };
            let timeout = META_EVICTION_MAX + Duration::from_secs(1);
            match self.peers.evict_meta(route, timeout).await {
                Ok(()) => return true,
                Err(error) => {
                    let error = error_chain(&error);
                    warn!(leader_node_id = %leader.node, error, "not evicted from the meta group");
                }
            }
        }
        false
    }
}

/// The addresses to ask, each once, at most [`NODES_MAX_COUNT`].
#[derive(Default)]
struct KnownAddresses {
    seen: BTreeSet<Arc<str>>,
    to_ask: VecDeque<Arc<str>>,
}

impl KnownAddresses {
    fn extend(&mut self, addresses: impl Iterator<Item = Arc<str>>) {
        for address in addresses {
            if self.seen.len() < NODES_MAX_COUNT && self.seen.insert(Arc::clone(&address)) {
                self.to_ask.push_back(address);
            }
        }
    }

    fn next(&mut self) -> Option<Arc<str>> {
        self.to_ask.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::ids;
    use crate::control::test_status::leading;

    #[test]
    fn a_node_is_evicted_once_a_membership_without_it_is_committed() {
        let node = NodeId(3);
        let mut status = leading(1, &[1, 2, 3]);
        assert_eq!(next_step(&status, node), Some(Step::RemoveVoter));
        status.joint = Some(ids(&[1, 2]));
        assert_eq!(next_step(&status, node), Some(Step::Wait));
        status.joint = None;
        status.voters = ids(&[1, 2]);
        status.membership_committed = false;
        assert_eq!(next_step(&status, node), Some(Step::Wait), "not committed");
        status.membership_committed = true;
        status.learners = ids(&[3]);
        assert_eq!(next_step(&status, node), Some(Step::RemoveLearner));
        status.learners = ids(&[]);
        assert_eq!(next_step(&status, node), Some(Step::Done));
        status.voters = ids(&[3]);
        assert_eq!(next_step(&status, node), None, "nobody has another copy");
    }
}
