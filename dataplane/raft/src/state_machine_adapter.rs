//! openraft's state machine over a [`StateMachine`]: applies entries, answers proposers, and hands
//! checkpoints to the log at its segments' bases, so that a restart replays little.

use std::io;
use std::sync::{Mutex, PoisonError};

use futures_util::{Stream, StreamExt};
use lograft_core::limits::APPLY_CHUNK_MAX_COUNT;
use lograft_core::{Entry, EntryKind, LogId, LogIndex, Membership, Offset};
use lograft_storage::{Checkpoint, GroupLog};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use tokio::sync::oneshot;

use crate::convert::{entry_from_raft, log_id_to_raft, stored_membership};
use crate::error::BoxError;
use crate::log_store::wait_flushed;
use crate::membership::{decode_membership, encode_membership};
use crate::snapshot::{RaftSnapshot, RaftSnapshotMeta, SnapshotBuilder, Snapshots, to_snapshot};
use crate::state_machine::{Response, StateMachine};
use crate::types::{RaftLogId, RaftStoredMembership, Types};

/// A group's machine together with what raft keeps about it.
pub(crate) struct StateMachineAdapter {
    /// A mutex only because openraft wants `Sync`; it is never contended.
    machine: Mutex<Box<dyn StateMachine>>,
    log: GroupLog,
    snapshots: Snapshots,
    at: Position,
    /// The index at which the next checkpoint is due, when the log has said so.
    checkpoint_due: Option<LogIndex>,
    /// Where the last one was made.
    checkpointed: Option<LogIndex>,
    /// Answers held back until the machine has published what they are about.
    answers: Vec<(ApplyResponder<Types>, Response)>,
    /// Entries applied since `batch_done`.
    unpublished: u64,
}

/// How far the machine is.
#[derive(Clone, Debug, Default)]
struct Position {
    applied: Option<LogId>,
    next_offset: Offset,
    membership: Membership,
    membership_id: Option<LogId>,
}

impl Position {
    fn of(checkpoint: &Checkpoint) -> Result<Self, BoxError> {
        Ok(Self {
            applied: Some(checkpoint.last),
            next_offset: checkpoint.next_offset,
            membership: decode_membership(&checkpoint.membership)?,
            membership_id: checkpoint.membership_id,
        })
    }
}

impl StateMachineAdapter {
    /// Restores the machine from the log's last checkpoint and replays what is committed since.
    pub(crate) fn open(
        log: GroupLog,
        machine: Box<dyn StateMachine>,
        snapshots: Snapshots,
    ) -> Result<Self, BoxError> {
        let mut this = Self {
            machine: Mutex::new(machine),
            log,
            snapshots,
            at: Position::default(),
            checkpoint_due: None,
            checkpointed: None,
            answers: Vec::new(),
            unpublished: 0,
        };
        if let Some(purged) = this.log.purged_id() {
            let base = log_base(&this.log, purged);
            let base =
                base.ok_or_else(|| format!("no checkpoint stands at the log start {purged}"))?;
            if base.last != purged {
                this.log.purge_to(base.last);
            }
            this.snapshots.set_current(Some(base));
        }
        let end = this.log.last_id().or_else(|| this.log.purged_id());
        match end.and_then(|end| newest_checkpoint(&this.log, end.index)) {
            Some(checkpoint) => this.restore(&checkpoint)?,
            None => this.machine().restore(&[])?,
        }
        this.replay()?;
        Ok(this)
    }

    fn machine(&mut self) -> &mut Box<dyn StateMachine> {
        self.machine
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), BoxError> {
        let at = Position::of(checkpoint)?;
        self.machine().restore(&checkpoint.state)?;
        self.at = at;
        self.checkpoint_due = None;
        self.checkpointed = Some(checkpoint.last.index);
        self.unpublished = 0;
        self.machine().batch_done(checkpoint.last);
        Ok(())
    }

    /// Applies what was known to be committed before the restart.
    fn replay(&mut self) -> Result<(), BoxError> {
        let Some(committed) = self.log.hard_state().committed else {
            return Ok(());
        };
        let end = self
            .log
            .last_id()
            .map_or(committed.index, |last| last.index.min(committed.index));
        let mut next = self.at.applied.map_or(LogIndex::ZERO, |id| id.index.next());
        while next <= end {
            let chunk_end = LogIndex(end.next().get().min(next.get() + APPLY_CHUNK_MAX_COUNT));
            let chunk = self.log.read_meta(next..chunk_end)?;
            let Some(last) = chunk.last() else { break };
            next = last.id.index.next();
            self.look_for_checkpoint();
            for entry in &chunk {
                self.apply_one(entry, None)?;
            }
            self.publish();
        }
        Ok(())
    }

    fn apply_one(
        &mut self,
        entry: &Entry,
        responder: Option<ApplyResponder<Types>>,
    ) -> Result<(), BoxError> {
        self.checkpoint_if_due();
        if entry.proposal.kind == EntryKind::Membership {
            self.at.membership = decode_membership(&entry.proposal.payload)?;
            self.at.membership_id = Some(entry.id);
        }
        let response = self.machine().apply(entry);
        self.at.applied = Some(entry.id);
        self.at.next_offset = entry.next_offset();
        self.unpublished += 1;
        if let Some(responder) = responder {
            self.answers.push((responder, response));
        }
        Ok(())
    }

