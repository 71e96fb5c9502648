//! Watches openraft's core task and publishes the replica's status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lograft_core::limits::{RAFT_STATUS_IDLE_INTERVAL, RAFT_STATUS_INTERVAL};
use lograft_core::{LogId, Membership, NodeId, Term};
use lograft_storage::GroupLog;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use tokio::sync::watch;
use tokio::time::Instant;

use super::contact::quorum_contact_age;
use super::purge::PurgeState;
use crate::config::GroupConfig;
use crate::convert::{log_id_from_raft, membership_from_raft};
use crate::error::{BoxError, RaftError};
use crate::state_machine_adapter::Raft;
use crate::status::{FollowerStatus, GroupFatal, GroupStatus, Role};
use crate::vote_fence::VoteFence;

/// The parts of a replica that its status is read from.
pub(super) struct StatusSource {
    pub(super) config: GroupConfig,
    pub(super) raft: Raft,
    pub(super) log: GroupLog,
    pub(super) purge: PurgeState,
    pub(super) fence: VoteFence,
    pub(super) stopping: Arc<AtomicBool>,
    /// Whether the replica leads without contact to a majority, for what it sends to the others.
    pub(super) isolated: Arc<AtomicBool>,
}

impl StatusSource {
    /// Reads the current status.
    // openraft updates its watch channels one after the other, `metrics` last. Each part is read
    // from the channel whose change wakes `publish`. Read from `metrics`, a status could miss the
    // change that woke it, and would then be published only at the next one.
    pub(super) fn read(&self) -> GroupStatus {
        let server = self.raft.server_metrics();
        let server = server.borrow_watched();
        let (role, fatal) = self.role(server.state);
        let is_leader = role == Role::Leader;
        let last = self.log.last_id();
        let applied = self
            .raft
            .watch_apply_progress()
            .get()
            .as_ref()
            .map(log_id_from_raft);
        let committed = self
            .raft
            .watch_commit_progress()
            .get()
            .as_ref()
            .map(log_id_from_raft);
        let term = Term(server.vote.leader_id.term);
        let membership = membership_from_raft(server.membership_config.membership());
        let fence = self.fence.stage();
        let has_contact = !is_leader || self.has_contact(&membership);
        let is_stalled = self.log.disk_lags() || !fence.is_lifted() || !has_contact;
        GroupStatus {
            group: self.config.group,
            node: self.config.node,
            term,
            role,
            leader: server.current_leader,
            ready: is_leader && !is_stalled && applied.is_some_and(|id| id.term == term),
            has_contact,
            voters: membership.voters,
            joint: membership.joint,
            learners: membership.learners,
            membership: server
                .membership_config
                .log_id()
                .as_ref()
                .map(log_id_from_raft),
            membership_committed: server.membership_config.log_id()
                == server.committed_membership_config.log_id(),
            last,
            committed,
            applied,
            purged: self.log.purged_id(),
            followers: if is_leader {
                self.followers(last)
            } else {
                BTreeMap::new()
            },
            purge: self.purge.status(),
            fence,
            fatal,
        }
    }

    /// Whether a majority has acknowledged this leader lately.
    fn has_contact(&self, membership: &Membership) -> bool {
        let Membership { voters, joint, .. } = membership;
        let is_alone = joint.is_none() && voters.iter().eq([&self.config.node]);
        let age = quorum_contact_age(&self.raft);
        is_alone || age.is_none_or(|age| age <= self.config.timing.contact_max())
    }

    fn followers(&self, last: Option<LogId>) -> BTreeMap<NodeId, FollowerStatus> {
        let data = self.raft.data_metrics();
        let data = data.borrow_watched();
        let end = last.map_or(0, |id| id.index.get() + 1);
        let members = data.replication.iter().flatten();
        let others = members.filter(|(node, _)| **node != self.config.node);
        let followers = others.map(|(node, matched)| {
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
        followers.collect()
    }

    fn role(&self, state: ServerState) -> (Role, Option<GroupFatal>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        match &metrics.running_state {
            Ok(()) => (role_of(state), None),
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

    /// The status after openraft's core task has ended.
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

/// Publishes the status until openraft's core task ends, and whether the replica leads without
/// contact. `stalled` changes when the disk of a leader starts or stops lagging.
// The contact has a channel of its own: each undecided proposal waits for its loss, and would wake
// at every change of the status.
pub(super) fn spawn(
    source: StatusSource,
    stalled: watch::Receiver<bool>,
) -> (watch::Receiver<GroupStatus>, watch::Receiver<bool>) {
    let (status, published) = watch::channel(source.read());
    let (isolated, is_isolated) = watch::channel(false);
    tokio::spawn(publish(source, (status, isolated), stalled));
    (published, is_isolated)
}

async fn publish(
    source: StatusSource,
    (status, isolated): (watch::Sender<GroupStatus>, watch::Sender<bool>),
    mut stalled: watch::Receiver<bool>,
) {
    let mut server = source.raft.server_metrics();
    let mut applied = source.raft.watch_apply_progress();
    loop {
        let read_at = Instant::now();
        let now = source.read();
        let stopped = now.role == Role::Stopped;
        let is_isolated = !now.has_contact;
        source.isolated.store(is_isolated, Ordering::Relaxed);
        isolated.send_if_modified(|known| std::mem::replace(known, is_isolated) != is_isolated);
        // A new leader becomes ready by an apply, and its clients are waiting: publish it at once.
        let is_urgent = now.role == Role::Leader && !now.ready;
        let changed = status.send_if_modified(|published| {
            let changed = *published != now;
            if changed {
                *published = now;
            }
            changed
        });
        if stopped {
            return;
        }
        // The progress of followers and of a purge causes no apply on this replica: poll it.
        let poll_interval = if changed {
            RAFT_STATUS_INTERVAL
        } else {
            RAFT_STATUS_IDLE_INTERVAL
        };
        let progress = async {
            if !is_urgent {
                tokio::time::sleep_until(read_at + RAFT_STATUS_INTERVAL).await;
            }
            tokio::time::timeout(poll_interval, applied.changed())
                .await
                .unwrap_or(Ok(()))
        };
        let alive = tokio::select! {
            result = server.changed() => result.is_ok(),
            result = progress => result.is_ok(),
            // Nothing is applied while the disk lags, and the core may wait for it.
            Ok(()) = stalled.changed() => true,
        };
        if !alive {
            break;
        }
    }
    status.send_replace(source.stopped());
}
