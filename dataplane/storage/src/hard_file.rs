//! The file that holds a group's hard state: three slots for the same record.
//!
//! A record that must not be lost goes into two slots with one sync, while the third still holds
//! the one before: a crash in between forgets nothing, and after it one slot may go bad. Records
//! that nobody waits for go into the third slot alone.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{ClusterId, GroupId, LogIndex};

use crate::error::{Action, StorageError};
use crate::format::{HARD_RECORD_BYTES, HARD_SLOT_POSITIONS, HardRecord};
use crate::fs::{FsFile, OpenMode};
use crate::hard_state::HardState;
use crate::storage_env::{Node, hard_state_path, settle_file};

const SLOTS: usize = HARD_SLOT_POSITIONS.len();

pub(crate) struct HardFile {
    path: PathBuf,
    file: Arc<dyn FsFile>,
    group: GroupId,
    cluster: ClusterId,
    /// The record last written.
    record: HardRecord,
    /// The slot whose record may be lost.
    spare: usize,
}

/// What the file's slots say.
pub(crate) enum HardFound {
    /// There is no file.
    Missing,
    /// No record is valid.
    Damaged,
    /// The records are another cluster's.
    OtherCluster(ClusterId),
    /// The records are of another version of the format.
    OtherVersion(u8),
    /// The newest record.
    Record(Newest),
}

/// The newest of the valid records.
#[derive(Clone, Copy)]
pub(crate) struct Newest {
    pub(crate) record: HardRecord,
    slot: usize,
    /// Another slot is damaged or has another vote.
    needs_copies: bool,
}

impl HardFile {
    /// What stands in a group's directory.
    pub(crate) fn find(
        node: &Node,
        dir: &Path,
        group: GroupId,
        cluster: ClusterId,
    ) -> Result<HardFound, StorageError> {
        let path = hard_state_path(dir);
        let Some(file) = node.open_if_there(&path)? else {
            return Ok(HardFound::Missing);
        };
        settle_file(&path, file.as_ref())?;
        let mut slots = [None; SLOTS];
        for (slot, position) in slots.iter_mut().zip(HARD_SLOT_POSITIONS) {
            let bytes = file
                .read_at(position, HARD_RECORD_BYTES)
                .map_err(|source| StorageError::io(Action::Read, &path, source))?;
            *slot = HardRecord::decode(&bytes, group);
            if let Some(version) = HardRecord::other_version(&bytes) {
                return Ok(HardFound::OtherVersion(version));
            }
        }
        if let Some((_, other)) = slots.iter().flatten().find(|(_, found)| *found != cluster) {
            return Ok(HardFound::OtherCluster(*other));
        }
        let newest = (0..SLOTS)
            .filter_map(|slot| slots[slot].map(|(record, _)| (record, slot)))
            .max_by_key(|(record, _)| record.sequence);
        let Some((record, slot)) = newest else {
            return Ok(HardFound::Damaged);
        };
        let has_vote = |slot: &Option<(HardRecord, ClusterId)>| {
            slot.is_some_and(|(other, _)| other.hard.vote == record.hard.vote)
        };
        let needs_copies = !slots.iter().all(has_vote);
        Ok(HardFound::Record(Newest {
            record,
            slot,
            needs_copies,
        }))
    }

    /// Makes the file of a new group, durably.
    pub(crate) fn create(
        node: &Node,
        dir: &Path,
        group: GroupId,
        cluster: ClusterId,
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
            bytes.extend_from_slice(&record.encode(group, cluster));
        }
        node.write_file(&hard_state_path(dir), &bytes, true)?;
        Self::open(
            node,
            dir,
            (group, cluster),
            Newest {
                record,
                slot: 0,
                needs_copies: false,
            },
        )
    }

    /// Opens the file whose newest record was found; if that stands alone, it is copied.
    pub(crate) fn open(
        node: &Node,
        dir: &Path,
        (group, cluster): (GroupId, ClusterId),
        newest: Newest,
    ) -> Result<Self, StorageError> {
        let path = hard_state_path(dir);
        let file = node
            .fs
            .open(&path, OpenMode::Write)
            .map_err(|source| StorageError::io(Action::Open, &path, source))?;
        let Newest {
            record,
            slot,
            needs_copies,
        } = newest;
        let mut open = Self {
            path,
            file,
            group,
            cluster,
            record,
            spare: (slot + 1) % SLOTS,
        };
        if needs_copies {
            open.write_synced(record.hard, record.durable_end)?;
        }
        Ok(open)
    }

    /// The record last written.
    pub(crate) fn record(&self) -> &HardRecord {
        &self.record
    }

    /// Writes a record without waiting for the disk.
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
        self.put(self.spare)
    }

    /// Writes a record into two slots, and waits until it is on disk.
    pub(crate) fn write_synced(
        &mut self,
        hard: HardState,
        durable_end: LogIndex,
    ) -> Result<(), StorageError> {
        self.write(hard, durable_end)?;
        self.put((self.spare + 1) % SLOTS)?;
        self.file
            .sync_data()
            .map_err(|source| StorageError::io(Action::Sync, &self.path, source))?;
        self.spare = (self.spare + 2) % SLOTS;
        Ok(())
    }

    fn put(&self, slot: usize) -> Result<(), StorageError> {
        let bytes = self.record.encode(self.group, self.cluster);
        self.file
            .write_vectored_at(&mut [IoSlice::new(&bytes)], HARD_SLOT_POSITIONS[slot])
            .map_err(|source| StorageError::io(Action::Write, &self.path, source))
    }
}
