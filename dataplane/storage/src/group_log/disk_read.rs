//! Reading of entries from a segment file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lograft_core::limits::LOG_READ_ATTEMPTS_MAX_COUNT;
use lograft_core::{GroupId, LogIndex, Offset};

use super::log_state::LogState;
use super::open_group::OpenGroup;
use crate::error::{Action, Damage, StorageError};
use crate::format::{EntryHeader, IndexFile, IndexPoint, SEGMENT_HEADER_BYTES, entry_seed};
use crate::fs::{FsFile, OpenMode};
use crate::held_index::HeldIndex;
use crate::layout::{index_path, segment_path};
use crate::segment::Segment;
use crate::walker::Walker;

/// The start of a read.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadFrom {
    /// The entry with this index.
    Index(LogIndex),
    /// The entry that holds this offset.
    Offset(Offset),
    /// The first entry of the segment that ends above the offset `above` and has a record of
    /// `time_ms` or later.
    Time { time_ms: i64, above: Offset },
}

impl ReadFrom {
    /// Whether a read that starts at this point finds everything requested.
    fn is_at_or_behind(self, point: &IndexPoint) -> bool {
        match self {
            Self::Index(index) => point.index <= index,
            Self::Offset(offset) => point.base_offset <= offset,
            // Nothing before the point is late enough, or nothing before it ends above the offset.
            // Each holds for a prefix of the points, so either does too.
            Self::Time { time_ms, above } => {
                point.max_time_before_ms < time_ms || point.base_offset <= above
            }
        }
    }
}

/// The part of a segment that a read takes from its file. It stays usable without the lock of the
/// state: it keeps the segment alive, and reads no byte behind `end_position`.
pub(super) struct DiskRange {
    segment: Arc<Segment>,
    end_position: u64,
    from: ReadFrom,
    /// The last index point before the start of the read; `None` is the start of the segment.
    start: Option<IndexPoint>,
    /// The start has to be looked up in the index file.
    index_on_disk: bool,
    /// Entries from this index on are cached.
    below: LogIndex,
    /// The epoch of the log from which the range was made.
    truncation_epoch: u64,
}

/// The reason why a read from a file failed.
pub(super) enum DiskReadError {
    /// The file system returned an error, or a newer version wrote the entry.
    Io(StorageError),
    /// The bytes at this position are not a valid entry.
    Invalid(u64, Option<LogIndex>, &'static str),
}

/// Whether a read of a segment is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    Complete,
    /// The caller repeats the read from the new state: the segment left the log, or the log was
    /// truncated, during the read, or damage is to be confirmed by a second read.
    Repeat,
}

/// The failed attempts of one read.
#[derive(Default)]
pub(super) struct ReadAttempts {
    outdated_count: usize,
    is_suspect: bool,
}

impl ReadAttempts {
    /// Counts an attempt during which the log changed. Fails with [`StorageError::Outdated`], never
    /// as damage, if there were too many.
    pub(super) fn outdated(&mut self, group: GroupId) -> Result<(), StorageError> {
        self.outdated_count += 1;
        if self.outdated_count < LOG_READ_ATTEMPTS_MAX_COUNT {
            Ok(())
        } else {
            Err(StorageError::Outdated(group))
        }
    }
}

impl LogState {
    /// The range to read from the file of segment number `at`.
    pub(super) fn disk_range(&self, from: ReadFrom, at: usize) -> DiskRange {
        let extent = &self.segments[at];
        DiskRange {
            segment: Arc::clone(&extent.segment),
            end_position: extent.end_position,
            from,
            start: extent.point_before(|point| from.is_at_or_behind(point)),
            index_on_disk: extent.index_on_disk,
            below: self.cache.first_index().unwrap_or(self.end_index()),
            truncation_epoch: self.truncation_epoch,
        }
    }
}

impl OpenGroup {
    /// Runs a read of a segment file, and decides what a failure means.
    // No lock is held during a read, so the writer may purge, recycle or truncate the segment.
    // A failure then says nothing about the disk. It counts as damage only if the segment is still
    // part of the log and nothing was truncated since the range was made: a false report would
    // make the node discard a healthy replica. For the same reason damage is read twice: an error
    // on the way from the disk does not come back.
    pub(super) fn read_segment(
        &self,
        disk: &DiskRange,
        attempts: &mut ReadAttempts,
        read: impl FnOnce(&DiskRange) -> Result<(), DiskReadError>,
    ) -> Result<ReadOutcome, StorageError> {
        let Err(error) = read(disk) else {
            return Ok(ReadOutcome::Complete);
        };
        let segment = &disk.segment;
        let is_outdated = {
            let state = self.state.lock();
            if state.closed {
                return Err(StorageError::Closed(self.id));
            }
            !state.has_segment(segment) || state.truncation_epoch != disk.truncation_epoch
        };
        if is_outdated {
            attempts.outdated(self.id)?;
            return Ok(ReadOutcome::Repeat);
        }
        let group = self.id;
        let error = match error {
            DiskReadError::Io(error) => error.of_group(group),
            DiskReadError::Invalid(position, index, what) => {
                let path = self.segment_path(segment);
                let damage = Damage {
                    path,
                    position,
                    index,
                    what,
                };
                StorageError::Corrupt { group, damage }
            }
        };
        if error.is_damage() && !std::mem::replace(&mut attempts.is_suspect, true) {
            if let Some(file) = &segment.open_files.lock().file {
                let _ = file.advise_dont_need(); // the second read comes from the disk if it can
            }
            return Ok(ReadOutcome::Repeat);
        }
        Err(self.read_failed(error))
    }

