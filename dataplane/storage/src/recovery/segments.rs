//! Recovery of the segments of a group: reads them, and collects the changes to make on disk.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use lograft_core::LogIndex;

use super::directory::{GroupDirectory, RecoveryError, file_damage, read_replaceable};
use crate::error::{Action, Damage, StorageError};
use crate::files::sync_and_drop_pages;
use crate::format::{IndexFile, IndexHead, SEGMENT_HEADER_BYTES, SegmentFacts, SegmentHeader};
use crate::fs::OpenMode;
use crate::group_log::{ActiveSegment, TermRuns, TornTail};
use crate::layout::{index_path, segment_path};
use crate::scan::{ScannedSegment, SegmentFile, scan_behind, scan_segment};
use crate::segment::{Segment, SegmentExtent};

/// The segments of a recovered log.
#[derive(Default)]
pub(super) struct RecoveredSegments {
    pub(super) segments: VecDeque<SegmentExtent>,
    pub(super) terms: TermRuns,
    /// The last segment, open for writing.
    pub(super) active: Option<ActiveSegment>,
    pub(super) torn: Option<TornTail>,
    pub(super) changes: Changes,
}

/// The changes on disk that the recovery of the segments needs.
#[derive(Default)]
pub(super) struct Changes {
    /// Segments of a replaced log, which a crash has left.
    obsolete: Vec<LogIndex>,
    /// Index files without a sealed segment.
    stale_indexes: Vec<LogIndex>,
    /// Index files to write, with their bytes.
    rebuilt_indexes: Vec<(LogIndex, Vec<u8>)>,
}

impl Changes {
    /// Makes the changes.
    pub(super) fn apply(self, directory: &GroupDirectory<'_>) -> Result<(), StorageError> {
        let GroupDirectory { env, dir, .. } = directory;
        for base in self.obsolete {
            env.files.remove_file(&index_path(dir, base))?;
            env.files.remove_file(&segment_path(dir, base))?;
        }
        for base in self.stale_indexes {
            env.files.remove_file(&index_path(dir, base))?;
        }
        for (base, bytes) in self.rebuilt_indexes {
            env.files
                .write_file(&index_path(dir, base), &bytes, false)?;
        }
        Ok(())
    }
}

/// Reads the headers and indexes of the segments, and scans the last one. Changes nothing on disk.
/// Fails with damage if entries below `known_durable` are missing.
pub(super) fn read(
    directory: &GroupDirectory<'_>,
    known_durable: LogIndex,
) -> Result<RecoveredSegments, RecoveryError> {
    let mut found = RecoveredSegments::default();
    let headers = read_headers(directory, &mut found.changes)?;
    for (nth, header) in headers.iter().enumerate() {
        let scan = match headers.get(nth + 1) {
            Some(next) => read_sealed(directory, header, &next.facts, &mut found.changes)?,
            None => read_last(directory, header, known_durable, &mut found)?,
        };
        for run in scan.terms {
            found.terms.push(run);
        }
        found.segments.push_back(scan.extent);
    }
    let last = found.segments.back().and_then(|extent| extent.last);
    if last.map_or(LogIndex::ZERO, |last| last.index.next()) < known_durable {
        return Err(file_damage(&directory.dir, "durable entries are missing").into());
    }
    Ok(found)
}

/// The headers of the segments of the log, oldest first. Segments and index files that are not part
/// of it are to be removed.
fn read_headers(
    directory: &GroupDirectory<'_>,
    changes: &mut Changes,
) -> Result<Vec<SegmentHeader>, RecoveryError> {
    let GroupDirectory {
        env, dir, owner, ..
    } = directory;
    let mut headers: Vec<SegmentHeader> = Vec::new();
    let mut obsolete = Vec::new();
    for base in directory.numbers(".seg") {
        let path = segment_path(dir, base);
        let file = env.files.open(&path, OpenMode::Read)?;
        let len = usize::try_from(SEGMENT_HEADER_BYTES).unwrap_or(0);
        let bytes = file
            .read_at(0, len)
            .map_err(|source| StorageError::io(Action::Read, &path, source))?;
        let Some(header) = SegmentHeader::decode(&bytes) else {
            return Err(file_damage(&path, "segment header is not valid").into());
        };
        if header.cluster_id != owner.cluster {
            return Err(RecoveryError::OtherCluster(path, header.cluster_id));
        }
        if header.group != owner.group || header.facts.base != base {
            return Err(file_damage(&path, "segment header belongs to another segment").into());
        }
        // After a reset, a crash may have left segments of the replaced log below the new one.
        if header.facts.starts_log {
            obsolete.append(&mut headers);
        }
        headers.push(header);
    }
    changes.obsolete = obsolete.iter().map(|header| header.facts.base).collect();
    let sealed = headers.split_last().map_or(&[][..], |(_, sealed)| sealed);
    changes.stale_indexes = directory.numbers(".idx");
    changes
        .stale_indexes
        .retain(|base| !sealed.iter().any(|header| header.facts.base == *base));
    Ok(headers)
}

