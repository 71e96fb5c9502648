//! Proposes metadata commands to the meta group's leader, on this node or one hop away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use lograft_core::limits::{
    FLUSH_LAG_INTERVAL, META_ATTEMPT_MAX, META_BACKOFF_MAX, META_BACKOFF_MIN,
    META_COMMAND_MAX_BYTES, META_PROPOSE_MAX, METADATA_AGE_MAX, PEER_TEXT_MAX_BYTES,
};
use lograft_core::metadata::{CodecError, Command, MetaError, Outcome};
use lograft_core::{EntryKind, FeatureLevel, GroupId, LogIndex, NodeId, Proposal, Reason};
use lograft_raft::{ProposeError, Response};
use tokio::time::{Instant, timeout_at};

use super::catch_up::CatchUp;
use super::leader_lookup::LeaderLookup;
use super::local_member::LocalMember;
use super::meta_recovery::is_unrecorded;
use super::peer_calls::{AppliedCommand, EncodedProposal, PeerCallError, PeerCalls, PeerFailure};
use crate::clock::Clock;
use crate::error::ApiError;
use crate::error_text::error_chain;
use crate::serving::meta_group::{MetaProposal, ProposeMeta, ProposeMetaError};
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

const NOT_A_MEMBER: &str = "this node does not belong to a cluster";

/// Result of one attempt.
#[derive(Debug)]
pub(crate) enum ProposeAttempt {
    /// Committed at this index, and either applied or refused there; or refused before that.
    Applied(LogIndex, Result<Outcome, MetaError>),
    /// Refused by the leader's node with an error that this node passes on.
    Refused(Box<ApiError>),
    /// Not executed, for certain: the command is in no log.
    NotProposed(String),
    /// The command may or may not be committed later.
    Unknown(String),
}

/// Proposes metadata commands.
pub(crate) struct MetaProposer {
    pub(crate) member: LocalMember,
    pub(crate) replicas: ReplicaMap,
    pub(crate) view: MetaView,
    pub(crate) catch_up: CatchUp,
    pub(crate) leaders: LeaderLookup,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The newest feature level that this node knows.
    pub(crate) level: FeatureLevel,
}

impl ProposeMeta for MetaProposer {
    fn propose(&self, proposal: MetaProposal) -> BoxFuture<'_, Result<Outcome, ProposeMetaError>> {
        Box::pin(self.propose_until(proposal, Instant::now() + META_PROPOSE_MAX))
    }

    fn check_current(&self) -> Result<(), ApiError> {
        let not_current = |text: String| Err(ApiError::new(Reason::NotReady, text));
        let Some(meta) = self.replicas.meta() else {
            return not_current(NOT_A_MEMBER.to_owned());
        };
        if !self.catch_up.is_done() {
            return not_current("this node is catching up with the metadata".to_owned());
        }
        match meta.raft.contact_age() {
            Some(age) if age <= METADATA_AGE_MAX => Ok(()),
            Some(age) => not_current(format!(
                "this node has had no contact with the meta group for {} s: its metadata may be \
                 old",
                age.as_secs()
            )),
            None => not_current("this node has no contact with the meta group yet".to_owned()),
        }
    }
}

impl MetaProposer {
    /// The time since this node's last contact with the meta group; none before its metadata are
    /// caught up.
    pub(crate) fn metadata_age(&self) -> Option<Duration> {
        let meta = self.replicas.meta()?;
        meta.raft.contact_age().filter(|_| self.catch_up.is_done())
    }

    async fn propose_until(
        &self,
        proposal: MetaProposal,
        deadline: Instant,
    ) -> Result<Outcome, ProposeMetaError> {
        let MetaProposal {
            command,
            on_behalf_of,
        } = proposal;
        self.check_level(&command)
            .map_err(ProposeMetaError::Refused)?;
        let encoded = EncodedProposal {
            command: command.encode().map_err(|e| encode_failed(&e))?.into(),
            on_behalf_of,
        };
        let mut pause = META_BACKOFF_MIN;
        loop {
            let text = match self.attempt(&encoded).await {
                ProposeAttempt::Applied(index, Ok(outcome)) => {
                    if is_read_afterwards(&command) {
                        self.wait_applied(index, deadline).await?;
                    }
                    return Ok(outcome);
                }
                ProposeAttempt::Applied(_, Err(refusal)) => {
                    return Err(ProposeMetaError::Refused(refusal));
                }
                ProposeAttempt::Refused(refusal) => {
                    return Err(ProposeMetaError::RefusedElsewhere(refusal));
                }
                // After a lost answer the first attempt may already be committed. The retry would
                // then fail with "already exists" or "not found", and the client would get an
                // error for a change that it has made.
                ProposeAttempt::Unknown(text) if !is_repeatable(&command) => {
                    let text = format!("cannot determine whether the change was made: {text}");
                    return Err(unavailable(Reason::Timeout, text));
                }
                ProposeAttempt::Unknown(text) | ProposeAttempt::NotProposed(text) => text,
            };
            if Instant::now() + pause >= deadline {
                let text = format!("cannot propose the change to the meta group: {text}");
                return Err(unavailable(Reason::NoLeader, text));
            }
            self.wait_for_meta_leader(pause).await;
            pause = (pause * 2).min(META_BACKOFF_MAX);
        }
    }

