//! The partitions of a member, and their changes by replies of the coordinator: a value without IO.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lograft_core::Offset;

use super::partition::{GroupPartition, PartitionStatus};
use crate::consumer::StartAt;

/// The assignment in a reply of the coordinator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) generation: u64,
    /// All partitions that the member reads from this reply on.
    pub(super) partitions: BTreeMap<GroupPartition, Assigned>,
}

/// A partition in an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    /// The generation since which the member has the partition.
    pub(super) since: u64,
    /// The offset that the group has committed.
    pub(super) committed: Option<Offset>,
}

/// How far a partition is read. The record path writes it without a lock. Each time that the
/// partition is assigned it has another cursor, so what is left of an earlier assignment cannot
/// move this one.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The generation since which the member has the partition.
    since: u64,
    /// The next offset to hand out.
    position: AtomicU64,
    /// The offset up to which the application has processed: what was handed out before it asked
    /// for more.
    processed: AtomicU64,
    high_watermark: AtomicU64,
}

/// The value of an offset that is not known yet. No log reaches it.
const UNKNOWN: u64 = u64::MAX;

fn load(offset: &AtomicU64) -> Option<Offset> {
    Some(offset.load(Ordering::Acquire))
        .filter(|offset| *offset != UNKNOWN)
        .map(Offset)
}

fn store(target: &AtomicU64, offset: Option<Offset>) {
    target.store(offset.map_or(UNKNOWN, Offset::get), Ordering::Release);
}

impl Cursor {
    pub(super) fn new(since: u64, start: Option<Offset>) -> Arc<Self> {
        let start = start.map_or(UNKNOWN, Offset::get);
        Arc::new(Self {
            since,
            position: AtomicU64::new(start),
            processed: AtomicU64::new(start),
            high_watermark: AtomicU64::new(UNKNOWN),
        })
    }

    pub(super) const fn since(&self) -> u64 {
        self.since
    }

    pub(super) fn position(&self) -> Option<Offset> {
        load(&self.position)
    }

    pub(super) fn set_high_watermark(&self, offset: Offset) {
        store(&self.high_watermark, Some(offset));
    }

    /// The partition continues here, and what was handed out before does not count.
    pub(super) fn restart_at(&self, offset: Option<Offset>) {
        store(&self.position, offset);
        store(&self.processed, offset);
    }

    /// Records up to `next` (exclusive) are handed out.
    pub(super) fn hand_out(&self, next: Offset) {
        store(&self.position, Some(next));
    }

    /// The application has asked for more: it has processed all that was handed out.
    pub(super) fn settle(&self) {
        store(&self.processed, self.position());
    }
}

/// A partition that the member reads.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) cursor: Arc<Cursor>,
    pub(super) committed: Option<Offset>,
    pub(super) is_paused: bool,
    /// The target of a seek that is not an offset, for as long as the position is not known.
    pub(super) seek: Option<StartAt>,
}

/// The next thing to do for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing but reading.
    None,
    /// Stop with these partitions and drop what was read of them: others may have them already.
    Lose(Vec<GroupPartition>),
    /// Stop with these partitions, let the application finish, commit, then call
    /// [`Membership::finish_revoke`].
    Revoke(Vec<GroupPartition>),
    /// Start with these partitions at their committed offsets.
    Start(Vec<GroupPartition>),
}

/// Which offsets to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Records that were handed out before the application asked for more.
    Processed,
    /// All that was handed out.
    HandedOut,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToCommit {
    pub(super) partition: GroupPartition,
    /// The generation since which the member has the partition.
    pub(super) since: u64,
    pub(super) offset: Offset,
    pub(super) metadata: String,
}

/// The partitions of a member, and the assignment that they follow.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// The last reply; none while the member is not in the group.
    assignment: Option<Assignment>,
    /// The last generation whose assignment the member follows: it reads no partition that is not
    /// in it. Heartbeats and commits carry it. Commits do not carry a later one, which would let a
    /// partition pass that was away in between.
    acknowledged: u64,
    held: BTreeMap<GroupPartition, Held>,
    /// Held partitions that the application has to give up.
    revoking: BTreeSet<GroupPartition>,
    /// Partitions that are not held any more, and that the application does not know about yet.
    lost: Vec<GroupPartition>,
}

impl Membership {
    /// Takes a reply of the coordinator. Acknowledges it at once if no partition has to be given
    /// up: then the application need not ask for more first.
    pub(super) fn accept(&mut self, assignment: Assignment) {
        let known = self.assignment.as_ref();
        if known.is_some_and(|known| known.generation > assignment.generation) {
            return;
        }
        // A partition that was away in between belonged to another member, which has committed.
        let was_away = |partition: &GroupPartition, held: &Held| {
            let now = assignment.partitions.get(partition);
            now.is_some_and(|now| now.since != held.cursor.since)
        };
        let away = self
            .held
            .extract_if(.., |partition, held| was_away(partition, held));
        self.lost.extend(away.map(|(partition, _)| partition));
        self.revoking
            .retain(|partition| self.held.contains_key(partition));
        self.assignment = Some(assignment);
        self.acknowledge();
    }

    /// Acknowledges the assignment if no partition is held that is not in it.
    fn acknowledge(&mut self) {
        let Some(assignment) = &self.assignment else {
            return;
        };
        let is_followed = self.revoking.is_empty()
            && (self.held.keys()).all(|held| assignment.partitions.contains_key(held));
        if is_followed {
            self.acknowledged = assignment.generation;
        }
    }

