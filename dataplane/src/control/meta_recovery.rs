//! Recovery of the meta group after the loss of its majority: one node becomes the only voter in a
//! new recovery epoch, the nodes that it reaches replicate the metadata from it again, and those
//! that it does not reach are lost. [Why that is
//! safe](../../docs/adr/2026-11-30-recovery-epochs.md).
//!
//! The log of the meta group is changed at the start of a process alone, as a damaged one is: in a
//! running node, the floors above would continue with metadata that no log backs.

use std::collections::BTreeSet;
use std::sync::Arc;

use lograft_core::limits::{META_RECOVERY_RESTART_DELAY, RECOVER_METADATA_MAX};
use lograft_core::metadata::{Command, MetaError, Metadata};
use lograft_core::{FeatureLevel, GroupId, NodeId, Reason, RecoveryEpoch, majority_of};
use lograft_raft::{GroupStatus, RaftGroup};
use lograft_storage::{GroupOptions, OpenError, Storage, StorageError};
use tracing::{error, info, warn};

use super::cluster_report::ClusterReporter;
use super::cluster_report::reports::Reports;
use super::local_member::LocalMember;
use super::meta_intent::{MetaIntent, MetaIntentError, MetaIntentFile};
use super::node_report::ReplicaReport;
use super::peer_calls::{MetaRecovery, PeerCalls};
use super::recovery::{SurvivorError, Survivors};
use super::registration::{Phase, RegistrationError, RegistrationFile, RegistrationState};
use super::task_registry::{TaskKind, TaskRegistry};
use crate::blocking::run_blocking;
use crate::clock::Clock;
use crate::error::ApiError;
use crate::error_text::error_chain;
use crate::fatal::{FatalError, FatalSink};
use crate::identity::Member;
use crate::recovery_epochs::RecoveryEpochs;
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

/// The level from which on all nodes know recovery epochs.
const RECOVERY_LEVEL: FeatureLevel = FeatureLevel(2);

/// Recovers the metadata on the decision of an operator. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MetaRecoveryAdmin {
    pub(crate) member: LocalMember,
    pub(crate) view: MetaView,
    pub(crate) replicas: ReplicaMap,
    pub(crate) cluster: Arc<ClusterReporter>,
    pub(crate) recoveries: RecoveryEpochs,
    pub(crate) intents: MetaIntentFile,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fatal: Arc<dyn FatalSink>,
}

impl MetaRecoveryAdmin {
    /// Recovers the metadata from any node.
    pub(crate) async fn recover(
        &self,
        node: Option<NodeId>,
        is_dry_run: bool,
    ) -> Result<MetaRecovery, ApiError> {
        let me = self.member.node();
        let Some(node) = node.filter(|node| me != Some(*node)) else {
            return self.recover_own(is_dry_run).await;
        };
        let Some(route) = self.member.route_to(node) else {
            return Err(ApiError::unknown_node(node));
        };
        let asked = self
            .peers
            .recover_metadata(route, is_dry_run, RECOVER_METADATA_MAX);
        asked.await.map_err(|error| {
            error.into_refusal(node).unwrap_or_else(|error| {
                let text = format!("cannot reach node {node}: {error}");
                ApiError::new(Reason::NotReady, text).with("node", node)
            })
        })
    }

    /// Makes this node the only voter, after a restart of its process.
    pub(crate) async fn recover_own(&self, is_dry_run: bool) -> Result<MetaRecovery, ApiError> {
        let not_ready = |text: &str| ApiError::new(Reason::NotReady, text);
        let (Some(me), Some(meta)) = (self.member.node(), self.replicas.meta()) else {
            return Err(not_ready("this node has no metadata"));
        };
        if let Some(learned) = self.recoveries.learned(GroupId::META) {
            let text = format!(
                "the metadata were recovered elsewhere at epoch {}",
                learned.epoch
            );
            return Err(ApiError::new(Reason::OtherRecoveryEpoch, text));
        }
        let reports = self.cluster.collect().await;
        let metadata = self.view.load();
        let own = self.recoveries.own(GroupId::META);
        let recovery = assess(&metadata, (me, own), &meta.raft.status(), &reports)?;
        if is_dry_run {
            return Ok(recovery);
        }
        let MetaRecovery { epoch, lost, .. } = &recovery;
        let intent = MetaIntent::Survive {
            epoch: *epoch,
            at_ms: self.clock.now_ms(),
            lost: lost.clone(),
        };
        let stored = self.intents.store(&intent).await;
        stored.map_err(|error| ApiError::new(Reason::Internal, error_chain(&error)))?;
        warn!(%epoch, ?lost, "metadata are recovered from this node, restarting it");
        restart_soon(Arc::clone(&self.fatal), *epoch);
        Ok(recovery)
    }
}

