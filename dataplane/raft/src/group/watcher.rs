//! Watches the raft core and publishes the replica's status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lograft_core::Term;
use lograft_core::limits::RAFT_STATUS_INTERVAL;
use lograft_storage::GroupLog;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio::time::Instant;

use super::purge::Purge;
use crate::config::GroupConfig;
use crate::convert::{log_id_from_raft, membership_from_raft};
use crate::error::{BoxError, RaftError};
use crate::status::{FollowerStatus, GroupFatal, GroupStatus, Role};
use crate::types::{Raft, Types};

/// What a status is read from.
pub(super) struct View {
    pub(super) config: GroupConfig,
    pub(super) raft: Raft,
    pub(super) log: GroupLog,
    pub(super) purge: Purge,
    pub(super) stopping: Arc<AtomicBool>,
}

impl View {
    pub(super) fn read(&self) -> GroupStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let (role, fatal) = self.role(&metrics);
        let is_leader = role == Role::Leader;
        let last = self.log.last_id();
        let applied = metrics.last_applied.as_ref().map(log_id_from_raft);
        let term = Term(metrics.current_term);
        let membership = membership_from_raft(metrics.membership_config.membership());
        let followers = metrics.replication.iter().flatten();
        let followers = followers.filter(|(node, _)| is_leader && **node != self.config.node);
        let end = last.map_or(0, |id| id.index.get() + 1);
        let followers = followers.map(|(node, matched)| {
            let matched = matched.as_ref().map(log_id_from_raft);
            let have = matched.map_or(0, |id| id.index.get() + 1);
            (
                *node,
                FollowerStatus {
                    matched,
                    lag: end.saturating_sub(have),
                },
            )
        });
        GroupStatus {
            group: self.config.group,
            node: self.config.node,
            term,
            role,
            leader: metrics.current_leader,
            ready: is_leader && applied.is_some_and(|id| id.term == term),
            voters: membership.voters,
            joint: membership.joint,
            learners: membership.learners,
            membership_committed: metrics.membership_config.log_id()
                == metrics.committed_membership_config.log_id(),
            last,
            committed: metrics.local_committed.as_ref().map(log_id_from_raft),
            applied,
            purged: self.log.purged_id(),
            followers: followers.collect(),
            purge: self.purge.status(),
            fatal,
        }
    }

    fn role(&self, metrics: &RaftMetrics<Types>) -> (Role, Option<GroupFatal>) {
        match &metrics.running_state {
            Ok(()) => (role_of(metrics.state), None),
            Err(Fatal::Stopped) if self.stopping.load(Ordering::Acquire) => (Role::Stopped, None),
            Err(fatal) => {
                let cause: BoxError = fatal.clone().into();
                (
                    Role::Stopped,
                    Some(GroupFatal {
                        cause: Arc::new(cause),
                    }),
                )
            }
        }
    }

    /// The status once the raft core is gone.
    fn stopped(&self) -> GroupStatus {
        let mut status = self.read();
        status.role = Role::Stopped;
        status.ready = false;
        if status.fatal.is_none() && !self.stopping.load(Ordering::Acquire) {
            let cause: BoxError = RaftError::Stopped.into();
            status.fatal = Some(GroupFatal {
                cause: Arc::new(cause),
            });
        }
        status
    }
}

fn role_of(state: ServerState) -> Role {
    match state {
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    }
}

/// Publishes until the raft core ends.
pub(super) fn spawn(view: View) -> watch::Receiver<GroupStatus> {
    let (tx, rx) = watch::channel(view.read());
    tokio::spawn(publish(view, tx));
    rx
}

async fn publish(view: View, status: watch::Sender<GroupStatus>) {
    let mut server = view.raft.server_metrics();
    let mut applied = view.raft.watch_apply_progress();
    let mut published = Instant::now();
    loop {
        let now = view.read();
        // A leader becomes ready by an apply, a lagging follower catches up without one.
        let waits_ready = now.role == Role::Leader && !now.ready;
        let lags = now.followers.values().any(|follower| follower.lag > 0);
        let stopped = now.role == Role::Stopped;
        status.send_replace(now);
        if stopped {
            break;
        }
        let pause = published + RAFT_STATUS_INTERVAL;
        let quiet = async {
            if !waits_ready {
                tokio::time::sleep_until(pause).await;
            }
            if lags && !waits_ready {
                // Whatever moves, look again in a while.
                tokio::time::timeout(RAFT_STATUS_INTERVAL, applied.changed())
                    .await
                    .unwrap_or(Ok(()))
            } else {
                applied.changed().await
            }
        };
        let alive = tokio::select! {
            changed = server.changed() => changed.is_ok(),
            changed = quiet => changed.is_ok(),
        };
        if !alive {
            break;
        }
        published = Instant::now();
    }
    status.send_replace(view.stopped());
}
