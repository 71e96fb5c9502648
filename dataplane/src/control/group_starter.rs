//! Starts the raft groups of this node and watches them.

use std::sync::Arc;

use lograft_core::{GroupId, NodeId, RecoveryEpoch};
use lograft_raft::{
    ElectionTurn, FenceStage, GroupConfig, GroupStart, PeerTransport, RaftError, RaftGroup,
    RaftTiming, StateMachine,
};
use lograft_storage::GroupLog;
use tokio::sync::{Notify, watch};
use tracing::{error, warn};

use super::disk_fence::is_enforced;
use crate::error_text::error_chain;
use crate::fatal::{FatalError, FatalSink};
use crate::identity::Member;
use crate::incarnation::Incarnations;
use crate::incarnation::group_marks::{GroupMarks, Opening};
use crate::recovery_epochs::RecoveryEpochs;
use crate::state_machine::MetaView;

/// Makes the raft transport of a group in one recovery epoch, for a member of a cluster.
pub(crate) type TransportFactory =
    Arc<dyn Fn(Member, RecoveryEpoch) -> Arc<dyn PeerTransport> + Send + Sync>;

/// Starts raft groups. Cheap to clone.
#[derive(Clone)]
pub(crate) struct GroupStarter {
    pub(crate) transport: TransportFactory,
    pub(crate) timing: RaftTiming,
    pub(crate) wake: Arc<Notify>,
    pub(crate) fatal: Arc<dyn FatalSink>,
    pub(crate) marks: GroupMarks,
    pub(crate) epochs: RecoveryEpochs,
    pub(crate) known: Incarnations,
    pub(crate) view: MetaView,
    /// Whether groups may campaign.
    pub(crate) released: watch::Receiver<bool>,
}

/// Where the log of a replica comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogOrigin {
    /// It was there, or its group is about to start.
    Expected,
    /// The replica is a new one of a group that has started.
    Joins,
    /// Its group has started, so its folder may have been lost.
    Missing,
    /// As above, or recovered metadata have forgotten that the replica was moved away and deleted,
    /// and its mark with it.
    MissingOrMoved,
}

/// The log that a replica starts on.
pub(crate) struct OpenedLog {
    pub(crate) log: GroupLog,
    /// Whether it was found, and if not, why.
    pub(crate) origin: LogOrigin,
    /// Whether it campaigns only after a call of [`GroupStarter::release`].
    pub(crate) is_held: bool,
}

impl GroupStarter {
    /// Starts this node's replica of a group over its log. The log stays open if this fails.
    /// `replicas` are all of the group, as far as they are known; they decide who campaigns when.
    pub(crate) async fn start(
        &self,
        member: Member,
        (group, replicas): (GroupId, &[NodeId]),
        opened: OpenedLog,
        machine: Box<dyn StateMachine>,
    ) -> Result<RaftGroup, RaftError> {
        let start = GroupStart {
            fence: self.first_stage(group, &opened).await,
            is_held: opened.is_held || !*self.released.borrow(),
        };
        let OpenedLog { log, is_held, .. } = opened;
        let epoch = self.epochs.own(group);
        let config = GroupConfig {
            group,
            node: member.node,
            epoch,
            timing: self.timing,
            turn: ElectionTurn::among(replicas, member.node),
            start,
        };
        let raft = RaftGroup::start(config, log, machine, (self.transport)(member, epoch)).await?;
        self.watch(&raft);
        if start.is_held && !is_held {
            self.release(raft.clone());
        }
        Ok(raft)
    }

    /// Marks the group as opened, before its first vote. Returns the first stage of its fence.
    async fn first_stage(&self, group: GroupId, opened: &OpenedLog) -> FenceStage {
        let opening = match opened.origin {
            LogOrigin::Missing | LogOrigin::MissingOrMoved if self.marks.is_known(group) => {
                error!(
                    %group,
                    "replica folder is missing: it does not vote until the others have caught it up"
                );
                Opening::Lost
            }
            LogOrigin::MissingOrMoved => {
                warn!(
                    %group,
                    "replica may have been moved away before the metadata were recovered: it joins \
                     its group again"
                );
                Opening::Joins
            }
            LogOrigin::Joins => Opening::Joins,
            LogOrigin::Expected | LogOrigin::Missing => Opening::AsMarked,
        };
        let marked = self.marks.open(group, opening).await;
        let stage = marked.unwrap_or_else(|error| {
            let error = error_chain(&error);
            warn!(%group, error, "cannot mark the group as opened");
            match opening {
                Opening::AsMarked => FenceStage::Lifted,
                Opening::Lost => FenceStage::Asking,
                Opening::Joins => FenceStage::Joining(None),
            }
        });
        // Before the metadata are replayed, what others have seen counts.
        let is_ignored = is_enforced(&self.view.load()) == Some(false);
        if self.known.heard().is_some() && !is_ignored {
            return FenceStage::Asking;
        }
        stage
    }

    /// Lets a replica campaign, as soon as the groups of this node may.
    pub(crate) fn release(&self, raft: RaftGroup) {
        let mut released = self.released.clone();
        tokio::spawn(async move {
            // At its end, the node stops.
            if released.wait_for(|released| *released).await.is_ok() {
                raft.release();
            }
        });
    }

    /// Wakes the control loop when the group's term, leader or membership changes, and reports a
    /// failed raft core as fatal: it has stopped in an unknown state, and only a restart recovers
    /// it from the log. A core that met damage of its log has stopped in a known one: its replica
    /// alone is set aside and repaired, and the node goes on with all other groups.
    fn watch(&self, raft: &RaftGroup) {
        let group = raft.group();
        let mut status = raft.watch();
        let log = raft.log().clone();
        let (wake, fatal) = (Arc::clone(&self.wake), Arc::clone(&self.fatal));
        tokio::spawn(async move {
            let mut seen = None;
            loop {
                let now = {
                    let status = status.borrow_and_update();
                    if let Some(failure) = &status.fatal {
                        let cause = error_chain(&**failure.cause);
                        if log.damage().is_some() {
                            error!(%group, error = cause, "raft core stopped at a damaged log");
                            return wake.notify_one();
                        }
                        return fatal.report(FatalError::Raft { group, cause });
                    }
                    (
                        status.term,
                        status.leader,
                        status.ready,
                        status.membership_committed,
                    )
                };
                if seen.replace(now) != Some(now) {
                    wake.notify_one();
                }
                if status.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}
