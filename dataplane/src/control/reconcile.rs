//! Reconciles the replicas on this node with the metadata: opens what is assigned to it, closes
//! and deletes what is not, and never serves a corrupt replica.

pub(crate) mod plan;

use std::sync::Arc;

use futures_util::StreamExt;
use lograft_core::limits::{
    COORDINATOR_SEGMENT_MAX_BYTES, CORRUPT_COPIES_MAX_BYTES, RECONCILE_RETRY_INTERVAL,
    REPLICAS_OPENING_MAX_COUNT,
};
use lograft_core::metadata::Partition;
use lograft_core::{DiskMark, GroupId, PartitionState};
use lograft_raft::{RaftError, StateMachine};
use lograft_storage::{GroupLog, GroupOptions, NewerFormat, OpenError, Storage};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use self::plan::{Assigned, Step, may_have_moved_away, plan};
use super::catch_up::CatchUp;
use super::disk_fence::is_enforced;
use super::group_starter::{GroupStarter, LogOrigin, OpenedLog};
use super::holdings::HoldingsReader;
use super::local_member::LocalMember;
use super::recovery::Survivors;
use super::repair::SetAside;
use crate::blocking::run_blocking;
use crate::error_text::error_chain;
use crate::fatal::{FatalError, FatalSink};
use crate::identity::Member;
use crate::serving::replica::{PartitionKey, Replica, ReplicaMap};
use crate::state_machine::{
    CoordinatorMachine, MetaView, PartitionMachine, SharedGroups, SharedState,
};

/// The reconcile loop.
#[derive(Clone)]
pub(crate) struct Reconciler {
    pub(crate) member: LocalMember,
    pub(crate) view: MetaView,
    pub(crate) catch_up: CatchUp,
    pub(crate) holdings: HoldingsReader,
    pub(crate) replicas: ReplicaMap,
    pub(crate) storage: Storage,
    pub(crate) aside: SetAside,
    pub(crate) groups: GroupStarter,
    pub(crate) survivors: Survivors,
    pub(crate) wake: Arc<Notify>,
    pub(crate) fatal: Arc<dyn FatalSink>,
}

