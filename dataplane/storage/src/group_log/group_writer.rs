//! The writer of a group's files. Only the writer thread of the group's queue calls it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{DiskMark, LogIndex};

use super::new_file::{NewFile, create_segment_file};
use super::write_batch::{HeaderInputs, WriteBatch};
use crate::checkpoint::Checkpoint;
use crate::error::{Action, StorageError};
use crate::files::Files;
use crate::format::{IndexFile, SegmentHeader, encode_checkpoint, entry_seed};
use crate::fs::{FsFile, OpenMode};
use crate::hard_file::{FileOwner, HardFile};
use crate::hard_state::HardState;
use crate::layout::{
    NEW_SUFFIX, RESET_SUFFIX, checkpoint_path, index_path, segment_path, with_suffix,
};
use crate::op::{Op, Reset, SealedSegment, Truncation};
use crate::segment::Segment;
use crate::storage_env::StorageEnv;

pub(crate) struct GroupWriter {
    pub(crate) dir: PathBuf,
    pub(crate) owner: FileOwner,
    pub(crate) hard: HardFile,
    /// The segment that was written last.
    pub(crate) active: Option<ActiveSegment>,
    /// Entries below this index are on disk.
    pub(crate) durable_end: LogIndex,
    /// Operations that wait for room on the disk.
    pub(crate) parked: Vec<Op>,
}

/// A segment that is being written.
pub(crate) struct ActiveSegment {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn FsFile>,
    /// The CRC of the last header in the file, to which the next entry chains.
    pub(crate) prev_crc32c: u32,
    /// Blocks below this position are known to be written, bytes: writing into them again changes
    /// no metadata of the file system.
    pub(crate) written_end: u64,
    /// Blocks below this position are allocated, bytes.
    pub(crate) allocated_end: u64,
}

impl ActiveSegment {
    /// Allocates the blocks up to `end`.
    fn allocate(&mut self, path: &Path, end: u64) -> Result<(), StorageError> {
        let missing = self.allocated_end..end;
        self.allocated_end = allocate(self.file.as_ref(), path, missing)?;
        Ok(())
    }
}

/// Allocates the blocks of a file up to the end of `missing`; those below its start are allocated.
/// Returns the new end of the allocated blocks.
// Before the bytes are written: a failed write ends the node, and a full disk must not.
fn allocate(file: &dyn FsFile, path: &Path, missing: Range<u64>) -> Result<u64, StorageError> {
    if missing.is_empty() {
        return Ok(missing.start);
    }
    file.allocate(missing.end)
        .map_err(|source| StorageError::io(Action::Allocate, path, source))?;
    Ok(missing.end)
}

impl GroupWriter {
    /// Writes a batch and syncs it.
    // Order of one append: data write, fdatasync, `durable_end`, callbacks. The durable end that a
    // header carries was true before the header was written. It is the proof that recovery uses: an
    // entry whose header says "everything below n is on disk" turns a loss below n into corruption,
    // where it would otherwise pass for a torn write.
    pub(crate) fn write_batch(
        &mut self,
        env: &StorageEnv,
        batch: &WriteBatch,
    ) -> Result<(), StorageError> {
        if batch.is_empty() {
            return Ok(());
        }
        match &mut self.active {
            Some(active) if active.segment.uid == batch.segment.uid => {
                let path = segment_path(&self.dir, batch.segment.base);
                let inputs = HeaderInputs {
                    seed: entry_seed(self.owner.group, batch.segment.uid),
                    prev_crc32c: active.prev_crc32c,
                    durable_end: self.durable_end,
                };
                let zeros_end = batch.zeros_end(active.written_end);
                active.allocate(&path, zeros_end)?;
                let (crc, written) = batch.with_parts(&[], inputs, zeros_end, |parts| {
                    active.file.write_vectored_at(parts, batch.position)
                });
                written.map_err(|source| StorageError::io(Action::Write, &path, source))?;
                active
                    .file
                    .sync_data()
                    .map_err(|source| StorageError::io(Action::Sync, &path, source))?;
                active.prev_crc32c = crc;
                active.written_end = active.written_end.max(zeros_end);
            }
            _ => self.create_segment(env, &batch.segment, Some(batch))?,
        }
        self.durable_end = batch.end.unwrap_or(self.durable_end);
        Ok(())
    }

