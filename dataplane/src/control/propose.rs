//! Commands on their way to the meta group's leader: here, or one hop away.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use lograft_core::limits::{
    META_ATTEMPT_MAX, META_BACKOFF_MAX, META_BACKOFF_MIN, META_PROPOSE_MAX,
};
use lograft_core::metadata::{Command, MetaError, Outcome};
use lograft_core::{EntryKind, GroupId, LogIndex, NodeId, Proposal, Reason};
use lograft_proto::raft::v1::{ProposeMetaReply, ProposeMetaRequest};
use lograft_raft::{ProposeError, Response};
use tokio::time::{Instant, timeout_at};
use tonic::Code;

use super::Control;
use crate::serving::meta_group::{ProposeMeta, ProposeMetaError};

/// What became of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Applied at this index, or refused there.
    Applied(LogIndex, Result<Outcome, MetaError>),
    /// In no log, for certain.
    NotProposed(String),
    /// It may or may not be applied.
    Unknown(String),
}

impl ProposeMeta for Control {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, ProposeMetaError>> {
        Box::pin(self.propose_until(command, Instant::now() + META_PROPOSE_MAX))
    }
}

impl Control {
    async fn propose_until(
        &self,
        command: Command,
        deadline: Instant,
    ) -> Result<Outcome, ProposeMetaError> {
        let bytes: Bytes = command.encode().map_err(|e| failed(&e))?.into();
        let mut pause = META_BACKOFF_MIN;
        loop {
            let text = match self.attempt(&bytes).await {
                Attempt::Applied(index, Ok(outcome)) => {
                    self.wait_applied(index, deadline).await?;
                    return Ok(outcome);
                }
                Attempt::Applied(_, Err(refusal)) => {
                    return Err(ProposeMetaError::Refused(refusal));
                }
                Attempt::Unknown(text) if !is_repeatable(&command) => {
                    let text = format!("the outcome is not known: {text}");
                    return Err(ProposeMetaError::Unavailable {
                        reason: Reason::Timeout,
                        text,
                    });
                }
                Attempt::Unknown(text) | Attempt::NotProposed(text) => text,
            };
            if Instant::now() + pause >= deadline {
                let text = format!("the meta group did not take the command: {text}");
                return Err(ProposeMetaError::Unavailable {
                    reason: Reason::NoLeader,
                    text,
                });
            }
            self.pause_for_meta_leader(pause).await;
            pause = (pause * 2).min(META_BACKOFF_MAX);
        }
    }

    async fn attempt(&self, command: &Bytes) -> Attempt {
        let Some(me) = self.member() else {
            return Attempt::NotProposed("this node belongs to no cluster".to_owned());
        };
        // By hearsay too: a node whose address has changed hears of no leader by raft.
        match self.leader_of(GroupId::META) {
            None => Attempt::NotProposed("nobody leads it".to_owned()),
            Some((leader, _)) if leader == me.node => self.attempt_here(command).await,
            Some((leader, _)) => self.attempt_at(leader, command).await,
        }
    }

    /// Proposes on this node, if it leads.
    pub(crate) async fn attempt_here(&self, command: &Bytes) -> Attempt {
        let Some(meta) = self.replicas().meta() else {
            return Attempt::NotProposed("this node belongs to no cluster".to_owned());
        };
        let status = meta.raft.watch().borrow().clone();
        if !status.ready {
            return Attempt::NotProposed("this node does not lead it".to_owned());
        }
        let now_ms = self.parts().clock.now_ms();
        let proposal = Proposal::control(EntryKind::Command, now_ms, command.clone());
        let committed = async { meta.raft.propose(proposal, status.term).await?.await };
        match tokio::time::timeout(META_ATTEMPT_MAX, committed).await {
            Err(_) => Attempt::Unknown("it was not committed in time".to_owned()),
            Ok(Err(error)) => not_committed(error),
            Ok(Ok(done)) => match done.response {
                Response::Command(bytes) => applied(done.id.index, &bytes),
                Response::None | Response::Records { .. } => {
                    Attempt::Unknown("the machine gave no answer".to_owned())
                }
            },
        }
    }

    async fn attempt_at(&self, leader: NodeId, command: &Bytes) -> Attempt {
        let Some(route) = self.route(leader, GroupId::META) else {
            return Attempt::NotProposed("this node belongs to no cluster".to_owned());
        };
        let request = ProposeMetaRequest {
            route: Some(route.to_proto()),
            command: command.clone(),
        };
        match self
            .parts()
            .peers
            .propose_meta(leader, request, META_ATTEMPT_MAX)
            .await
        {
            Ok(ProposeMetaReply { outcome, index }) => applied(LogIndex(index), &outcome),
            // What the node service answers when it does not lead.
            Err(status) if status.code() == Code::Aborted => {
                Attempt::NotProposed(status.message().to_owned())
            }
            Err(status) => Attempt::Unknown(format!("node {leader}: {}", status.message())),
        }
    }

    /// Until this node has applied what is at `index` too.
    async fn wait_applied(
        &self,
        index: LogIndex,
        deadline: Instant,
    ) -> Result<(), ProposeMetaError> {
        let mut version = self.view().watch();
        match timeout_at(deadline, version.wait_for(|version| *version >= index)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ProposeMetaError::Unavailable {
                reason: Reason::Timeout,
                text: "the change is made, but this node has not heard of it yet".to_owned(),
            }),
        }
    }

    /// Pauses, but less if a leader turns up.
    async fn pause_for_meta_leader(&self, pause: std::time::Duration) {
        let Some(meta) = self.replicas().meta() else {
            return tokio::time::sleep(pause).await;
        };
        let mut status = meta.raft.watch();
        let before = status.borrow_and_update().leader;
        let turned_up = status.wait_for(|now| now.leader.is_some() && now.leader != before);
        // Either way the next attempt follows.
        let _ = tokio::time::timeout(pause, turned_up).await;
    }
}

fn applied(index: LogIndex, bytes: &[u8]) -> Attempt {
    match Outcome::decode(bytes) {
        Ok(result) => Attempt::Applied(index, result),
        Err(error) => Attempt::Unknown(error.to_string()),
    }
}

fn not_committed(error: ProposeError) -> Attempt {
    let text = error.to_string();
    if error.is_outcome_unknown() {
        Attempt::Unknown(text)
    } else {
        Attempt::NotProposed(text)
    }
}

fn failed(error: &lograft_core::metadata::CodecError) -> ProposeMetaError {
    ProposeMetaError::Unavailable {
        reason: Reason::Internal,
        text: error.to_string(),
    }
}

/// Whether a command sent twice does the same as sent once, as its sender sees it.
fn is_repeatable(command: &Command) -> bool {
    !matches!(
        command,
        Command::CreateTopic { .. } | Command::DeleteTopic { .. }
    )
}