    fn segment_path(&self, segment: &Segment) -> PathBuf {
        segment_path(&self.env.group_dir(self.id), segment.base)
    }

    /// Calls `visit` for the entries of a range until it returns `false` or the range ends. `visit`
    /// MUST advance the walker by one entry when it returns `true`.
    pub(super) fn walk(
        &self,
        disk: &DiskRange,
        chunk_bytes: usize,
        mut visit: impl FnMut(&mut Walker<'_>, &EntryHeader) -> Result<bool, DiskReadError>,
    ) -> Result<(), DiskReadError> {
        if disk.segment.base >= disk.below || disk.end_position <= SEGMENT_HEADER_BYTES {
            return Ok(());
        }
        let file = self
            .segment_file(&disk.segment)
            .map_err(DiskReadError::Io)?;
        let start = if disk.index_on_disk {
            self.indexed_start(disk)
        } else {
            disk.start
        };
        let (mut index, position) = start
            .map_or((disk.segment.base, SEGMENT_HEADER_BYTES), |point| {
                (point.index, point.position)
            });
        let seed = entry_seed(self.id, disk.segment.uid);
        let range = position..disk.end_position;
        let mut walker = Walker::new(file.as_ref(), seed, range, chunk_bytes);
        while index < disk.below && walker.position() < disk.end_position {
            let position = walker.position();
            let header = walker
                .header()
                .map_err(|source| self.read_error(disk, source))?;
            let Some(header) = header.filter(|header| header.id.index == index) else {
                let newer = walker.newer();
                return Err(
                    match newer.map_err(|source| self.read_error(disk, source))? {
                        Some(newer) => {
                            let path = self.segment_path(&disk.segment);
                            DiskReadError::Io(newer.in_file(&path, position).into())
                        }
                        None => DiskReadError::Invalid(
                            position,
                            Some(index),
                            "entry header is not valid",
                        ),
                    },
                );
            };
            index = index.next();
            let is_before = match disk.from {
                ReadFrom::Index(from) => header.id.index < from,
                ReadFrom::Offset(above) | ReadFrom::Time { above, .. } => {
                    header.next_offset() <= above
                }
            };
            if is_before {
                walker.skip(&header);
            } else if !visit(&mut walker, &header)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn read_error(&self, disk: &DiskRange, source: io::Error) -> DiskReadError {
        let path = self.segment_path(&disk.segment);
        DiskReadError::Io(StorageError::io(Action::Read, &path, source))
    }

    /// The last point before the start of the read, from the index file.
    fn indexed_start(&self, disk: &DiskRange) -> Option<IndexPoint> {
        let index = self.segment_index(&disk.segment)?;
        let index = index.bytes();
        let (mut low, mut high) = (0, IndexFile::points_count(index));
        while low < high {
            let middle = low.midpoint(high);
            if disk.from.is_at_or_behind(&IndexFile::point(index, middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(IndexFile::point(index, low.checked_sub(1)?))
    }

    /// The open file of a segment. Without a free descriptor, the files of other segments are
    /// closed first.
    fn segment_file(&self, segment: &Arc<Segment>) -> Result<Arc<dyn FsFile>, StorageError> {
        match self.open_segment_file(segment) {
            Err(error) if error.is_retryable() && self.env.open_segments.close_all() => {
                self.open_segment_file(segment)
            }
            outcome => outcome,
        }
    }

    fn open_segment_file(&self, segment: &Arc<Segment>) -> Result<Arc<dyn FsFile>, StorageError> {
        let mut open = segment.open_files.lock();
        if let Some(file) = &open.file {
            return Ok(Arc::clone(file));
        }
        let path = self.segment_path(segment);
        // Never by name after the removal: a new segment may have taken the name.
        if open.removed {
            let removed = io::ErrorKind::NotFound.into();
            return Err(StorageError::io(Action::Open, &path, removed));
        }
        let file = self.env.files.open(&path, OpenMode::Read)?;
        open.file = Some(Arc::clone(&file));
        drop(open);
        self.env.open_segments.register(segment);
        Ok(file)
    }

    /// The index of a segment; `None` if its file is missing, not valid or cannot be read: a read
    /// then starts at the start of the segment.
    fn segment_index(&self, segment: &Arc<Segment>) -> Option<Arc<HeldIndex>> {
        {
            let open = segment.open_files.lock();
            if open.removed {
                return None;
            }
            if let Some(index) = &open.index {
                return Some(Arc::clone(index));
            }
        }
        let path = index_path(&self.env.group_dir(self.id), segment.base);
        let bytes = self.env.files.read_file(&path).ok()??;
        let head = IndexFile::decode(&bytes)?;
        if head.uid != segment.uid || head.group != self.id {
            return None;
        }
        let index = Arc::new(HeldIndex::new(&bytes)?);
        let mut open = segment.open_files.lock();
        if !open.removed {
            open.index = Some(Arc::clone(&index));
        }
        Some(index)
    }
}
