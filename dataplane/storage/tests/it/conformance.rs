//! The conformance suite: every test runs on the real file system with writer threads, and on the
//! simulated one with manual steps.

use bytes::Bytes;
use lograft_core::limits::{BATCH_READ_BYTES, ENTRY_MAX_BYTES};
use lograft_core::{
    DiskMark, Entry, EntryKind, LogId, LogIndex, NodeId, Offset, PartitionState, Proposal, Term,
    Vote,
};
use lograft_storage::{
    Checkpoint, GroupOptions, HardState, Identity, OpenError, ReadError, Storage, StorageError,
};

use crate::setup::{
    Flush, GROUP, TestDisk, append, blank, eventually, id, identity, offset_for_time, open_group,
    records, settle,
};

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod real {
            $(#[test] fn $name() { super::$name(&super::TestDisk::real()); })*
        }
        mod simulated {
            $(#[test] fn $name() { super::$name(&super::TestDisk::fault(1).0); })*
        }
    };
}

on_both!(
    entries_survive_a_restart,
    a_long_log_reads_the_same_from_cache_and_disk,
    reads_by_offset_hold_whole_batches,
    offsets_are_found_by_time,
    append_times_are_read_after_a_restart,
    a_trim_of_all_records_starts_a_new_segment,
    a_vote_and_a_commit_survive_a_restart,
    truncation_survives_a_restart,
    truncation_to_nothing_and_twice,
    purge_drops_whole_segments_behind_a_checkpoint,
    stale_entries_of_recycled_segments_are_ignored,
    a_reset_starts_an_empty_log,
    invalid_entries_are_refused,
    a_group_is_opened_once_and_can_be_removed,
    the_directory_is_locked_and_has_one_identity,
    oversized_entries_have_a_segment_of_their_own,
    a_group_set_aside_is_empty_when_opened_again,
    large_segments_are_read_by_their_index,
);

fn restart(disk: &TestDisk, storage: Storage) -> Storage {
    drop(storage);
    disk.open()
}

fn indexes(entries: &[lograft_core::Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.index.0).collect()
}

/// Fills a log with entries of mixed sizes and kinds: the entry at index i is blank if i % 5 == 0,
/// else it has 1 + i % 3 records.
fn fill(storage: &Storage, log: &lograft_storage::GroupLog, from: u64, to: u64) {
    for index in from..to {
        let entry = match index % 5 {
            0 => blank(1 + index / 100, index),
            _ => records(
                1 + index / 100,
                index,
                count(index),
                37 * ((index * 7) % 50) as usize,
            ),
        };
        let flush = Flush::default();
        log.append(vec![entry], flush.callback()).unwrap();
        if index % 9 == 0 {
            flush.wait(storage).unwrap();
        }
    }
    settle(storage, log);
}

/// The index file of a sealed segment does not hold the append time of its records. It is read from
/// the last entry with records; entries without records do not count.
fn append_times_are_read_after_a_restart(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    assert_eq!(log.last_append_time().unwrap(), None);
    fill(&storage, &log, 0, 301);
    let before = log.segments();
    assert!(before.len() > 3 && before[0].append_time_ms.is_some());
    let last = log.last_append_time().unwrap();
    assert_eq!(last, Some(1299), "the last entry, 300, has no records");
    drop(log);
    let storage = restart(disk, storage);
    let log = open_group(&storage);
    assert_eq!(log.segments()[0].append_time_ms, None);
    assert!(log.is_last_append_time_known(), "read when it was opened");
    for segment in &before {
        let found = log.read_append_time(segment.base_index).unwrap();
        assert_eq!(found, segment.append_time_ms, "{segment:?}");
    }
    assert_eq!(log.last_append_time().unwrap(), last);
    let after = log.segments().into_iter();
    let after: Vec<_> = after.map(|segment| segment.append_time_ms).collect();
    let known: Vec<_> = before
        .iter()
        .map(|segment| segment.append_time_ms)
        .collect();
    assert_eq!(after, known, "a time that was read is kept");
    assert_eq!(log.read_append_time(LogIndex(9999)).unwrap(), None);
    log.truncate_after(Some(id(3, 251))).unwrap();
    assert!(log.is_last_append_time_known(), "read when it was cut");
    assert_eq!(log.last_append_time().unwrap(), Some(1251));
}

