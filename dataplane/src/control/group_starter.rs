//! Starts the raft groups of this node and watches them.

use std::sync::Arc;

use lograft_core::GroupId;
use lograft_raft::{GroupConfig, PeerTransport, RaftError, RaftGroup, RaftTiming, StateMachine};
use lograft_storage::GroupLog;
use tokio::sync::Notify;
use tracing::error;

use crate::error_text::error_chain;
use crate::fatal::{FatalError, FatalSink};
use crate::identity::Member;

/// Makes the raft transport for a member of a cluster.
pub(crate) type TransportFactory = Arc<dyn Fn(Member) -> Arc<dyn PeerTransport> + Send + Sync>;

/// Starts raft groups. Cheap to clone.
#[derive(Clone)]
pub(crate) struct GroupStarter {
    pub(crate) transport: TransportFactory,
    pub(crate) timing: RaftTiming,
    pub(crate) wake: Arc<Notify>,
    pub(crate) fatal: Arc<dyn FatalSink>,
}

impl GroupStarter {
    /// Starts this node's replica of a group over its log. The log stays open if this fails.
    pub(crate) async fn start(
        &self,
        member: Member,
        group: GroupId,
        log: GroupLog,
        machine: Box<dyn StateMachine>,
    ) -> Result<RaftGroup, RaftError> {
        let config = GroupConfig {
            group,
            node: member.node,
            timing: self.timing,
        };
        let raft = RaftGroup::start(config, log, machine, (self.transport)(member)).await?;
        self.watch(&raft);
        Ok(raft)
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
