//! How a node comes to belong to a cluster: it does already, it is told to begin one, or it asks
//! its seeds. It never begins one by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lograft_core::limits::{BOOTSTRAP_MAX, JOIN_INTERVAL, META_SEGMENT_MAX_BYTES};
use lograft_core::metadata::{Command, Registration, RegistrationToken};
use lograft_core::{ClusterId, GroupId, LogIndex, NodeId, Reason};
use lograft_raft::{GroupConfig, RaftError, RaftGroup};
use lograft_storage::{GroupLog, GroupOptions, Identity, OpenError, Recovered, StorageError};
use tracing::{error, info, warn};

use super::Control;
use super::registration::{Phase, RegistrationError, Ticket};
use crate::error_text::error_chain;
use crate::health::Readiness;
use crate::identity::Member;
use crate::serving::meta_group::{ProposeMeta, ProposeMetaError};
use crate::serving::replica::MetaReplica;
use crate::state_machine::MetaMachine;

/// The node that begins a cluster.
const FIRST: NodeId = NodeId(1);

/// Why a node does not come to belong to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// It belongs to another one.
    #[error("this node belongs to cluster {actual}, not {asked}")]
    OtherCluster {
        /// Where it belongs.
        actual: ClusterId,
        /// Where it was to belong.
        asked: ClusterId,
    },
    /// Its seeds knew a cluster, and it joined that.
    #[error("this node has just joined cluster {joined} through its seeds")]
    Joined {
        /// The cluster.
        joined: ClusterId,
    },
    /// The registration file cannot be used.
    #[error("reading or writing the registration")]
    Registration(#[from] RegistrationError),
    /// The identity cannot be written.
    #[error("writing the identity")]
    Identity(#[source] StorageError),
    /// The meta group's log cannot be opened.
    #[error("opening the meta group's log")]
    Open(#[source] OpenError),
    /// The meta group's log is gone, and with it what this node has voted for.
    #[error(
        "the log of the meta group is gone: decommission node {node} and start with an empty data directory"
    )]
    Wiped {
        /// The node.
        node: NodeId,
    },
    /// The meta group's replica does not start.
    #[error("starting the meta group")]
    Start(#[source] RaftError),
    /// The first command was not carried out.
    #[error("registering the cluster")]
    Propose(#[source] ProposeMetaError),
    /// Blocking work was cancelled: the node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl EnterError {
    /// Its place in the table of errors.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::OtherCluster { .. } => Reason::ClusterMismatch,
            Self::Joined { .. } => Reason::AlreadyBootstrapped,
            Self::Propose(_) => Reason::Timeout,
            Self::Stopping => Reason::NotReady,
            _ => Reason::Internal,
        }
    }
}

/// What a bootstrap came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrapped {
    /// The node's place.
    pub member: Member,
    /// Whether the cluster is new.
    pub is_created: bool,
}

impl Control {
    /// Returns once the node belongs to a cluster.
    pub(super) async fn enter(&self) {
        while self.member().is_none() {
            match self.enter_once().await {
                Ok(true) => return,
                Ok(false) => {
                    let text = "it belongs to no cluster: bootstrap it, or give it seeds";
                    self.set_readiness(Readiness::Waiting(text.to_owned()));
                }
                Err(error) => {
                    let text = error_chain(&error);
                    error!("cannot enter a cluster: {text}");
                    self.set_readiness(Readiness::Waiting(text));
                }
            }
            tokio::time::sleep(JOIN_INTERVAL).await;
        }
    }

    async fn enter_once(&self) -> Result<bool, EnterError> {
        let _entering = self.entering.lock().await;
        if self.member().is_some() {
            return Ok(true);
        }
        let Some(Identity {
            cluster_id,
            node_id,
        }) = self.parts().storage.identity()
        else {
            return self.join_once().await;
        };
        let ticket = self.load_ticket().await?;
        self.become_member(
            Member {
                cluster: cluster_id,
                node: node_id,
            },
            ticket.phase,
        )
        .await?;
        if let Phase::Bootstrapping(cluster_id) = ticket.phase {
            self.init_cluster(cluster_id, ticket).await?;
        }
        Ok(true)
    }

    /// Begins a cluster on this node, which must be empty and have no seeds that know of one.
    /// With the id of the cluster that it belongs to it changes nothing.
    pub async fn bootstrap(&self, asked: ClusterId) -> Result<Bootstrapped, EnterError> {
        let _entering = self.entering.lock().await;
        if let Some(member) = self.member() {
            let actual = member.cluster;
            if actual != asked {
                return Err(EnterError::OtherCluster { actual, asked });
            }
            let ticket = self.load_ticket().await?;
            if self.view().load().cluster_id().is_none() && ticket.phase == begins(asked) {
                self.init_cluster(asked, ticket).await?;
            }
            return Ok(Bootstrapped {
                member,
                is_created: false,
            });
        }
        if let Some(Identity {
            cluster_id: actual, ..
        }) = self.parts().storage.identity()
        {
            // It has not managed to start with it yet: see its readiness.
            return Err(EnterError::OtherCluster { actual, asked });
        }
        if self.join_once().await? {
            let joined = self.member().map_or(asked, |member| member.cluster);
            return Err(EnterError::Joined { joined });
        }
        // From here on a restart carries on by itself: the node was told to.
        let mut ticket = self.load_ticket().await?;
        ticket.phase = begins(asked);
        self.store_ticket(ticket).await?;
        let member = Member {
            cluster: asked,
            node: FIRST,
        };
        self.write_identity(member).await?;
        self.become_member(member, ticket.phase).await?;
        self.init_cluster(asked, ticket).await?;
        info!(cluster = %asked, "a new cluster, this is node {FIRST}");
        Ok(Bootstrapped {
            member,
            is_created: true,
        })
    }