    /// Creates the file of a segment, with its first entries if there are any.
    // The file is written and synced under a provisional name and renamed after that. A crash
    // leaves either no file of the final name or one with a complete header and its first entries.
    // So an invalid header under a final name is always corruption, never an interrupted create,
    // and the segment before is complete on disk as soon as a later one has its name.
    fn create_segment(
        &mut self,
        env: &StorageEnv,
        segment: &Arc<Segment>,
        first: Option<&WriteBatch>,
    ) -> Result<(), StorageError> {
        let path = segment_path(&self.dir, segment.base);
        let new = with_suffix(&path, NEW_SUFFIX);
        let NewFile {
            file,
            written_end: recycled_end,
            allocated_end,
        } = create_segment_file(env, segment, &new)?;
        let FileOwner { group, cluster } = self.owner;
        let (header, header_crc) = SegmentHeader::encode(segment.facts(), group, cluster);
        let empty = WriteBatch::new(Arc::clone(segment), header.len() as u64, 0);
        let first = first.unwrap_or(&empty);
        let zeros_end = first.zeros_end(recycled_end);
        let missing = allocated_end..zeros_end;
        let allocated_end = allocate(file.as_ref(), &new, missing)?;
        let inputs = HeaderInputs {
            seed: entry_seed(group, segment.uid),
            prev_crc32c: header_crc,
            durable_end: self.durable_end,
        };
        let (crc, written) = first.with_parts(&header, inputs, zeros_end, |parts| {
            file.write_vectored_at(parts, 0)
        });
        written.map_err(|source| StorageError::io(Action::Write, &new, source))?;
        file.sync_data()
            .map_err(|source| StorageError::io(Action::Sync, &new, source))?;
        env.write_files.rename(&new, &path)?;
        env.write_files.sync_dir(&self.dir)?;
        segment.open_files.lock().file = Some(Arc::clone(&file));
        self.active = Some(ActiveSegment {
            segment: Arc::clone(segment),
            file,
            prev_crc32c: crc,
            written_end: zeros_end.max(recycled_end),
            allocated_end,
        });
        Ok(())
    }

    /// Writes the index file of a sealed segment, without a sync: recovery rebuilds a missing or
    /// damaged index from the segment.
    pub(crate) fn seal(
        &mut self,
        env: &StorageEnv,
        sealed: &SealedSegment,
    ) -> Result<(), StorageError> {
        let SealedSegment { extent, terms } = sealed;
        let uid = extent.segment.uid;
        if let Some(active) = self.active.take_if(|active| active.segment.uid == uid)
            && active.segment.capacity_bytes >= env.config.segment_max_bytes
        {
            // A hint: readers of the tail use the tail cache, so the page cache is better spent on
            // the next segment.
            let _ = active.file.advise_dont_need();
        }
        env.open_segments.register(&extent.segment);
        // Last: there may be no room for it.
        if let Some(head) = extent.index_head(self.owner.group, terms.clone()) {
            let bytes = IndexFile::encode(&head, &extent.points);
            let path = index_path(&self.dir, extent.segment.base);
            env.write_files.write_file(&path, &bytes, false)?;
        }
        Ok(())
    }