/// Reads a segment that another one follows: from its index file, or else by a scan.
// Such a segment was complete on disk before the next one got its name. A torn write is therefore
// impossible in the middle of the log: an entry that is missing or invalid there is corruption.
fn read_sealed(
    directory: &GroupDirectory<'_>,
    header: &SegmentHeader,
    next: &SegmentFacts,
    changes: &mut Changes,
) -> Result<ScannedSegment, RecoveryError> {
    let GroupDirectory {
        env, dir, owner, ..
    } = directory;
    let path = segment_path(dir, header.facts.base);
    let file = env.files.open(&path, OpenMode::Read)?;
    if let Some(scan) = read_index(directory, header, next)? {
        let len = file
            .len()
            .map_err(|source| StorageError::io(Action::Measure, &path, source))?;
        if len < scan.extent.end_position {
            return Err(file_damage(&path, "file is too short").into());
        }
        return Ok(scan);
    }
    let file = SegmentFile {
        file: file.as_ref(),
        path: &path,
    };
    let mut scan = scan_segment(file, header, next.base.prev())?;
    let extent = &mut scan.extent;
    if extent.last != next.prev || extent.next_offset != next.base_offset {
        return Err(damage_at_end(&path, extent, "segment ends before the next one starts").into());
    }
    if let Some(head) = extent.index_head(owner.group, scan.terms.clone()) {
        let bytes = IndexFile::encode(&head, &extent.points);
        changes.rebuilt_indexes.push((header.facts.base, bytes));
        extent.index_on_disk = true;
    }
    extent.points = Vec::new();
    Ok(scan)
}

/// The contents of the index file, if it is valid and ends where the next segment starts.
fn read_index(
    directory: &GroupDirectory<'_>,
    header: &SegmentHeader,
    next: &SegmentFacts,
) -> Result<Option<ScannedSegment>, StorageError> {
    let facts = &header.facts;
    let path = index_path(&directory.dir, facts.base);
    let bytes = read_replaceable(directory, &path, u64::MAX)?;
    let Some(head) = IndexFile::decode(&bytes) else {
        return Ok(None);
    };
    let IndexHead {
        group,
        uid,
        base,
        last,
        next_offset,
        end_position,
        max_time_ms,
        terms,
    } = head;
    let fits = group == directory.owner.group
        && uid == facts.uid
        && base == facts.base
        && Some(last) == next.prev
        && next_offset == next.base_offset;
    let extent = SegmentExtent {
        segment: Segment::new(facts.clone()),
        end_position,
        last: Some(last),
        next_offset,
        max_time_ms,
        append_time_ms: None,
        points: Vec::new(),
        index_on_disk: true,
    };
    Ok(fits.then_some(ScannedSegment {
        extent,
        terms,
        prev_crc32c: 0,
    }))
}

/// Reads the last segment by a scan. Its end is clean, a torn write, or corruption.
fn read_last(
    directory: &GroupDirectory<'_>,
    header: &SegmentHeader,
    known_durable: LogIndex,
    found: &mut RecoveredSegments,
) -> Result<ScannedSegment, RecoveryError> {
    let GroupDirectory { env, dir, .. } = directory;
    let path = segment_path(dir, header.facts.base);
    let file = env.files.open(&path, OpenMode::Write)?;
    sync_and_drop_pages(&path, file.as_ref())?;
    let segment_file = SegmentFile {
        file: file.as_ref(),
        path: &path,
    };
    let scan = scan_segment(segment_file, header, None)?;
    let end = scan.extent.end_index();
    let behind = scan_behind(segment_file, header, scan.extent.end_position)?;
    // The proof that the entry at `end` was durable: a record that says so, or an entry behind it
    // that was written after it was durable. Without a proof its callback never reported success.
    if known_durable.max(behind.durable_end) > end {
        return Err(damage_at_end(&path, &scan.extent, "durable entry is not valid").into());
    }
    if behind.has_entries {
        found.torn = Some(TornTail {
            index: end,
            position: scan.extent.end_position,
        });
    }
    let allocated_end = file
        .len()
        .map_err(|source| StorageError::io(Action::Measure, &path, source))?;
    let segment = Arc::clone(&scan.extent.segment);
    segment.open_files.lock().file = Some(Arc::clone(&file));
    // The remains of a torn write stay in the file, and appends overwrite them. A remaining entry
    // that fits behind a shorter new write cannot be taken for its successor: it chains to the CRC
    // of another header.
    found.active = Some(ActiveSegment {
        segment,
        file,
        prev_crc32c: scan.prev_crc32c,
        written_end: scan.extent.end_position,
        allocated_end,
    });
    Ok(scan)
}

fn damage_at_end(path: &Path, extent: &SegmentExtent, what: &'static str) -> Damage {
    Damage {
        path: path.to_owned(),
        position: extent.end_position,
        index: Some(extent.end_index()),
        what,
    }
}