    async fn init_cluster(&self, cluster_id: ClusterId, ticket: Ticket) -> Result<(), EnterError> {
        if let Some(meta) = self.replicas().meta() {
            match meta.raft.initialize(BTreeSet::from([FIRST])).await {
                Ok(()) | Err(RaftError::AlreadyInitialized { .. }) => {}
                Err(error) => return Err(EnterError::Start(error)),
            }
        }
        let first_node = self.registration(ticket.token);
        let command = Command::InitCluster {
            cluster_id,
            first_node,
        };
        let outcome = tokio::time::timeout(BOOTSTRAP_MAX, self.propose(command)).await;
        match outcome {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(EnterError::Propose(error)),
            Err(_) => {
                let text = "no leader in time".to_owned();
                let reason = Reason::Timeout;
                Err(EnterError::Propose(ProposeMetaError::Unavailable {
                    reason,
                    text,
                }))
            }
        }
    }

    /// Opens the meta group and takes part in it.
    pub(super) async fn become_member(
        &self,
        member: Member,
        phase: Phase,
    ) -> Result<(), EnterError> {
        let (log, recovered) = self.open_meta().await?;
        if recovered.created && phase == Phase::Member {
            // An empty log under an old identity: it must not vote, it has voted before.
            let _ = self.parts().storage.remove_group(GroupId::META);
            return Err(EnterError::Wiped { node: member.node });
        }
        if let Some(torn) = recovered.torn {
            warn!(index = %torn.index, "the end of the meta log was torn and is cut off");
        }
        let last_life = log.last_id().map(|id| id.index);
        let config = GroupConfig {
            group: GroupId::META,
            node: member.node,
            timing: self.parts().timing,
        };
        let fatal = Arc::clone(&self.parts().fatal);
        let machine = Box::new(MetaMachine::new(self.view().clone(), fatal));
        let transport = self.transport(member);
        let raft = match RaftGroup::start(config, log.clone(), machine, transport).await {
            Ok(raft) => raft,
            Err(error) => {
                // So that the next attempt can open it.
                let _ = self.parts().storage.close_group(GroupId::META);
                return Err(EnterError::Start(error));
            }
        };
        self.watch_until_current(&raft, last_life);
        self.watch_group(&raft);
        self.replicas().set_meta(MetaReplica { raft, log });
        self.member.send_replace(Some(member));
        info!(cluster = %member.cluster, node = %member.node, "this node is a member");
        Ok(())
    }

    async fn open_meta(&self) -> Result<(GroupLog, Recovered), EnterError> {
        let storage = self.parts().storage.clone();
        let options = GroupOptions {
            segment_max_bytes: Some(META_SEGMENT_MAX_BYTES),
        };
        let open = move || storage.open_group(GroupId::META, options);
        blocking(open).await?.map_err(EnterError::Open)
    }

    /// Notes when the view shows all that the last life of this node can have applied. Before
    /// that it may show partitions here that have gone, and not those that have come.
    fn watch_until_current(&self, raft: &RaftGroup, last_life: Option<LogIndex>) {
        let Some(last_life) = last_life else {
            self.is_view_current.store(true, Ordering::Release);
            return;
        };
        let mut status = raft.watch();
        let is_current = Arc::clone(&self.is_view_current);
        let wake = Arc::clone(&self.wake);
        tokio::spawn(async move {
            let caught_up = |id: &lograft_core::LogId| id.index >= last_life;
            if status
                .wait_for(|now| now.applied.as_ref().is_some_and(caught_up))
                .await
                .is_ok()
            {
                is_current.store(true, Ordering::Release);
                wake.notify_one();
            }
        });
    }

    pub(super) async fn write_identity(&self, member: Member) -> Result<(), EnterError> {
        let storage = self.parts().storage.clone();
        let identity = Identity {
            cluster_id: member.cluster,
            node_id: member.node,
        };
        let write = move || storage.write_identity(&identity);
        blocking(write).await?.map_err(EnterError::Identity)
    }

    /// The node's ticket; drawn if it has none.
    pub(super) async fn load_ticket(&self) -> Result<Ticket, EnterError> {
        let (fs, dir) = (Arc::clone(&self.parts().fs), self.parts().data_dir.clone());
        let load = move || {
            if let Some(ticket) = Ticket::load(&*fs, &dir)? {
                return Ok(ticket);
            }
            let ticket = Ticket::draw(&*fs);
            ticket.store(&*fs, &dir)?;
            Ok(ticket)
        };
        let loaded: Result<Ticket, RegistrationError> = blocking(load).await?;
        Ok(loaded?)
    }

    pub(super) async fn store_ticket(&self, ticket: Ticket) -> Result<(), EnterError> {
        let (fs, dir) = (Arc::clone(&self.parts().fs), self.parts().data_dir.clone());
        Ok(blocking(move || ticket.store(&*fs, &dir)).await??)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }

    /// Writes down that this node is a member, for good.
    pub(super) async fn settle(&self) -> Result<(), EnterError> {
        let ticket = self.load_ticket().await?;
        if ticket.phase != Phase::Member {
            self.store_ticket(Ticket {
                phase: Phase::Member,
                ..ticket
            })
            .await?;
        }
        self.is_settled.store(true, Ordering::Release);
        Ok(())
    }

    /// What this node says of itself.
    pub(super) fn registration(&self, token: RegistrationToken) -> Registration {
        let about = self.parts().about.clone();
        Registration {
            token,
            name: about.name,
            client_address: about.client_address,
            peer_address: about.peer_address,
            zone: about.zone,
        }
    }
}

const fn begins(cluster: ClusterId) -> Phase {
    Phase::Bootstrapping(cluster)
}

/// Runs what waits for the disk on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EnterError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| EnterError::Stopping)
}
