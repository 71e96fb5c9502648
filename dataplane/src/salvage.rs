//! The records in the files of a replica that cannot be opened or repaired. Nothing on disk is
//! changed, and no lock is taken.

use std::path::Path;
use std::sync::Arc;

use lograft_core::record_batch::{BatchView, DecodedBatch};
use lograft_core::{Entry, EntryKind, GroupId, LogIndex, NodeId, Offset, PartitionState};
use lograft_raft::decode_membership;
pub use lograft_storage::{LogGap, StorageError};
use lograft_storage::{RealFs, Salvage, SalvageError, Salvaged};

/// The reason why no records can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaFilesError {
    /// The directory has no files of a replica, or they cannot be read.
    #[error(transparent)]
    Salvage(#[from] SalvageError),
    /// The files are those of the meta group.
    #[error("{dir} has the metadata of the cluster, not the records of a partition")]
    Metadata {
        /// The directory.
        dir: String,
    },
}

/// The files of a replica.
pub struct ReplicaFiles {
    salvage: Salvage,
}

/// What the whole log says about its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSurvey {
    /// The end of the entries that are known to be committed, exclusive.
    pub committed_end: LogIndex,
    /// Records below were deleted.
    pub log_start_offset: Offset,
}

/// The records of an entry.
#[derive(Clone, Debug)]
pub struct SalvagedBatch {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The number of records at its start that were deleted.
    pub deleted_count: u64,
    /// The leader's time of the append, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
    /// Whether its entry is known to be committed.
    pub is_committed: bool,
    /// The records, deleted ones included.
    pub records: DecodedBatch,
    /// Their number.
    pub record_count: u64,
}

/// A piece of a partition's log.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Records that can be read.
    Batch(SalvagedBatch),
    /// A part that cannot be read.
    Gap(LogGap),
}

impl ReplicaFiles {
    /// Opens a directory of any name. Fails if it has no files of a partition.
    pub fn open(dir: &Path) -> Result<Self, ReplicaFilesError> {
        let salvage = Salvage::open(Arc::new(RealFs), dir)?;
        if salvage.group() == GroupId::META {
            return Err(ReplicaFilesError::Metadata {
                dir: dir.display().to_string(),
            });
        }
        Ok(Self { salvage })
    }

    /// The group of the files.
    pub const fn group(&self) -> GroupId {
        self.salvage.group()
    }

    /// The node that uses the files while it runs; `None` for a copy of them.
    pub fn live_node(&self) -> Option<NodeId> {
        self.salvage.live_node()
    }

    /// Reads the log once, for what its end says about its start. Fails if the file system does.
    pub fn survey(&self) -> Result<LogSurvey, StorageError> {
        let mut survey = LogSurvey {
            committed_end: self.salvage.committed_end(),
            log_start_offset: Offset::ZERO,
        };
        let mut is_alone = false;
        if let Some(checkpoint) = self.salvage.checkpoint() {
            is_alone = has_one_voter(&checkpoint.membership);
            if let Ok(state) = PartitionState::decode(&checkpoint.state) {
                survey.log_start_offset = state.log_start_offset;
            }
        }
        let checkpoint_end = self.checkpoint_end();
        // The newest trims, which the entries behind them may show to be committed.
        let mut trims = Vec::new();
        self.salvage.read(|piece| {
            let Salvaged::Entry(entry) = piece else {
                return Ok::<_, StorageError>(());
            };
            let end = entry.id.index.next();
            if entry.proposal.kind == EntryKind::Membership && end > checkpoint_end {
                is_alone = is_alone_after(&entry, is_alone, &mut survey);
            } else if is_alone {
                survey.committed_end = survey.committed_end.max(end);
            }
            trims.extend(trim_of(&entry));
            survey.apply_committed(&mut trims);
            Ok(())
        })?;
        Ok(survey)
    }

    fn checkpoint_end(&self) -> LogIndex {
        let checkpoint = self.salvage.checkpoint();
        checkpoint.map_or(LogIndex::ZERO, |found| found.last.index.next())
    }

    /// Reads the records in order, one batch in memory at a time, and gives each piece to `each`.
    /// Fails if `each` or the file system does.
    pub fn read<E: From<StorageError>>(
        &self,
        survey: &LogSurvey,
        mut each: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        let dir = self.salvage.dir().to_owned();
        self.salvage.read(|piece| match piece {
            Salvaged::Gap(gap) => each(Piece::Gap(gap)),
            Salvaged::Entry(entry) if entry.proposal.kind != EntryKind::Records => Ok(()),
            Salvaged::Entry(entry) if entry.next_offset() <= survey.log_start_offset => Ok(()),
            Salvaged::Entry(entry) => each(batch_of(&entry, survey, &dir)),
        })
    }
}

/// Whether the membership has a single voter, which commits an entry by having it on disk.
// Its hard state names the committed entries late or not at all. Without this rule, the newest
// acknowledged records of a partition with one replica would count as not committed.
fn has_one_voter(membership: &[u8]) -> bool {
    decode_membership(membership)
        .is_ok_and(|membership| membership.voters.len() == 1 && membership.joint.is_none())
}

/// Whether the group has a single voter from a membership entry on. Entries before it are then
/// committed, whoever voted when they were appended: a single voter makes them so when it leads.
fn is_alone_after(entry: &Entry, was_alone: bool, survey: &mut LogSurvey) -> bool {
    let is_alone = has_one_voter(&entry.proposal.payload);
    let committed = match (was_alone, is_alone) {
        (_, true) => entry.id.index.next(),
        (true, false) => entry.id.index,
        (false, false) => LogIndex::ZERO,
    };
    survey.committed_end = survey.committed_end.max(committed);
    is_alone
}

/// The entry of a trim and the offset to which it moves the start of the log.
fn trim_of(entry: &Entry) -> Option<(LogIndex, Offset)> {
    if entry.proposal.kind != EntryKind::Trim {
        return None;
    }
    let target = PartitionState::trim_target(&entry.proposal.payload)?;
    // As in `PartitionState`: not past the end of the log.
    Some((entry.id.index, target.min(entry.base_offset)))
}

impl LogSurvey {
    /// Takes out the trims that are committed, and moves the start of the log.
    fn apply_committed(&mut self, trims: &mut Vec<(LogIndex, Offset)>) {
        trims.retain(|(index, target)| {
            let is_committed = *index < self.committed_end;
            if is_committed {
                self.log_start_offset = self.log_start_offset.max(*target);
            }
            !is_committed
        });
    }
}

fn batch_of(entry: &Entry, survey: &LogSurvey, dir: &Path) -> Piece {
    let view = BatchView::parse(entry.proposal.payload.clone());
    let decoded = view.and_then(|view| {
        let records = view.decode()?;
        for record in &records {
            record?;
        }
        Ok(records)
    });
    let deleted = survey
        .log_start_offset
        .get()
        .saturating_sub(entry.base_offset.get());
    match decoded {
        Ok(records) => Piece::Batch(SalvagedBatch {
            base_offset: entry.base_offset,
            deleted_count: deleted,
            append_time_ms: entry.proposal.append_time_ms,
            is_committed: entry.id.index < survey.committed_end,
            records,
            record_count: u64::from(entry.proposal.record_count),
        }),
        Err(_) => Piece::Gap(LogGap {
            path: dir.to_owned(),
            bytes: 0..0,
            first_index: entry.id.index,
            end_index: Some(entry.id.index.next()),
            first_offset: Some(entry.base_offset),
            end_offset: Some(entry.next_offset()),
            why: "the batch cannot be decoded",
        }),
    }
}

#[cfg(test)]
mod tests;