fn count(index: u64) -> u32 {
    1 + u32::try_from(index % 3).unwrap()
}

fn check_filled(log: &lograft_storage::GroupLog, from: u64, to: u64) {
    let mut next = from;
    while next < to {
        let got = log.read(LogIndex(next)..LogIndex(to), 10_000).unwrap();
        assert!(!got.is_empty(), "nothing at {next}");
        for entry in &got {
            assert_eq!(entry.id, id(1 + next / 100, next));
            let crc = crc32c::crc32c(&entry.proposal.payload);
            assert_eq!(crc, entry.proposal.payload_crc32c);
            let expected = if next.is_multiple_of(5) {
                0
            } else {
                37 * ((next * 7) % 50) as usize
            };
            assert_eq!(entry.proposal.payload.len(), expected);
            next += 1;
        }
    }
}

fn entries_survive_a_restart(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    assert_eq!(
        (log.first_id(), log.last_id(), log.purged_id()),
        (None, None, None)
    );
    append(
        &storage,
        &log,
        vec![blank(1, 0), records(1, 1, 3, 100), records(2, 2, 2, 5000)],
    );
    assert_eq!(log.log_end_offset(), Offset(5));
    assert_eq!(log.flushed_index(), Some(LogIndex(2)));
    let before = log.read(LogIndex(0)..LogIndex(9), usize::MAX).unwrap();
    drop(log);

    let storage = restart(disk, storage);
    let (log, recovered) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
    assert!(!recovered.created && recovered.torn.is_none());
    assert_eq!(
        log.read(LogIndex(0)..LogIndex(9), usize::MAX).unwrap(),
        before
    );
    assert_eq!(before[2].base_offset, Offset(3));
    assert_eq!(
        (log.first_id(), log.last_id()),
        (Some(id(1, 0)), Some(id(2, 2)))
    );
    assert_eq!(log.log_end_offset(), Offset(5));
    append(&storage, &log, vec![records(2, 3, 1, 10)]);
    let got = log.read(LogIndex(2)..LogIndex(9), usize::MAX).unwrap();
    assert_eq!(indexes(&got), [2, 3]);
}

fn a_long_log_reads_the_same_from_cache_and_disk(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    fill(&storage, &log, 0, 600);
    assert!(log.segments().len() > 5);
    let max = disk.config.tail_cache_max_bytes;
    eventually("the cache is in its budget", || {
        storage.tail_cache_bytes() <= max
    });
    check_filled(&log, 0, 600);
    let meta = log.read_meta(LogIndex(0)..LogIndex(600)).unwrap();
    assert_eq!(indexes(&meta), (0..600).collect::<Vec<_>>());
    let offset = meta.last().unwrap().next_offset();
    let terms: Vec<Option<Term>> = [0, 99, 100, 599, 600]
        .map(|index| log.term_at(LogIndex(index)))
        .into();
    assert_eq!(
        terms,
        [
            Some(Term(1)),
            Some(Term(1)),
            Some(Term(2)),
            Some(Term(6)),
            None
        ]
    );
    drop(log);

    let storage = restart(disk, storage);
    let log = open_group(&storage);
    check_filled(&log, 0, 600);
    assert_eq!(log.log_end_offset(), offset);
    let last_of_first = log.segments()[0].last.unwrap().index;
    assert_eq!(log.next_checkpoint_after(None), Some(last_of_first));
    assert_eq!(log.next_checkpoint_after(Some(LogIndex(599))), None);
    let second = log.segments()[1].last.unwrap().index;
    assert_eq!(log.next_checkpoint_after(Some(last_of_first)), Some(second));
    assert_eq!(storage.groups().unwrap(), [GROUP]);
}

