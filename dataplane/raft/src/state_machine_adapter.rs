//! openraft's state machine, implemented on a [`StateMachine`]: applies entries, answers proposers,
//! and gives the log a checkpoint at the end of each sealed segment, so that a restart replays
//! little.

use std::io;
use std::sync::{Mutex, PoisonError};

use futures_util::{Stream, StreamExt};
use lograft_core::limits::APPLY_CHUNK_MAX_COUNT;
use lograft_core::{Entry, EntryKind, LogId, LogIndex, Membership, Offset};
use lograft_storage::{Checkpoint, GroupLog, StorageError};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};

use crate::convert::{entry_from_raft, log_id_to_raft, stored_membership};
use crate::error::BoxError;
use crate::flush::flushed;
use crate::membership::{decode_membership, encode_membership};
use crate::snapshot::{RaftSnapshot, RaftSnapshotMeta, SnapshotBuilder, Snapshots, to_snapshot};
use crate::state_machine::{Response, StateMachine};
use crate::types::{RaftLogId, RaftStoredMembership, Types};

/// The handle of openraft's core task.
pub(crate) type Raft = openraft::Raft<Types, StateMachineAdapter>;

/// A group's state machine with the position in the log that it has applied.
pub(crate) struct StateMachineAdapter {
    /// A mutex only because openraft requires `Sync`; it is never contended.
    machine: Mutex<Box<dyn StateMachine>>,
    log: GroupLog,
    snapshots: Snapshots,
    position: AppliedPosition,
    /// The index at which the next checkpoint is due. `None` until its segment is sealed.
    checkpoint_due: Option<LogIndex>,
    /// The index of the last checkpoint.
    checkpointed: Option<LogIndex>,
    /// Responses to send once the state machine has published their effects.
    responses: Vec<(ApplyResponder<Types>, Response)>,
    /// Entries applied since the last `batch_done`.
    unpublished_count: u64,
}

/// The position that the state machine has applied.
#[derive(Clone, Debug, Default)]
struct AppliedPosition {
    applied: Option<LogId>,
    next_offset: Offset,
    membership: Membership,
    membership_id: Option<LogId>,
}

impl AppliedPosition {
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
    /// Restores the state machine from the log's newest checkpoint. openraft then applies the
    /// entries after it that were known to be committed (`LogStore::read_committed`). Fails if a
    /// purged log has no checkpoint at its start, which is damage, or if a checkpoint cannot be
    /// read or does not decode.
    pub(crate) fn open(
        log: GroupLog,
        machine: Box<dyn StateMachine>,
        snapshots: Snapshots,
    ) -> Result<Self, BoxError> {
        let mut this = Self {
            machine: Mutex::new(machine),
            log,
            snapshots,
            position: AppliedPosition::default(),
            checkpoint_due: None,
            checkpointed: None,
            responses: Vec::new(),
            unpublished_count: 0,
        };
        if let Some(purged) = this.log.purged_id() {
            let base = log_base(&this.log, purged)?.ok_or_else(|| {
                this.log
                    .report_damage("no checkpoint at the start of the log")
            })?;
            // The snapshot must be at the log's start (see `snapshot`): purge up to it.
            if base.last != purged {
                this.log.purge_to(base.last);
            }
            this.snapshots.set_current(Some(base));
        }
        let end = this.log.last_id().or_else(|| this.log.purged_id());
        let newest = end.map(|end| newest_checkpoint(&this.log, end.index));
        match newest.transpose()?.flatten() {
            Some(checkpoint) => this.restore(&checkpoint)?,
            None => this.machine().restore(&[])?,
        }
        Ok(this)
    }

    fn machine(&mut self) -> &mut Box<dyn StateMachine> {
        self.machine
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), BoxError> {
        let position = AppliedPosition::of(checkpoint)?;
        self.machine().restore(&checkpoint.state)?;
        self.position = position;
        self.checkpoint_due = None;
        self.checkpointed = Some(checkpoint.last.index);
        self.unpublished_count = 0;
        self.machine().batch_done(checkpoint.last);
        Ok(())
    }

    fn apply_one(
        &mut self,
        entry: &Entry,
        responder: Option<ApplyResponder<Types>>,
    ) -> Result<(), BoxError> {
        self.checkpoint_if_due();
        if entry.proposal.kind == EntryKind::Membership {
            self.position.membership = decode_membership(&entry.proposal.payload)?;
            self.position.membership_id = Some(entry.id);
        }
        let response = self.machine().apply(entry);
        self.position.applied = Some(entry.id);
        self.position.next_offset = entry.next_offset();
        self.unpublished_count += 1;
        if let Some(responder) = responder {
            self.responses.push((responder, response));
        }
        Ok(())
    }

    /// Asks the log where the next checkpoint is due. A segment may have been sealed exactly at the
    /// applied entry, so this entry's own index counts too.
    fn update_checkpoint_due(&mut self) {
        if self.checkpoint_due.is_none() {
            let before = self.position.applied.and_then(|id| id.index.prev());
            self.checkpoint_due = self.log.next_checkpoint_after(before);
        }
    }

