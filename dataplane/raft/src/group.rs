//! The handle of a group's replica on this node.

mod contact;
mod fencing;
mod flush_guard;
mod inbound;
mod membership;
mod propose;
mod purge;
mod transfer;
mod watcher;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lograft_core::limits::{
    APPEND_ENTRIES_MAX_COUNT, RAFT_APPEND_BATCH_MAX_COUNT, RAFT_PROPOSALS_MAX_COUNT,
};
use lograft_core::{GroupId, NodeId, RecoveryEpoch};
use lograft_storage::GroupLog;
use openraft::errors::{InitializeError, LinearizableReadError, RaftError as OpenraftError};
use openraft::{Config, ReadPolicy, SnapshotPolicy};
use tokio::sync::watch;

use crate::config::{GroupConfig, RaftTiming};
use crate::error::RaftError;
use crate::log_store::LogStore;
use crate::network::PeerClientFactory;
use crate::network::stream_abort::AppendStreams;
use crate::snapshot::Snapshots;
use crate::state_machine::StateMachine;
use crate::state_machine_adapter::{Raft, StateMachineAdapter};
use crate::status::{GroupStatus, Role};
use crate::transport::PeerTransport;
use crate::types::Types;
use crate::vote_fence::VoteFence;

pub use propose::{Committed, ProposeHandle};

/// A replica of a group. Clones are handles of the same replica, which runs until
/// [`RaftGroup::shutdown`].
#[derive(Clone)]
pub struct RaftGroup {
    inner: Arc<Inner>,
}

struct Inner {
    config: GroupConfig,
    raft: Raft,
    log: GroupLog,
    snapshots: Snapshots,
    purge: purge::PurgeState,
    append_streams: AppendStreams,
    contact: contact::LeaderContact,
    fence: VoteFence,
    status: watch::Receiver<GroupStatus>,
    stalled: watch::Receiver<bool>,
    /// Whether it leads without contact to a majority.
    isolated: watch::Receiver<bool>,
    stopping: Arc<AtomicBool>,
}

impl std::fmt::Debug for RaftGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RaftGroup")
            .field(&self.inner.config.group)
            .finish()
    }
}

impl RaftGroup {
    /// Starts the replica on its log: restores the state machine from the newest checkpoint,
    /// applies the committed entries after it, and takes part in its group if it is a member of
    /// one. MUST run on a tokio runtime.
    ///
    /// Fails if the timing is invalid, or if the log or a checkpoint cannot be read. A retry does
    /// not help.
    pub async fn start(
        config: GroupConfig,
        log: GroupLog,
        machine: Box<dyn StateMachine>,
        transport: Arc<dyn PeerTransport>,
    ) -> Result<Self, RaftError> {
        let group = config.group;
        let start = config.start;
        let fence = VoteFence::new(start.fence, start.is_held);
        let mut raft_config = raft_config(group, config.timing.of_turn(config.turn))?;
        raft_config.enable_elect = fence.may_campaign();
        let snapshots = Snapshots::default();
        let machine = StateMachineAdapter::open(log.clone(), machine, snapshots.clone())
            .map_err(|source| RaftError::Start { group, source })?;
        let append_streams = AppendStreams::default();
        let isolated = Arc::<AtomicBool>::default();
        let network = PeerClientFactory {
            group,
            node: config.node,
            transport,
            append_streams: append_streams.clone(),
            fence: fence.clone(),
            isolated: isolated.clone(),
        };
        let store = LogStore::new(log.clone());
        let raft = Raft::new(config.node, Arc::new(raft_config), network, store, machine)
            .await
            .map_err(|error| RaftError::Start {
                group,
                source: error.into(),
            })?;
        let stopping = Arc::new(AtomicBool::new(false));
        let purge = purge::PurgeState::default();
        let source = watcher::StatusSource {
            config,
            raft: raft.clone(),
            log: log.clone(),
            purge: purge.clone(),
            fence: fence.clone(),
            stopping: stopping.clone(),
            isolated,
        };
        let (stalled, is_stalled) = watch::channel(false);
        let (status, isolated) = watcher::spawn(source, is_stalled.clone());
        let inner = Inner {
            stalled: is_stalled,
            isolated,
            config,
            raft,
            log,
            snapshots,
            purge,
            append_streams,
            contact: contact::LeaderContact::default(),
            fence,
            status,
            stopping,
        };
        let this = Self {
            inner: Arc::new(inner),
        };
        flush_guard::spawn(&this, stalled);
        Ok(this)
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.inner.config.group
    }

    /// The recovery epoch in which this replica takes part.
    pub fn epoch(&self) -> RecoveryEpoch {
        self.inner.config.epoch
    }

    /// The group's log on this node.
    pub fn log(&self) -> &GroupLog {
        &self.inner.log
    }