fn reads_by_offset_hold_whole_batches(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    fill(&storage, &log, 0, 400);
    let all = log.read(LogIndex(0)..LogIndex(400), usize::MAX).unwrap();
    let end = log.log_end_offset();
    for from in (0..end.0).map(Offset) {
        let got = log.read_from_offset(from, end, 3000).unwrap();
        let first = got.first().unwrap();
        assert!(first.base_offset <= from && from < first.next_offset());
        let position = all.iter().position(|entry| entry.id == first.id).unwrap();
        let expected = all[position..]
            .iter()
            .filter(|entry| entry.proposal.record_count > 0);
        assert!(got.iter().eq(expected.take(got.len())));
        assert!(
            got.iter()
                .skip(1)
                .map(|entry| entry.proposal.payload.len() + BATCH_READ_BYTES)
                .sum::<usize>()
                <= 3000
        );
    }
    // A batch that ends above `below` is not returned.
    let two = all
        .iter()
        .find(|entry| entry.proposal.record_count == 2)
        .unwrap();
    let below = two.base_offset.next();
    assert_eq!(
        log.read_from_offset(two.base_offset, below, 1000).unwrap(),
        []
    );
    assert_eq!(log.read_from_offset(end, end, 1000).unwrap(), []);
    // The whole log, read in pieces.
    let mut next = Offset::ZERO;
    let mut seen = 0;
    while next < end {
        let got = log.read_from_offset(next, end, 2000).unwrap();
        seen += got.len();
        next = got.last().unwrap().next_offset();
    }
    assert_eq!(
        seen,
        all.iter()
            .filter(|entry| entry.proposal.record_count > 0)
            .count()
    );
}

fn offsets_are_found_by_time(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    fill(&storage, &log, 0, 300);
    let end = log.log_end_offset();
    let meta = log.read_meta(LogIndex(0)..LogIndex(300)).unwrap();
    for time in [0, 1000, 1001, 1055, 1200, 1299] {
        let expected = meta
            .iter()
            .find(|entry| entry.proposal.record_count > 0 && entry.proposal.max_time_ms >= time)
            .map(|entry| entry.base_offset);
        assert_eq!(offset_for_time(&log, time, end), expected, "time {time}");
    }
    assert_eq!(offset_for_time(&log, 9999, end), None);
    assert_eq!(offset_for_time(&log, 1200, Offset(3)), None);
}

/// The file of deleted records can be purged then: the last segment of a log never is.
fn a_trim_of_all_records_starts_a_new_segment(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    let trim = |index, to| Entry {
        proposal: Proposal::control(EntryKind::Trim, 1000, PartitionState::trim_payload(to)),
        ..blank(1, index)
    };
    let lengths = |log: &lograft_storage::GroupLog| -> Vec<u64> {
        let segments = log.segments();
        segments
            .iter()
            .map(|s| s.next_offset.since(s.base_offset))
            .collect()
    };
    append(
        &storage,
        &log,
        vec![trim(0, Offset(0)), records(1, 1, 3, 100)],
    );
    append(&storage, &log, vec![trim(2, Offset(2))]);
    assert_eq!(lengths(&log), [3], "a record is left");
    append(&storage, &log, vec![trim(3, Offset(3)), trim(4, Offset(9))]);
    assert_eq!(lengths(&log), [3, 0], "once");
    // In one append with the records that it deletes.
    let entries = vec![
        records(1, 5, 2, 100),
        trim(6, Offset(5)),
        records(1, 7, 1, 100),
    ];
    append(&storage, &log, entries);
    assert_eq!(lengths(&log), [3, 2, 1]);
    drop(log);
    let storage = restart(disk, storage);
    let log = open_group(&storage);
    assert_eq!(lengths(&log), [3, 2, 1]);
    assert_eq!(log.last_id(), Some(id(1, 7)));
    let last = log.segments()[1].last.unwrap();
    log.put_checkpoint(checkpoint_at(&log, last.index));
    log.purge_to(last);
    settle(&storage, &log);
    assert_eq!(lengths(&log), [1]);
    assert_eq!(log.first_offset(), Offset(5));
}

