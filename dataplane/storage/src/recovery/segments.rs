//! What of a group's segments is whole.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use lograft_core::LogIndex;

use super::{Directory, Failure, damage};
use crate::error::{Action, Damage, StorageError};
use crate::format::{IndexFile, IndexHead, SEGMENT_HEADER_BYTES, SegmentHeader, entry_seed};
use crate::fs::{FsFile, OpenMode};
use crate::group_log::{Active, TermRuns, TornTail};
use crate::scan::{Scan, scan_segment, search_behind};
use crate::segment::{Filled, Segment};
use crate::storage_env::{index_path, segment_path, settle_file};

/// The segments of a recovered log.
#[derive(Default)]
pub(super) struct Found {
    pub(super) segments: VecDeque<Filled>,
    pub(super) terms: TermRuns,
    /// The last segment, ready to be written on.
    pub(super) active: Option<Active>,
    pub(super) torn: Option<TornTail>,
}

/// Reads the segments' headers and indexes, and scans the last one.
/// Entries below `known_durable` must be there.
pub(super) fn recover(
    directory: &Directory<'_>,
    known_durable: LogIndex,
) -> Result<Found, Failure> {
    let headers = headers(directory)?;
    let mut found = Found::default();
    for (nth, header) in headers.iter().enumerate() {
        let scan = match headers.get(nth + 1) {
            Some(next) => sealed(directory, header, &next.segment)?,
            None => last(directory, header, known_durable, &mut found)?,
        };
        for run in scan.terms {
            found.terms.push(run);
        }
        found.segments.push_back(scan.filled);
    }
    let end = found.segments.back().and_then(|filled| filled.last);
    if end.map_or(LogIndex::ZERO, |last| last.index.next()) < known_durable {
        return Err(damage(&directory.dir, "entries that were on disk are gone").into());
    }
    Ok(found)
}

/// The headers of the segments that make up the log, oldest first. What stands beside them is
/// removed.
fn headers(directory: &Directory<'_>) -> Result<Vec<SegmentHeader>, Failure> {
    let Directory {
        node,
        dir,
        group,
        cluster,
        ..
    } = directory;
    let mut headers: Vec<SegmentHeader> = Vec::new();
    let mut void = Vec::new();
    for base in directory.numbers(".seg") {
        let path = segment_path(dir, base);
        let file = open(directory, &path, OpenMode::Read)?;
        let len = usize::try_from(SEGMENT_HEADER_BYTES).unwrap_or(0);
        let bytes = file
            .read_at(0, len)
            .map_err(|source| StorageError::io(Action::Read, &path, source))?;
        if let Some(version) = SegmentHeader::other_version(&bytes) {
            return Err(Failure::OtherVersion(path, version));
        }
        let Some(header) = SegmentHeader::decode(&bytes) else {
            return Err(damage(&path, "no valid segment header").into());
        };
        if header.cluster_id != *cluster {
            return Err(Failure::OtherCluster(path, header.cluster_id));
        }
        if header.group != *group || header.segment.base != base {
            return Err(damage(&path, "the header is another segment's").into());
        }
        if header.segment.starts_log {
            void.append(&mut headers);
        }
        headers.push(header);
    }
    for header in void {
        node.remove_file(&index_path(dir, header.segment.base))?;
        node.remove_file(&segment_path(dir, header.segment.base))?;
    }
    for base in directory.numbers(".idx") {
        if !headers.iter().any(|header| header.segment.base == base) {
            node.remove_file(&index_path(dir, base))?;
        }
    }
    Ok(headers)
}

