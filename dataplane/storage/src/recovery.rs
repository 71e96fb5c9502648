//! Recovery: opens the directory of a group and finds the valid part of its log.
//!
//! An invalid entry at the end of the log is a torn write (a crash during a write that was never
//! acknowledged) or corruption of a durable entry (bit rot, a lost write). The two need opposite
//! reactions: a torn write is cut off, but cutting off a durable entry would lose acknowledged
//! records and could elect a leader without committed entries. An invalid entry counts as torn
//! only if nothing proves that it was ever on disk: no later entry was written when it was
//! durable, and neither the hard state nor a checkpoint covers it. Otherwise the replica is corrupt
//! and must be fetched again from the others (Alagappan et al., "Protocol-Aware Recovery", 2018).
//!
//! What a newer version wrote is neither: it is intact, and this version cannot read it. Recovery
//! reads everything before its first change, so that it then refuses the group as it found it.

mod checkpoints;
mod directory;
mod newer_files;
mod segments;

use lograft_core::{LogId, LogIndex};

use self::directory::{GroupDirectory, file_damage};
use self::segments::RecoveredSegments;
use crate::error::StorageError;
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::group_log::{GroupWriter, LogState, Recovered, SegmentSizes};
use crate::hard_file::{FileOwner, HardFile, HardFileContents, NewestRecord};
use crate::layout::{
    NEW_SUFFIX, RESET_SUFFIX, checkpoint_path, hard_state_path, segment_path, with_suffix,
};
use crate::storage_env::StorageEnv;

pub(crate) use directory::RecoveryError;

/// The parts of an opened group.
pub(crate) struct RecoveredGroup {
    pub(crate) state: LogState,
    pub(crate) writer: GroupWriter,
    pub(crate) recovered: Recovered,
}

/// Opens a group, or creates it if it has no files.
pub(crate) fn open_group(
    env: &StorageEnv,
    owner: FileOwner,
    sizes: SegmentSizes,
) -> Result<RecoveredGroup, RecoveryError> {
    let dir = env.group_dir(owner.group);
    let names = env.files.list(&dir)?;
    let directory = GroupDirectory {
        env,
        dir,
        owner,
        names,
    };
    newer_files::check(&directory)?;
    let hard_state = hard_state_path(&directory.dir);
    match HardFile::read(&env.files, &directory.dir, owner)? {
        HardFileContents::OtherCluster(other) => {
            Err(RecoveryError::OtherCluster(hard_state, other))
        }
        HardFileContents::Newer(newer) => Err(RecoveryError::Newer(newer)),
        HardFileContents::Damaged => Err(file_damage(&hard_state, "no valid record").into()),
        // The hard state file is created before the first segment. Segments without it mean that
        // it was lost, and the vote with it: a replica that forgot its vote could vote twice in one
        // term, so this is corruption and not a new group.
        HardFileContents::Missing if directory.numbers(".seg").is_empty() => {
            Ok(create(&directory, sizes)?)
        }
        HardFileContents::Missing => Err(file_damage(&hard_state, "file is missing").into()),
        HardFileContents::Record(newest) => {
            recover(&directory, sizes, newest).map_err(|failure| match failure {
                RecoveryError::Damaged(damage, _) => {
                    RecoveryError::Damaged(damage, Some(newest.record.hard))
                }
                other => other,
            })
        }
    }
}

fn create(
    directory: &GroupDirectory<'_>,
    sizes: SegmentSizes,
) -> Result<RecoveredGroup, StorageError> {
    let GroupDirectory {
        env, dir, owner, ..
    } = directory;
    env.files.create_dir_all(dir)?;
    let hard = HardFile::create(&env.files, dir, *owner)?;
    env.files.sync_dir(&env.groups_dir())?;
    Ok(RecoveredGroup {
        state: LogState::new(owner.group, sizes),
        writer: GroupWriter {
            dir: dir.clone(),
            owner: *owner,
            hard,
            active: None,
            durable_end: LogIndex::ZERO,
            parked: Vec::new(),
        },
        recovered: Recovered {
            created: true,
            torn: None,
        },
    })
}

