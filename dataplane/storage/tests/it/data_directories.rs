//! Whole data directories, as programs of earlier feature levels wrote them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lograft_core::{
    Entry, EntryKind, LogIndex, NodeId, Offset, ProducerEpoch, ProducerId, ProducerStamp, Proposal,
    Sequence, Term, Vote,
};
use lograft_storage::{
    Checkpoint, GroupLog, GroupOptions, HardState, RealFs, Storage, StorageConfig, StorageError,
    WriterDrive,
};

use crate::fixtures::{Fixtures, LEVEL};
use crate::setup::{Flush, GROUP, append, id, identity, open_group, payload, records, settle};

const END: u64 = 100;
const PURGED: u64 = 30;

fn fixtures() -> Fixtures {
    Fixtures::new(env!("CARGO_MANIFEST_DIR"), "data")
}

/// The entry with this index: every kind, with and without a producer, in two terms.
fn entry(index: u64) -> Entry {
    let term = 1 + index / 40;
    let control = |kind, payload| Proposal::control(kind, 1000 + index.cast_signed(), payload);
    let proposal = match index % 6 {
        0 => control(EntryKind::Blank, Bytes::new()),
        1 => control(EntryKind::Membership, payload(term, index, 26)),
        2 => control(EntryKind::Command, payload(term, index, 90)),
        3 => control(
            EntryKind::Trim,
            Bytes::copy_from_slice(&index.to_le_bytes()),
        ),
        4 => records(term, index, 2, 700).proposal,
        _ => Proposal {
            producer: Some(ProducerStamp {
                id: ProducerId(4),
                epoch: ProducerEpoch(1),
                base_sequence: Sequence(index),
            }),
            ..records(term, index, 3, 300).proposal
        },
    };
    Entry {
        id: id(term, index),
        base_offset: Offset(base_offset(index)),
        proposal,
    }
}

fn base_offset(index: u64) -> u64 {
    let (rounds, rest) = (index / 6, index % 6);
    5 * rounds + if rest == 5 { 2 } else { 0 }
}

fn checkpoint(index: u64) -> Checkpoint {
    let last = entry(index);
    Checkpoint {
        last: last.id,
        next_offset: last.next_offset(),
        membership: payload(9, index, 26),
        membership_id: Some(id(1, 1)),
        state: payload(8, index, 50),
    }
}

fn hard_state() -> HardState {
    HardState {
        vote: Some(Vote {
            term: Term(3),
            voted_for: NodeId(3),
            committed: true,
        }),
        committed: Some(id(3, END - 2)),
    }
}

pub(crate) fn open(dir: &Path) -> Result<Storage, StorageError> {
    let mut config = StorageConfig::new(dir);
    config.segment_min_bytes = 4 * 1024;
    config.segment_max_bytes = 8 * 1024;
    config.reserve_bytes = 0;
    config.writers = WriterDrive::Threads(1);
    let fatal = Arc::new(|error: StorageError| panic!("a write failed: {error}"));
    Storage::open(Arc::new(RealFs), config, fatal)
}

/// Writes the data directory of the fixture.
fn write(dir: &Path) {
    let storage = open(dir).unwrap();
    storage.write_identity(&identity()).unwrap();
    let log = open_group(&storage);
    for index in 0..END {
        append(&storage, &log, vec![entry(index)]);
    }
    while let Some(index) =
        log.next_checkpoint_after(log.latest_checkpoint().unwrap().map(|c| c.last.index))
    {
        log.put_checkpoint(checkpoint(index.0));
        settle(&storage, &log);
    }
    log.purge_to(id(1, PURGED));
    let (HardState { vote, committed }, flush) = (hard_state(), Flush::default());
    log.save_vote(vote.unwrap(), flush.callback());
    flush.wait(&storage).unwrap();
    log.save_committed(committed);
    settle(&storage, &log);
}

fn check(log: &GroupLog, end: u64) {
    let first = log.first_id().unwrap().index.0;
    assert!((1..=PURGED + 1).contains(&first), "{first}");
    assert_eq!(log.hard_state(), hard_state());
    let read = log.read(LogIndex(first)..LogIndex(END + 9), usize::MAX);
    assert_eq!(read.unwrap(), (first..end).map(entry).collect::<Vec<_>>());
    let end = LogIndex(END);
    for last in [LogIndex(first), end].map(|index| log.checkpoint_at_or_below(index).unwrap()) {
        let found = last.unwrap();
        assert_eq!(found, checkpoint(found.last.index.0));
    }
    let from = log.first_offset();
    let got = log.read_from_offset(from, log.log_end_offset(), 1);
    assert_eq!(got.unwrap()[0].base_offset, from);
}

/// The data directory that a program of level 0 wrote.
pub(crate) fn written_at_level_0() -> PathBuf {
    fixtures().dir(0)
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let (path, target) = (item.path(), to.join(item.file_name()));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn data_directories_of_all_levels_are_read_and_continued() {
    let exists = |level: &u32| fixtures().dir(*level).exists();
    if !(0..=LEVEL).any(|level| exists(&level)) && std::env::var_os("LOGRAFT_BLESS").is_some() {
        let written = tempfile::tempdir().unwrap();
        write(written.path());
        fs::remove_file(written.path().join("LOCK")).unwrap();
        copy_dir(written.path(), &fixtures().dir(LEVEL));
    }
    let levels: Vec<u32> = (0..=LEVEL).filter(exists).collect();
    assert!(
        !levels.is_empty(),
        "no data directory: add it with LOGRAFT_BLESS=1"
    );
    for directory in levels.into_iter().map(|level| fixtures().dir(level)) {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(&directory, copy.path());
        let storage = open(copy.path()).unwrap();
        assert_eq!(storage.identity(), Some(identity()));
        let (log, recovered) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
        assert!(!recovered.created && recovered.torn.is_none());
        assert!(log.segments().len() > 2, "{:?}", log.segments());
        check(&log, END);
        append(&storage, &log, vec![entry(END), entry(END + 1)]);
        drop((log, storage));
        let storage = open(copy.path()).unwrap();
        check(&open_group(&storage), END + 2);
    }
}

#[test]
fn the_entries_of_the_fixture_have_consecutive_offsets() {
    for index in 0..END {
        assert_eq!(entry(index).next_offset(), entry(index + 1).base_offset);
    }
}
