//! How a node enters a cluster: it is a member already, it is requested to bootstrap a new
//! cluster, or it joins one through its seeds. A node never bootstraps by itself: two nodes that
//! did would form two clusters under one name (split brain).

use std::collections::BTreeSet;

use lograft_core::limits::{BOOTSTRAP_MAX, JOIN_INTERVAL};
use lograft_core::metadata::Command;
use lograft_core::{ClusterId, FeatureLevel, NodeId, Reason};
use lograft_raft::RaftError;
use lograft_storage::{Identity, Storage, StorageError};
use tokio::sync::Mutex;
use tracing::{error, info};

use super::join::{SeedAnswer, SeedJoin};
use super::local_member::LocalMember;
use super::meta_recovery::{MetaRecoveryStart, MetaStartError};
use super::meta_repair::{MetaRejoin, MetaRejoinError};
use super::meta_replica::{MetaReplicaError, MetaReplicaStarter};
use super::node_info::NodeInfo;
use super::readiness_state::ReadinessState;
use super::registration::{Phase, RegistrationError, RegistrationFile, RegistrationState};
use crate::blocking::run_blocking;
use crate::error_text::error_chain;
use crate::identity::Member;
use crate::serving::meta_group::{MetaHandle, ProposeMetaError};
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

/// The id of the node that bootstraps a cluster.
const FIRST_NODE: NodeId = NodeId(1);

/// Error of entering a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnterError {
    /// The node belongs to another cluster.
    #[error("this node belongs to cluster {actual}, not {requested}")]
    OtherCluster {
        /// The cluster that the node belongs to.
        actual: ClusterId,
        /// The cluster in the request.
        requested: ClusterId,
    },
    /// A seed knew a cluster, and the node joined it instead.
    #[error("this node has just joined cluster {joined} through its seeds")]
    Joined {
        /// The cluster.
        joined: ClusterId,
    },
    /// The cluster has finalized a feature level that this node does not know.
    #[error("cannot join the cluster: {text}")]
    VersionTooOld {
        /// The answer of the seed.
        text: String,
    },
    /// The registration file cannot be used.
    #[error("cannot use the registration file")]
    Registration(#[source] RegistrationError),
    /// The identity cannot be written.
    #[error("cannot write the node's identity")]
    Identity(#[source] StorageError),
    /// The meta group's replica does not start.
    #[error(transparent)]
    MetaReplica(MetaReplicaError),
    /// The log of the meta group was damaged, and the node cannot rejoin the group yet.
    #[error(transparent)]
    Rejoin(#[from] MetaRejoinError),
    /// The metadata were recovered, and this node cannot follow.
    #[error(transparent)]
    Recovery(#[from] MetaStartError),
    /// Raft refused to initialize the meta group.
    #[error("cannot initialize the meta group")]
    Initialize(#[source] RaftError),
    /// The first command was not executed.
    #[error("cannot register the cluster")]
    Propose(#[source] ProposeMetaError),
    /// The runtime is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

impl EnterError {
    /// The reason for the caller.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::OtherCluster { .. } => Reason::ClusterMismatch,
            Self::Joined { .. } => Reason::AlreadyBootstrapped,
            Self::VersionTooOld { .. } => Reason::VersionTooOld,
            Self::Propose(_) => Reason::Timeout,
            Self::Recovery(MetaStartError::Lost { .. }) => Reason::OtherRecoveryEpoch,
            Self::Stopping => Reason::NotReady,
            Self::Registration(_)
            | Self::Identity(_)
            | Self::MetaReplica(_)
            | Self::Rejoin(_)
            | Self::Recovery(_)
            | Self::Initialize(_) => Reason::Internal,
        }
    }
}

impl From<RegistrationError> for EnterError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Stopping => Self::Stopping,
            error => Self::Registration(error),
        }
    }
}

impl From<MetaReplicaError> for EnterError {
    fn from(error: MetaReplicaError) -> Self {
        match error {
            MetaReplicaError::Stopping => Self::Stopping,
            error => Self::MetaReplica(error),
        }
    }
}

/// Result of a bootstrap request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bootstrapped {
    /// The node's cluster and id.
    pub(crate) member: Member,
    /// Whether the request created the cluster.
    pub(crate) is_created: bool,
}

/// Enters a cluster, once.
pub(crate) struct ClusterEntry {
    pub(crate) info: NodeInfo,
    /// The newest feature level that this node knows.
    pub(crate) level: FeatureLevel,
    pub(crate) storage: Storage,
    pub(crate) registration: RegistrationFile,
    pub(crate) seeds: SeedJoin,
    pub(crate) meta_replica: MetaReplicaStarter,
    pub(crate) rejoin: MetaRejoin,
    pub(crate) recovery: MetaRecoveryStart,
    pub(crate) member: LocalMember,
    pub(crate) replicas: ReplicaMap,
    pub(crate) view: MetaView,
    pub(crate) proposer: MetaHandle,
    pub(crate) readiness: ReadinessState,
    /// Held during a bootstrap or a join: a node that did both at once could enter two clusters.
    pub(crate) entering: Mutex<()>,
}

impl ClusterEntry {
    /// Returns once the node is a member of a cluster. Retries after errors.
    pub(crate) async fn enter(&self) {
        while self.member.get().is_none() {
            match self.enter_once().await {
                Ok(true) => return,
                Ok(false) => {
                    let text = "it does not belong to a cluster: bootstrap it, or configure seeds";
                    self.readiness.set_waiting(text);
                }
                Err(error) => {
                    let error = error_chain(&error);
                    error!(error, "cannot join a cluster, will retry");
                    self.readiness.set_waiting(error);
                }
            }
            tokio::time::sleep(JOIN_INTERVAL).await;
        }
    }