/// A segment that another one follows: its index says all, or else it is scanned.
fn sealed(
    directory: &Directory<'_>,
    header: &SegmentHeader,
    next: &Segment,
) -> Result<Scan, Failure> {
    let segment = &header.segment;
    let path = segment_path(&directory.dir, segment.base);
    let file = open(directory, &path, OpenMode::Read)?;
    if let Some(scan) = by_index(directory, header, next)? {
        let len = file
            .len()
            .map_err(|source| StorageError::io(Action::Measure, &path, source))?;
        if len < scan.filled.end_position {
            return Err(damage(&path, "the file is too short").into());
        }
        return Ok(scan);
    }
    let seal = (file.as_ref(), path.as_path());
    let scan = scan_segment(
        seal,
        directory.group,
        (segment, header.crc32c),
        next.base.prev(),
    )?;
    let Scan { filled, terms, .. } = &scan;
    if filled.last != next.prev || filled.next_offset != next.base_offset {
        return Err(at_end(&path, filled, "it does not reach up to the next segment").into());
    }
    if !filled.is_empty() {
        let bytes = IndexFile::encode(filled, terms, directory.group);
        directory
            .node
            .write_file(&index_path(&directory.dir, segment.base), &bytes, false)?;
    }
    let mut scan = scan;
    scan.filled.index_on_disk = !scan.filled.is_empty();
    scan.filled.points = Vec::new();
    Ok(scan)
}

/// What the index file says, if it is whole and ends where the next segment begins.
fn by_index(
    directory: &Directory<'_>,
    header: &SegmentHeader,
    next: &Segment,
) -> Result<Option<Scan>, StorageError> {
    let segment = &header.segment;
    let bytes = directory
        .node
        .read_file(&index_path(&directory.dir, segment.base))?;
    let Some(head) = bytes.and_then(|bytes| IndexFile::decode(&bytes)) else {
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
    let fits = group == directory.group
        && uid == segment.uid
        && base == segment.base
        && Some(last) == next.prev
        && next_offset == next.base_offset;
    let filled = Filled {
        segment: Arc::clone(segment),
        end_position,
        last: Some(last),
        next_offset,
        max_time_ms,
        points: Vec::new(),
        index_on_disk: true,
    };
    Ok(fits.then_some(Scan {
        filled,
        terms,
        prev_crc32c: 0,
        bad_payload: false,
    }))
}

/// The last segment: scanned to its end, which is a torn write or damage unless it is clean.
fn last(
    directory: &Directory<'_>,
    header: &SegmentHeader,
    known_durable: LogIndex,
    found: &mut Found,
) -> Result<Scan, Failure> {
    let segment = &header.segment;
    let path = segment_path(&directory.dir, segment.base);
    let file = open(directory, &path, OpenMode::Write)?;
    settle_file(&path, file.as_ref())?;
    let at = (file.as_ref(), path.as_path());
    let scan = scan_segment(at, directory.group, (segment, header.crc32c), None)?;
    let end = scan
        .filled
        .last
        .map_or(segment.base, |last| last.index.next());
    let seed = entry_seed(directory.group, segment.uid);
    let behind = search_behind(at, seed, scan.filled.end_position)?;
    if known_durable.max(behind.durable_end) > end {
        return Err(at_end(&path, &scan.filled, "an entry that was on disk is damaged").into());
    }
    if behind.any || scan.bad_payload {
        found.torn = Some(TornTail {
            index: end,
            position: scan.filled.end_position,
        });
    }
    directory
        .node
        .remove_file(&index_path(&directory.dir, segment.base))?;
    segment.open.lock().file = Some(Arc::clone(&file));
    let prev_crc32c = scan.prev_crc32c;
    found.active = Some(Active {
        segment: Arc::clone(segment),
        file,
        prev_crc32c,
        written_end: scan.filled.end_position,
    });
    Ok(scan)
}

fn open(
    directory: &Directory<'_>,
    path: &Path,
    mode: OpenMode,
) -> Result<Arc<dyn FsFile>, StorageError> {
    let opened = directory.node.fs.open(path, mode);
    opened.map_err(|source| StorageError::io(Action::Open, path, source))
}

fn at_end(path: &Path, filled: &Filled, what: &'static str) -> Damage {
    let index = filled
        .last
        .map_or(filled.segment.base, |last| last.index.next());
    Damage {
        path: path.to_owned(),
        position: filled.end_position,
        index: Some(index),
        what,
    }
}