    /// Checks that the level of a command is finalized. Checked on the proposing node, and again by
    /// the leader: an older leader cannot check what it does not know.
    fn check_level(&self, command: &Command) -> Result<(), MetaError> {
        command.check_level(self.view.load().finalized_level(), self.level)
    }

    /// Proposes the encoded command of another node.
    ///
    /// It is decoded first: once in the log, a command that this version does not know would end
    /// every node of this version, now and at each restart.
    pub(crate) async fn attempt_for_peer(
        &self,
        bytes: &Bytes,
        decoded: Result<Command, CodecError>,
    ) -> ProposeAttempt {
        let checked = decoded
            .map_err(|error| unknown_command(&error))
            .and_then(|command| self.check_level(&command));
        match checked {
            Ok(()) => self.attempt_here(bytes).await,
            Err(refusal) => ProposeAttempt::Applied(self.view.load().version(), Err(refusal)),
        }
    }

    async fn attempt(&self, proposal: &EncodedProposal) -> ProposeAttempt {
        let Some(me) = self.member.node() else {
            return ProposeAttempt::NotProposed(NOT_A_MEMBER.to_owned());
        };
        // Announced leaders count too: a node whose address has changed receives no raft messages,
        // but must be able to propose its new address.
        match self.leaders.leader_of(GroupId::META) {
            None => ProposeAttempt::NotProposed("the meta group has no known leader".to_owned()),
            Some((leader, _)) if leader == me => self.attempt_here(&proposal.command).await,
            Some((leader, _)) => self.attempt_at(leader, proposal).await,
        }
    }

    /// Proposes an encoded command on this node. Not proposed if it does not lead the meta group.
    async fn attempt_here(&self, command: &Bytes) -> ProposeAttempt {
        let Some(meta) = self.replicas.meta() else {
            return ProposeAttempt::NotProposed(NOT_A_MEMBER.to_owned());
        };
        let status = meta.raft.watch().borrow().clone();
        if !status.ready {
            let text = "this node does not lead the meta group".to_owned();
            return ProposeAttempt::NotProposed(text);
        }
        // Otherwise the command could get an id that the lost voters have allocated.
        let is_record = || {
            matches!(
                Command::decode(command),
                Ok(Command::RecoverMetadata { .. })
            )
        };
        if is_unrecorded(&meta.raft, &self.view.load()) && !is_record() {
            let text = "the metadata are being recovered".to_owned();
            return ProposeAttempt::NotProposed(text);
        }
        // Programs of every level can read an entry of this size; the entries of partitions have
        // bounds of their own.
        if command.len() > META_COMMAND_MAX_BYTES {
            let text = format!(
                "command bytes must be at most {META_COMMAND_MAX_BYTES}, got {}: make the change \
                 in smaller parts",
                command.len()
            );
            let refusal = ApiError::new(Reason::LimitExceeded, text)
                .with("field", "command bytes")
                .with("bound", META_COMMAND_MAX_BYTES.to_string());
            return ProposeAttempt::Refused(Box::new(refusal));
        }
        let now_ms = self.clock.now_ms();
        let proposal = Proposal::control(EntryKind::Command, now_ms, command.clone());
        let committed = async { meta.raft.propose(proposal, status.term).await?.await };
        let committed = tokio::time::timeout(META_ATTEMPT_MAX, committed);
        let committed = tokio::select! {
            committed = committed => committed,
            () = meta.raft.disk_hangs() => {
                return ProposeAttempt::Unknown("the disk of the leader does not flush".to_owned());
            }
        };
        match committed {
            Err(_) => {
                let text = format!("not committed within {META_ATTEMPT_MAX:?}");
                ProposeAttempt::Unknown(text)
            }
            Ok(Err(error)) => not_committed(&error),
            Ok(Ok(done)) => match done.response {
                Response::Command(bytes) => applied(done.id.index, &bytes),
                Response::None | Response::Records { .. } => {
                    ProposeAttempt::Unknown("the state machine returned no outcome".to_owned())
                }
            },
        }
    }

