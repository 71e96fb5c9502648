//! The beginning of partitions, and their moves: a group's leader brings raft's membership to what
//! the metadata asks for, one step of raft at a time, and says when it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::{
    CONTROL_INTERVAL, HANDOVER_RETRY_INTERVAL, MOVE_LAG_MAX_COUNT, MOVES_AT_ONCE_MAX_COUNT,
    PARTITION_START_TURN,
};
use lograft_core::metadata::{Command, Partition, Repair};
use lograft_core::{GroupId, NodeId};
use lograft_raft::{GroupStatus, RaftError, RaftGroup};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Control;
use super::leader_handover::{Succession, succession_step};
use super::task_registry::Work;
use crate::error_text::error_chain;
use crate::serving::meta_group::ProposeMeta;
use crate::serving::replica::Replica;

/// Since when each replica has been open.
#[derive(Debug, Default)]
pub(super) struct Opened(BTreeMap<GroupId, Instant>);

impl Opened {
    /// Forgets those that are closed.
    pub(super) fn keep(&mut self, open: &BTreeMap<GroupId, Arc<Replica>>) {
        self.0.retain(|group, _| open.contains_key(group));
    }

    /// Since when this one is.
    pub(super) fn since(&mut self, group: GroupId, now: Instant) -> Instant {
        *self.0.entry(group).or_insert(now)
    }
}

/// What the replica of a partition that has not started is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartStep {
    /// Begin the group.
    Initialize,
    /// Say that it has begun.
    Note,
}

/// What to do about a partition whose group nobody is known to have begun. All that may begin it
/// would write the same first entry, so that a second one does no harm; still the first replica
/// has the first turn, and the next one only if that node does not come.
fn start_step(
    partition: &Partition,
    status: &GroupStatus,
    open_for: Duration,
) -> Option<StartStep> {
    if status.ready {
        return Some(StartStep::Note);
    }
    if status.is_initialized() || status.leader.is_some() {
        return None;
    }
    let turn = partition
        .replicas
        .iter()
        .position(|node| *node == status.node)?;
    let wait = PARTITION_START_TURN.saturating_mul(u32::try_from(turn).unwrap_or(u32::MAX));
    (open_for >= wait).then_some(StartStep::Initialize)
}

/// The next step of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MoveStep {
    /// Give a node the log.
    AddLearner(NodeId),
    /// Make these the voters.
    ChangeVoters(BTreeSet<NodeId>),
    /// Hand leadership to a voter that stays, which goes on with the move.
    HandOver(NodeId),
    /// Take a node out that is not among the voters.
    RemoveLearner(NodeId),
    /// Say that the group is without its damaged replica.
    CommitEviction(NodeId),
    /// Say that the damaged replica is back.
    CommitRepair(NodeId),
    /// Say that the move is done.
    Commit(Vec<NodeId>),
    /// Newcomers are not caught up yet, nobody can take over, or raft has a change under way.
    Wait,
}

impl From<Succession> for MoveStep {
    fn from(step: Succession) -> Self {
        match step {
            Succession::ChangeVoters(voters) => Self::ChangeVoters(voters),
            Succession::HandOver(heir) => Self::HandOver(heir),
            Succession::Wait => Self::Wait,
        }
    }
}

/// The next step towards what the metadata says, for the group's leader. `None` if all is as it
/// should be.
fn move_step(
    partition: &Partition,
    status: &GroupStatus,
    is_reachable: impl Fn(NodeId) -> bool,
) -> Option<MoveStep> {
    let order = partition.target.as_ref().unwrap_or(&partition.replicas);
    let mut wished: BTreeSet<NodeId> = order.iter().copied().collect();
    if let Some(Repair {
        node,
        is_evicted: false,
    }) = partition.repair
    {
        // Not even as a learner: it comes back as if it had never been there.
        wished.remove(&node);
    }
    if wished.is_empty() {
        return None;
    }
    if !status.membership_committed {
        return Some(MoveStep::Wait);
    }
    let succession =
        |goal| succession_step(status, goal, order.iter().copied(), is_reachable).into();
    if let Some(joint) = &status.joint {
        // Somebody stopped half-way: back if it was called off, else this change ends first.
        let is_called_off = wished == status.voters;
        return Some(succession(if is_called_off { &wished } else { joint }));
    }
    if status.voters == wished {
        return settled_step(partition, status);
    }
    let newcomers = || wished.difference(&status.voters);
    if let Some(newcomer) = newcomers().find(|node| !status.learners.contains(node)) {
        return Some(MoveStep::AddLearner(*newcomer));
    }
    if newcomers().all(|node| status.is_caught_up(*node, MOVE_LAG_MAX_COUNT)) {
        return Some(succession(&wished));
    }
    Some(MoveStep::Wait)
}

