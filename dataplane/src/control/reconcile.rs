//! The replicas that this node holds, brought to what the metadata says: opened where it is a host
//! of a partition, closed and removed where it is not, and served by nobody where they are damaged.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use lograft_core::limits::{RECONCILE_RETRY_INTERVAL, REPLICAS_OPENED_AT_ONCE_MAX_COUNT};
use lograft_core::metadata::{Metadata, Partition, Repair};
use lograft_core::{GroupId, NodeId, PartitionId, PartitionState};
use lograft_raft::{GroupConfig, RaftGroup};
use lograft_storage::{GroupOptions, OpenError};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::Control;
use super::bootstrap::blocking;
use crate::error_text::error_chain;
use crate::fatal::FatalError;
use crate::identity::Member;
use crate::serving::append::Door;
use crate::serving::replica::Replica;
use crate::state_machine::PartitionMachine;
use crate::state_machine::SharedState;

/// What is to be done about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Open it, or make it.
    Open(Assigned),
    /// Note that its files were damaged and are kept aside.
    Refuse(GroupId),
    /// Close it and remove its files.
    Remove(GroupId),
}

/// A partition assigned to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    group: GroupId,
    topic: String,
    partition: PartitionId,
}

/// What this node holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    /// Replicas that run.
    open: BTreeSet<GroupId>,
    /// Replicas with damaged files.
    corrupt: BTreeSet<GroupId>,
    /// Groups with files, open or not.
    on_disk: BTreeSet<GroupId>,
    /// Groups whose damaged files are kept aside and that have no others.
    set_aside: BTreeSet<GroupId>,
}

/// What is to be done so that `me` holds what the metadata says. Nothing, if it does.
pub(super) fn plan(metadata: &Metadata, me: NodeId, holdings: &Holdings) -> Vec<Step> {
    let Holdings {
        open,
        corrupt,
        on_disk,
        set_aside,
    } = holdings;
    let is_ours = |group: &GroupId| {
        metadata
            .group(*group)
            .is_some_and(|place| place.partition.is_on(me))
    };
    // What was never given out belongs to metadata that this node has not heard of yet.
    let is_given_out = |group: &GroupId| *group < metadata.next_ids().group;
    let removed = open
        .iter()
        .chain(corrupt)
        .chain(on_disk)
        .chain(set_aside)
        .filter(|group| **group != GroupId::META && is_given_out(group) && !is_ours(group))
        .copied()
        .collect::<BTreeSet<GroupId>>();
    let hosted = metadata
        .partitions()
        .filter(|place| place.partition.is_on(me));
    let opened = hosted.filter_map(|place| {
        let group = place.partition.group;
        if open.contains(&group) {
            return None;
        }
        // An empty log may not stand in for one that was lost: first its group must be without it.
        let is_lost = set_aside.contains(&group) && !is_readmitted(place.partition, me);
        match (is_lost, corrupt.contains(&group)) {
            (true, true) => None,
            (true, false) => Some(Step::Refuse(group)),
            (false, true) if !set_aside.contains(&group) => None,
            (false, _) => Some(Step::Open(Assigned {
                group,
                topic: place.topic.name.clone(),
                partition: place.number,
            })),
        }
    });
    removed
        .into_iter()
        .map(Step::Remove)
        .chain(opened)
        .collect()
}

fn is_readmitted(partition: &Partition, me: NodeId) -> bool {
    partition.repair
        == Some(Repair {
            node: me,
            is_evicted: true,
        })
}

/// How many replicas are yet to be opened.
pub(super) fn missing(metadata: &Metadata, me: NodeId, holdings: &Holdings) -> usize {
    let steps = plan(metadata, me, holdings);
    steps
        .iter()
        .filter(|step| matches!(step, Step::Open(_)))
        .count()
}