/// Ends the process, once the reply about it is sent.
fn restart_soon(fatal: Arc<dyn FatalSink>, epoch: RecoveryEpoch) {
    tokio::spawn(async move {
        tokio::time::sleep(META_RECOVERY_RESTART_DELAY).await;
        fatal.report(FatalError::MetaRecovery { epoch });
    });
}

/// Whether and how the metadata may be recovered from `me`, whose files have the epoch `own`.
fn assess(
    metadata: &Metadata,
    (me, own): (NodeId, RecoveryEpoch),
    status: &GroupStatus,
    reports: &Reports,
) -> Result<MetaRecovery, ApiError> {
    let finalized = metadata.finalized_level();
    if finalized < RECOVERY_LEVEL {
        return Err(ApiError::from(MetaError::NotFinalized {
            feature: "recover_metadata".to_owned(),
            level: RECOVERY_LEVEL,
            finalized,
        }));
    }
    let others = metadata.members().map(|node| node.id);
    let others: Vec<NodeId> = others.filter(|node| *node != me).collect();
    let report = |node: NodeId| reports.replica(node, GroupId::META);
    let intact = |node: &NodeId| {
        let is_own = *node == me;
        is_own || report(*node).is_some_and(|report| !report.corrupt && !report.fenced)
    };
    let has_majority = |voters: &BTreeSet<NodeId>| {
        let count = voters.iter().filter(|node| intact(node)).count();
        !voters.is_empty() && count >= majority_of(voters.len())
    };
    let joint = status.joint.as_ref();
    let is_whole = has_majority(&status.voters) && joint.is_none_or(has_majority);
    if status.ready || reports.leader(GroupId::META).is_some() || is_whole {
        let text = "a majority of the meta group answers: it needs no recovery";
        return Err(ApiError::new(Reason::MajorityIntact, text));
    }
    let length = |report: &ReplicaReport| (report.last_term, report.last_index);
    let own_length = status
        .last
        .map_or_else(Default::default, |last| (last.term, last.index));
    for node in &others {
        let Some(other) = report(*node).filter(|report| !report.corrupt) else {
            continue;
        };
        if other.recovery_epoch > own || length(other) > own_length {
            let text = format!("node {node} has newer metadata: recover them from it");
            return Err(ApiError::new(Reason::NotReady, text).with("node", *node));
        }
    }
    let generation = own.generation() + 1;
    let epoch = RecoveryEpoch::new(generation, me)
        .ok_or_else(|| ApiError::new(Reason::LimitExceeded, "the id of this node is too large"))?;
    let (following, lost) = others
        .into_iter()
        .partition(|node| reports.is_reachable(*node));
    Ok(MetaRecovery {
        node: me,
        epoch,
        last: status.last,
        following,
        lost,
    })
}

