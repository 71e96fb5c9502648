//! Repairs corrupt replicas: closes them, sets their files aside, and has the group replicate the
//! log to them again.
//!
//! The steps are in the metadata (reported, evicted, repaired). A corrupt replica may have lost
//! votes and acknowledged entries. It leaves the raft group before it rejoins with an empty log:
//! otherwise it could vote twice in one term, or elect a leader without committed entries.

use std::sync::Arc;

use lograft_core::metadata::{Command, Metadata, Partition};
use lograft_core::{GroupId, NodeId};
use lograft_raft::{GroupStatus, RaftGroup, Role};
use lograft_storage::Storage;
use tracing::{error, info, warn};

use super::holdings::{Holdings, HoldingsReader};
use super::local_member::LocalMember;
use super::reconcile::plan::is_evicted;
use super::task_registry::{TaskKind, TaskRegistry};
use crate::blocking::run_blocking;
use crate::error_text::error_chain;
use crate::fatal::{FatalError, FatalSink};
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::{Replica, ReplicaMap};

/// Whether the corrupt replica of `me` must be reported: not if there is no other replica to copy
/// the log from, or if a repair is in progress. A replica that was damaged again after the group
/// had evicted it, during its repair, must be evicted once more.
fn is_reportable(partition: &Partition, me: NodeId, holdings: &Holdings) -> bool {
    let copies_count = holdings.copies_count(partition.group);
    let is_damaged_again = is_evicted(partition, me) && copies_count > 1;
    partition.started
        && partition.replicas.len() > 1
        && (partition.repair.is_none() || is_damaged_again)
}

/// Whether a damaged replica is the only one of its partition, and runs: what it can still read is
/// all that is left, so it stays open.
fn is_last_resort(metadata: &Metadata, replica: &Replica) -> bool {
    let place = metadata.group(replica.group);
    place.is_some_and(|place| place.partition.replicas.len() == 1)
        && replica.raft.status().role != Role::Stopped
}

/// The voter that takes over from a leader whose log is damaged: the one with the least to catch
/// up.
fn successor(status: &GroupStatus) -> Option<NodeId> {
    let voters = status.followers.iter().filter(|(node, follower)| {
        status.voters.contains(node) && follower.matched.is_some() && status.is_leader()
    });
    voters
        .min_by_key(|(_, follower)| follower.lag)
        .map(|(node, _)| *node)
}

/// Transfers the leadership of a damaged replica, if it leads. A transfer is a gap of
/// milliseconds; without it the group would wait for an election.
async fn hand_over(raft: &RaftGroup) {
    if let Some(to) = successor(&raft.status())
        && let Err(error) = raft.transfer_leader(to).await
    {
        let (group, error) = (raft.group(), error_chain(&error));
        warn!(%group, error, "corrupt leader did not hand over");
    }
}

/// Closes damaged replicas and moves their files aside.
#[derive(Clone)]
pub(crate) struct SetAside {
    pub(crate) storage: Storage,
    pub(crate) replicas: ReplicaMap,
    pub(crate) fatal: Arc<dyn FatalSink>,
}

impl SetAside {
    /// Closes the log of a group whose raft does not run, and moves its files aside. Returns
    /// whether that succeeded.
    pub(crate) async fn close_and_move(&self, group: GroupId, why: &str) -> bool {
        self.replicas.set_corrupt(group, Some(why));
        let storage = self.storage.clone();
        match run_blocking(move || storage.set_aside_group(group)).await {
            Some(Ok(kept)) => {
                let path = kept.display();
                error!(%group, %path, error = why, "replica is corrupt, its files were set aside");
                true
            }
            Some(Err(error)) if error.is_retryable() => {
                let error = error_chain(&error);
                warn!(%group, error, "cannot set the corrupt files aside");
                // Opened again, the log meets the damage again.
                self.replicas.set_corrupt(group, None);
                false
            }
            // A failed rename or sync is a failed write like any other. Nor may the node go on with
            // a replica that is neither served nor set aside: no restart would repair it.
            Some(Err(error)) => {
                self.fatal.report(FatalError::Storage(error));
                false
            }
            None => false,
        }
    }
}

/// Repairs corrupt replicas of this node.
#[derive(Clone)]
pub(crate) struct ReplicaRepair {
    pub(crate) member: LocalMember,
    pub(crate) aside: SetAside,
    pub(crate) holdings: HoldingsReader,
    pub(crate) proposer: MetaHandle,
    pub(crate) tasks: TaskRegistry,
}

