//! A replica of a group: the handle that a node holds.

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
use lograft_core::{GroupId, NodeId};
use lograft_storage::GroupLog;
use openraft::errors::{InitializeError, LinearizableReadError, RaftError as OpenraftError};
use openraft::{Config, ReadPolicy, SnapshotPolicy};
use tokio::sync::watch;

use crate::config::{GroupConfig, RaftTiming};
use crate::error::RaftError;
use crate::log_store::LogStore;
use crate::network::Network;
use crate::network::breaker::Breakers;
use crate::snapshot::Snapshots;
use crate::state_machine::StateMachine;
use crate::state_machine_adapter::StateMachineAdapter;
use crate::status::{GroupStatus, Role};
use crate::transport::PeerTransport;
use crate::types::{Raft, Types};

pub use propose::{Committed, ProposeHandle};

/// A replica of a group. Clones share it. It runs until [`RaftGroup::shutdown`].
#[derive(Clone)]
pub struct RaftGroup {
    inner: Arc<Inner>,
}

struct Inner {
    config: GroupConfig,
    raft: Raft,
    log: GroupLog,
    snapshots: Snapshots,
    purge: purge::Purge,
    breakers: Breakers,
    status: watch::Receiver<GroupStatus>,
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
    /// Starts the replica on its log: restores the machine from the last checkpoint, replays what
    /// was committed since, and joins its group if it has one. MUST run on a tokio runtime.
    pub async fn start(
        config: GroupConfig,
        log: GroupLog,
        machine: Box<dyn StateMachine>,
        transport: Arc<dyn PeerTransport>,
    ) -> Result<Self, RaftError> {
        let group = config.group;
        let raft_config = raft_config(group, config.timing)?;
        let snapshots = Snapshots::default();
        let machine = StateMachineAdapter::open(log.clone(), machine, snapshots.clone())
            .map_err(|source| RaftError::Start { group, source })?;
        let breakers = Breakers::default();
        let network = Network {
            group,
            node: config.node,
            transport,
            breakers: breakers.clone(),
        };
        let store = LogStore::new(log.clone());
        let raft = Raft::new(config.node, Arc::new(raft_config), network, store, machine)
            .await
            .map_err(|error| RaftError::Start {
                group,
                source: error.into(),
            })?;
        let stopping = Arc::new(AtomicBool::new(false));
        let purge = purge::Purge::default();
        let view = watcher::View {
            config,
            raft: raft.clone(),
            log: log.clone(),
            purge: purge.clone(),
            stopping: stopping.clone(),
        };
        let status = watcher::spawn(view);
        let inner = Inner {
            config,
            raft,
            log,
            snapshots,
            purge,
            breakers,
            status,
            stopping,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.inner.config.group
    }

    /// The group's log on this node.
    pub fn log(&self) -> &GroupLog {
        &self.inner.log
    }

    /// Begins the group: this replica writes the first entry, the membership. Once per group, on
    /// one of `voters`, with a log that is empty on all of them.
    pub async fn initialize(&self, voters: BTreeSet<NodeId>) -> Result<(), RaftError> {
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

    /// The replica as it is at this moment.
    pub fn status(&self) -> GroupStatus {
        let published = self.inner.status.borrow();
        if published.role == Role::Stopped {
            published.clone()
        } else {
            self.view().read()
        }
    }

    /// The replica's status as it changes: at once when its term, role, leader, membership or
    /// readiness does, and at most every `limits::RAFT_STATUS_INTERVAL` while its log moves.
    pub fn watch(&self) -> watch::Receiver<GroupStatus> {
        self.inner.status.clone()
    }

    fn view(&self) -> watcher::View {
        watcher::View {
            config: self.inner.config,
            raft: self.inner.raft.clone(),
            log: self.inner.log.clone(),
            purge: self.inner.purge.clone(),
            stopping: self.inner.stopping.clone(),
        }
    }

    /// Returns once a quorum has confirmed that this replica leads, and the machine has applied
    /// all that was committed before the call.
    pub async fn ensure_linearizable(&self) -> Result<(), RaftError> {
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

    /// Stops the replica. The log can be closed after it. A leader that can should transfer first.
    pub async fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        // The error says how the core's task ended; the status has said so already.
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
        // An append that was answered counts as a heartbeat.
        heartbeat_min_interval: Some(millis(heartbeat)),
        election_timeout_min: millis(election_min),
        election_timeout_max: millis(election_max),
        max_payload_entries: APPEND_ENTRIES_MAX_COUNT,
        max_append_entries: Some(RAFT_APPEND_BATCH_MAX_COUNT),
        api_channel_size: Some(RAFT_PROPOSALS_MAX_COUNT),
        // Snapshots stand at the retention boundary and are asked for; a follower gets one only
        // when the log it needs is gone.
        snapshot_policy: SnapshotPolicy::Never,
        replication_lag_threshold: u64::MAX,
        max_in_snapshot_log_to_keep: 0,
        enable_pre_vote: Some(true),
        // A leader that restarts must be elected: entries of its old life may be in its log
        // without being in its machine, although the term is the same.
        enable_leader_restore: Some(false),
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

/// What openraft calls a write that found no leader here.
type Forward = openraft::errors::ForwardToLeader<Types>;