    /// Initializes the group: this replica writes the first entry, the membership. MUST be called
    /// once per group, on one of `voters`, while the logs of all of them are empty. A second call
    /// with other voters would make a second group with the same id, whose log conflicts with the
    /// first one (split brain).
    ///
    /// Fails with [`RaftError::AlreadyInitialized`] if this replica has a log or a vote,
    /// [`RaftError::NotAmongVoters`], [`RaftError::Fenced`] or [`RaftError::Stopped`].
    pub async fn initialize(&self, voters: BTreeSet<NodeId>) -> Result<(), RaftError> {
        self.check_fence()?;
        self.inner
            .raft
            .initialize(voters)
            .await
            .map_err(|error| match error {
                OpenraftError::APIError(InitializeError::NotAllowed(_)) => {
                    RaftError::AlreadyInitialized {
                        group: self.group(),
                    }
                }
                OpenraftError::APIError(InitializeError::NotInMembers(_)) => {
                    RaftError::NotAmongVoters
                }
                OpenraftError::Fatal(_) => RaftError::Stopped,
            })
    }

    /// The replica's current status.
    pub fn status(&self) -> GroupStatus {
        let published = self.inner.status.borrow();
        if published.role == Role::Stopped {
            published.clone()
        } else {
            self.status_source().read()
        }
    }

    /// The published status of the replica. Changes of term, role, leader, membership and readiness
    /// are published at once, progress of its log at most every `limits::RAFT_STATUS_INTERVAL`.
    pub fn watch(&self) -> watch::Receiver<GroupStatus> {
        self.inner.status.clone()
    }

    fn status_source(&self) -> watcher::StatusSource {
        watcher::StatusSource {
            config: self.inner.config,
            raft: self.inner.raft.clone(),
            log: self.inner.log.clone(),
            purge: self.inner.purge.clone(),
            fence: self.inner.fence.clone(),
            stopping: self.inner.stopping.clone(),
            isolated: Arc::default(),
        }
    }

    /// Returns once a quorum has confirmed that this replica is the leader, and its state machine
    /// has applied all entries that were committed before the call.
    ///
    /// Fails with [`RaftError::NotLeader`] or [`RaftError::NoQuorum`], after which the caller may
    /// retry, or with [`RaftError::Stopped`].
    pub async fn ensure_linearizable(&self) -> Result<(), RaftError> {
        // A leader that is cut off does not know that it was replaced: without the heartbeat round
        // it would serve a stale read. `ReadIndex` rather than a lease, which would be cheaper but
        // depends on the clocks of the nodes running at the same rate. (Raft dissertation, 6.4.)
        match self
            .inner
            .raft
            .ensure_linearizable(ReadPolicy::ReadIndex)
            .await
        {
            Ok(_) => Ok(()),
            Err(OpenraftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(RaftError::NotLeader {
                    leader: forward.leader_id,
                })
            }
            Err(OpenraftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(RaftError::NoQuorum)
            }
            Err(OpenraftError::Fatal(_)) => Err(RaftError::Stopped),
        }
    }

    /// Stops the replica; its log can be closed afterwards. A leader should transfer its leadership
    /// first, or the group waits for an election timeout.
    pub async fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        // An error says how openraft's core task ended, which the status contains.
        self.inner.raft.shutdown().await.ok();
    }
}

fn raft_config(group: GroupId, timing: RaftTiming) -> Result<Config, RaftError> {
    let RaftTiming {
        heartbeat,
        election_min,
        election_max,
    } = timing;
    let config = Config {
        cluster_name: format!("group-{group}"),
        heartbeat_interval: millis(heartbeat),
        // A heartbeat is skipped if an append was answered within the interval.
        heartbeat_min_interval: Some(millis(heartbeat)),
        election_timeout_min: millis(election_min),
        election_timeout_max: millis(election_max),
        max_payload_entries: APPEND_ENTRIES_MAX_COUNT,
        max_append_entries: Some(RAFT_APPEND_BATCH_MAX_COUNT),
        api_channel_size: Some(RAFT_PROPOSALS_MAX_COUNT),
        // A snapshot does not contain the records before it. So openraft takes none by itself, a
        // lagging follower is always served from the log, and it gets a snapshot only if the
        // entries that it needs were purged (see `purge`).
        snapshot_policy: SnapshotPolicy::Never,
        replication_lag_threshold: u64::MAX,
        max_in_snapshot_log_to_keep: 0,
        // Without pre-vote, a replica that was cut off returns with a higher term and forces an
        // election, although the group has a leader.
        enable_pre_vote: Some(true),
        // A restarted leader must win an election, which gives it a new term. If it stayed leader
        // of its old term, its state machine could be behind the entries of this term in its log,
        // and `GroupStatus::ready` (an applied entry of the current term) would be true too early:
        // the check for duplicate batches would then miss those entries.
        enable_leader_restore: Some(false),
        // A follower whose disk was put back to an older copy is sent the entries again. It cannot
        // vote before it has them (see `vote_fence`), which is what makes this safe. Otherwise the
        // leader would keep it at the end that it remembers, and never reach it.
        allow_log_reversion: Some(true),
        ..Config::default()
    };
    config.validate().map_err(|error| RaftError::Timing {
        group,
        source: error.into(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// openraft's error for a write on a replica that is not the leader.
type ForwardToLeader = openraft::errors::ForwardToLeader<Types>;