impl ReplicaRepair {
    /// Closes replicas whose logs have met damage, and reports closed ones.
    pub(crate) fn check(&self, metadata: &Metadata) {
        for replica in self.aside.replicas.all().values() {
            if replica.log.damage().is_some() && !is_last_resort(metadata, replica) {
                let (this, replica) = (self.clone(), Arc::clone(replica));
                let kind = TaskKind::Repair(replica.group);
                self.tasks
                    .spawn_once(kind, async move { this.set_aside(&replica).await });
            }
        }
        let corrupt = self.aside.replicas.all_corrupt();
        let Some(me) = self.member.node().filter(|_| !corrupt.is_empty()) else {
            return;
        };
        let Some(holdings) = self.holdings.read() else {
            return;
        };
        let set_aside = |group: &&GroupId| holdings.set_aside.contains(group);
        for group in corrupt.keys().filter(set_aside) {
            let Some(place) = metadata.group(*group) else {
                continue;
            };
            if is_reportable(place.partition, me, &holdings) {
                self.report(*group, me);
            }
        }
    }

    /// Sets the log of the meta group aside if it has met damage, and ends the node, which rejoins
    /// the group at its next start (see `meta_repair`). In place, the node would continue with
    /// metadata that no log backs, or with none.
    pub(crate) fn check_meta(&self) {
        let Some(meta) = self.aside.replicas.meta() else {
            return;
        };
        let Some(damage) = meta.log.damage().map(ToString::to_string) else {
            return;
        };
        let this = self.clone();
        let kind = TaskKind::Repair(GroupId::META);
        self.tasks.spawn_once(kind, async move {
            error!(
                error = damage,
                "log of the meta group is damaged, restarting the node"
            );
            hand_over(&meta.raft).await;
            meta.raft.shutdown().await;
            let moved = this.aside.close_and_move(GroupId::META, &damage).await;
            if moved {
                let error = FatalError::MetaLogDamaged { damage };
                this.aside.fatal.report(error);
            }
            moved
        });
    }

    /// Closes a replica and moves its files aside. Returns whether that succeeded.
    async fn set_aside(&self, replica: &Replica) -> bool {
        let group = replica.group;
        let damage = replica.log.damage().map(ToString::to_string);
        let damage = damage.unwrap_or_default();
        error!(%group, topic = %replica.topic, partition = %replica.partition, error = damage,
            "replica is corrupt, closing it to replicate it again");
        hand_over(&replica.raft).await;
        self.aside.replicas.set_corrupt(group, Some(&damage));
        self.aside.replicas.remove(group);
        replica.raft.shutdown().await;
        self.aside.close_and_move(group, &damage).await
    }

    fn report(&self, group: GroupId, node: NodeId) {
        let proposer = self.proposer.clone();
        let storage = self.aside.storage.clone();
        self.tasks.spawn_once(TaskKind::Repair(group), async move {
            let reported = proposer
                .propose(Command::ReportDamage { group, node }.into())
                .await;
            if let Err(error) = reported {
                let error = error_chain(&error);
                warn!(%group, error, "cannot report the corrupt replica, will retry");
                return false;
            }
            info!(%group, "corrupt replica reported");
            // The next eviction is newer than all copies: one is enough as the sign of the loss.
            let merged = run_blocking(move || storage.merge_set_aside(group)).await;
            if let Some(Err(error)) = &merged {
                let error = error_chain(error);
                warn!(%group, error, "cannot delete the older corrupt copies, will retry");
            }
            matches!(merged, Some(Ok(())))
        });
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::metadata::Repair;

    use super::*;
    use crate::control::test_metadata::{copies, ids};
    use crate::control::test_status::{caught_up, leading};

    #[test]
    fn corruption_is_reported_once_and_only_if_other_replicas_exist() {
        let group = GroupId(1);
        let mut partition = Partition {
            group,
            replicas: ids(&[1, 2]),
            target: None,
            leaving: Vec::new(),
            started: true,
            repair: None,
            recovery: None,
        };
        let me = NodeId(1);
        let mut holdings = Holdings::default();
        holdings.copies.insert(group, copies(1));
        assert!(is_reportable(&partition, me, &holdings));
        for is_evicted in [false, true] {
            let node = me;
            partition.repair = Some(Repair { node, is_evicted });
            assert!(
                !is_reportable(&partition, me, &holdings),
                "reported, or evicted since the copy was made"
            );
        }
        holdings.copies.insert(group, copies(2));
        assert!(
            is_reportable(&partition, me, &holdings),
            "damaged again after the eviction"
        );
        partition.repair = Some(Repair {
            node: NodeId(2),
            is_evicted: true,
        });
        assert!(
            !is_reportable(&partition, me, &holdings),
            "another repair is in progress"
        );
        partition.repair = None;
        partition.replicas = ids(&[1]);
        assert!(
            !is_reportable(&partition, me, &holdings),
            "no other replica to copy from"
        );
    }

    #[test]
    fn a_damaged_leader_hands_over_to_the_voter_with_the_least_to_catch_up() {
        let mut status = leading(1, &[1, 2, 3]);
        status.learners = ids(&[4]);
        for (node, lag) in [(2, 9), (3, 4), (4, 0)] {
            caught_up(&mut status, node, lag);
        }
        assert_eq!(successor(&status), Some(NodeId(3)));
        status.role = Role::Follower;
        assert_eq!(successor(&status), None);
    }
}