impl Reconciler {
    /// Runs until dropped. Reconciles at each change of the metadata, and repeats after
    /// `RECONCILE_RETRY_INTERVAL` while a pass found something to do: its steps may have failed.
    pub(crate) async fn run(self) {
        let mut version = self.view.watch();
        let mut learned = self.survivors.epochs.epochs().watch_learned();
        loop {
            version.borrow_and_update();
            learned.borrow_and_update();
            let is_in_sync = match self.member.get() {
                Some(me) if self.catch_up.is_done() => self.reconcile(me).await,
                _ => false,
            };
            let retry = async {
                if is_in_sync {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(RECONCILE_RETRY_INTERVAL).await;
            };
            tokio::select! {
                changed = version.changed() => if changed.is_err() { return },
                changed = learned.changed() => if changed.is_err() { return },
                () = retry => {}
            }
        }
    }

    /// Plans and executes one pass. Returns whether there was nothing to do.
    async fn reconcile(&self, me: Member) -> bool {
        let (view, holdings) = (self.view.clone(), self.holdings.clone());
        let planning = move || Some(plan(&view.load(), me.node, &holdings.read()?));
        let Some(steps) = run_blocking(planning).await.flatten() else {
            return false;
        };
        let is_in_sync = steps.is_empty();
        futures_util::stream::iter(steps)
            .map(|step| self.execute(me, step))
            .buffer_unordered(REPLICAS_OPENING_MAX_COUNT)
            .collect::<()>()
            .await;
        is_in_sync
    }

    async fn execute(&self, me: Member, step: Step) {
        match step {
            Step::Open(assigned) => self.open(me, assigned).await,
            Step::Close(group) => self.close(group).await,
            Step::Recover(assigned) => self.recover(me, assigned).await,
            Step::Remove(group) => self.remove(group).await,
            Step::RemoveCopies(group) => self.remove_copies(group).await,
            Step::EmptyCopies(group) => self.empty_copies(group).await,
            Step::MarkCorrupt(group) => {
                let text = "its files were corrupt and have been set aside";
                self.replicas.set_corrupt(group, Some(text));
            }
        }
    }

    /// Closes a replica of a group that was recovered elsewhere. Its files stay.
    async fn close(&self, group: GroupId) {
        let Some(replica) = self.replicas.get(group) else {
            return;
        };
        warn!(%group, topic = %replica.topic, partition = %replica.partition,
            "group was recovered in a later epoch, closing the replica");
        self.replicas.remove(group);
        replica.raft.shutdown().await;
        let storage = self.storage.clone();
        if let Some(Err(error)) = run_blocking(move || storage.close_group(group)).await {
            warn!(%group, error = error_chain(&error), "cannot close the replica");
        }
    }

    /// Makes the surviving replica the only voter, and opens it in the new epoch.
    async fn recover(&self, me: Member, assigned: Assigned) {
        let group = assigned.group;
        self.close(group).await;
        let Some(opened) = self.open_log(me, &assigned).await else {
            return;
        };
        let recovered = self
            .survivors
            .recover(me.node, &assigned, &opened.log)
            .await;
        let storage = self.storage.clone();
        run_blocking(move || storage.close_group(group)).await;
        match recovered {
            Ok(()) => self.open(me, assigned).await,
            Err(error) => {
                let error = error_chain(&error);
                error!(%group, error, "cannot recover the group from this replica, will retry");
            }
        }
    }

    async fn open(&self, me: Member, assigned: Assigned) {
        let (group, epoch) = (assigned.group, assigned.epoch);
        // Before there are files. Of those that exist already, it is the epoch.
        if let Err(error) = self.survivors.epochs.set(group, epoch).await {
            let error = error_chain(&error);
            return warn!(%group, error, "cannot store the recovery epoch, will retry");
        }
        let Some(opened) = self.open_log(me, &assigned).await else {
            return;
        };
        let Assigned {
            group,
            epoch: _,
            replicas,
            topic,
            partition,
            is_coordinator,
        } = assigned;
        let state = SharedState::new(PartitionState::default());
        let groups = is_coordinator.then(SharedGroups::default);
        let fatal = Arc::clone(&self.fatal);
        let machine: Box<dyn StateMachine> = match &groups {
            Some(groups) => Box::new(CoordinatorMachine::new(group, groups.clone(), fatal)),
            None => Box::new(PartitionMachine::new(group, state.clone(), fatal)),
        };
        let log = opened.log.clone();
        let started = self.groups.start(me, (group, &replicas), opened, machine);
        let raft = match started.await {
            Ok(raft) => raft,
            Err(error) => return self.cannot_start(group, &log, &error).await,
        };
        let key = PartitionKey {
            group,
            topic: topic.into(),
            partition,
        };
        let is_joining = !raft.fence_stage().is_lifted();
        let replica = Replica::new(key, raft, log, (state, groups));
        self.replicas.insert(&Arc::new(replica));
        if is_joining {
            self.groups.marks.notify_joining();
        }
        self.wake.notify_one();
    }

    /// Handles a replica whose raft does not start. Damage met by the start (an entry to apply, a
    /// checkpoint) is damage like any other: the replica is set aside and repaired.
    async fn cannot_start(&self, group: GroupId, log: &GroupLog, error: &RaftError) {
        let text = error_chain(error);
        if log.damage().is_some() {
            self.aside.close_and_move(group, &text).await;
            return self.wake.notify_one();
        }
        error!(%group, error = text, "cannot start the replica");
        let _ = self.storage.close_group(group);
        if !error.is_out_of_resources() {
            self.replicas.set_corrupt(group, Some(&text));
        }
    }

    async fn open_log(&self, me: Member, assigned: &Assigned) -> Option<OpenedLog> {
        let Assigned {
            group,
            epoch: _,
            replicas: _,
            topic,
            partition,
            is_coordinator,
        } = assigned;
        let options = GroupOptions {
            segment_max_bytes: is_coordinator.then_some(COORDINATOR_SEGMENT_MAX_BYTES),
        };
        let (storage, id) = (self.storage.clone(), *group);
        let opening = move || {
            let is_repaired = has_copies(&storage, id);
            if is_repaired {
                make_room(&storage, id);
            }
            let opened = storage.open_group(id, options);
            (opened, is_repaired)
        };
        let (opened, is_repaired) = run_blocking(opening).await?;
        let (log, recovered) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.cannot_open(assigned, &error);
                return None;
            }
        };
        if let Some(torn) = recovered.torn {
            warn!(%group, topic, %partition, index = %torn.index, "torn log tail truncated");
        }
        // A crash may have come between the folder and its mark.
        let is_empty = recovered.created || log.last_id().is_none();
        let origin = if !is_empty || !self.has_started(*group) {
            LogOrigin::Expected
        } else if self.is_added(me, *group) {
            LogOrigin::Joins
        } else if may_have_moved_away(&self.view.load(), me.node, *group) {
            LogOrigin::MissingOrMoved
        } else if recovered.created && !is_repaired {
            LogOrigin::Missing
        } else {
            LogOrigin::Expected
        };
        Some(OpenedLog {
            log,
            origin,
            is_held: false,
        })
    }

    /// Whether the group has started, in a cluster whose nodes all mark the groups that they open.
    fn has_started(&self, group: GroupId) -> bool {
        let metadata = self.view.load();
        is_enforced(&metadata) == Some(true)
            && metadata
                .group(group)
                .is_some_and(|place| place.partition.started)
    }

    /// Whether the metadata add this node to the group: it has no replica yet, or was evicted.
    fn is_added(&self, me: Member, group: GroupId) -> bool {
        let metadata = self.view.load();
        metadata.group(group).is_some_and(|place| {
            let Partition {
                replicas, repair, ..
            } = place.partition;
            !replicas.contains(&me.node) || repair.is_some_and(|repair| repair.node == me.node)
        })
    }

    fn cannot_open(&self, assigned: &Assigned, error: &OpenError) {
        let Assigned {
            group,
            epoch: _,
            replicas: _,
            topic,
            partition,
            is_coordinator: _,
        } = assigned;
        let text = error_chain(error);
        match error {
            OpenError::Corrupt { .. } | OpenError::OtherCluster { .. } => {
                self.wake.notify_one();
                error!(%group, topic, %partition, error = text, "replica marked corrupt");
                self.replicas.set_corrupt(*group, Some(&text));
            }
            // The replica is intact. Marked corrupt, it could be repaired: replicated again by this
            // version, and its files deleted.
            OpenError::NewerFormat { newer, .. } => {
                self.fatal
                    .report(FatalError::NewerFormat(NewerFormat::clone(newer)));
            }
            OpenError::Storage { source, .. } if source.is_retryable() || source.is_no_room() => {
                warn!(%group, topic, %partition, error = text, "cannot open the replica, will retry");
            }
            OpenError::Storage { source, .. } => {
                self.fatal.report(FatalError::Storage(source.clone()));
            }
            OpenError::AlreadyOpen(_) | OpenError::NoIdentity(_) => {
                warn!(%group, topic, %partition, error = text, "cannot open the replica, will retry");
            }
        }
    }

    async fn remove(&self, group: GroupId) {
        if let Some(replica) = self.replicas.get(group) {
            self.replicas.remove(group);
            replica.raft.shutdown().await;
        }
        self.replicas.set_corrupt(group, None);
        let storage = self.storage.clone();
        let removing = move || {
            storage.remove_group(group)?;
            storage.remove_set_aside(group)
        };
        match run_blocking(removing).await {
            Some(Ok(())) => {
                info!(%group, "replica removed");
                if let Err(error) = self.survivors.forget(group).await {
                    warn!(%group, error = error_chain(&*error), "cannot forget the removed group");
                }
            }
            Some(Err(error)) => {
                warn!(%group, error = error_chain(&error), "cannot delete the replica's files");
            }
            None => {}
        }
    }

    async fn remove_copies(&self, group: GroupId) {
        let storage = self.storage.clone();
        match run_blocking(move || storage.remove_repaired_copies(group)).await {
            Some(Ok(())) => info!(%group, "replica repaired, its corrupt copies were deleted"),
            Some(Err(error)) => {
                warn!(%group, error = error_chain(&error), "cannot delete the corrupt copies");
            }
            None => {}
        }
    }

    async fn empty_copies(&self, group: GroupId) {
        let storage = self.storage.clone();
        match run_blocking(move || storage.empty_set_aside(group)).await {
            Some(Ok(())) => {
                let bound = CORRUPT_COPIES_MAX_BYTES;
                info!(%group, bound, "corrupt copies of the node were too large, oldest emptied");
            }
            Some(Err(error)) => {
                warn!(%group, error = error_chain(&error), "cannot empty the corrupt copies");
            }
            None => {}
        }
    }
}

/// Frees the space of the corrupt copies of a group that is opened again, if the disk is low.
// The group has evicted the replica before, so the others have all committed entries. Without the
// space, the replica could not be replicated again.
fn make_room(storage: &Storage, group: GroupId) {
    let is_low = || storage.check_disk().is_ok_and(|mark| mark != DiskMark::Ok);
    if is_low()
        && let Err(error) = storage.empty_set_aside(group)
    {
        warn!(%group, error = error_chain(&error), "cannot delete the corrupt copies");
    }
}

/// Whether corrupt files of the group were set aside.
fn has_copies(storage: &Storage, group: GroupId) -> bool {
    let copies = storage.corrupt_copies();
    copies.is_ok_and(|copies| copies.contains_key(&group))
}