/// Error of carrying out an intent at the start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetaStartError {
    /// This node was lost by a recovery elsewhere.
    #[error("recovered at epoch {epoch} elsewhere: this disk must be wiped")]
    Lost {
        /// The epoch.
        epoch: RecoveryEpoch,
    },
    /// The intent cannot be read or stored.
    #[error("cannot use the intent of the metadata's recovery")]
    Intent(#[from] MetaIntentError),
    /// The registration file cannot be used.
    #[error("cannot use the registration file")]
    Registration(#[from] RegistrationError),
    /// The log cannot be opened.
    #[error("cannot open the log of the meta group")]
    Open(#[from] OpenError),
    /// The files of the log cannot be deleted or closed.
    #[error("cannot change the files of the meta group")]
    Storage(#[from] StorageError),
    /// The log cannot be made that of the only voter.
    #[error(transparent)]
    Survivor(#[from] SurvivorError),
    /// The epoch cannot be stored.
    #[error("cannot store the recovery epoch")]
    Epoch(#[from] crate::recovery_epochs::RecoveryEpochError),
    /// The runtime is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

/// Carries out intents before raft starts on the log of the meta group.
#[derive(Clone)]
pub(crate) struct MetaRecoveryStart {
    pub(crate) intents: MetaIntentFile,
    pub(crate) storage: Storage,
    pub(crate) survivors: Survivors,
    pub(crate) registration: RegistrationFile,
}

impl MetaRecoveryStart {
    /// Carries out the intent, if there is one. Returns the state of the registration afterwards.
    /// May be repeated after an error.
    pub(crate) async fn prepare(
        &self,
        member: Member,
        state: RegistrationState,
    ) -> Result<RegistrationState, MetaStartError> {
        match self.intents.load().await? {
            None | Some(MetaIntent::Done) => Ok(state),
            Some(MetaIntent::Lost { epoch }) => Err(MetaStartError::Lost { epoch }),
            Some(MetaIntent::Follow { epoch }) => self.follow(epoch, state).await,
            Some(MetaIntent::Survive { epoch, .. }) => {
                self.survive(epoch, member).await?;
                Ok(state)
            }
        }
    }

    /// The log of a former epoch may have other commands than the survivor's, and its votes are
    /// those of a former voter: it is given up as a whole, and the node joins as a learner.
    async fn follow(
        &self,
        epoch: RecoveryEpoch,
        state: RegistrationState,
    ) -> Result<RegistrationState, MetaStartError> {
        let phase = Phase::Joining;
        let state = RegistrationState { phase, ..state };
        // First: from then on, an empty log is expected.
        self.registration.store(state).await?;
        if self.survivors.epochs.epochs().own(GroupId::META) < epoch {
            let storage = self.storage.clone();
            let removing = move || {
                storage.remove_group(GroupId::META)?;
                storage.remove_set_aside(GroupId::META)
            };
            run_blocking(removing)
                .await
                .ok_or(MetaStartError::Stopping)??;
            self.survivors.epochs.set(GroupId::META, epoch).await?;
        }
        self.intents.store(&MetaIntent::Done).await?;
        warn!(%epoch, "metadata were recovered elsewhere, replicating them again");
        Ok(state)
    }

    async fn survive(&self, epoch: RecoveryEpoch, member: Member) -> Result<(), MetaStartError> {
        if self.survivors.epochs.epochs().own(GroupId::META) >= epoch {
            return Ok(());
        }
        let storage = self.storage.clone();
        let opening = move || storage.open_group(GroupId::META, GroupOptions::default());
        let (log, recovered) = run_blocking(opening)
            .await
            .ok_or(MetaStartError::Stopping)??;
        let made = if recovered.created {
            Err(SurvivorError::Empty)
        } else {
            let group = (GroupId::META, epoch);
            self.survivors
                .become_only_voter(group, member.node, &log)
                .await
        };
        let storage = self.storage.clone();
        run_blocking(move || storage.close_group(GroupId::META))
            .await
            .ok_or(MetaStartError::Stopping)??;
        made?;
        warn!(%epoch, "this node is the only voter of the meta group");
        Ok(())
    }
}

/// Follows recoveries of the meta group while the node runs.
#[derive(Clone)]
pub(crate) struct MetaRecoveryCheck {
    pub(crate) recoveries: RecoveryEpochs,
    pub(crate) intents: MetaIntentFile,
    pub(crate) replicas: ReplicaMap,
    pub(crate) proposer: MetaHandle,
    pub(crate) tasks: TaskRegistry,
    pub(crate) fatal: Arc<dyn FatalSink>,
}

impl MetaRecoveryCheck {
    /// Gives up the log of the meta group if a later epoch of it is known, and records the recovery
    /// in the metadata if this node has survived.
    pub(crate) fn check(&self, metadata: &Metadata) {
        if let Some(learned) = self.recoveries.learned(GroupId::META) {
            let this = self.clone();
            let epoch = learned.epoch;
            let intent = if learned.is_lost {
                MetaIntent::Lost { epoch }
            } else {
                MetaIntent::Follow { epoch }
            };
            self.tasks.spawn_once(TaskKind::MetaRecovery, async move {
                this.give_up(intent, epoch).await
            });
            return;
        }
        let Some(meta) = self.replicas.meta() else {
            return;
        };
        if is_unrecorded(&meta.raft, metadata) && meta.raft.watch().borrow().ready {
            let this = self.clone();
            self.tasks
                .spawn_once(TaskKind::MetaRecovery, async move { this.record().await });
        }
    }

    async fn give_up(&self, intent: MetaIntent, epoch: RecoveryEpoch) -> bool {
        match self.intents.store(&intent).await {
            Ok(()) => {
                error!(%epoch, "metadata were recovered elsewhere, restarting the node");
                self.fatal.report(FatalError::MetaRecovery { epoch });
                true
            }
            Err(error) => {
                let error = error_chain(&error);
                warn!(
                    error,
                    "cannot store that the metadata were recovered elsewhere, will retry"
                );
                false
            }
        }
    }

    async fn record(&self) -> bool {
        let intent = match self.intents.load().await {
            Ok(Some(MetaIntent::Survive { epoch, at_ms, lost })) => {
                Command::RecoverMetadata { epoch, at_ms, lost }
            }
            Ok(_) => return false,
            Err(error) => {
                let error = error_chain(&error);
                warn!(
                    error,
                    "cannot read the intent of the metadata's recovery, will retry"
                );
                return false;
            }
        };
        if let Err(error) = self.proposer.propose(intent.into()).await {
            let error = error_chain(&error);
            warn!(
                error,
                "cannot record the recovery of the metadata, will retry"
            );
            return false;
        }
        info!("recovery of the metadata is done");
        let stored = self.intents.store(&MetaIntent::Done).await;
        if let Err(error) = &stored {
            let error = error_chain(error);
            warn!(
                error,
                "cannot store that the recovery of the metadata is done"
            );
        }
        stored.is_ok()
    }
}

/// Whether the meta group is of a later epoch than its metadata say: its leader must record that
/// before anything else, because no id of the former epoch may be used again.
pub(crate) fn is_unrecorded(raft: &RaftGroup, metadata: &Metadata) -> bool {
    raft.epoch() > metadata.recovery_epoch(GroupId::META)
}

#[cfg(test)]
mod tests {
    use lograft_core::{LogId, LogIndex, Term};

    use super::*;
    use crate::control::test_metadata::{apply, cluster, ids};
    use crate::control::test_status::{leading, reports};

    fn meta(last_term: u64, last_index: u64) -> ReplicaReport {
        ReplicaReport {
            group: GroupId::META,
            last_term: Term(last_term),
            last_index: LogIndex(last_index),
            ..ReplicaReport::default()
        }
    }

    /// Node 1 of five, of which 1, 2 and 3 vote, with a log up to entry 9 of term 4.
    fn assessed(replicas: &[(u64, ReplicaReport)]) -> Result<MetaRecovery, Option<Reason>> {
        let mut metadata = cluster(5);
        let level = FeatureLevel::CURRENT;
        apply(&mut metadata, &Command::FinalizeLevel { level });
        let mut status = leading(1, &[1, 2, 3]);
        status.ready = false;
        status.last = Some(LogId {
            term: Term(4),
            index: LogIndex(9),
        });
        let me = (NodeId(1), RecoveryEpoch::ZERO);
        let assessed = assess(&metadata, me, &status, &reports(replicas));
        assessed.map_err(|error| error.reason())
    }

    #[test]
    fn the_metadata_are_recovered_without_a_majority_from_the_node_with_the_newest_ones() {
        let alone = assessed(&[]).unwrap();
        assert_eq!(alone.epoch, RecoveryEpoch::new(1, NodeId(1)).unwrap());
        let all: Vec<NodeId> = ids(&[2, 3, 4, 5]);
        assert_eq!((alone.following, alone.lost), (Vec::new(), all));
        let with_learners = [(4, meta(4, 9)), (5, meta(4, 3))];
        let recovery = assessed(&with_learners).unwrap();
        assert_eq!(recovery.following, [NodeId(4), NodeId(5)]);
        assert_eq!(recovery.lost, [NodeId(2), NodeId(3)]);
        let newer = assessed(&[(4, meta(4, 10))]);
        assert_eq!(newer, Err(Some(Reason::NotReady)));
        let later_term = assessed(&[(4, meta(5, 1))]);
        assert_eq!(later_term, Err(Some(Reason::NotReady)));
        let recovered = ReplicaReport {
            recovery_epoch: RecoveryEpoch::new(1, NodeId(4)).unwrap(),
            ..meta(1, 1)
        };
        let elsewhere = assessed(&[(4, recovered)]);
        assert_eq!(elsewhere, Err(Some(Reason::NotReady)));
    }

    #[test]
    fn a_majority_that_answers_is_not_overruled_and_damaged_voters_are_none() {
        let majority = assessed(&[(2, meta(4, 9))]);
        assert_eq!(majority, Err(Some(Reason::MajorityIntact)));
        let damaged = ReplicaReport {
            corrupt: true,
            ..meta(0, 0)
        };
        assert!(assessed(&[(2, damaged)]).is_ok());
        let leader = ReplicaReport {
            ready_leader: true,
            leader: Some(NodeId(5)),
            ..meta(4, 9)
        };
        let led = assessed(&[(5, leader)]);
        assert_eq!(led, Err(Some(Reason::MajorityIntact)));
    }
}