fn a_vote_and_a_commit_survive_a_restart(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    assert_eq!(log.hard_state(), HardState::default());
    append(&storage, &log, vec![blank(4, 0), records(4, 1, 1, 10)]);
    for term in 4..9 {
        let vote = Vote {
            term: Term(term),
            voted_for: NodeId(2),
            committed: term % 2 == 0,
        };
        let flush = Flush::default();
        log.save_vote(vote, flush.callback());
        flush.wait(&storage).unwrap();
    }
    log.save_committed(Some(id(4, 1)));
    let hard = log.hard_state();
    drop(log);
    let storage = restart(disk, storage);
    let log = open_group(&storage);
    assert_eq!(log.hard_state(), hard);
    assert_eq!(hard.vote.unwrap().term, Term(8));
    // A committed id that is not in the log is ignored.
    log.save_committed(Some(id(5, 9)));
    drop(log);
    let storage = restart(disk, storage);
    assert_eq!(open_group(&storage).hard_state().committed, None);
}

fn truncation_survives_a_restart(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    fill(&storage, &log, 0, 300);
    let offset = log.read(LogIndex(150)..LogIndex(151), 1).unwrap()[0].base_offset;
    log.truncate_after(Some(id(2, 149))).unwrap();
    assert_eq!(log.last_id(), Some(id(2, 149)));
    assert_eq!(log.log_end_offset(), offset);
    assert_eq!(log.flushed_index(), Some(LogIndex(149)));
    append(&storage, &log, vec![records(9, 150, 4, 70), blank(9, 151)]);
    check_filled(&log, 0, 150);
    drop(log);

    let storage = restart(disk, storage);
    let log = open_group(&storage);
    check_filled(&log, 0, 150);
    let got = log.read(LogIndex(150)..LogIndex(999), usize::MAX).unwrap();
    assert_eq!(indexes(&got), [150, 151]);
    assert_eq!((got[0].id.term, got[0].base_offset), (Term(9), offset));
    // An unflushed end can be truncated too.
    log.append(vec![records(9, 152, 1, 10)], Box::new(|_| ()))
        .unwrap();
    log.truncate_after(Some(id(9, 151))).unwrap();
    append(&storage, &log, vec![records(10, 152, 1, 11)]);
    assert_eq!(log.last_id(), Some(id(10, 152)));
    drop(log);
    let storage = restart(disk, storage);
    assert_eq!(open_group(&storage).last_id(), Some(id(10, 152)));
}

fn truncation_to_nothing_and_twice(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    fill(&storage, &log, 0, 100);
    // A checkpoint of entries that raft truncates is removed with them.
    log.put_checkpoint(checkpoint_at(&log, LogIndex(70)));
    log.put_checkpoint(checkpoint_at(&log, LogIndex(10)));
    log.truncate_after(Some(id(1, 120))).unwrap();
    assert_eq!(log.last_id(), Some(id(1, 99)));
    log.truncate_after(Some(id(1, 50))).unwrap();
    log.truncate_after(Some(id(1, 50))).unwrap();
    log.truncate_after(Some(id(1, 20))).unwrap();
    assert_eq!(log.last_id(), Some(id(1, 20)));
    assert_eq!(log.latest_checkpoint().unwrap().unwrap().last, id(1, 10));
    settle(&storage, &log);
    drop(log);
    let storage = restart(disk, storage);
    let log = open_group(&storage);
    assert_eq!(log.last_id(), Some(id(1, 20)));
    assert_eq!(log.latest_checkpoint().unwrap().unwrap().last, id(1, 10));
    log.truncate_after(None).unwrap();
    assert_eq!((log.last_id(), log.log_end_offset()), (None, Offset::ZERO));
    append(
        &storage,
        &log,
        vec![records(3, 0, 2, 10), records(3, 1, 2, 10)],
    );
    drop(log);
    let storage = restart(disk, storage);
    let log = open_group(&storage);
    assert_eq!(
        (log.last_id(), log.log_end_offset()),
        (Some(id(3, 1)), Offset(4))
    );
}

fn checkpoint_at(log: &lograft_storage::GroupLog, index: LogIndex) -> Checkpoint {
    let entry = &log.read_meta(index..index.next()).unwrap()[0];
    Checkpoint {
        last: entry.id,
        next_offset: entry.next_offset(),
        membership: Bytes::from_static(b"members"),
        membership_id: Some(id(1, 0)),
        state: Bytes::from(format!("state at {index}")),
    }
}

