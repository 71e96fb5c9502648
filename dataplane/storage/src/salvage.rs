//! Salvage: reads the entries of a group's files past damage, for a log that cannot be opened or
//! repaired any more. It changes nothing on disk and takes no lock.
//!
//! Recovery trusts a log as a whole or not at all, because raft does. Salvage has no such need:
//! each entry has its own checksums, index and offset, so that those before and behind a damaged
//! part are as good as ever. Each part that is missing is named as a [`LogGap`].

mod owner;
mod pieces;
mod readable_parts;
mod segment;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{ClusterId, GroupId, LogIndex, NodeId, Offset, Term};

use self::owner::find_owner;
use self::pieces::readable;
pub use self::pieces::{LogGap, Salvaged};
use self::segment::{NextEntry, OpenedSegment};
use crate::checkpoint::Checkpoint;
use crate::error::StorageError;
use crate::files::Files;
use crate::format::decode_checkpoint;
use crate::fs::Fs;
use crate::hard_file::{FileOwner, HardFile};
use crate::layout::{checkpoint_path, index_path, segment_path};

/// The reason why nothing can be read from a directory.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// The directory does not exist, or no file in it belongs to a group.
    #[error("{dir} has no files of a replica")]
    NoReplica {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system returned an error that is no damage, or a newer version wrote a file.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The files of a group, opened for salvage.
pub struct Salvage {
    files: Files,
    dir: PathBuf,
    owner: FileOwner,
    /// The base indexes of the segments of the log.
    bases: Vec<LogIndex>,
    committed_end: LogIndex,
    /// All entries below were on disk once.
    known_end: LogIndex,
    checkpoint: Option<Checkpoint>,
}

impl Salvage {
    /// Finds the log in a directory, whatever its name. Fails if it has no file of a group, or if a
    /// newer version wrote one.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, SalvageError> {
        let files = Files::new(fs);
        let names = files.list(dir)?;
        let mut bases = numbers(&names, ".seg");
        let owner = find_owner(&files, dir, &bases)?.ok_or_else(|| SalvageError::NoReplica {
            dir: dir.to_owned(),
        })?;
        // After a reset, a crash may have left segments of the replaced log below the new one.
        for nth in (1..bases.len()).rev() {
            let header = segment::read_header(&files, dir, bases[nth])?;
            if header.is_some_and(|header| header.facts.starts_log) {
                bases.drain(..nth);
                break;
            }
        }
        let hard = HardFile::read_only(&files, dir, owner)?;
        let checkpoint = newest_checkpoint(&files, dir, owner, &names)?;
        let checkpoint_end = checkpoint
            .as_ref()
            .map_or(LogIndex::ZERO, |checkpoint| checkpoint.last.index.next());
        let committed = hard.and_then(|record| record.hard.committed);
        let committed_end = committed
            .map_or(LogIndex::ZERO, |id| id.index.next())
            .max(checkpoint_end);
        let durable_end = hard.map_or(LogIndex::ZERO, |record| record.durable_end);
        Ok(Self {
            files,
            dir: dir.to_owned(),
            owner,
            bases,
            committed_end,
            known_end: durable_end.max(checkpoint_end),
            checkpoint,
        })
    }

    /// The group of the files.
    pub const fn group(&self) -> GroupId {
        self.owner.group
    }

    /// The cluster of the files.
    pub const fn cluster(&self) -> ClusterId {
        self.owner.cluster
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node that uses the files while it runs, if they are not set aside or copied: its
    /// identity is in the data directory around them.
    pub fn live_node(&self) -> Option<NodeId> {
        owner::live_node(&self.files, &self.dir)
    }

    /// The end of the entries that the files name as committed, exclusive. It is written without a
    /// sync: later entries may be committed too.
    pub const fn committed_end(&self) -> LogIndex {
        self.committed_end
    }

    /// The newest intact checkpoint.
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// Reads the log from its start, one entry in memory at a time, and gives each piece to `each`.
    /// Fails if `each` does, if the file system returns an error that is no damage, or at an entry
    /// that a newer version wrote. May be repeated.
    pub fn read<E: From<StorageError>>(
        &self,
        mut each: impl FnMut(Salvaged) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = None;
        let mut ended: Option<Ended> = None;
        for (nth, base) in self.bases.iter().enumerate() {
            let opened = OpenedSegment::open(&self.files, &self.dir, *base, self.owner)?;
            let (mut place, gap) = self.entered(&opened, next, ended.as_ref());
            if let Some(gap) = gap {
                each(Salvaged::Gap(gap))?;
            }
            let bound = self.bases.get(nth + 1).copied();
            let mut end = 0..opened.len_bytes;
            let mut unreadable = opened.damage;
            if let Some(mut reader) = opened.reader(bound) {
                if let Some(why) = unreadable.take() {
                    each(Salvaged::Gap(opened.header_gap(&place, why)))?;
                }
                while let Some(piece) = reader.advance(&mut place)? {
                    each(piece)?;
                }
                end.start = reader.end_position().min(end.end);
            }
            ended = Some(Ended {
                path: opened.path.clone(),
                bytes: end,
                unreadable,
                is_complete: self.is_complete(*base, place.index)?,
            });
            next = Some(place);
        }
        match self.missing_end(next, ended) {
            Some(gap) => each(Salvaged::Gap(gap)),
            None => Ok(()),
        }
    }

    /// The place at which a segment starts, and the entries that are missing before it.
    fn entered(
        &self,
        opened: &OpenedSegment,
        next: Option<NextEntry>,
        ended: Option<&Ended>,
    ) -> (NextEntry, Option<LogGap>) {
        let base = opened.base;
        let header = opened.header.as_ref().map(|header| &header.facts);
        let place = NextEntry {
            index: base,
            offset: header.map(|facts| facts.base_offset),
            term: header
                .and_then(|facts| facts.prev)
                .map_or(Term::ZERO, |prev| prev.term),
        };
        let Some(next) = next else {
            return self.log_start(place, header.is_some_and(|facts| facts.starts_log));
        };
        if base <= next.index {
            let offset = next.offset.or(place.offset);
            return (NextEntry { offset, ..next }, None);
        }
        let term = place.term.max(next.term);
        let gap = self.gap_between(&next, &place, ended);
        (NextEntry { term, ..place }, Some(gap))
    }

    /// The start of the log, and the entries that are missing before it.
    fn log_start(&self, place: NextEntry, starts_log: bool) -> (NextEntry, Option<LogGap>) {
        let checkpoint = self.checkpoint.as_ref();
        let covered = checkpoint.map_or(LogIndex::ZERO, |found| found.last.index.next());
        if starts_log || covered >= place.index {
            let at_start = checkpoint.filter(|_| covered == place.index);
            let known = match at_start {
                Some(found) => Some(found.next_offset),
                None if place.index == LogIndex::ZERO => Some(Offset::ZERO),
                None => None,
            };
            let offset = place.offset.or(known);
            return (NextEntry { offset, ..place }, None);
        }
        let gap = LogGap {
            path: segment_path(&self.dir, covered),
            bytes: 0..0,
            first_index: covered,
            end_index: Some(place.index),
            first_offset: checkpoint.map(|found| found.next_offset),
            end_offset: place.offset,
            why: "no file has the start of the log, and no checkpoint says that it was deleted",
        };
        (place, Some(gap))
    }

    fn gap_between(&self, next: &NextEntry, place: &NextEntry, ended: Option<&Ended>) -> LogGap {
        let damaged = ended.filter(|ended| !ended.is_complete);
        LogGap {
            path: damaged.map_or_else(
                || segment_path(&self.dir, next.index),
                |ended| ended.path.clone(),
            ),
            bytes: damaged.map_or(0..0, |ended| ended.bytes.clone()),
            first_index: next.index,
            end_index: Some(place.index),
            first_offset: next.offset,
            end_offset: place.offset,
            why: damaged.map_or("file is missing", |ended| {
                ended
                    .unreadable
                    .unwrap_or("no valid entry, or the next file is missing")
            }),
        }
    }

    /// The entries at the end of the log that were on disk once.
    fn missing_end(&self, next: Option<NextEntry>, ended: Option<Ended>) -> Option<LogGap> {
        let checkpoint = self.checkpoint.as_ref();
        let first = next.map_or(LogIndex::ZERO, |next| next.index);
        let unreadable = ended.as_ref().and_then(|ended| ended.unreadable);
        if first >= self.known_end && unreadable.is_none() {
            return None;
        }
        let end_index = unreadable.is_none().then_some(self.known_end);
        let at_end =
            checkpoint.filter(|found| end_index.is_some_and(|end| end <= found.last.index.next()));
        let path = ended.as_ref().map(|ended| ended.path.clone());
        Some(LogGap {
            path: path.unwrap_or_else(|| segment_path(&self.dir, first)),
            bytes: ended.map_or(0..0, |ended| ended.bytes),
            first_index: first,
            end_index,
            first_offset: next.map_or(Some(Offset::ZERO), |next| next.offset),
            end_offset: at_end.map(|found| found.next_offset),
            why: unreadable.unwrap_or("the log ends before an entry that was on disk"),
        })
    }

    /// Whether the index file of a segment says that it ends before this entry.
    fn is_complete(&self, base: LogIndex, next: LogIndex) -> Result<bool, StorageError> {
        let path = index_path(&self.dir, base);
        let head = segment::read_index_head(&self.files, &path)?;
        Ok(head.is_some_and(|head| {
            head.group == self.owner.group && head.base == base && head.last.index.next() <= next
        }))
    }
}

/// The end of a segment that was read.
struct Ended {
    path: PathBuf,
    /// The bytes behind its last valid entry.
    bytes: Range<u64>,
    /// The reason why none of its entries can be read.
    unreadable: Option<&'static str>,
    /// Whether it has all of its entries.
    is_complete: bool,
}

impl OpenedSegment {
    /// The damage of the header alone, in front of entries that can be read.
    fn header_gap(&self, place: &NextEntry, why: &'static str) -> LogGap {
        LogGap {
            path: self.path.clone(),
            bytes: 0..self.len_bytes.min(crate::format::SEGMENT_HEADER_BYTES),
            first_index: place.index,
            end_index: Some(place.index),
            first_offset: place.offset,
            end_offset: place.offset,
            why,
        }
    }
}

/// The numbers of the files with this suffix, sorted.
fn numbers(names: &[String], suffix: &str) -> Vec<LogIndex> {
    let names = names.iter().filter_map(|name| name.strip_suffix(suffix));
    let numbers = names.filter_map(|number| number.parse().ok().map(LogIndex));
    let mut numbers: Vec<LogIndex> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

fn newest_checkpoint(
    files: &Files,
    dir: &Path,
    owner: FileOwner,
    names: &[String],
) -> Result<Option<Checkpoint>, StorageError> {
    for last in numbers(names, ".ckpt").into_iter().rev() {
        let read = readable(files.read_file(&checkpoint_path(dir, last)))?;
        let checkpoint = read.and_then(|bytes| {
            decode_checkpoint(&bytes, owner.group, owner.cluster)
                .filter(|checkpoint| checkpoint.last.index == last)
        });
        if checkpoint.is_some() {
            return Ok(checkpoint);
        }
    }
    Ok(None)
}