/// The next step once the voters are those wished for.
fn settled_step(partition: &Partition, status: &GroupStatus) -> Option<MoveStep> {
    if let Some(learner) = status.learners.first() {
        return Some(MoveStep::RemoveLearner(*learner));
    }
    match (partition.repair, &partition.target) {
        (
            Some(Repair {
                node,
                is_evicted: false,
            }),
            _,
        ) => Some(MoveStep::CommitEviction(node)),
        (
            Some(Repair {
                node,
                is_evicted: true,
            }),
            None,
        ) => Some(MoveStep::CommitRepair(node)),
        (_, Some(target)) => Some(MoveStep::Commit(target.clone())),
        (None, None) => None,
    }
}

impl Control {
    pub(super) fn look_at_start(
        self: &Arc<Self>,
        partition: &Partition,
        replica: &Arc<Replica>,
        open_for: Duration,
    ) {
        let step = start_step(partition, &replica.raft.watch().borrow(), open_for);
        match step {
            None => {}
            Some(StartStep::Note) => self.note_started(replica.group),
            Some(StartStep::Initialize) => {
                let voters = partition.replicas.iter().copied().collect();
                let raft = replica.raft.clone();
                self.begin(Work::Start(replica.group), |_| async move {
                    match raft.initialize(voters).await {
                        Ok(()) | Err(RaftError::AlreadyInitialized { .. }) => true,
                        Err(error) => {
                            let text = error_chain(&error);
                            warn!(group = %raft.group(), "cannot begin the group: {text}");
                            false
                        }
                    }
                });
            }
        }
    }

    pub(super) fn look_at_move(self: &Arc<Self>, partition: &Partition, replica: &Arc<Replica>) {
        let status = replica.raft.watch();
        let is_due = {
            let status = status.borrow();
            status.ready && self.move_step(partition, &status).is_some()
        };
        let under_way = self.busy.count(|work| matches!(work, Work::Move(_)));
        if !is_due || under_way >= MOVES_AT_ONCE_MAX_COUNT {
            return;
        }
        let replica = Arc::clone(replica);
        self.begin(Work::Move(replica.group), |control| async move {
            control.run_move(&replica).await;
            false
        });
    }

    fn move_step(&self, partition: &Partition, status: &GroupStatus) -> Option<MoveStep> {
        let is_reachable = |node| self.hints().reachable_since(node).is_some();
        move_step(partition, status, is_reachable)
    }

    /// Steps until the move is done, or this node does not lead the group any more.
    async fn run_move(&self, replica: &Replica) {
        let group = replica.group;
        let mut status = replica.raft.watch();
        loop {
            let metadata = self.view().load();
            let Some(place) = metadata.group(group) else {
                return;
            };
            let step = {
                let status = status.borrow_and_update();
                if !status.ready {
                    return;
                }
                self.move_step(place.partition, &status)
            };
            let Some(step) = step else { return };
            if step == MoveStep::Wait {
                // Whatever comes first: the next look at the same.
                let _ = tokio::time::timeout(CONTROL_INTERVAL, status.changed()).await;
                continue;
            }
            debug!(%group, ?step, "a step of a move");
            if let Err(text) = self.take_move_step(replica, step).await {
                info!(%group, "a step of a move is to be tried again: {text}");
                return;
            }
        }
    }