fn purge_drops_whole_segments_behind_a_checkpoint(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    fill(&storage, &log, 0, 500);
    let segments = log.segments();
    let third = segments[2].last.unwrap();
    let purged = LogId {
        index: LogIndex(third.index.0 + 1),
        ..third
    };
    let checkpoint = checkpoint_at(&log, third.index);
    // Without a checkpoint the files stay, but raft sees a log that starts later.
    log.purge_to(purged);
    settle(&storage, &log);
    assert_eq!(log.segments().len(), segments.len());
    assert_eq!(
        (log.purged_id(), log.first_id().unwrap().index.0),
        (Some(purged), purged.index.0 + 1)
    );
    log.put_checkpoint(checkpoint.clone());
    assert_eq!(log.latest_checkpoint().unwrap(), Some(checkpoint.clone()));
    settle(&storage, &log);
    assert_eq!(log.segments().len(), segments.len() - 3);
    let bytes: u64 = log.segments().iter().map(|segment| segment.bytes).sum();
    assert_eq!(log.bytes_on_disk(), bytes);
    let start = log.first_offset();
    let refused = log.read_from_offset(Offset::ZERO, start, 10).unwrap_err();
    assert!(matches!(refused, ReadError::Purged { start: is, .. } if is == start));
    let second = checkpoint_at(&log, log.segments()[0].last.unwrap().index);
    log.put_checkpoint(second.clone());
    assert_eq!(
        log.checkpoint_at_or_below(third.index).unwrap(),
        Some(checkpoint.clone())
    );
    settle(&storage, &log);
    drop(log);

    let storage = restart(disk, storage);
    let log = open_group(&storage);
    assert_eq!(log.purged_id(), Some(third));
    assert_eq!(log.term_at(third.index), Some(third.term));
    assert_eq!(log.latest_checkpoint().unwrap(), Some(second));
    assert_eq!(
        log.checkpoint_at_or_below(third.index).unwrap(),
        Some(checkpoint)
    );
    assert_eq!(log.checkpoint_at_or_below(LogIndex(3)).unwrap(), None);
    check_filled(&log, third.index.0 + 1, 500);
}

/// Purges all but the last two segments, as retention would.
pub(crate) fn purge_old(log: &lograft_storage::GroupLog) {
    let sealed: Vec<_> = log
        .segments()
        .iter()
        .filter_map(|segment| segment.last)
        .collect();
    let [.., upto, _, _] = sealed.as_slice() else {
        return;
    };
    if log.purged_id().is_none_or(|purged| purged < *upto) {
        log.put_checkpoint(checkpoint_at(log, upto.index));
        log.purge_to(*upto);
    }
}

fn stale_entries_of_recycled_segments_are_ignored(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    fill(&storage, &log, 0, 1000);
    for _ in 0..3 {
        let sealed: Vec<_> = log
            .segments()
            .iter()
            .filter_map(|segment| segment.last)
            .collect();
        let upto = sealed[sealed.len() - 2];
        log.put_checkpoint(checkpoint_at(&log, upto.index));
        log.purge_to(upto);
        let next = log.last_id().unwrap().index.0 + 1;
        fill(&storage, &log, next, next + 300);
    }
    let (first, last) = (
        log.first_id().unwrap().index.0,
        log.last_id().unwrap().index.0,
    );
    check_filled(&log, first, last + 1);
    let recycled = disk
        .fs
        .list(&disk.config.data_dir.join("recycled"))
        .unwrap();
    assert!(!recycled.is_empty(), "full-size segments are kept");
    drop(log);
    let storage = restart(disk, storage);
    let log = open_group(&storage);
    assert_eq!(log.last_id().unwrap().index.0, last);
    check_filled(&log, first, last + 1);
}