    /// Returns whether the node is a member.
    async fn enter_once(&self) -> Result<bool, EnterError> {
        let _entering = self.entering.lock().await;
        if self.member.get().is_some() {
            return Ok(true);
        }
        let Some(member) = self.stored_member() else {
            return self.join().await;
        };
        let state = self.registration.load_or_create().await?;
        let mut state = self.recovery.prepare(member, state).await?;
        let started = match self.meta_replica.start(member, state.phase).await {
            Err(MetaReplicaError::SetAside) => {
                self.rejoin.prepare(member, state).await?;
                state.phase = Phase::Joining;
                self.meta_replica.start(member, state.phase).await
            }
            started => started,
        };
        started?;
        if let Phase::Bootstrapping(cluster) = state.phase {
            self.init_cluster(cluster, state).await?;
        }
        Ok(true)
    }

    /// Creates a cluster with this node as its first member. The node must be empty, and its seeds
    /// must not know a cluster. Idempotent: a repeated request with the id of the node's own
    /// cluster changes nothing.
    pub(crate) async fn bootstrap(&self, requested: ClusterId) -> Result<Bootstrapped, EnterError> {
        let _entering = self.entering.lock().await;
        if let Some(member) = self.member.get() {
            return self.bootstrap_again(member, requested).await;
        }
        if let Some(Member {
            cluster: actual, ..
        }) = self.stored_member()
        {
            // Its meta group has not started yet: the readiness says why.
            return Err(EnterError::OtherCluster { actual, requested });
        }
        // The seeds have precedence: an empty disk does not prove that there is no cluster yet, it
        // may replace a lost one. A second cluster beside the first would be a split brain.
        if self.join().await? {
            let joined = self.member.get().map_or(requested, |member| member.cluster);
            return Err(EnterError::Joined { joined });
        }
        // Once the identity is on disk, a restarted node completes the bootstrap without another
        // request. For that the phase must be on disk before the identity.
        let mut state = self.registration.load_or_create().await?;
        state.phase = Phase::Bootstrapping(requested);
        self.registration.store(state).await?;
        let member = Member {
            cluster: requested,
            node: FIRST_NODE,
        };
        self.write_identity(member).await?;
        self.meta_replica.start(member, state.phase).await?;
        self.init_cluster(requested, state).await?;
        info!(cluster = %requested, node_id = %FIRST_NODE, "cluster bootstrapped");
        Ok(Bootstrapped {
            member,
            is_created: true,
        })
    }

    /// Handles a request to a node that is a member: completes a bootstrap that was interrupted.
    async fn bootstrap_again(
        &self,
        member: Member,
        requested: ClusterId,
    ) -> Result<Bootstrapped, EnterError> {
        let actual = member.cluster;
        if actual != requested {
            return Err(EnterError::OtherCluster { actual, requested });
        }
        let state = self.registration.load_or_create().await?;
        let is_interrupted = state.phase == Phase::Bootstrapping(requested);
        if self.view.load().cluster_id().is_none() && is_interrupted {
            self.init_cluster(requested, state).await?;
        }
        Ok(Bootstrapped {
            member,
            is_created: false,
        })
    }

    /// Initializes the meta group with this node as its only voter, and registers the cluster.
    async fn init_cluster(
        &self,
        cluster_id: ClusterId,
        state: RegistrationState,
    ) -> Result<(), EnterError> {
        if let Some(meta) = self.replicas.meta() {
            match meta.raft.initialize(BTreeSet::from([FIRST_NODE])).await {
                Ok(()) | Err(RaftError::AlreadyInitialized { .. }) => {}
                Err(error) => return Err(EnterError::Initialize(error)),
            }
        }
        let command = Command::InitCluster {
            cluster_id,
            first_node: self.info.registration(state.token),
            level: self.level,
        };
        let proposed = tokio::time::timeout(BOOTSTRAP_MAX, self.proposer.propose(command.into()));
        let error = match proposed.await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => ProposeMetaError::Unavailable {
                reason: Reason::Timeout,
                text: format!("the meta group elected no leader within {BOOTSTRAP_MAX:?}"),
            },
        };
        Err(EnterError::Propose(error))
    }

    /// Joins a cluster through the seeds. Returns whether one of them accepted the node.
    async fn join(&self) -> Result<bool, EnterError> {
        let member = match self.seeds.register().await? {
            SeedAnswer::Member(member) => member,
            SeedAnswer::VersionTooOld(text) => return Err(EnterError::VersionTooOld { text }),
            SeedAnswer::None => return Ok(false),
        };
        self.write_identity(member).await?;
        self.meta_replica.start(member, Phase::Joining).await?;
        Ok(true)
    }

    /// Whether the data directory states a membership, even if the node has not started with it.
    pub(crate) fn has_identity(&self) -> bool {
        self.stored_member().is_some()
    }

    /// The membership that the data directory states.
    fn stored_member(&self) -> Option<Member> {
        let Identity {
            cluster_id,
            node_id,
        } = self.storage.identity()?;
        Some(Member {
            cluster: cluster_id,
            node: node_id,
        })
    }

    async fn write_identity(&self, member: Member) -> Result<(), EnterError> {
        let storage = self.storage.clone();
        let identity = Identity {
            cluster_id: member.cluster,
            node_id: member.node,
        };
        run_blocking(move || storage.write_identity(&identity))
            .await
            .ok_or(EnterError::Stopping)?
            .map_err(EnterError::Identity)
    }
}