    async fn take_move_step(&self, replica: &Replica, step: MoveStep) -> Result<(), String> {
        let raft = &replica.raft;
        let group = replica.group;
        let changed = match step {
            MoveStep::AddLearner(node) => raft.add_learner(node).await,
            MoveStep::RemoveLearner(node) => raft.remove_learner(node).await,
            MoveStep::ChangeVoters(voters) => raft.change_voters(voters).await,
            MoveStep::HandOver(heir) => return self.hand_to(raft, heir).await,
            MoveStep::Wait => Ok(()),
            MoveStep::CommitEviction(node) => {
                return self.say(Command::CommitEviction { group, node }).await;
            }
            MoveStep::CommitRepair(node) => {
                return self.say(Command::CommitRepair { group, node }).await;
            }
            MoveStep::Commit(replicas) => {
                return self.say(Command::CommitMove { group, replicas }).await;
            }
        };
        changed.map_err(|error| error_chain(&error))
    }

    /// A leader whose heir did not come has been silent for a while: it leaves its group time to
    /// work before it tries another one.
    async fn hand_to(&self, raft: &RaftGroup, heir: NodeId) -> Result<(), String> {
        info!(group = %raft.group(), %heir, "this leader leaves its group and hands over");
        let handed = raft.transfer_leader(heir).await;
        if let Err(RaftError::Timeout { .. }) = handed {
            tokio::time::sleep(HANDOVER_RETRY_INTERVAL).await;
        }
        handed.map_err(|error| error_chain(&error))
    }

