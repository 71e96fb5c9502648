//! Opens a group's directory and finds out what of its log is whole.
//!
//! A bad entry is a torn write only if nothing says that it was ever on disk: no later entry was
//! written when it was durable, nor the hard state, nor a checkpoint. Otherwise the files are
//! damaged, and the replica must be fetched again.

mod checkpoints;
mod segments;

use std::path::{Path, PathBuf};

use lograft_core::{ClusterId, GroupId, LogId, LogIndex};

use self::segments::Found;
use crate::error::{Damage, StorageError};
use crate::format::SegmentHeader;
use crate::group_log::{GroupWriter, LogState, Recovered, SegmentSizes};
use crate::hard_file::{HardFile, HardFound, Newest};
use crate::hard_state::HardState;
use crate::storage_env::{
    NEW_SUFFIX, Node, RESET_SUFFIX, checkpoint_path, hard_state_path, segment_path, with_suffix,
};

/// An opened group.
pub(crate) struct Opened {
    pub(crate) state: LogState,
    pub(crate) writer: GroupWriter,
    pub(crate) recovered: Recovered,
}

/// Why a group's directory could not be opened.
pub(crate) enum Failure {
    Damaged(Damage, Option<HardState>),
    OtherCluster(PathBuf, ClusterId),
    OtherVersion(PathBuf, u8),
    Storage(StorageError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage, None)
    }
}

/// One group's directory, while it is being opened.
pub(crate) struct Directory<'a> {
    pub(crate) node: &'a Node,
    pub(crate) dir: PathBuf,
    pub(crate) group: GroupId,
    pub(crate) cluster: ClusterId,
    /// Its names, sorted.
    pub(crate) names: Vec<String>,
}

impl Directory<'_> {
    /// The numbers of the files with this suffix, sorted.
    fn numbers(&self, suffix: &str) -> Vec<LogIndex> {
        let names = self
            .names
            .iter()
            .filter_map(|name| name.strip_suffix(suffix));
        names
            .filter_map(|number| number.parse().ok())
            .map(LogIndex)
            .collect()
    }
}

/// Opens a group, or makes it.
pub(crate) fn open_group(
    node: &Node,
    group: GroupId,
    cluster: ClusterId,
    sizes: SegmentSizes,
) -> Result<Opened, Failure> {
    let dir = node.group_dir(group);
    let names = node.list(&dir)?;
    let directory = Directory {
        node,
        dir,
        group,
        cluster,
        names,
    };
    match HardFile::find(node, &directory.dir, group, cluster)? {
        HardFound::OtherCluster(other) => Err(Failure::OtherCluster(
            hard_state_path(&directory.dir),
            other,
        )),
        HardFound::OtherVersion(version) => Err(Failure::OtherVersion(
            hard_state_path(&directory.dir),
            version,
        )),
        HardFound::Damaged => {
            Err(damage(&hard_state_path(&directory.dir), "no valid record").into())
        }
        HardFound::Missing if directory.numbers(".seg").is_empty() => {
            Ok(create(&directory, sizes)?)
        }
        HardFound::Missing => Err(damage(&hard_state_path(&directory.dir), "it is missing").into()),
        HardFound::Record(newest) => {
            recover(&directory, sizes, newest).map_err(|failure| match failure {
                Failure::Damaged(damage, _) => Failure::Damaged(damage, Some(newest.record.hard)),
                other => other,
            })
        }
    }
}

fn create(directory: &Directory<'_>, sizes: SegmentSizes) -> Result<Opened, StorageError> {
    let Directory {
        node,
        dir,
        group,
        cluster,
        ..
    } = directory;
    node.create_dir(dir)?;
    let hard = HardFile::create(node, dir, *group, *cluster)?;
    node.sync_dir(&node.groups_dir())?;
    Ok(Opened {
        state: LogState::new(*group, sizes),
        writer: GroupWriter {
            dir: dir.clone(),
            group: *group,
            cluster: *cluster,
            hard,
            active: None,
            durable_end: LogIndex::ZERO,
        },
        recovered: Recovered {
            created: true,
            torn: None,
        },
    })
}

fn recover(
    directory: &Directory<'_>,
    sizes: SegmentSizes,
    newest: Newest,
) -> Result<Opened, Failure> {
    let Directory {
        node,
        dir,
        group,
        cluster,
        ..
    } = directory;
    for name in directory
        .names
        .iter()
        .filter(|name| name.ends_with(NEW_SUFFIX))
    {
        node.remove_file(&dir.join(name))?; // was never finished
    }
    let hard = HardFile::open(node, dir, (*group, *cluster), newest)?;
    let record = newest.record;
    let finished = finish_reset(directory)?;
    let newest_checkpoint = directory.numbers(".ckpt").last().copied().max(finished);
    let known_durable = record
        .durable_end
        .max(newest_checkpoint.map_or(LogIndex::ZERO, LogIndex::next));
    let Found {
        segments,
        terms,
        active,
        torn,
    } = segments::recover(directory, known_durable)?;

    let mut state = LogState::new(*group, sizes);
    if let Some(last) = segments.back() {
        let first = &segments[0].segment;
        state.origin = first.base;
        state.purged = first.prev;
        state.last = last.last;
        state.next_offset = last.next_offset;
    }
    state.terms = terms;
    state.segments = segments;
    state.flushed_end = state.end();
    state.checkpoints = checkpoints::recover(directory, &state, finished)?;
    state.hard = record.hard;
    state.hard.committed = known_committed(&state, record.hard.committed);
    // Names, too, may not be on disk yet, if only the process ended.
    node.sync_dir(dir)?;
    let (dir, group, cluster) = (dir.clone(), *group, *cluster);
    let durable_end = state.end();
    let writer = GroupWriter {
        dir,
        group,
        cluster,
        hard,
        active,
        durable_end,
    };
    Ok(Opened {
        state,
        writer,
        recovered: Recovered {
            created: false,
            torn,
        },
    })
}

/// A log that began anew after a checkpoint: gives the checkpoint its name, if the new segment
/// got its own before the crash. Otherwise the old log still stands.
fn finish_reset(directory: &Directory<'_>) -> Result<Option<LogIndex>, StorageError> {
    let Directory { node, dir, .. } = directory;
    let mut finished = None;
    for last in directory.numbers(&format!(".ckpt{RESET_SUFFIX}")) {
        let path = checkpoint_path(dir, last);
        let provisional = with_suffix(&path, RESET_SUFFIX);
        let segment = node.read_file_start(&segment_path(dir, last.next()))?;
        let header = segment.and_then(|bytes| SegmentHeader::decode(&bytes));
        if header.is_some_and(|header| header.segment.starts_log) {
            node.rename(&provisional, &path)?;
            finished = Some(last);
        } else {
            node.remove_file(&provisional)?;
        }
    }
    Ok(finished)
}

/// The committed id was written without a sync: it counts only if the log has that very entry.
fn known_committed(state: &LogState, committed: Option<LogId>) -> Option<LogId> {
    let committed = committed?;
    if state.term_at(committed.index) == Some(committed.term) {
        return Some(committed);
    }
    state.purged
}

/// Damage to a file as a whole.
pub(crate) fn damage(path: &Path, what: &'static str) -> Damage {
    Damage {
        path: path.to_owned(),
        position: 0,
        index: None,
        what,
    }
}