    /// Adds the points of the old index file to a shortened segment that has no points in memory.
    // An index that cannot be read adds none: the new index is sparser, and reads of the segment
    // start further back. It must not fail the truncation, a failed write, which ends the node.
    fn with_points(&self, env: &StorageEnv, sealed: &SealedSegment) -> SealedSegment {
        let mut extent = sealed.extent.clone();
        if extent.index_on_disk {
            let path = index_path(&self.dir, extent.segment.base);
            let bytes = env.write_files.read_file(&path);
            let uid = extent.segment.uid;
            let valid = bytes
                .unwrap_or_default()
                .filter(|bytes| IndexFile::decode(bytes).is_some_and(|head| head.uid == uid));
            if let Some(bytes) = valid {
                let all =
                    (0..IndexFile::points_count(&bytes)).map(|nth| IndexFile::point(&bytes, nth));
                extent.points = all
                    .filter(|point| point.position < extent.end_position)
                    .collect();
            }
        }
        let terms = sealed.terms.clone();
        SealedSegment { extent, terms }
    }

    pub(crate) fn save_hard_state(
        &mut self,
        files: &Files,
        hard: HardState,
        sync: bool,
    ) -> Result<(), StorageError> {
        if sync {
            self.hard.write_synced(files, hard, self.durable_end)
        } else {
            self.hard.write(files, hard, self.durable_end)
        }
    }

    /// Lowers the recorded durable end to `end`, durably, before entries from `end` on are removed.
    // Two reasons for the sync before the removal. The old record claims that the removed entries
    // are on disk: recovery after a crash would report corruption. And the entries below `end` may
    // lose the later entries whose headers prove that they are durable: the record now proves it.
    fn lower_durable_end(&mut self, env: &StorageEnv, end: LogIndex) -> Result<(), StorageError> {
        self.durable_end = self.durable_end.min(end);
        if self.hard.record().durable_end != self.durable_end {
            let hard = self.hard.record().hard;
            self.hard
                .write_synced(&env.write_files, hard, self.durable_end)?;
        }
        Ok(())
    }

    /// Removes the end of the log and creates the segment in which it continues.
    // Every state that a crash can leave must be a valid log. So the segments go newest first
    // (never a gap in the middle), then the cut one is shortened, and the new segment gets its name
    // last. Checkpoints of removed entries go first: one beyond the end of the log would prove a
    // loss that did not happen.
    pub(crate) fn truncate(
        &mut self,
        env: &StorageEnv,
        cut: &Truncation,
    ) -> Result<(), StorageError> {
        self.lower_durable_end(env, cut.next.base)?;
        self.active = None;
        for index in &cut.checkpoints {
            env.write_files
                .remove_file(&checkpoint_path(&self.dir, *index))?;
        }
        if !cut.checkpoints.is_empty() {
            env.write_files.sync_dir(&self.dir)?;
        }
        self.remove_newest_first(env, &cut.removed, cut.next.base)?;
        if let Some(sealed) = &cut.shortened {
            let path = segment_path(&self.dir, sealed.extent.segment.base);
            let file = env.write_files.open(&path, OpenMode::Write)?;
            file.set_len(sealed.extent.end_position)
                .map_err(|source| StorageError::io(Action::SetLength, &path, source))?;
            file.sync_data()
                .map_err(|source| StorageError::io(Action::Sync, &path, source))?;
            self.seal(env, &self.with_points(env, sealed))?;
        }
        self.create_segment(env, &cut.next, None)
    }

