//! A group's writer: brings to disk what the calls on the group have changed, in their order.
//! Only the lane that the group belongs to comes here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{ClusterId, GroupId, LogIndex};

use super::write_batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::error::{Action, StorageError};
use crate::format::{IndexFile, SegmentHeader, encode_checkpoint, entry_seed};
use crate::fs::{FsFile, OpenMode};
use crate::hard_file::HardFile;
use crate::hard_state::HardState;
use crate::op::{Reset, Sealed, Truncation};
use crate::segment::Segment;
use crate::storage_env::{
    NEW_SUFFIX, Node, RESET_SUFFIX, checkpoint_path, index_path, segment_path, with_suffix,
};

pub(crate) struct GroupWriter {
    pub(crate) dir: PathBuf,
    pub(crate) group: GroupId,
    pub(crate) cluster: ClusterId,
    pub(crate) hard: HardFile,
    /// The segment written last.
    pub(crate) active: Option<Active>,
    /// Entries below are on disk.
    pub(crate) durable_end: LogIndex,
}

/// A segment that is being written.
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn FsFile>,
    /// The CRC of the header that the next entry follows.
    pub(crate) prev_crc32c: u32,
    /// Blocks below are known to be written, bytes: writing them again changes no metadata.
    pub(crate) written_end: u64,
}