    async fn attempt_at(&self, leader: NodeId, proposal: &EncodedProposal) -> ProposeAttempt {
        let Some(route) = self.member.route_to(leader) else {
            return ProposeAttempt::NotProposed(NOT_A_MEMBER.to_owned());
        };
        let proposed = self
            .peers
            .propose_meta(route, proposal.clone(), META_ATTEMPT_MAX);
        match proposed.await {
            Ok(answer) => applied_elsewhere(answer),
            Err(error) => not_applied(leader, error),
        }
    }

    /// Waits until this node has applied the entry at `index`, so that the caller reads its own
    /// change from this node afterwards. Fails early if the disk of this node hangs: nothing is
    /// applied before what comes before it is on disk.
    async fn wait_applied(
        &self,
        index: LogIndex,
        deadline: Instant,
    ) -> Result<(), ProposeMetaError> {
        let mut version = self.view.watch();
        loop {
            let poll_at = deadline.min(Instant::now() + FLUSH_LAG_INTERVAL);
            let is_applied = version.wait_for(|version| *version >= index);
            if timeout_at(poll_at, is_applied).await.is_ok() {
                return Ok(());
            }
            let meta = self.replicas.meta();
            let hangs = meta.is_some_and(|meta| meta.raft.log().disk_lags());
            if hangs || poll_at == deadline {
                let why = if hangs {
                    "its disk does not flush"
                } else {
                    "it is too slow"
                };
                let text =
                    format!("the change was committed, but this node has not applied it: {why}");
                return Err(unavailable(Reason::Timeout, text));
            }
        }
    }

    /// Waits for `pause`, or less if the meta group gets a new leader.
    async fn wait_for_meta_leader(&self, pause: Duration) {
        let Some(meta) = self.replicas.meta() else {
            return tokio::time::sleep(pause).await;
        };
        let mut status = meta.raft.watch();
        let before = status.borrow_and_update().leader;
        let elected = status.wait_for(|now| now.leader.is_some() && now.leader != before);
        // The next attempt follows in either case.
        let _ = tokio::time::timeout(pause, elected).await;
    }
}

fn applied(index: LogIndex, bytes: &[u8]) -> ProposeAttempt {
    match Outcome::decode(bytes) {
        Ok(result) => ProposeAttempt::Applied(index, result),
        Err(error) => ProposeAttempt::Unknown(error.to_string()),
    }
}

/// The meaning of an answer of the meta group's leader.
fn applied_elsewhere(answer: AppliedCommand) -> ProposeAttempt {
    let AppliedCommand {
        index,
        outcome,
        refusal,
    } = answer;
    match (applied(index, &outcome), refusal) {
        // The outcome does not decode: it is a refusal of a later version.
        (ProposeAttempt::Unknown(_), Some(refusal)) => ProposeAttempt::Refused(Box::new(refusal)),
        (applied, _) => applied,
    }
}

/// The meaning of a failed call to the meta group's leader.
fn not_applied(leader: NodeId, error: PeerCallError) -> ProposeAttempt {
    let refusal = match error.into_refusal(leader) {
        Ok(refusal) => refusal,
        Err(error) if error.failure == PeerFailure::NotExecuted => {
            return ProposeAttempt::NotProposed(error.to_string());
        }
        Err(error) => return ProposeAttempt::Unknown(format!("node {leader}: {error}")),
    };
    match refusal.reason() {
        // Replied before a command is proposed, while the node starts or leaves its leadership.
        Some(Reason::NotReady | Reason::NoLeader | Reason::NotLeader | Reason::NotBootstrapped) => {
            ProposeAttempt::NotProposed(refusal.text().to_owned())
        }
        Some(Reason::Timeout | Reason::Internal) => {
            ProposeAttempt::Unknown(format!("node {leader}: {}", refusal.text()))
        }
        _ => ProposeAttempt::Refused(Box::new(refusal)),
    }
}

fn not_committed(error: &ProposeError) -> ProposeAttempt {
    let text = error.to_string();
    if error.is_outcome_unknown() {
        ProposeAttempt::Unknown(text)
    } else {
        ProposeAttempt::NotProposed(text)
    }
}

fn unknown_command(error: &CodecError) -> MetaError {
    let mut cause = error_chain(error);
    // The sender's names are part of it.
    cause.truncate(cause.floor_char_boundary(PEER_TEXT_MAX_BYTES));
    MetaError::UnknownCommand { cause }
}

