//! The file of a group's hard state: three slots with the same record.
//!
//! A vote is written into two slots with one sync, while the third slot still holds the previous
//! record. A crash in between therefore loses no vote, and after it any one slot may be damaged.
//! Records that nobody waits for are written into the third slot alone.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{ClusterId, GroupId, LogIndex};

use crate::error::{Action, NewerFormat, StorageError};
use crate::files::{Files, sync_and_drop_pages};
use crate::format::{HARD_RECORD_BYTES, HARD_SLOT_POSITIONS, HardRecord};
use crate::fs::{FsFile, OpenMode};
use crate::hard_state::HardState;
use crate::layout::hard_state_path;

const SLOTS: usize = HARD_SLOT_POSITIONS.len();

/// The cluster and the group that a file belongs to.
#[derive(Clone, Copy)]
pub(crate) struct FileOwner {
    pub(crate) cluster: ClusterId,
    pub(crate) group: GroupId,
}

pub(crate) struct HardFile {
    path: PathBuf,
    file: Arc<dyn FsFile>,
    owner: FileOwner,
    /// The record last written.
    record: HardRecord,
    /// The slot whose record may be lost: the other two hold the last synced record.
    spare_slot: usize,
}

/// The contents of a hard state file.
pub(crate) enum HardFileContents {
    /// The file does not exist.
    Missing,
    /// No record is valid.
    Damaged,
    /// The records belong to another cluster.
    OtherCluster(ClusterId),
    /// A newer version wrote a record.
    Newer(NewerFormat),
    /// The newest valid record.
    Record(NewestRecord),
}

/// The newest of the valid records.
#[derive(Clone, Copy)]
pub(crate) struct NewestRecord {
    pub(crate) record: HardRecord,
    slot: usize,
    /// Another slot is damaged or has another vote.
    needs_copies: bool,
}

impl HardFile {
    /// Reads the hard state file of a group.
    pub(crate) fn read(
        files: &Files,
        dir: &Path,
        owner: FileOwner,
    ) -> Result<HardFileContents, StorageError> {
        let path = hard_state_path(dir);
        let Some(file) = files.open_if_exists(&path, OpenMode::Write)? else {
            return Ok(HardFileContents::Missing);
        };
        sync_and_drop_pages(&path, file.as_ref())?;
        let mut slots = [None; SLOTS];
        for (slot, position) in slots.iter_mut().zip(HARD_SLOT_POSITIONS) {
            let bytes = file
                .read_at(position, HARD_RECORD_BYTES)
                .map_err(|source| StorageError::io(Action::Read, &path, source))?;
            *slot = HardRecord::decode(&bytes, owner.group);
            if let Some(newer) = HardRecord::newer(&bytes) {
                return Ok(HardFileContents::Newer(newer.in_file(&path, position)));
            }
        }
        if let Some((_, other)) = slots
            .iter()
            .flatten()
            .find(|(_, cluster)| *cluster != owner.cluster)
        {
            return Ok(HardFileContents::OtherCluster(*other));
        }
        let newest = (0..SLOTS)
            .filter_map(|slot| slots[slot].map(|(record, _)| (record, slot)))
            .max_by_key(|(record, _)| record.sequence);
        let Some((record, slot)) = newest else {
            return Ok(HardFileContents::Damaged);
        };
        let has_vote = |slot: &Option<(HardRecord, ClusterId)>| {
            slot.is_some_and(|(other, _)| other.hard.vote == record.hard.vote)
        };
        let needs_copies = !slots.iter().all(has_vote);
        Ok(HardFileContents::Record(NewestRecord {
            record,
            slot,
            needs_copies,
        }))
    }

    /// Creates the file of a new group, durably.
    pub(crate) fn create(
        files: &Files,
        dir: &Path,
        owner: FileOwner,
    ) -> Result<Self, StorageError> {
        let (hard, durable_end) = (HardState::default(), LogIndex::ZERO);
        let record = HardRecord {
            sequence: 1,
            hard,
            durable_end,
        };
        let mut bytes = Vec::new();
        for position in HARD_SLOT_POSITIONS {
            bytes.resize(usize::try_from(position).unwrap_or(0), 0);
            bytes.extend_from_slice(&record.encode(owner.group, owner.cluster));
        }
        files.write_file(&hard_state_path(dir), &bytes, true)?;
        let newest = NewestRecord {
            record,
            slot: 0,
            needs_copies: false,
        };
        Self::open(files, dir, owner, newest)
    }

    /// Opens the file whose newest record was read; if only one slot has its vote, copies it.
    pub(crate) fn open(
        files: &Files,
        dir: &Path,
        owner: FileOwner,
        newest: NewestRecord,
    ) -> Result<Self, StorageError> {
        let path = hard_state_path(dir);
        let file = files.open(&path, OpenMode::Write)?;
        let NewestRecord {
            record,
            slot,
            needs_copies,
        } = newest;
        let mut open = Self {
            path,
            file,
            owner,
            record,
            spare_slot: (slot + 1) % SLOTS,
        };
        // A vote in a single slot is one bad sector away from being lost, and a replica that
        // forgets its vote could vote twice in one term and elect two leaders. The copies are made
        // before the group is used.
        if needs_copies {
            open.write_synced(record.hard, record.durable_end)?;
        }
        Ok(open)
    }

    /// The record last written.
    pub(crate) fn record(&self) -> &HardRecord {
        &self.record
    }

    /// Writes a record into the spare slot, without a sync.
    pub(crate) fn write(
        &mut self,
        hard: HardState,
        durable_end: LogIndex,
    ) -> Result<(), StorageError> {
        self.record = HardRecord {
            sequence: self.record.sequence + 1,
            hard,
            durable_end,
        };
        self.write_slot(self.spare_slot)
    }

    /// Writes a record into two slots and syncs them.
    // The slot that is left alone holds the record of the last sync. A torn write can damage
    // the two slots in flight but not that one, so recovery finds the new vote or the previous one,
    // never none. Nobody has heard of the new vote before the sync: forgetting it is safe.
    pub(crate) fn write_synced(
        &mut self,
        hard: HardState,
        durable_end: LogIndex,
    ) -> Result<(), StorageError> {
        self.write(hard, durable_end)?;
        self.write_slot((self.spare_slot + 1) % SLOTS)?;
        self.file
            .sync_data()
            .map_err(|source| StorageError::io(Action::Sync, &self.path, source))?;
        self.spare_slot = (self.spare_slot + 2) % SLOTS;
        Ok(())
    }

    fn write_slot(&self, slot: usize) -> Result<(), StorageError> {
        let bytes = self.record.encode(self.owner.group, self.owner.cluster);
        self.file
            .write_vectored_at(&mut [IoSlice::new(&bytes)], HARD_SLOT_POSITIONS[slot])
            .map_err(|source| StorageError::io(Action::Write, &self.path, source))
    }
}