impl GroupWriter {
    /// Writes a batch and syncs it.
    pub(crate) fn write_batch(&mut self, node: &Node, batch: &Batch) -> Result<(), StorageError> {
        if batch.is_empty() {
            return Ok(());
        }
        let path = segment_path(&self.dir, batch.segment.base);
        let seed = entry_seed(self.group, batch.segment.uid);
        match &mut self.active {
            Some(active) if active.segment.uid == batch.segment.uid => {
                let known = (seed, active.prev_crc32c, self.durable_end);
                let zeros_end = batch.zeros_end(active.written_end);
                let (crc, written) = batch.with_parts(&[], known, zeros_end, |parts| {
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
            _ => self.begin(node, &batch.segment, Some(batch))?,
        }
        self.durable_end = batch.end.unwrap_or(self.durable_end);
        Ok(())
    }

    /// Makes a segment's file, with its first entries if there are any. It gets its name only
    /// once its bytes are on disk, so that a file under that name always has a whole header.
    fn begin(
        &mut self,
        node: &Node,
        segment: &Arc<Segment>,
        first: Option<&Batch>,
    ) -> Result<(), StorageError> {
        let path = segment_path(&self.dir, segment.base);
        let new = with_suffix(&path, NEW_SUFFIX);
        let (file, recycled_end) = create_segment(node, segment, &new)?;
        let (header, header_crc) = SegmentHeader::encode(segment, self.group, self.cluster);
        let empty = Batch::new(Arc::clone(segment), header.len() as u64, 0);
        let seed = entry_seed(self.group, segment.uid);
        let first = first.unwrap_or(&empty);
        let zeros_end = first.zeros_end(recycled_end);
        let known = (seed, header_crc, self.durable_end);
        let (crc, written) = first.with_parts(&header, known, zeros_end, |parts| {
            file.write_vectored_at(parts, 0)
        });
        written.map_err(|source| StorageError::io(Action::Write, &new, source))?;
        file.sync_data()
            .map_err(|source| StorageError::io(Action::Sync, &new, source))?;
        node.rename(&new, &path)?;
        node.sync_dir(&self.dir)?;
        segment.open.lock().file = Some(Arc::clone(&file));
        self.active = Some(Active {
            segment: Arc::clone(segment),
            file,
            prev_crc32c: crc,
            written_end: zeros_end.max(recycled_end),
        });
        Ok(())
    }

    /// Writes a sealed segment's index. It is not synced: what a crash damages is built again.
    pub(crate) fn seal(&mut self, node: &Node, sealed: &Sealed) -> Result<(), StorageError> {
        let Sealed { filled, terms } = sealed;
        let bytes = IndexFile::encode(filled, terms, self.group);
        node.write_file(&index_path(&self.dir, filled.segment.base), &bytes, false)?;
        let uid = filled.segment.uid;
        if let Some(active) = self.active.take_if(|active| active.segment.uid == uid)
            && active.segment.capacity_bytes >= node.config.segment_max_bytes
        {
            // A hint: readers at the tail have their own cache, the pages are better used anew.
            let _ = active.file.advise_dont_need();
        }
        node.note_open(&filled.segment);
        Ok(())
    }

    /// A cut segment whose points are in its old index file only: those before the cut stay.
    fn with_points(&self, node: &Node, sealed: &Sealed) -> Result<Sealed, StorageError> {
        let mut filled = sealed.filled.clone();
        if filled.index_on_disk {
            let bytes = node.read_file(&index_path(&self.dir, filled.segment.base))?;
            let uid = filled.segment.uid;
            let whole =
                bytes.filter(|bytes| IndexFile::decode(bytes).is_some_and(|head| head.uid == uid));
            if let Some(bytes) = whole {
                let all =
                    (0..IndexFile::points_count(&bytes)).map(|nth| IndexFile::point(&bytes, nth));
                filled.points = all
                    .filter(|point| point.position < filled.end_position)
                    .collect();
            }
        }
        let terms = sealed.terms.clone();
        Ok(Sealed { filled, terms })
    }

    pub(crate) fn save_hard(&mut self, hard: HardState, sync: bool) -> Result<(), StorageError> {
        if sync {
            self.hard.write_synced(hard, self.durable_end)
        } else {
            self.hard.write(hard, self.durable_end)
        }
    }

    /// Takes back the claim that entries from `end` on are on disk, before they are removed; and
    /// keeps the one for those below, which may lose the later entries that witness them.
    fn lower_durable_end(&mut self, end: LogIndex) -> Result<(), StorageError> {
        self.durable_end = self.durable_end.min(end);
        if self.hard.record().durable_end != self.durable_end {
            let hard = self.hard.record().hard;
            self.hard.write_synced(hard, self.durable_end)?;
        }
        Ok(())
    }

    /// Cuts the log's end. The order keeps every state in between readable: later segments go
    /// first, newest first, and the new one takes its name last.
    pub(crate) fn truncate(&mut self, node: &Node, cut: &Truncation) -> Result<(), StorageError> {
        self.lower_durable_end(cut.next.base)?;
        self.active = None;
        // A checkpoint beyond the log's end would look like a loss.
        for index in &cut.checkpoints {
            node.remove_file(&checkpoint_path(&self.dir, *index))?;
        }
        if !cut.checkpoints.is_empty() {
            node.sync_dir(&self.dir)?;
        }
        self.remove_newest_first(node, &cut.removed, cut.next.base)?;
        if let Some(sealed) = &cut.cut {
            let segment = &sealed.filled.segment;
            let path = segment_path(&self.dir, segment.base);
            let file = open_segment(node, &path, segment, OpenMode::Write)?;
            file.set_len(sealed.filled.end_position)
                .map_err(|source| StorageError::io(Action::SetLength, &path, source))?;
            file.sync_data()
                .map_err(|source| StorageError::io(Action::Sync, &path, source))?;
            self.seal(node, &self.with_points(node, sealed)?)?;
        }
        self.begin(node, &cut.next, None)
    }

    /// Begins the log anew. A crash in between leaves the old log or the new one: the new segment
    /// says that the log starts there, and recovery then gives the checkpoint its name.
    pub(crate) fn reset(&mut self, node: &Node, reset: &Reset) -> Result<(), StorageError> {
        self.lower_durable_end(LogIndex::ZERO)?;
        self.active = None;
        let provisional = reset.checkpoint.as_ref().map(|checkpoint| {
            let path = checkpoint_path(&self.dir, checkpoint.last.index);
            (with_suffix(&path, RESET_SUFFIX), path)
        });
        if let (Some((new, _)), Some(checkpoint)) = (&provisional, &reset.checkpoint) {
            let bytes = encode_checkpoint(checkpoint, self.group, self.cluster);
            node.write_file(new, &bytes, true)?;
        }
        let base = reset.next.base;
        let (after, before): (Vec<_>, Vec<_>) = reset
            .removed
            .iter()
            .cloned()
            .partition(|segment| segment.base >= base);
        self.remove_newest_first(node, &after, base)?;
        self.durable_end = base;
        self.begin(node, &reset.next, None)?;
        if let Some((new, path)) = &provisional {
            node.rename(new, path)?;
            node.sync_dir(&self.dir)?;
        }
        for segment in before.iter().rev() {
            self.remove_segment(node, segment, true)?;
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
            node.remove_file(&checkpoint_path(&self.dir, *index))?;
        }
        Ok(())
    }

    /// Removes segments, but leaves the name of the one that a segment with base `replaced_by`
    /// will take over.
    fn remove_newest_first(
        &mut self,
        node: &Node,
        segments: &[Arc<Segment>],
        replaced_by: LogIndex,
    ) -> Result<(), StorageError> {
        for segment in segments {
            if segment.base == replaced_by {
                node.remove_file(&index_path(&self.dir, segment.base))?;
                mark_gone(segment);
            } else {
                self.remove_segment(node, segment, false)?;
            }
        }
        if segments.is_empty() {
            Ok(())
        } else {
            node.sync_dir(&self.dir)
        }
    }

    /// Removes purged segments, oldest first, and checkpoints.
    pub(crate) fn purge(
        &mut self,
        node: &Node,
        segments: &[Arc<Segment>],
        checkpoints: &[LogIndex],
    ) -> Result<(), StorageError> {
        for segment in segments {
            self.remove_segment(node, segment, true)?;
        }
        for index in checkpoints {
            node.remove_file(&checkpoint_path(&self.dir, *index))?;
        }
        Ok(())
    }

    fn remove_segment(
        &mut self,
        node: &Node,
        segment: &Segment,
        recycle: bool,
    ) -> Result<(), StorageError> {
        let file = mark_gone(segment);
        let path = segment_path(&self.dir, segment.base);
        node.remove_file(&index_path(&self.dir, segment.base))?;
        if recycle && segment.capacity_bytes == node.config.segment_max_bytes {
            let file = match file {
                Some(file) => file,
                None => node
                    .fs
                    .open(&path, OpenMode::Read)
                    .map_err(|source| StorageError::io(Action::Open, &path, source))?,
            };
            let len = file
                .len()
                .map_err(|source| StorageError::io(Action::Measure, &path, source))?;
            if node.recycler.put(node, &path, len)? {
                return Ok(());
            }
        }
        node.remove_file(&path)
    }

    /// Writes a checkpoint, durably.
    pub(crate) fn put_checkpoint(
        &mut self,
        node: &Node,
        checkpoint: &Checkpoint,
    ) -> Result<(), StorageError> {
        let bytes = encode_checkpoint(checkpoint, self.group, self.cluster);
        node.write_file(
            &checkpoint_path(&self.dir, checkpoint.last.index),
            &bytes,
            true,
        )
    }
}

/// A file for a new segment under a provisional name: a recycled one if there is one of the size.
/// And up to where it was written in its life before, bytes.
fn create_segment(
    node: &Node,
    segment: &Segment,
    new: &Path,
) -> Result<(Arc<dyn FsFile>, u64), StorageError> {
    let capacity = segment.capacity_bytes;
    let recycled = node.recycler.take(node, new, capacity)?;
    let mode = if recycled {
        OpenMode::Write
    } else {
        OpenMode::Create
    };
    let file = node
        .fs
        .open(new, mode)
        .map_err(|source| StorageError::io(Action::Create, new, source))?;
    // A small segment may never be filled; it grows as it is written.
    if !recycled && capacity > node.config.segment_min_bytes {
        reserve_blocks(node, new, file.as_ref(), capacity)?;
    }
    Ok((file, if recycled { capacity } else { 0 }))
}

/// Reserves a new file's blocks, unless that would eat into what must stay free: the file then
/// grows with what is written, as far as there is room.
fn reserve_blocks(
    node: &Node,
    path: &Path,
    file: &dyn FsFile,
    bytes: u64,
) -> Result<(), StorageError> {
    let fail = |action, source| StorageError::io(action, path, source);
    let space = node
        .fs
        .space(path)
        .map_err(|source| fail(Action::Measure, source))?;
    if space.free_bytes < node.config.reserve_bytes.saturating_add(bytes) {
        return Ok(());
    }
    match file.allocate(bytes) {
        // Others were faster. What was reserved goes back.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => file
            .set_len(0)
            .map_err(|source| fail(Action::SetLength, source)),
        outcome => outcome.map_err(|source| fail(Action::Allocate, source)),
    }
}

/// The segment's file, opened if it is not.
pub(crate) fn open_segment(
    node: &Node,
    path: &Path,
    segment: &Segment,
    mode: OpenMode,
) -> Result<Arc<dyn FsFile>, StorageError> {
    if mode == OpenMode::Read
        && let Some(file) = &segment.open.lock().file
    {
        return Ok(Arc::clone(file));
    }
    node.fs
        .open(path, mode)
        .map_err(|source| StorageError::io(Action::Open, path, source))
}

/// Keeps readers from opening a segment's files again. Returns its file if that was open.
fn mark_gone(segment: &Segment) -> Option<Arc<dyn FsFile>> {
    let mut open = segment.open.lock();
    open.gone = true;
    open.index = None;
    open.file.take()
}