    /// Gives the log a checkpoint if the applied entry is the last one of a sealed segment.
    fn checkpoint_if_due(&mut self) {
        // A checkpoint must be exactly at a segment's end. Segments are deleted as a whole, so the
        // log then starts right after a checkpoint, and a snapshot made from it is at the log's
        // start.
        let (Some(due), Some(applied)) = (self.checkpoint_due, self.position.applied) else {
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
            next_offset: self.position.next_offset,
            membership: encode_membership(&self.position.membership),
            membership_id: self.position.membership_id,
            state: self.machine().checkpoint(),
        }
    }

    /// Publishes the applied state, then answers the proposers.
    fn publish(&mut self) {
        // The order matters for read-your-writes: a client that was answered first could read from
        // this leader below the old high watermark and miss its own record.
        if self.unpublished_count == 0 {
            return;
        }
        self.unpublished_count = 0;
        if let Some(applied) = self.position.applied {
            self.machine().batch_done(applied);
        }
        for (responder, response) in self.responses.drain(..) {
            responder.send(response);
        }
    }

    /// Moves the log to an installed snapshot. A log that ends before the snapshot is emptied and
    /// continues after it; a longer log keeps its entries.
    async fn move_log_to(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        // A longer log must not be emptied: this replica has acknowledged its entries, and a leader
        // may have counted it towards their majority. Dropping them could lose committed entries.
        let end = self.log.last_id();
        if end.is_some_and(|end| end.index >= checkpoint.last.index) {
            self.log.put_checkpoint(checkpoint.clone());
            return Ok(());
        }
        flushed(|done| self.log.reset_to(checkpoint.clone(), done)).await
    }
}

/// The first checkpoint at or above the log's start, from which a snapshot is made. It is exactly
/// at the start, unless it came with a snapshot of a leader whose segments end at other entries.
fn log_base(log: &GroupLog, purged: LogId) -> Result<Option<Checkpoint>, StorageError> {
    let end = log.last_id().map_or(purged.index, |last| last.index);
    let mut base = None;
    let mut next = newest_checkpoint(log, end)?;
    while let Some(found) = next.filter(|found| found.last.index >= purged.index) {
        next = match found.last.index.prev() {
            Some(below) => log.checkpoint_at_or_below(below)?,
            None => None,
        };
        base = Some(found);
    }
    Ok(base)
}

/// The newest checkpoint whose last entry is in this log, by index and term.
fn newest_checkpoint(log: &GroupLog, end: LogIndex) -> Result<Option<Checkpoint>, StorageError> {
    // After a crash, a checkpoint may be beyond the log's end, or at an index whose entry has
    // another term because a truncation or reset was not finished. Restoring it would apply entries
    // that are not in this log.
    let mut below = Some(end);
    while let Some(index) = below {
        let Some(found) = log.checkpoint_at_or_below(index)? else {
            break;
        };
        if log.term_at(found.last.index) == Some(found.last.term) {
            return Ok(Some(found));
        }
        below = found.last.index.prev();
    }
    Ok(None)
}

impl RaftStateMachine<Types> for StateMachineAdapter {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, RaftStoredMembership)> {
        let AppliedPosition {
            applied,
            membership,
            membership_id,
            ..
        } = &self.position;
        Ok((
            applied.map(log_id_to_raft),
            stored_membership(*membership_id, membership),
        ))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        self.update_checkpoint_due();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let mut entry = entry_from_raft(entry);
            if entry.proposal.kind != EntryKind::Blank
                && entry.proposal.kind != EntryKind::Membership
                && entry.base_offset != self.position.next_offset
            {
                // The replica's log and state disagree: stop before the state diverges further.
                return Err(io::Error::other(format!(
                    "base offset of entry {} must be {}, got {}",
                    entry.id, self.position.next_offset, entry.base_offset
                )));
            }
            entry.base_offset = self.position.next_offset;
            self.apply_one(&entry, responder)
                .map_err(io::Error::other)?;
            if self.unpublished_count >= APPLY_CHUNK_MAX_COUNT {
                self.publish();
            }
        }
        self.checkpoint_if_due();
        self.publish();
        Ok(())
    }

    /// `force` is set only when openraft starts on a purged log without a snapshot, and
    /// [`StateMachineAdapter::open`] rejects such a log. The snapshot is then the current state.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        let mut builder = self.get_snapshot_builder().await;
        if force && let Some(applied) = self.position.applied {
            builder.forced = Some(self.checkpoint(applied));
        }
        Some(builder)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            snapshots: self.snapshots.clone(),
            forced: None,
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &RaftSnapshotMeta,
        checkpoint: Checkpoint,
    ) -> io::Result<()> {
        self.move_log_to(&checkpoint).await?;
        self.restore(&checkpoint).map_err(io::Error::other)?;
        self.snapshots.set_current(Some(checkpoint));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        self.snapshots.current().map(to_snapshot).transpose()
    }
}