impl Control {
    /// Carries out plans for ever: at each change of the metadata, and again after a while as long
    /// as there was something to do, which may have failed.
    pub(super) async fn run_reconcile(self: Arc<Self>) {
        let mut version = self.view().watch();
        loop {
            version.borrow_and_update();
            let is_settled = match self.member() {
                Some(me) if self.is_view_current() => self.reconcile(me).await,
                _ => false,
            };
            let again = async {
                if is_settled {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(RECONCILE_RETRY_INTERVAL).await;
            };
            tokio::select! {
                changed = version.changed() => if changed.is_err() { return },
                () = again => {}
            }
        }
    }

    /// Carries out one plan. Whether there was nothing to do.
    async fn reconcile(self: &Arc<Self>, me: Member) -> bool {
        let control = Arc::clone(self);
        // It reads a directory.
        let planning = move || plan(&control.view().load(), me.node, &control.holdings());
        let Ok(steps) = blocking(planning).await else {
            return false;
        };
        let is_settled = steps.is_empty();
        futures_util::stream::iter(steps)
            .map(|step| self.carry_out(me, step))
            .buffer_unordered(REPLICAS_OPENED_AT_ONCE_MAX_COUNT)
            .collect::<()>()
            .await;
        is_settled
    }

    pub(super) fn holdings(&self) -> Holdings {
        let storage = &self.parts().storage;
        Holdings {
            open: self.replicas().all().keys().copied().collect(),
            corrupt: self.replicas().all_corrupt().keys().copied().collect(),
            // What cannot be listed now is removed later.
            on_disk: storage.groups().unwrap_or_default().into_iter().collect(),
            set_aside: self.set_aside(),
        }
    }

    pub(super) fn set_aside(&self) -> BTreeSet<GroupId> {
        match self.parts().storage.set_aside_groups() {
            Ok(groups) => groups.into_iter().collect(),
            Err(error) => {
                // Whether a replica was damaged must be known before it may be opened.
                self.parts().fatal.report(FatalError::Storage(error));
                BTreeSet::new()
            }
        }
    }

    async fn carry_out(self: &Arc<Self>, me: Member, step: Step) {
        match step {
            Step::Open(assigned) => self.open(me, assigned).await,
            Step::Remove(group) => self.remove(group).await,
            Step::Refuse(group) => {
                let text = "its files were damaged and are kept aside";
                self.replicas().set_corrupt(group, Some(text));
            }
        }
    }

    async fn open(self: &Arc<Self>, me: Member, assigned: Assigned) {
        let Assigned {
            group,
            topic,
            partition,
        } = assigned;
        let storage = self.parts().storage.clone();
        let opening = move || storage.open_group(group, GroupOptions::default());
        let (log, recovered) = match blocking(opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return self.cannot_open(group, &topic, partition, &error),
            Err(_) => return,
        };
        if let Some(torn) = recovered.torn {
            warn!(%group, topic, %partition, index = %torn.index, "a torn end is cut off");
        }
        let state = SharedState::new(PartitionState::default());
        let fatal = Arc::clone(&self.parts().fatal);
        let machine = Box::new(PartitionMachine::new(group, state.clone(), fatal));
        let config = GroupConfig {
            group,
            node: me.node,
            timing: self.parts().timing,
        };
        let raft = match RaftGroup::start(config, log.clone(), machine, self.transport(me)).await {
            Ok(raft) => raft,
            Err(error) => {
                let text = error_chain(&error);
                error!(%group, topic, %partition, "the replica does not start: {text}");
                let _ = self.parts().storage.close_group(group);
                return self.replicas().set_corrupt(group, Some(&text));
            }
        };
        self.watch_group(&raft);
        let (topic, door) = (topic.into(), Arc::new(Door::new()));
        let replica = Replica {
            group,
            topic,
            partition,
            raft,
            log,
            state,
            door,
        };
        self.replicas().insert(&Arc::new(replica));
        self.wake.notify_one();
    }

    fn cannot_open(&self, group: GroupId, topic: &str, partition: PartitionId, error: &OpenError) {
        let text = error_chain(error);
        match error {
            OpenError::Corrupt { .. }
            | OpenError::OtherCluster { .. }
            | OpenError::OtherVersion { .. } => {
                error!(%group, topic, %partition, "the replica is not served: {text}");
                self.replicas().set_corrupt(group, Some(&text));
            }
            OpenError::Storage { source, .. } => {
                self.parts()
                    .fatal
                    .report(FatalError::Storage(source.clone()));
            }
            OpenError::AlreadyOpen(_) | OpenError::NoIdentity(_) => {
                warn!(%group, topic, %partition, "cannot open the replica now: {text}");
            }
        }
    }

    async fn remove(&self, group: GroupId) {
        if let Some(replica) = self.replicas().get(group) {
            self.replicas().remove(group);
            replica.raft.shutdown().await;
        }
        self.replicas().set_corrupt(group, None);
        let storage = self.parts().storage.clone();
        let removing = move || {
            storage.remove_group(group)?;
            storage.remove_set_aside(group)
        };
        match blocking(removing).await {
            Ok(Ok(())) => info!(%group, "the replica is removed"),
            Ok(Err(error)) => {
                warn!(%group, "cannot remove the replica's files: {}", error_chain(&error));
            }
            Err(_) => {}
        }
    }

    /// Wakes the looks when something about a group changes that they act upon, and ends the node
    /// when the group's raft core has failed.
    pub(super) fn watch_group(&self, raft: &RaftGroup) {
        let group = raft.group();
        let mut status: watch::Receiver<_> = raft.watch();
        let (wake, fatal) = (Arc::clone(&self.wake), Arc::clone(&self.parts().fatal));
        tokio::spawn(async move {
            let mut seen = None;
            loop {
                let now = {
                    let status = status.borrow_and_update();
                    if let Some(failure) = &status.fatal {
                        let cause = error_chain(&**failure.cause);
                        fatal.report(FatalError::Raft { group, cause });
                        return;
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

#[cfg(test)]
mod tests {
    use lograft_core::metadata::Command;

    use super::*;
    use crate::control::test_metadata::{apply, cluster, create, group};

    fn groups(ids: &[u64]) -> BTreeSet<GroupId> {
        ids.iter().copied().map(GroupId).collect()
    }

    fn opened(steps: &[Step]) -> Vec<u64> {
        steps
            .iter()
            .filter_map(|step| match step {
                Step::Open(assigned) => Some(assigned.group.get()),
                Step::Remove(_) | Step::Refuse(_) => None,
            })
            .collect()
    }

    #[test]
    fn a_node_opens_what_it_hosts_and_is_quiet_then() {
        let mut metadata = cluster(3);
        create(&mut metadata, "a", &[&[1, 2], &[2, 3], &[3, 1]]);
        let mut holdings = Holdings::default();
        let steps = plan(&metadata, NodeId(1), &holdings);
        assert_eq!(opened(&steps), [1, 3]);
        assert_eq!(steps.len(), 2);
        holdings.open = groups(&[1]);
        holdings.corrupt = groups(&[3]);
        holdings.on_disk = groups(&[0, 1, 3]);
        assert_eq!(plan(&metadata, NodeId(1), &holdings), []);
    }

    #[test]
    fn what_has_moved_away_or_was_deleted_is_removed() {
        let mut metadata = cluster(3);
        create(&mut metadata, "a", &[&[1, 2]]);
        create(&mut metadata, "b", &[&[1, 2]]);
        let moved = group(&metadata, "a", 0);
        let replicas = vec![NodeId(3), NodeId(2)];
        apply(&mut metadata, &Command::StartPartition { group: moved });
        apply(
            &mut metadata,
            &Command::SetTarget {
                group: moved,
                replicas: replicas.clone(),
            },
        );
        let holdings = Holdings {
            open: groups(&[1, 2]),
            on_disk: groups(&[0, 1, 2]),
            ..Holdings::default()
        };
        assert_eq!(
            plan(&metadata, NodeId(1), &holdings),
            [],
            "not before the move is done"
        );
        assert_eq!(
            opened(&plan(&metadata, NodeId(3), &Holdings::default())),
            [1]
        );
        apply(
            &mut metadata,
            &Command::CommitMove {
                group: moved,
                replicas,
            },
        );
        assert_eq!(
            plan(&metadata, NodeId(1), &holdings),
            [Step::Remove(GroupId(1))]
        );
        apply(
            &mut metadata,
            &Command::DeleteTopic {
                name: "b".to_owned(),
            },
        );
        assert_eq!(
            plan(&metadata, NodeId(1), &holdings),
            [Step::Remove(GroupId(1)), Step::Remove(GroupId(2))]
        );
    }

    #[test]
    fn a_damaged_replica_is_opened_again_only_once_its_group_is_without_it() {
        let mut metadata = cluster(3);
        create(&mut metadata, "a", &[&[1, 2]]);
        let group = group(&metadata, "a", 0);
        apply(&mut metadata, &Command::StartPartition { group });
        let me = NodeId(1);
        let mut holdings = Holdings {
            set_aside: groups(&[1]),
            ..Holdings::default()
        };
        assert_eq!(
            plan(&metadata, me, &holdings),
            [Step::Refuse(group)],
            "after a restart"
        );
        holdings.corrupt = groups(&[1]);
        assert_eq!(plan(&metadata, me, &holdings), []);
        apply(&mut metadata, &Command::ReportDamage { group, node: me });
        assert_eq!(plan(&metadata, me, &holdings), []);
        apply(&mut metadata, &Command::CommitEviction { group, node: me });
        assert_eq!(opened(&plan(&metadata, me, &holdings)), [1]);
        holdings.corrupt = BTreeSet::new();
        holdings.set_aside = BTreeSet::new();
        holdings.open = groups(&[1]);
        assert_eq!(plan(&metadata, me, &holdings), [], "it has files again");
    }

    #[test]
    fn files_of_groups_not_heard_of_stay() {
        let mut metadata = cluster(1);
        create(&mut metadata, "a", &[&[1]]);
        apply(
            &mut metadata,
            &Command::DeleteTopic {
                name: "a".to_owned(),
            },
        );
        let holdings = Holdings {
            on_disk: groups(&[0, 1, 2]),
            ..Holdings::default()
        };
        assert_eq!(
            plan(&metadata, NodeId(1), &holdings),
            [Step::Remove(GroupId(1))]
        );
    }
}