    /// Asks the log where it wants the next checkpoint. A segment may have been sealed right
    /// behind the machine, so the machine's own place counts too.
    fn look_for_checkpoint(&mut self) {
        if self.checkpoint_due.is_none() {
            let before = self.at.applied.and_then(|id| id.index.prev());
            self.checkpoint_due = self.log.next_checkpoint_after(before);
        }
    }

    /// Hands in a checkpoint if the machine stands at the end of a sealed segment.
    fn checkpoint_if_due(&mut self) {
        let (Some(due), Some(applied)) = (self.checkpoint_due, self.at.applied) else {
            return;
        };
        if applied.index < due {
            return;
        }
        if applied.index == due && self.checkpointed != Some(due) {
            let checkpoint = self.checkpoint(applied);
            self.log.put_checkpoint(checkpoint);
            self.checkpointed = Some(due);
        }
        self.checkpoint_due = self.log.next_checkpoint_after(Some(applied.index));
    }

    fn checkpoint(&mut self, last: LogId) -> Checkpoint {
        Checkpoint {
            last,
            next_offset: self.at.next_offset,
            membership: encode_membership(&self.at.membership),
            membership_id: self.at.membership_id,
            state: self.machine().checkpoint(),
        }
    }

    /// Lets the machine publish, then answers: who is answered also sees what it wrote.
    fn publish(&mut self) {
        if self.unpublished == 0 {
            return;
        }
        self.unpublished = 0;
        if let Some(applied) = self.at.applied {
            self.machine().batch_done(applied);
        }
        for (responder, response) in self.answers.drain(..) {
            responder.send(response);
        }
    }

    /// Brings the log to a snapshot's position: a log that ends before it starts anew there, a
    /// longer one keeps its entries, which a leader may have counted on.
    async fn settle_log(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let end = self.log.last_id();
        if end.is_some_and(|end| end.index >= checkpoint.last.index) {
            self.log.put_checkpoint(checkpoint.clone());
            return Ok(());
        }
        let (done, flushed) = oneshot::channel();
        self.log.reset_to(
            checkpoint.clone(),
            Box::new(move |result| {
                done.send(result).ok();
            }),
        );
        wait_flushed(flushed).await
    }
}

/// The first checkpoint at or above the log's start: what a snapshot is made of. It stands exactly
/// there, unless the last one came from a leader whose segments are cut otherwise.
fn log_base(log: &GroupLog, purged: LogId) -> Option<Checkpoint> {
    let end = log.last_id().map_or(purged.index, |last| last.index);
    let mut found =
        newest_checkpoint(log, end).filter(|newest| newest.last.index >= purged.index)?;
    while let Some(below) = found
        .last
        .index
        .prev()
        .and_then(|i| log.checkpoint_at_or_below(i))
    {
        if below.last.index < purged.index {
            break;
        }
        found = below;
    }
    Some(found)
}

/// The newest checkpoint that belongs to this very log. After a crash, one may lie beyond the
/// log's end, or where an unfinished change left an older entry.
fn newest_checkpoint(log: &GroupLog, end: LogIndex) -> Option<Checkpoint> {
    let mut found = log.checkpoint_at_or_below(end)?;
    while log.term_at(found.last.index) != Some(found.last.term) {
        found = log.checkpoint_at_or_below(found.last.index.prev()?)?;
    }
    Some(found)
}

impl RaftStateMachine<Types> for StateMachineAdapter {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, RaftStoredMembership)> {
        let Position {
            applied,
            membership,
            membership_id,
            ..
        } = &self.at;
        Ok((
            applied.map(log_id_to_raft),
            stored_membership(*membership_id, membership),
        ))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        self.look_for_checkpoint();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let mut entry = entry_from_raft(entry);
            if entry.proposal.kind != EntryKind::Blank
                && entry.proposal.kind != EntryKind::Membership
                && entry.base_offset != self.at.next_offset
            {
                return Err(io::Error::other(format!(
                    "entry {} holds offset {}, {} was next",
                    entry.id, entry.base_offset, self.at.next_offset
                )));
            }
            entry.base_offset = self.at.next_offset;
            self.apply_one(&entry, responder)
                .map_err(io::Error::other)?;
            if self.unpublished >= APPLY_CHUNK_MAX_COUNT {
                self.publish();
            }
        }
        self.checkpoint_if_due();
        self.publish();
        Ok(())
    }

    /// `force` comes only at a start whose log is purged without a snapshot, which
    /// [`StateMachineAdapter::open`] refuses; it gets the state as it is.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        let mut builder = self.get_snapshot_builder().await;
        if force && let Some(applied) = self.at.applied {
            builder.forced = Some(self.checkpoint(applied));
        }
        Some(builder)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (log, snapshots) = (self.log.clone(), self.snapshots.clone());
        SnapshotBuilder {
            log,
            snapshots,
            forced: None,
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &RaftSnapshotMeta,
        checkpoint: Checkpoint,
    ) -> io::Result<()> {
        self.settle_log(&checkpoint).await?;
        self.restore(&checkpoint).map_err(io::Error::other)?;
        self.snapshots.set_current(Some(checkpoint));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        self.snapshots.current().map(to_snapshot).transpose()
    }
}