    async fn say(&self, command: Command) -> Result<(), String> {
        self.propose(command)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_metadata::ids;
    use crate::control::test_status::{caught_up, leading};

    fn partition(replicas: &[u64], target: Option<&[u64]>) -> Partition {
        Partition {
            group: GroupId(1),
            replicas: ids(replicas),
            target: target.map(ids),
            leaving: Vec::new(),
            started: true,
            repair: None,
        }
    }

    fn step(partition: &Partition, status: &GroupStatus) -> Option<MoveStep> {
        move_step(partition, status, |_| true)
    }

    #[test]
    fn a_leader_that_is_moved_away_hands_over_once_its_successors_are_there() {
        let moving = partition(&[1, 2, 3], Some(&[4, 2, 3]));
        let mut status = leading(1, &[1, 2, 3]);
        status.learners = ids(&[4]);
        caught_up(&mut status, 2, 0);
        assert_eq!(
            step(&moving, &status),
            Some(MoveStep::Wait),
            "the newcomer is not caught up"
        );
        caught_up(&mut status, 4, 0);
        let handed = Some(MoveStep::HandOver(NodeId(2)));
        assert_eq!(step(&moving, &status), handed);
        let mut successor = leading(2, &[1, 2, 3]);
        successor.learners = ids(&[4]);
        caught_up(&mut successor, 4, 0);
        let changed = Some(MoveStep::ChangeVoters(ids(&[2, 3, 4])));
        assert_eq!(step(&moving, &successor), changed);

        status.joint = Some(ids(&[2, 3, 4]));
        status.membership_committed = false;
        assert_eq!(step(&moving, &status), Some(MoveStep::Wait));
        status.membership_committed = true;
        assert_eq!(
            step(&moving, &status),
            Some(MoveStep::HandOver(NodeId(4))),
            "it does not end a change that leaves it out"
        );
        let back = partition(&[1, 2, 3], Some(&[1, 2, 3]));
        let old = Some(MoveStep::ChangeVoters(ids(&[1, 2, 3])));
        assert_eq!(step(&back, &status), old, "called off");
        let elsewhere = partition(&[1, 2, 3], Some(&[5, 2, 1]));
        assert_eq!(
            step(&elsewhere, &status),
            Some(MoveStep::HandOver(NodeId(2))),
            "the change that was begun ends before the next one"
        );
    }

    #[test]
    fn a_move_goes_learner_voter_commit_and_is_quiet_then() {
        let moving = partition(&[1, 2, 3], Some(&[4, 2, 1]));
        let mut status = leading(1, &[1, 2, 3]);
        assert_eq!(
            step(&moving, &status),
            Some(MoveStep::AddLearner(NodeId(4)))
        );
        status.learners = ids(&[4]);
        status.membership_committed = false;
        assert_eq!(
            step(&moving, &status),
            Some(MoveStep::Wait),
            "not committed"
        );
        status.membership_committed = true;
        assert_eq!(
            step(&moving, &status),
            Some(MoveStep::Wait),
            "not caught up"
        );
        caught_up(&mut status, 4, MOVE_LAG_MAX_COUNT + 1);
        assert_eq!(step(&moving, &status), Some(MoveStep::Wait), "still behind");
        caught_up(&mut status, 4, MOVE_LAG_MAX_COUNT);
        let wished: BTreeSet<NodeId> = ids(&[1, 2, 4]);
        assert_eq!(
            step(&moving, &status),
            Some(MoveStep::ChangeVoters(wished.clone()))
        );
        status.joint = Some(wished.clone());
        assert_eq!(
            step(&moving, &status),
            Some(MoveStep::ChangeVoters(wished.clone()))
        );
        status.joint = None;
        status.voters = wished;
        status.learners = BTreeSet::new();
        assert_eq!(
            step(&moving, &status),
            Some(MoveStep::Commit(ids(&[4, 2, 1])))
        );
        assert_eq!(step(&partition(&[4, 2, 1], None), &status), None);
    }

    #[test]
    fn a_move_that_was_called_off_is_taken_back() {
        let back = partition(&[1, 2, 3], Some(&[1, 2, 3]));
        let mut status = leading(1, &[1, 2, 3]);
        status.learners = ids(&[4]);
        assert_eq!(
            step(&back, &status),
            Some(MoveStep::RemoveLearner(NodeId(4)))
        );
        status.learners = BTreeSet::new();
        assert_eq!(
            step(&back, &status),
            Some(MoveStep::Commit(ids(&[1, 2, 3])))
        );
    }

    #[test]
    fn a_damaged_replica_is_evicted_and_comes_back_as_a_learner() {
        let mut damaged = partition(&[1, 2, 3], None);
        let node = NodeId(3);
        damaged.repair = Some(Repair {
            node,
            is_evicted: false,
        });
        let mut status = leading(1, &[1, 2, 3]);
        let without: BTreeSet<NodeId> = ids(&[1, 2]);
        assert_eq!(
            step(&damaged, &status),
            Some(MoveStep::ChangeVoters(without.clone()))
        );
        status.voters = without;
        status.learners = ids(&[3]);
        assert_eq!(step(&damaged, &status), Some(MoveStep::RemoveLearner(node)));
        status.learners = BTreeSet::new();
        assert_eq!(
            step(&damaged, &status),
            Some(MoveStep::CommitEviction(node))
        );
        damaged.repair = Some(Repair {
            node,
            is_evicted: true,
        });
        assert_eq!(step(&damaged, &status), Some(MoveStep::AddLearner(node)));
        status.learners = ids(&[3]);
        assert_eq!(step(&damaged, &status), Some(MoveStep::Wait));
        caught_up(&mut status, 3, 0);
        let all: BTreeSet<NodeId> = ids(&[1, 2, 3]);
        assert_eq!(
            step(&damaged, &status),
            Some(MoveStep::ChangeVoters(all.clone()))
        );
        status.voters = all;
        status.learners = BTreeSet::new();
        assert_eq!(step(&damaged, &status), Some(MoveStep::CommitRepair(node)));
        damaged.repair = None;
        assert_eq!(step(&damaged, &status), None);
    }

    #[test]
    fn silence_changes_no_membership() {
        let mut status = leading(1, &[1, 2, 3]);
        status.followers.clear();
        assert_eq!(step(&partition(&[1, 2, 3], None), &status), None);
    }

    #[test]
    fn the_first_replica_begins_and_the_next_ones_wait_their_turn() {
        let new = partition(&[2, 1, 3], None);
        let mut status = leading(1, &[]);
        status.ready = false;
        status.leader = None;
        assert_eq!(start_step(&new, &status, Duration::ZERO), None);
        let later = start_step(&new, &status, PARTITION_START_TURN);
        assert_eq!(later, Some(StartStep::Initialize));
        status.node = NodeId(2);
        assert_eq!(
            start_step(&new, &status, Duration::ZERO),
            Some(StartStep::Initialize)
        );
        status.node = NodeId(9);
        assert_eq!(
            start_step(&new, &status, Duration::MAX),
            None,
            "no replica of it"
        );
        status.node = NodeId(2);
        status.leader = Some(NodeId(1));
        assert_eq!(
            start_step(&new, &status, Duration::MAX),
            None,
            "begun elsewhere"
        );
        let status = leading(2, &[1, 2, 3]);
        assert_eq!(
            start_step(&new, &status, Duration::ZERO),
            Some(StartStep::Note)
        );
    }
}
