//! The file of a group's hard state: three slots with the same record.
//!
//! A vote is written into two slots with one sync, while the third slot still holds the previous
//! record. A crash in between therefore loses no vote, and after it any one slot may be damaged.
//! Records that nobody waits for are written into the third slot alone.
//!
//! The file is opened for each write and closed after it: votes and committed ids are rare, and a
//! node with thousands of groups would otherwise need a descriptor for each of them.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use lograft_core::{ClusterId, GroupId, LogIndex};

use crate::error::{Action, NewerFormat, StorageError};
use crate::files::{Files, sync_and_drop_pages};
use crate::format::{HARD_RECORD_BYTES, HARD_SLOT_POSITIONS, HardRecord};
use crate::fs::{FsFile, OpenMode};
use crate::hard_state::HardState;
use crate::layout::hard_state_path;
use crate::read_failure::{FailureClass, class_of};

const SLOTS: usize = HARD_SLOT_POSITIONS.len();

/// The cluster and the group that a file belongs to.
#[derive(Clone, Copy)]
pub(crate) struct FileOwner {
    pub(crate) cluster: ClusterId,
    pub(crate) group: GroupId,
}

pub(crate) struct HardFile {
    path: PathBuf,
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
        let mut unreadable_count = 0;
        for (slot, position) in slots.iter_mut().zip(HARD_SLOT_POSITIONS) {
            let bytes = match file.read_at(position, HARD_RECORD_BYTES) {
                Ok(bytes) => bytes,
                Err(error) if class_of(&error) == FailureClass::Damage => {
                    unreadable_count += 1;
                    continue;
                }
                Err(source) => return Err(StorageError::io(Action::Read, &path, source)),
            };
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
        // A torn write can damage two slots, but it leaves no sector unreadable. Besides an
        // unreadable slot, both others must therefore be valid: with only one of them, the vote
        // that was synced last may be lost, and the replica could vote twice in its term.
        if unreadable_count > 0 && slots.iter().flatten().count() < SLOTS - 1 {
            return Ok(HardFileContents::Damaged);
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

    /// The newest valid record of a group's file, if there is one. Changes nothing on disk, and
    /// says nothing about the vote: a newer record may be damaged.
    pub(crate) fn read_only(
        files: &Files,
        dir: &Path,
        owner: FileOwner,
    ) -> Result<Option<HardRecord>, StorageError> {
        let slots = read_slots(files, dir, owner.group)?.into_iter().flatten();
        let own = slots.filter(|(_, cluster)| *cluster == owner.cluster);
        Ok(own
            .map(|(record, _)| record)
            .max_by_key(|record| record.sequence))
    }

    /// The cluster that a valid record of the group names. Changes nothing on disk.
    pub(crate) fn cluster_of(
        files: &Files,
        dir: &Path,
        group: GroupId,
    ) -> Result<Option<ClusterId>, StorageError> {
        let mut slots = read_slots(files, dir, group)?.into_iter().flatten();
        Ok(slots.next().map(|(_, cluster)| cluster))
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
        write_copies(files, dir, owner, &record)?;
        Ok(Self {
            path: hard_state_path(dir),
            owner,
            record,
            spare_slot: 1,
        })
    }

    /// Continues with the newest record that was read. If another slot has not its vote, the file
    /// is replaced by one with the record in all slots.
    // A vote in a single slot is one bad sector away from being lost, and a replica that forgets
    // its vote could vote twice in one term and elect two leaders. The copies are made before the
    // group is used. They go to a new file: a write into a page that the disk cannot read fails.
    pub(crate) fn open(
        files: &Files,
        dir: &Path,
        owner: FileOwner,
        newest: NewestRecord,
    ) -> Result<Self, StorageError> {
        let NewestRecord {
            record,
            slot,
            needs_copies,
        } = newest;
        if needs_copies {
            write_copies(files, dir, owner, &record)?;
        }
        Ok(Self {
            path: hard_state_path(dir),
            owner,
            record,
            spare_slot: (slot + 1) % SLOTS,
        })
    }

    /// The record last written.
    pub(crate) fn record(&self) -> &HardRecord {
        &self.record
    }

    /// Writes a record into the spare slot, without a sync.
    pub(crate) fn write(
        &mut self,
        files: &Files,
        hard: HardState,
        durable_end: LogIndex,
    ) -> Result<(), StorageError> {
        let file = files.open(&self.path, OpenMode::Write)?;
        self.advance(hard, durable_end);
        self.write_slot(file.as_ref(), self.spare_slot)
    }

    /// Writes a record into two slots and syncs them.
    // The slot that is left alone holds the record of the last sync. A torn write can damage
    // the two slots in flight but not that one, so recovery finds the new vote or the previous one,
    // never none. Nobody has heard of the new vote before the sync: forgetting it is safe.
    pub(crate) fn write_synced(
        &mut self,
        files: &Files,
        hard: HardState,
        durable_end: LogIndex,
    ) -> Result<(), StorageError> {
        let file = files.open(&self.path, OpenMode::Write)?;
        self.advance(hard, durable_end);
        self.write_slot(file.as_ref(), self.spare_slot)?;
        self.write_slot(file.as_ref(), (self.spare_slot + 1) % SLOTS)?;
        file.sync_data()
            .map_err(|source| StorageError::io(Action::Sync, &self.path, source))?;
        self.spare_slot = (self.spare_slot + 2) % SLOTS;
        Ok(())
    }

    fn advance(&mut self, hard: HardState, durable_end: LogIndex) {
        self.record = HardRecord {
            sequence: self.record.sequence + 1,
            hard,
            durable_end,
        };
    }

    fn write_slot(&self, file: &dyn FsFile, slot: usize) -> Result<(), StorageError> {
        let bytes = self.record.encode(self.owner.group, self.owner.cluster);
        file.write_vectored_at(&mut [IoSlice::new(&bytes)], HARD_SLOT_POSITIONS[slot])
            .map_err(|source| StorageError::io(Action::Write, &self.path, source))
    }
}

/// The valid records of a group's file and their clusters.
fn read_slots(
    files: &Files,
    dir: &Path,
    group: GroupId,
) -> Result<[Option<(HardRecord, ClusterId)>; SLOTS], StorageError> {
    let path = hard_state_path(dir);
    let mut slots = [None; SLOTS];
    let opened = files.open_if_exists(&path, OpenMode::Read);
    let file = match opened {
        Err(error) if error.damage().is_some() => None,
        opened => opened?,
    };
    let Some(file) = file else { return Ok(slots) };
    for (slot, position) in slots.iter_mut().zip(HARD_SLOT_POSITIONS) {
        let bytes = match file.read_at(position, HARD_RECORD_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if class_of(&error) == FailureClass::Damage => continue,
            Err(source) => return Err(StorageError::io(Action::Read, &path, source)),
        };
        if let Some(newer) = HardRecord::newer(&bytes) {
            return Err(newer.in_file(&path, position).into());
        }
        *slot = HardRecord::decode(&bytes, group);
    }
    Ok(slots)
}

/// Replaces the file by one with the record in all slots, durably.
fn write_copies(
    files: &Files,
    dir: &Path,
    owner: FileOwner,
    record: &HardRecord,
) -> Result<(), StorageError> {
    let mut bytes = Vec::new();
    for position in HARD_SLOT_POSITIONS {
        bytes.resize(usize::try_from(position).unwrap_or(0), 0);
        bytes.extend_from_slice(&record.encode(owner.group, owner.cluster));
    }
    files.write_file(&hard_state_path(dir), &bytes, true)
}