    /// The member is not in the group any more: others may have its partitions.
    pub(super) fn lose_all(&mut self) {
        self.lost.extend(std::mem::take(&mut self.held).into_keys());
        self.revoking.clear();
        self.assignment = None;
        self.acknowledged = 0;
    }

    /// The coordinator has refused a commit: the member does not have the partition. It starts
    /// again only after a reply that has it.
    pub(super) fn refuse(&mut self, partition: &GroupPartition, since: u64) {
        if !self.is_held_since(partition, since) {
            return;
        }
        self.held.remove(partition);
        self.revoking.remove(partition);
        self.lost.push(partition.clone());
        if let Some(assignment) = &mut self.assignment {
            assignment.partitions.remove(partition);
        }
        self.acknowledge();
    }

    /// The generation to send with calls.
    pub(super) const fn generation(&self) -> u64 {
        self.acknowledged
    }

    /// Whether the last assignment is acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        let generation = self.assignment.as_ref().map(|last| last.generation);
        generation == Some(self.acknowledged)
    }

    /// Whether the member is in the group, by the last reply.
    pub(super) const fn is_in_group(&self) -> bool {
        self.assignment.is_some()
    }

    pub(super) fn is_revoking(&self) -> bool {
        !self.revoking.is_empty()
    }

    /// The next thing to do. Partitions that stay are in none.
    pub(super) fn next_step(&mut self) -> Step {
        if !self.lost.is_empty() {
            return Step::Lose(std::mem::take(&mut self.lost));
        }
        let Some(assignment) = self.assignment.as_ref() else {
            return Step::None;
        };
        if self.is_revoking() {
            return Step::None;
        }
        let is_gone = |partition: &&GroupPartition| !assignment.partitions.contains_key(*partition);
        let gone: Vec<_> = self.held.keys().filter(is_gone).cloned().collect();
        if !gone.is_empty() {
            self.revoking.extend(gone.iter().cloned());
            return Step::Revoke(gone);
        }
        let mut started = Vec::new();
        for (partition, assigned) in &assignment.partitions {
            if self.held.contains_key(partition) {
                continue;
            }
            let held = Held {
                cursor: Cursor::new(assigned.since, assigned.committed),
                committed: assigned.committed,
                is_paused: false,
                seek: None,
            };
            self.held.insert(partition.clone(), held);
            started.push(partition.clone());
        }
        if started.is_empty() {
            Step::None
        } else {
            Step::Start(started)
        }
    }

    /// The application has finished with the partitions that it had to give up, and they are
    /// committed. Returns those that the member has got back meanwhile: they continue at their
    /// positions.
    pub(super) fn finish_revoke(&mut self) -> Vec<GroupPartition> {
        let mut kept = Vec::new();
        for partition in std::mem::take(&mut self.revoking) {
            let assignment = self.assignment.as_ref();
            if assignment.is_some_and(|now| now.partitions.contains_key(&partition)) {
                kept.push(partition);
            } else {
                self.held.remove(&partition);
            }
        }
        self.acknowledge();
        kept
    }

    /// The offsets that are not committed yet.
    pub(super) fn to_commit(&self, progress: Progress) -> Vec<ToCommit> {
        let offset = |held: &Held| {
            let offset = match progress {
                Progress::Processed => load(&held.cursor.processed),
                Progress::HandedOut => held.cursor.position(),
            };
            offset.filter(|offset| held.committed != Some(*offset))
        };
        let uncommitted = self.held.iter().filter_map(|(partition, held)| {
            Some(ToCommit {
                partition: partition.clone(),
                since: held.cursor.since,
                offset: offset(held)?,
                metadata: String::new(),
            })
        });
        uncommitted.collect()
    }

    /// The end of a record to commit, if the partition is still held under the same assignment.
    pub(super) fn commit_of(
        &self,
        partition: &GroupPartition,
        cursor: &Arc<Cursor>,
        offset: Offset,
    ) -> Option<ToCommit> {
        let held = self.held.get(partition)?;
        Arc::ptr_eq(&held.cursor, cursor).then(|| ToCommit {
            partition: partition.clone(),
            since: cursor.since,
            offset,
            metadata: String::new(),
        })
    }

    /// The coordinator has stored a commit.
    pub(super) fn committed(&mut self, commit: &ToCommit) {
        if self.is_held_since(&commit.partition, commit.since)
            && let Some(held) = self.held.get_mut(&commit.partition)
        {
            held.committed = Some(commit.offset);
        }
    }

    fn is_held_since(&self, partition: &GroupPartition, since: u64) -> bool {
        let held = self.held.get(partition);
        held.is_some_and(|held| held.cursor.since == since)
    }

    pub(super) fn held(&self, partition: &GroupPartition) -> Option<&Held> {
        self.held.get(partition)
    }

    pub(super) fn held_mut(&mut self, partition: &GroupPartition) -> Option<&mut Held> {
        self.held.get_mut(partition)
    }

    /// Whether the application has to give up a partition: it is not read any more.
    pub(super) fn is_given_up(&self, partition: &GroupPartition) -> bool {
        self.revoking.contains(partition)
    }

    /// The held partitions.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &GroupPartition> {
        self.held.keys()
    }

    /// A partition that is not held any more, and that the application does not know about yet.
    pub(super) fn first_lost(&self) -> Option<GroupPartition> {
        self.lost.first().cloned()
    }

    pub(super) fn status(&self) -> Vec<PartitionStatus> {
        let status = |(partition, held): (&GroupPartition, &Held)| PartitionStatus {
            partition: partition.clone(),
            position: held.cursor.position(),
            committed: held.committed,
            high_watermark: load(&held.cursor.high_watermark),
            is_paused: held.is_paused,
        };
        self.held.iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests;