    /// Replaces the log by an empty one that starts after a checkpoint.
    // A crash leaves the old log or the new one, never a mix. The rename of the new segment, whose
    // header says that the log starts there, decides: before it the old log is valid and the
    // provisional checkpoint is dropped; after it recovery removes the older segments and gives the
    // checkpoint its name. Segments at or above the new base must go before the rename: behind the
    // new segment they would count as a part of the new log.
    pub(crate) fn reset(&mut self, env: &StorageEnv, reset: &Reset) -> Result<(), StorageError> {
        self.lower_durable_end(env, LogIndex::ZERO)?;
        self.active = None;
        let provisional = reset.checkpoint.as_ref().map(|checkpoint| {
            let path = checkpoint_path(&self.dir, checkpoint.last.index);
            (with_suffix(&path, RESET_SUFFIX), path)
        });
        if let (Some((new, _)), Some(checkpoint)) = (&provisional, &reset.checkpoint) {
            let bytes = encode_checkpoint(checkpoint, self.owner.group, self.owner.cluster);
            env.write_files.write_file(new, &bytes, true)?;
        }
        let base = reset.next.base;
        let (after, before): (Vec<_>, Vec<_>) = reset
            .removed
            .iter()
            .cloned()
            .partition(|segment| segment.base >= base);
        self.remove_newest_first(env, &after, base)?;
        self.durable_end = base;
        if let Err(error) = self.create_segment(env, &reset.next, None) {
            // A vote may be written before the reset is tried again, with the durable end.
            self.durable_end = LogIndex::ZERO;
            return Err(error);
        }
        if let Some((new, path)) = &provisional {
            env.write_files.rename(new, path)?;
            env.write_files.sync_dir(&self.dir)?;
        }
        for segment in before.iter().rev() {
            self.remove_segment(env, segment, true)?;
        }
        let kept = reset
            .checkpoint
            .as_ref()
            .map(|checkpoint| checkpoint.last.index);
        for index in reset
            .checkpoints
            .iter()
            .filter(|index| Some(**index) != kept)
        {
            env.write_files
                .remove_file(&checkpoint_path(&self.dir, *index))?;
        }
        Ok(())
    }

    /// Removes segments, but keeps the file whose name a new segment with base `replaced_by` takes
    /// over by rename.
    fn remove_newest_first(
        &mut self,
        env: &StorageEnv,
        segments: &[Arc<Segment>],
        replaced_by: LogIndex,
    ) -> Result<(), StorageError> {
        for segment in segments {
            if segment.base == replaced_by {
                env.write_files
                    .remove_file(&index_path(&self.dir, segment.base))?;
                segment.mark_removed();
            } else {
                self.remove_segment(env, segment, false)?;
            }
        }
        if segments.is_empty() {
            Ok(())
        } else {
            env.write_files.sync_dir(&self.dir)
        }
    }

    /// Removes purged segments, oldest first, and checkpoints.
    // Oldest first: a crash between two removals leaves a log that starts earlier, never a gap.
    pub(crate) fn purge(
        &mut self,
        env: &StorageEnv,
        segments: &[Arc<Segment>],
        checkpoints: &[LogIndex],
    ) -> Result<(), StorageError> {
        for segment in segments {
            self.remove_segment(env, segment, true)?;
        }
        for index in checkpoints {
            env.write_files
                .remove_file(&checkpoint_path(&self.dir, *index))?;
        }
        Ok(())
    }

    fn remove_segment(
        &mut self,
        env: &StorageEnv,
        segment: &Segment,
        recycle: bool,
    ) -> Result<(), StorageError> {
        // Readers that have the file open may still read it. If it is recycled under them, the
        // entries of the new segment do not validate under the old uid: the read fails, finds that
        // the segment has left the log, and is repeated from there.
        let file = segment.mark_removed();
        let path = segment_path(&self.dir, segment.base);
        env.write_files
            .remove_file(&index_path(&self.dir, segment.base))?;
        let is_roomy = env.room.mark() <= DiskMark::Ok;
        if recycle && is_roomy && segment.capacity_bytes == env.config.segment_max_bytes {
            let file = match file {
                Some(file) => Ok(file),
                None => env.write_files.open(&path, OpenMode::Read),
            };
            // A file that cannot be opened or measured is not worth keeping: it is removed.
            let len = file.ok().and_then(|file| file.len().ok());
            if let Some(len) = len
                && env.recycler.put(&env.write_files, &path, len)?
            {
                return Ok(());
            }
        }
        env.write_files.remove_file(&path)
    }

    /// Writes a checkpoint, durably.
    pub(crate) fn put_checkpoint(
        &mut self,
        env: &StorageEnv,
        checkpoint: &Checkpoint,
    ) -> Result<(), StorageError> {
        let bytes = encode_checkpoint(checkpoint, self.owner.group, self.owner.cluster);
        let path = checkpoint_path(&self.dir, checkpoint.last.index);
        env.write_files.write_file(&path, &bytes, true)
    }
}