fn a_reset_starts_an_empty_log(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    fill(&storage, &log, 0, 100);
    let checkpoint = Checkpoint {
        last: id(8, 5000),
        next_offset: Offset(12_345),
        membership: Bytes::from_static(b"m"),
        membership_id: None,
        state: Bytes::from_static(b"s"),
    };
    let flush = Flush::default();
    log.reset_to(checkpoint.clone(), flush.callback());
    flush.wait(&storage).unwrap();
    assert_eq!((log.first_id(), log.last_id()), (None, Some(id(8, 5000))));
    assert_eq!(log.purged_id(), Some(id(8, 5000)));
    drop(log);
    let storage = restart(disk, storage);
    let log = open_group(&storage);
    assert_eq!(log.last_id(), Some(id(8, 5000)));
    assert_eq!(log.latest_checkpoint().unwrap(), Some(checkpoint));
    append(&storage, &log, vec![records(8, 5001, 2, 30)]);
    assert_eq!(log.log_end_offset(), Offset(12_347));
    assert_eq!(log.segments().len(), 1);
    drop(log);
    let storage = restart(disk, storage);
    let log = open_group(&storage);
    assert_eq!(
        log.read_from_offset(Offset(12_345), Offset(12_347), 99)
            .unwrap()
            .len(),
        1
    );
}

fn invalid_entries_are_refused(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    append(&storage, &log, vec![blank(2, 0), records(2, 1, 3, 10)]);
    let refused = |entry| log.append(vec![entry], Box::new(|_| ())).unwrap_err();
    assert!(matches!(
        refused(blank(2, 3)),
        StorageError::NotConsecutive { .. }
    ));
    assert!(matches!(
        refused(blank(1, 2)),
        StorageError::TermWentBack { .. }
    ));
    let mut entry = records(2, 2, 1, 10);
    entry.base_offset = Offset(9);
    assert!(matches!(
        refused(entry.clone()),
        StorageError::OffsetMismatch { .. }
    ));
    entry.base_offset = Offset(3);
    append(&storage, &log, vec![entry]);
    let too_large = refused(records(2, 3, 1, ENTRY_MAX_BYTES + 1));
    let StorageError::EntryTooLarge { bytes, bound, .. } = too_large else {
        panic!("{too_large:?}");
    };
    assert_eq!((bytes, bound), (ENTRY_MAX_BYTES + 1, ENTRY_MAX_BYTES));
    assert_eq!(log.last_id(), Some(id(2, 2)));
    // The reported bound is the one that is checked: an entry of exactly that size is accepted.
    append(&storage, &log, vec![records(2, 3, 1, bound)]);
    assert_eq!(log.last_id(), Some(id(2, 3)));
    // A refused append changes nothing, even if its first entry was valid.
    let flush = Flush::default();
    let _ = log.append(vec![blank(2, 4), blank(2, 9)], flush.callback());
    assert!(flush.outcome().unwrap().is_err());
    assert_eq!(log.last_id(), Some(id(2, 3)));
}

fn a_group_is_opened_once_and_can_be_removed(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    append(&storage, &log, vec![blank(1, 0)]);
    let again = storage
        .open_group(GROUP, GroupOptions::default())
        .unwrap_err();
    assert!(matches!(again, OpenError::AlreadyOpen(_)));
    log.save_committed(Some(id(1, 0)));
    storage.close_group(GROUP).unwrap();
    let closed = log.append(vec![blank(1, 1)], Box::new(|_| ())).unwrap_err();
    assert!(matches!(closed, StorageError::Closed(_)));
    let reopened = open_group(&storage);
    assert_eq!(reopened.hard_state().committed, Some(id(1, 0)));
    drop(log);
    storage.remove_group(GROUP).unwrap();
    assert_eq!(storage.groups().unwrap(), []);
    let (log, recovered) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
    assert!(recovered.created);
    assert_eq!(log.last_id(), None);
}

fn the_directory_is_locked_and_has_one_identity(disk: &TestDisk) {
    let storage = disk.open();
    let fatal = std::sync::Arc::new(|_| ());
    let fs = std::sync::Arc::clone(&disk.fs);
    let second = Storage::open(fs, disk.config.clone(), fatal).err().unwrap();
    assert!(matches!(second, StorageError::InUse { .. }));
    let other = Identity {
        node_id: NodeId(4),
        ..identity()
    };
    assert!(matches!(
        storage.write_identity(&other).unwrap_err(),
        StorageError::IdentityExists {
            node_id: NodeId(3),
            ..
        }
    ));
    let storage = restart(disk, storage);
    assert_eq!(storage.identity(), Some(identity()));
    assert_eq!(storage.check_disk().unwrap(), DiskMark::Ok);
}

