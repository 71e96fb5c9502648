//! The kinds of files in a node's data directory, and the byte of each that is flipped.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const SEGMENT_HEADER_BYTES: usize = 96;
const ENTRY_HEADER_BYTES: usize = 96;
/// Positions of the records of a hard state, and a position within each.
const HARD_RECORDS: [usize; 3] = [0, 4096, 8192];
const HARD_RECORD_MIDDLE: usize = 48;

/// A raft group with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// The metadata of the cluster.
    Meta,
    /// The partition that is written.
    Partition,
}

/// A file of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupFile {
    /// The middle of a sealed segment.
    Sealed,
    /// The header of a sealed segment.
    SealedHeader,
    /// The middle of the written part of the last segment.
    Active,
    /// The last entry of the last segment.
    LastEntry,
    /// The index of a sealed segment.
    Index,
    /// The newest checkpoint, with which a follower gets a snapshot.
    Checkpoint,
    /// One of the three records of the hard state.
    HardState(usize),
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file in the data directory itself.
    Root(&'static str),
    /// A purged segment that is kept for reuse.
    Recycled,
    /// A file of a group.
    Of(Group, GroupFile),
}

/// A byte of a file.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    path: PathBuf,
    position: usize,
}

/// All kinds, in the order in which they are tried.
pub(super) fn all_kinds() -> Vec<Kind> {
    let root = [
        "identity",
        "identity.copy",
        "registration.json",
        "registration.copy.json",
        "incarnation",
        "incarnations_seen",
        "groups_opened",
        "groups_opened.copy",
        "reserve",
    ];
    let files = [
        GroupFile::Sealed,
        GroupFile::SealedHeader,
        GroupFile::Active,
        GroupFile::LastEntry,
        GroupFile::Index,
        GroupFile::Checkpoint,
        GroupFile::HardState(0),
        GroupFile::HardState(1),
        GroupFile::HardState(2),
    ];
    let of = |group| files.map(|file| Kind::Of(group, file));
    let mut kinds: Vec<Kind> = root.map(Kind::Root).into();
    kinds.push(Kind::Recycled);
    kinds.extend(of(Group::Partition));
    kinds.extend(of(Group::Meta));
    kinds
}

impl Kind {
    /// Name in the table.
    pub(super) fn name(self) -> String {
        let (group, file) = match self {
            Self::Root(name) => return format!("`{name}`"),
            Self::Recycled => return "recycled segment".to_owned(),
            Self::Of(Group::Meta, file) => ("meta group", file),
            Self::Of(Group::Partition, file) => ("partition", file),
        };
        let file = match file {
            GroupFile::Sealed => "sealed segment".to_owned(),
            GroupFile::SealedHeader => "sealed segment, header".to_owned(),
            GroupFile::Active => "active segment".to_owned(),
            GroupFile::LastEntry => "active segment, last entry".to_owned(),
            GroupFile::Index => "index".to_owned(),
            GroupFile::Checkpoint => "checkpoint".to_owned(),
            GroupFile::HardState(nth) => format!("hard state, record {}", nth + 1),
        };
        format!("{group}: {file}")
    }

    /// The group whose files are of this kind.
    pub(super) const fn group(self) -> Option<Group> {
        match self {
            Self::Of(group, _) => Some(group),
            Self::Root(_) | Self::Recycled => None,
        }
    }

    /// The byte to flip, in the data directory of a node; `None` if it has no file of this kind.
    pub(super) fn find(self, data_dir: &Path, partition_group: u64) -> Result<Option<Spot>> {
        match self {
            Self::Root(name) => middle(data_dir.join(name)),
            Self::Recycled => match files(&data_dir.join("recycled"), ".seg")?.pop() {
                Some(path) => middle(path),
                None => Ok(None),
            },
            Self::Of(group, file) => {
                let group = match group {
                    Group::Meta => 0,
                    Group::Partition => partition_group,
                };
                find_in_group(&data_dir.join(format!("groups/group-{group}")), file)
            }
        }
    }
}

fn find_in_group(dir: &Path, file: GroupFile) -> Result<Option<Spot>> {
    let mut segments = files(dir, ".seg")?;
    let active = segments.pop();
    let sealed = segments.get(segments.len() / 2).cloned();
    let at = |path: Option<PathBuf>, position| path.map(|path| Spot { path, position });
    Ok(match file {
        GroupFile::SealedHeader => at(sealed, SEGMENT_HEADER_BYTES / 2),
        GroupFile::Sealed | GroupFile::Active | GroupFile::LastEntry => {
            let is_sealed = file == GroupFile::Sealed;
            let Some(path) = (if is_sealed { sealed } else { active }) else {
                return Ok(None);
            };
            let entries = entries(&fs::read(&path)?);
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                return Ok(None);
            };
            let position = match file {
                GroupFile::LastEntry => last.start.midpoint(last.end),
                _ => first.start.midpoint(last.end),
            };
            at(Some(path), position)
        }
        GroupFile::Index => match files(dir, ".idx")?.pop() {
            Some(path) => middle(path)?,
            None => None,
        },
        GroupFile::Checkpoint => match files(dir, ".ckpt")?.pop() {
            Some(path) => middle(path)?,
            None => None,
        },
        GroupFile::HardState(nth) => {
            let path = dir.join("hard_state");
            let position = HARD_RECORDS.get(nth).context("record of the hard state")?;
            at(path.exists().then_some(path), position + HARD_RECORD_MIDDLE)
        }
    })
}

/// The files of a directory whose names end so, by name.
fn files(dir: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let Ok(listing) = fs::read_dir(dir) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for item in listing {
        let path = item?.path();
        if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The middle of a file.
fn middle(path: PathBuf) -> Result<Option<Spot>> {
    let len = match fs::metadata(&path) {
        Ok(found) => usize::try_from(found.len())?,
        Err(_) => return Ok(None),
    };
    let position = len / 2;
    Ok((len > 0).then_some(Spot { path, position }))
}

/// The entries of a segment, by position: as long as their indexes are consecutive. Behind them
/// are zeros, or entries of an earlier use of the file.
fn entries(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let number = |at: usize, len: usize| {
        let field = bytes.get(at..at + len)?;
        let digits = field.iter().rev();
        Some(digits.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let mut found = Vec::new();
    let mut start = SEGMENT_HEADER_BYTES;
    let mut expected = number(48, 8);
    while bytes.get(start..start + 4) == Some(b"lgE1") && number(start + 32, 8) == expected {
        let payload = number(start + 8, 4).and_then(|len| usize::try_from(len).ok());
        let end = start + ENTRY_HEADER_BYTES + payload.unwrap_or(0).next_multiple_of(8);
        found.push(start..end);
        start = end;
        expected = expected.map(|index| index + 1);
    }
    found
}

impl Spot {
    /// Flips a bit of the byte, on disk and in the page cache.
    pub(super) fn flip(&self) -> Result<()> {
        let shown = self.path.display();
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        let file = file.with_context(|| format!("cannot open {shown}"))?;
        let position = u64::try_from(self.position)?;
        let mut byte = [0];
        ensure!(file.read_at(&mut byte, position)? == 1, "{shown} is short");
        file.write_all_at(&[byte[0] ^ 0x10], position)?;
        file.sync_all()?;
        Ok(())
    }
}

/// Number of corrupt copies of groups that a node keeps.
pub(super) fn corrupt_copies(data_dir: &Path) -> Result<usize> {
    let mut count = 0;
    for item in fs::read_dir(data_dir.join("groups"))? {
        count += usize::from(item?.file_name().to_string_lossy().contains(".corrupt-"));
    }
    Ok(count)
}