fn encode_failed(error: &CodecError) -> ProposeMetaError {
    unavailable(Reason::Internal, error.to_string())
}

fn unavailable(reason: Reason, text: String) -> ProposeMetaError {
    ProposeMetaError::Unavailable { reason, text }
}

/// Whether a caller may read the effect of a command from this node next. Nobody reads which
/// producer ids are taken.
fn is_read_afterwards(command: &Command) -> bool {
    !matches!(command, Command::AllocateProducers { .. })
}

/// Whether a command that is executed twice returns the same outcome as one executed once.
fn is_repeatable(command: &Command) -> bool {
    !matches!(
        command,
        Command::CreateTopic { .. } | Command::DeleteTopic { .. }
    )
}

#[cfg(test)]
mod tests {
    use lograft_core::ReceivedReason;

    use super::*;

    fn newer(code: i32, retryable: bool) -> ApiError {
        let reason = ReceivedReason::from_wire("OF_A_LATER_VERSION", code, Some(retryable));
        ApiError::new(reason.unwrap(), "not today").with("hint", "later")
    }

    fn refused_by_peer(error: ApiError) -> ProposeAttempt {
        let error = PeerCallError {
            text: error.text().to_owned(),
            failure: PeerFailure::Refused(Box::new(error)),
        };
        not_applied(NodeId(3), error)
    }

    #[track_caller]
    fn refusal(attempt: ProposeAttempt) -> ApiError {
        match attempt {
            ProposeAttempt::Refused(refusal) => {
                ApiError::from(ProposeMetaError::RefusedElsewhere(refusal))
            }
            other => panic!("{other:?}"),
        }
    }

    fn answer(outcome: &'static [u8], refusal: Option<ApiError>) -> AppliedCommand {
        AppliedCommand {
            index: LogIndex(7),
            outcome: Bytes::from_static(outcome),
            refusal,
        }
    }

    #[test]
    fn a_refusal_of_a_later_version_reaches_the_client_unchanged() {
        let outcome = b"\x01{\"Err\":{\"OfALaterVersion\":{\"quota\":3}}}";
        let found = refusal(applied_elsewhere(answer(outcome, Some(newer(9, true)))));
        assert_eq!(found, newer(9, true));
    }

    #[test]
    fn a_refusal_of_this_version_is_read_from_the_outcome() {
        let error = MetaError::NotBootstrapped;
        let bytes = Outcome::encode(&Err(error.clone())).unwrap();
        let answer = AppliedCommand {
            index: LogIndex(7),
            outcome: bytes.into(),
            refusal: Some(error.clone().into()),
        };
        let attempt = applied_elsewhere(answer);
        assert!(
            matches!(&attempt, ProposeAttempt::Applied(_, Err(found)) if *found == error),
            "{attempt:?}"
        );
    }

    #[test]
    fn an_outcome_that_cannot_be_read_is_unknown_without_the_refusal() {
        let attempt = applied_elsewhere(answer(b"\x09", None));
        assert!(matches!(attempt, ProposeAttempt::Unknown(_)), "{attempt:?}");
    }

    #[test]
    fn a_newer_reason_of_the_leaders_node_is_passed_on() {
        for error in [newer(14, false), newer(3, true)] {
            assert_eq!(refusal(refused_by_peer(error.clone())), error);
        }
    }

    #[test]
    fn known_reasons_say_whether_the_command_may_be_proposed_again() {
        let attempt = |reason| refused_by_peer(ApiError::new(reason, "text"));
        for reason in [Reason::NotReady, Reason::NoLeader, Reason::NotBootstrapped] {
            let found = attempt(reason);
            assert!(matches!(found, ProposeAttempt::NotProposed(_)), "{found:?}");
        }
        for reason in [Reason::Timeout, Reason::Internal] {
            let found = attempt(reason);
            assert!(matches!(found, ProposeAttempt::Unknown(_)), "{found:?}");
        }
        let found = refusal(attempt(Reason::PermissionDenied));
        assert_eq!(found.reason(), Some(Reason::PermissionDenied));
    }

    #[test]
    fn a_call_that_the_leaders_node_does_not_know_is_a_refusal_that_names_it() {
        let error = PeerCallError {
            failure: PeerFailure::UnknownCall("ProposeMeta"),
            text: String::new(),
        };
        let found = refusal(not_applied(NodeId(3), error));
        assert_eq!(found.reason(), Some(Reason::VersionTooOld));
        assert_eq!(
            found.text(),
            "node 3 does not know the call ProposeMeta: it runs an older version"
        );
    }
}