fn oversized_entries_have_a_segment_of_their_own(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    for index in 0..6 {
        append(&storage, &log, vec![records(1, index, 1, 200_000)]);
    }
    assert_eq!(log.segments().len(), 6);
    drop(log);
    let storage = restart(disk, storage);
    let log = open_group(&storage);
    let got = log.read(LogIndex(0)..LogIndex(6), usize::MAX).unwrap();
    assert_eq!(
        got.iter()
            .map(|entry| entry.proposal.payload.len())
            .sum::<usize>(),
        1_200_000
    );
}

fn a_group_set_aside_is_empty_when_opened_again(disk: &TestDisk) {
    let storage = disk.open();
    let log = open_group(&storage);
    append(&storage, &log, vec![blank(1, 0)]);
    let kept = storage.set_aside_group(GROUP).unwrap();
    assert_eq!(kept.file_name().unwrap(), "group-7.corrupt-1");
    assert!(
        storage
            .open_group(GROUP, GroupOptions::default())
            .unwrap()
            .1
            .created
    );
    assert_eq!(
        storage.set_aside_group(GROUP).unwrap().file_name().unwrap(),
        "group-7.corrupt-2"
    );
    assert_eq!(disk.fs.list(&kept).unwrap().len(), 2);
}

fn large_segments_are_read_by_their_index(disk: &TestDisk) {
    let mut config = disk.config.clone();
    config.segment_min_bytes = 1 << 20;
    config.segment_max_bytes = 1 << 20;
    let open = || {
        let fatal = std::sync::Arc::new(|error: StorageError| panic!("{error}"));
        let fs = std::sync::Arc::clone(&disk.fs);
        let storage = Storage::open(fs, config.clone(), fatal).unwrap();
        storage.write_identity(&identity()).unwrap();
        storage
    };
    let storage = open();
    let log = open_group(&storage);
    let size = |index: u64| usize::try_from(5000 + (index * 7919) % 30_000).unwrap();
    let check = |log: &lograft_storage::GroupLog, end: u64| {
        let last = log.log_end_offset();
        for index in (0..end).step_by(3) {
            let got = &log.read(LogIndex(index)..LogIndex(index + 1), 1).unwrap()[0];
            assert_eq!(
                (got.id.index.0, got.proposal.payload.len()),
                (index, size(index))
            );
            assert_eq!(
                log.read_from_offset(got.base_offset.next(), last, 1)
                    .unwrap()[0],
                *got
            );
            let time = got.proposal.max_time_ms;
            assert_eq!(offset_for_time(log, time, last), Some(got.base_offset));
        }
    };
    for index in 0..200 {
        append(&storage, &log, vec![records(1, index, 2, size(index))]);
    }
    assert!(log.segments().len() >= 4);
    check(&log, 200);
    // The cut is in the first segment, which is sealed: its index points are only on disk.
    let cut = log.segments()[0].last.unwrap().index.0 - 5;
    log.truncate_after(Some(id(1, cut))).unwrap();
    settle(&storage, &log);
    check(&log, cut + 1);
    for index in cut + 1..100 {
        append(&storage, &log, vec![records(2, index, 2, size(index))]);
    }
    check(&log, 100);
    drop(log);
    drop(storage);
    let storage = open();
    let log = open_group(&storage);
    check(&log, 100);
    assert_eq!(log.last_id(), Some(id(2, 99)));
    // A segment without an index file is scanned.
    drop(log);
    drop(storage);
    let group = config.data_dir.join("groups/group-7");
    for name in disk
        .fs
        .list(&group)
        .unwrap()
        .iter()
        .filter(|name| name.contains("idx"))
    {
        disk.fs.remove_file(&group.join(name)).unwrap();
    }
    let storage = open();
    check(&open_group(&storage), 100);
}
