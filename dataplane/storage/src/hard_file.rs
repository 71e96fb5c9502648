//! The file that holds a group's hard state: two records, written in turn.
//!
//! The last record that was synced is never written over: what must not be lost survives a torn
//! write of what comes after it.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{ClusterId, GroupId, LogIndex};

use crate::error::{Action, StorageError};
use crate::format::{HARD_RECORD_BYTES, HARD_SLOT_POSITIONS, HardRecord};
use crate::fs::{FsFile, OpenMode};
use crate::hard_state::HardState;
use crate::node::{Node, hard_state_path, settle_file};

pub(crate) struct HardFile {
    path: PathBuf,
    file: Arc<dyn FsFile>,
    group: GroupId,
    cluster: ClusterId,
    /// The record last written.
    record: HardRecord,
    /// The slot of the record last synced.
    synced_slot: usize,
}

/// What the file's two records say.
pub(crate) enum HardFound {
    /// There is no file.
    Missing,
    /// Neither record is valid.
    Damaged,
    /// The records are another cluster's.
    OtherCluster(ClusterId),
    /// The newest record, and its slot.
    Record(HardRecord, usize),
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
        let len = HARD_SLOT_POSITIONS.map(|position| position + HARD_RECORD_BYTES as u64);
        let len = usize::try_from(len.into_iter().max().unwrap_or(0)).unwrap_or(0);
        let bytes = file
            .read_at(0, len)
            .map_err(|source| StorageError::io(Action::Read, &path, source))?;
        let at = |position: u64| {
            let position = usize::try_from(position).unwrap_or(usize::MAX);
            bytes.get(position..).unwrap_or_default()
        };
        let slots = HARD_SLOT_POSITIONS.map(|position| HardRecord::decode(at(position), group));
        if let Some((_, other)) = slots.iter().flatten().find(|(_, found)| *found != cluster) {
            return Ok(HardFound::OtherCluster(*other));
        }
        let newest = (0..slots.len())
            .filter_map(|slot| slots[slot].map(|(record, _)| (record, slot)))
            .max_by_key(|(record, _)| record.sequence);
        Ok(newest.map_or(HardFound::Damaged, |(record, slot)| {
            HardFound::Record(record, slot)
        }))
    }

    /// Makes the file of a new group, durably.
    pub(crate) fn create(
        node: &Node,
        dir: &Path,
        group: GroupId,
        cluster: ClusterId,
    ) -> Result<Self, StorageError> {
        let record = HardRecord {
            sequence: 1,
            hard: HardState::default(),
            durable_end: LogIndex::ZERO,
        };
        let record_bytes = record.encode(group, cluster);
        let mut bytes = Vec::new();
        for position in HARD_SLOT_POSITIONS {
            bytes.resize(usize::try_from(position).unwrap_or(0), 0);
            bytes.extend_from_slice(&record_bytes);
        }
        node.write_file(&hard_state_path(dir), &bytes, true)?;
        Self::open(node, dir, (group, cluster), (record, 0))
    }

    /// Opens the file that holds `record` in `slot`. The next write goes to the other one.
    pub(crate) fn open(
        node: &Node,
        dir: &Path,
        (group, cluster): (GroupId, ClusterId),
        (record, slot): (HardRecord, usize),
    ) -> Result<Self, StorageError> {
        let path = hard_state_path(dir);
        let file = node
            .fs
            .open(&path, OpenMode::Write)
            .map_err(|source| StorageError::io(Action::Open, &path, source))?;
        Ok(Self {
            path,
            file,
            group,
            cluster,
            record,
            synced_slot: slot,
        })
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
        let bytes: [u8; HARD_RECORD_BYTES] = self.record.encode(self.group, self.cluster);
        let position = HARD_SLOT_POSITIONS[1 - self.synced_slot];
        self.file
            .write_vectored_at(&mut [IoSlice::new(&bytes)], position)
            .map_err(|source| StorageError::io(Action::Write, &self.path, source))
    }

    /// Writes a record and waits until it is on disk. A second copy goes into the other slot, so
    /// that one damaged slot forgets nothing.
    pub(crate) fn write_synced(
        &mut self,
        hard: HardState,
        durable_end: LogIndex,
    ) -> Result<(), StorageError> {
        self.write(hard, durable_end)?;
        self.file
            .sync_data()
            .map_err(|source| StorageError::io(Action::Sync, &self.path, source))?;
        self.synced_slot = 1 - self.synced_slot;
        self.write(hard, durable_end)
    }
}