fn recover(
    directory: &GroupDirectory<'_>,
    sizes: SegmentSizes,
    newest: NewestRecord,
) -> Result<RecoveredGroup, RecoveryError> {
    let GroupDirectory {
        env, dir, owner, ..
    } = directory;
    let record = newest.record;
    let resets = find_resets(directory)?;
    let finished_reset = resets.iter().rev().find(|reset| reset.is_complete);
    let finished_reset = finished_reset.map(|reset| reset.last);
    let newest_checkpoint = directory
        .numbers(".ckpt")
        .last()
        .copied()
        .max(finished_reset);
    let known_durable = record
        .durable_end
        .max(newest_checkpoint.map_or(LogIndex::ZERO, LogIndex::next));
    let RecoveredSegments {
        segments,
        terms,
        active,
        torn,
        changes,
    } = segments::read(directory, known_durable)?;

    // The first change on disk: everything that could make recovery refuse the group is read.
    remove_unfinished_files(directory)?;
    let hard = HardFile::open(&env.files, dir, *owner, newest)?;
    finish_resets(directory, &resets)?;
    changes.apply(directory)?;

    let mut state = LogState::new(owner.group, sizes);
    if let Some(last) = segments.back() {
        let first = &segments[0].segment;
        state.origin = first.base;
        state.purged = first.prev;
        state.last = last.last;
        state.next_offset = last.next_offset;
    }
    state.terms = terms;
    state.segments = segments;
    state.flushed_end = state.end_index();
    state.checkpoints = checkpoints::recover(directory, &state, finished_reset)?;
    state.hard = record.hard;
    state.hard.committed = known_committed(&state, record.hard.committed);
    // If only the process ended, its last changes of names may not be durable yet.
    env.files.sync_dir(dir)?;
    let writer = GroupWriter {
        dir: dir.clone(),
        owner: *owner,
        hard,
        active,
        durable_end: state.end_index(),
        parked: Vec::new(),
    };
    Ok(RecoveredGroup {
        state,
        writer,
        recovered: Recovered {
            created: false,
            torn,
        },
    })
}

fn remove_unfinished_files(directory: &GroupDirectory<'_>) -> Result<(), StorageError> {
    let unfinished = directory
        .names
        .iter()
        .filter(|name| name.ends_with(NEW_SUFFIX));
    for name in unfinished {
        let path = directory.dir.join(name);
        directory.env.files.remove_file(&path)?;
    }
    Ok(())
}

/// A reset that a crash has interrupted.
struct InterruptedReset {
    /// The index of its checkpoint.
    last: LogIndex,
    /// Whether the log was replaced already.
    is_complete: bool,
}

/// Finds the resets that a crash has interrupted.
// The segment decides: the log was replaced if and only if the segment after the checkpoint has
// its final name and says that the log starts there. Otherwise the old log is still the log.
fn find_resets(directory: &GroupDirectory<'_>) -> Result<Vec<InterruptedReset>, StorageError> {
    let GroupDirectory { env, dir, .. } = directory;
    let mut resets = Vec::new();
    for last in directory.numbers(&format!(".ckpt{RESET_SUFFIX}")) {
        let segment = segment_path(dir, last.next());
        let start = env.files.read_file_prefix(&segment, SEGMENT_HEADER_BYTES)?;
        let header = start.and_then(|bytes| SegmentHeader::decode(&bytes));
        resets.push(InterruptedReset {
            last,
            is_complete: header.is_some_and(|header| header.facts.starts_log),
        });
    }
    Ok(resets)
}

/// Finishes the resets that have replaced the log, and undoes the others.
fn finish_resets(
    directory: &GroupDirectory<'_>,
    resets: &[InterruptedReset],
) -> Result<(), StorageError> {
    let GroupDirectory { env, dir, .. } = directory;
    for InterruptedReset { last, is_complete } in resets {
        let path = checkpoint_path(dir, *last);
        let provisional = with_suffix(&path, RESET_SUFFIX);
        if *is_complete {
            env.files.rename(&provisional, &path)?;
        } else {
            env.files.remove_file(&provisional)?;
        }
    }
    Ok(())
}

/// The committed id, if the log has exactly that entry.
// The id is written without a sync and not in order with the entries, and raft may commit an entry
// by the copies of the others before this replica has it on disk. So after a crash the log may lack
// the entry, and raft must not hear that this replica has committed what it does not hold.
fn known_committed(state: &LogState, committed: Option<LogId>) -> Option<LogId> {
    let committed = committed?;
    if state.term_at(committed.index) == Some(committed.term) {
        return Some(committed);
    }
    state.purged
}
