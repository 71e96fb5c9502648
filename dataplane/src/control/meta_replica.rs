//! Starts this node's replica of the meta group. With that the node is a member of its cluster.

use lograft_core::limits::{
    CATCH_UP_TARGET_MAX, META_JOIN_SILENCE_MAX, META_SEGMENT_MAX_BYTES, RECONCILE_RETRY_INTERVAL,
};
use lograft_core::{FeatureLevel, GroupId, LogId};
use lograft_raft::{RaftError, RaftGroup};
use lograft_storage::{
    GroupLog, GroupOptions, NewerFormat, OpenError, Recovered, Storage, StorageError,
};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::catch_up::CatchUp;
use super::disk_fence::is_enforced;
use super::group_starter::{GroupStarter, LogOrigin, OpenedLog};
use super::local_member::LocalMember;
use super::meta_repair::is_set_aside;
use super::peer_calls::PeerCalls;
use super::registration::Phase;
use super::repair::SetAside;
use crate::blocking::run_blocking;
use crate::fatal::{FatalError, FatalSink};
use crate::identity::Member;
use crate::serving::replica::{MetaReplica, ReplicaMap};
use crate::state_machine::MetaMachine;
use crate::state_machine::MetaView;

/// Error of starting the meta group's replica.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetaReplicaError {
    /// The log cannot be opened.
    #[error("cannot open the log of the meta group")]
    Open(#[source] OpenError),
    /// The log of a member is empty, so its votes are lost.
    #[error(
        "the log of the meta group is gone: decommission node {} and restart it with an empty \
         data directory",
        member.node
    )]
    Wiped {
        /// The membership that the data directory still states.
        member: Member,
    },
    /// The log of this node was damaged and set aside, and the group has not evicted the node yet.
    #[error("the log of the meta group was damaged and set aside")]
    SetAside,
    /// The directories of the logs cannot be read.
    #[error("cannot list the logs")]
    List(#[source] StorageError),
    /// Raft does not start.
    #[error("cannot start the meta group")]
    Start(#[source] RaftError),
    /// The runtime is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

/// Starts the meta group's replica.
#[derive(Clone)]
pub(crate) struct MetaReplicaStarter {
    pub(crate) storage: Storage,
    pub(crate) aside: SetAside,
    pub(crate) groups: GroupStarter,
    pub(crate) view: MetaView,
    pub(crate) catch_up: CatchUp,
    pub(crate) replicas: ReplicaMap,
    pub(crate) member: LocalMember,
    /// The newest feature level that this node knows.
    pub(crate) level: FeatureLevel,
    pub(crate) fatal: Arc<dyn FatalSink>,
    pub(crate) peers: Arc<dyn PeerCalls>,
}

/// The entry of the leader's log up to which a node has to follow that joins the meta group,
/// confirmed by a majority. Asks until a leader says it. `None` at the end of the replica.
async fn end_of_leader(
    peers: &dyn PeerCalls,
    member: &LocalMember,
    raft: &RaftGroup,
) -> Option<LogId> {
    let status = raft.watch();
    while status.has_changed().is_ok() {
        let leader = status.borrow().leader;
        if let Some(route) = leader.and_then(|leader| member.route_to(leader))
            && Some(route.to) != member.node()
        {
            let asked = peers.catch_up_target(route, GroupId::META, CATCH_UP_TARGET_MAX);
            if let Ok(Some(target)) = asked.await {
                return Some(target);
            }
        }
        tokio::time::sleep(RECONCILE_RETRY_INTERVAL).await;
    }
    None
}

/// Returns once the leader cannot be waited for: leaders of the cluster's feature level do not know
/// the question, or there was none for `META_JOIN_SILENCE_MAX`, so that this node may be a voter
/// without which there will be none.
async fn is_in_vain(view: &MetaView, raft: &RaftGroup) {
    let mut heard = Instant::now();
    while is_enforced(&view.load()) != Some(false) && heard.elapsed() < META_JOIN_SILENCE_MAX {
        if raft.watch().borrow().leader.is_some() {
            heard = Instant::now();
        }
        tokio::time::sleep(RECONCILE_RETRY_INTERVAL).await;
    }
}

impl MetaReplicaStarter {
    /// Opens the meta group's log, starts raft over it and publishes the membership. May be
    /// repeated after an error.
    pub(crate) async fn start(&self, member: Member, phase: Phase) -> Result<(), MetaReplicaError> {
        let storage = self.storage.clone();
        let set_aside = run_blocking(move || is_set_aside(&storage)).await;
        if set_aside
            .ok_or(MetaReplicaError::Stopping)?
            .map_err(MetaReplicaError::List)?
        {
            return Err(MetaReplicaError::SetAside);
        }
        let (log, recovered) = self.open().await?;
        // A member's meta log holds its votes and commands that it has acknowledged. With an empty
        // log it could vote a second time in a term (double vote), and a quorum that counts it
        // could elect a leader without committed entries. So a member whose log was wiped does not
        // start: it is decommissioned, and its node joins under a new id.
        if recovered.created && phase == Phase::Member {
            let _ = self.storage.remove_group(GroupId::META);
            return Err(MetaReplicaError::Wiped { member });
        }
        if let Some(torn) = recovered.torn {
            warn!(group = %GroupId::META, index = %torn.index, "torn log tail truncated");
        }
        let last = log.last_id();
        let fatal = Arc::clone(&self.fatal);
        let machine = Box::new(MetaMachine::new(self.view.clone(), self.level, fatal));
        let opened = OpenedLog {
            log: log.clone(),
            origin: LogOrigin::Expected,
            is_held: phase == Phase::Joining,
        };
        let group = (GroupId::META, &[][..]);
        let started = self.groups.start(member, group, opened, machine);
        let raft = match started.await {
            Ok(raft) => raft,
            Err(error) => {
                if let Some(damage) = log.damage() {
                    let why = damage.to_string();
                    self.aside.close_and_move(GroupId::META, &why).await;
                    return Err(MetaReplicaError::SetAside);
                }
                // The next attempt must be able to open the log.
                let _ = self.storage.close_group(GroupId::META);
                return Err(MetaReplicaError::Start(error));
            }
        };
        match last {
            Some(last) if phase != Phase::Joining => self.follow(&raft, last),
            _ => self.join(raft.clone(), (last, phase)).await?,
        }
        self.replicas.set_meta(MetaReplica { raft, log });
        self.replicas.set_corrupt(GroupId::META, None);
        self.member.set(member);
        info!(cluster = %member.cluster, node_id = %member.node, "node is a cluster member");
        Ok(())
    }

    /// Follows the metadata up to `last`, where the log ended at the start.
    fn follow(&self, raft: &RaftGroup, last: LogId) {
        let caught_up = self.catch_up.clone().follow(raft.watch(), last);
        let wake = Arc::clone(&self.groups.wake);
        tokio::spawn(async move {
            if caught_up.await {
                wake.notify_one();
            }
        });
    }

    /// Follows the metadata of the leader, and campaigns only after that.
    ///
    /// The log comes with all memberships that the group has ever had, and in the first ones this
    /// node may have been the only voter: it was, if it has bootstrapped the cluster. If the leader
    /// went silent in the middle, such a node would elect itself and lead a prefix of the metadata.
    ///
    /// A node that has replicas already must not act before it has all metadata either: older ones
    /// may not have them yet, and it would delete them.
    async fn join(
        &self,
        raft: RaftGroup,
        (last, phase): (Option<LogId>, Phase),
    ) -> Result<(), MetaReplicaError> {
        let storage = self.storage.clone();
        let groups = run_blocking(move || storage.groups()).await;
        let groups = groups
            .ok_or(MetaReplicaError::Stopping)?
            .map_err(MetaReplicaError::List)?;
        let has_replicas = groups.iter().any(|group| *group != GroupId::META);
        match last {
            Some(last) => self.follow(&raft, last),
            None if has_replicas => {}
            None => self.catch_up.set_done(),
        }
        if phase != Phase::Joining && !has_replicas {
            return Ok(());
        }
        let (peers, member, view) = (
            Arc::clone(&self.peers),
            self.member.clone(),
            self.view.clone(),
        );
        let (catch_up, groups) = (self.catch_up.clone(), self.groups.clone());
        tokio::spawn(async move {
            let end = end_of_leader(&*peers, &member, &raft);
            tokio::pin!(end);
            let target = tokio::select! {
                target = &mut end => target,
                () = is_in_vain(&view, &raft) => {
                    groups.release(raft.clone());
                    end.await
                }
            };
            let Some(target) = target else { return };
            if catch_up.follow(raft.watch(), target).await {
                groups.release(raft.clone());
                groups.wake.notify_one();
            }
        });
        Ok(())
    }

    async fn open(&self) -> Result<(GroupLog, Recovered), MetaReplicaError> {
        let storage = self.storage.clone();
        let options = GroupOptions {
            segment_max_bytes: Some(META_SEGMENT_MAX_BYTES),
        };
        run_blocking(move || storage.open_group(GroupId::META, options))
            .await
            .ok_or(MetaReplicaError::Stopping)?
            .map_err(|error| self.cannot_open(error))
    }

    /// Ends the node if a newer version wrote the log: no later attempt of this one succeeds.
    fn cannot_open(&self, error: OpenError) -> MetaReplicaError {
        match &error {
            OpenError::NewerFormat { newer, .. } => {
                let newer = NewerFormat::clone(newer);
                self.fatal.report(FatalError::NewerFormat(newer));
            }
            OpenError::Corrupt { damage, kept, .. } => {
                let path = kept.display();
                error!(%damage, %path, "log of the meta group is damaged, its files were set aside");
                return MetaReplicaError::SetAside;
            }
            _ => {}
        }
        MetaReplicaError::Open(error)
    }
}
