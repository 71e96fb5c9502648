//! Truncation and purge while a reader is between the state of the log and the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lograft_core::limits::LOG_READ_ATTEMPTS_MAX_COUNT;
use lograft_core::{LogIndex, Offset};
use lograft_storage::{FaultFs, GroupLog, Storage};

use crate::setup::{TestDisk, append, id, offset_for_time, open_group, records, settle};

/// A log whose flushed entries are read from the file, with `count` entries of one record.
fn log_of(count: u64, segment_min_bytes: u64) -> (FaultFs, Storage, GroupLog) {
    let (mut disk, fs) = TestDisk::fault(1);
    disk.config.tail_cache_max_bytes = 0;
    disk.config.segment_min_bytes = segment_min_bytes;
    let storage = disk.open();
    let log = open_group(&storage);
    for index in 0..count {
        append(&storage, &log, vec![records(1, index, 1, 100)]);
    }
    settle(&storage, &log);
    (fs, storage, log)
}

/// Truncates the log to `end` entries, and lets the writer cut the file.
fn truncate(storage: &Storage, log: &GroupLog, end: u64, term: u64) {
    log.truncate_after(Some(id(term, end - 1))).unwrap();
    while storage.step() {}
}

/// A read whose segment is shortened under it returns the entries that remain. A report of
/// corruption would make the node discard a healthy replica.
#[test]
fn a_truncation_during_a_read_is_not_reported_as_corruption() {
    let (fs, storage, log) = log_of(20, 64 * 1024);
    assert_eq!(log.segments().len(), 1);
    let (other, steps) = (log.clone(), storage.clone());
    fs.slow_read_after(0, move || truncate(&steps, &other, 10, 1));
    let read = log.read(LogIndex(5)..LogIndex(20), usize::MAX).unwrap();
    let indexes: Vec<u64> = read.iter().map(|entry| entry.id.index.0).collect();
    assert_eq!(indexes, (5..10).collect::<Vec<_>>());
    assert_eq!(log.damage(), None);
}

/// Truncates the log at each of the next reads: the read never gets to the end of one.
fn truncate_at_each_read(fs: &FaultFs, log: &GroupLog, storage: &Storage, next: Arc<AtomicU64>) {
    let (again, other, steps) = (fs.clone(), log.clone(), storage.clone());
    fs.slow_read_after(0, move || {
        let end = next.fetch_sub(1, Ordering::Relaxed);
        truncate(&steps, &other, end, 1);
        truncate_at_each_read(&again, &other, &steps, next);
    });
}

/// However often the log changes under a read, that is no damage: the caller may retry.
#[test]
fn any_number_of_truncations_during_a_read_is_not_reported_as_corruption() {
    let (fs, storage, log) = log_of(60, 64 * 1024);
    let next = Arc::new(AtomicU64::new(50));
    truncate_at_each_read(&fs, &log, &storage, Arc::clone(&next));
    let error = log
        .read(LogIndex(5)..LogIndex(60), usize::MAX)
        .expect_err("the log was truncated at each attempt");
    assert!(error.is_retryable(), "{error}");
    assert_eq!(log.damage(), None);
    let truncations = 50 - next.load(Ordering::Relaxed);
    assert!(truncations >= LOG_READ_ATTEMPTS_MAX_COUNT as u64);
    fs.slow_read_after(u64::MAX, || {});
    let read = log.read(LogIndex(5)..LogIndex(60), usize::MAX).unwrap();
    assert_eq!(read.len() as u64, 50 - truncations + 1 - 5);
}

/// A read over several segments, between two of which the log is truncated and continued: its
/// entries are all of one log. A mix of both was never the log of any replica.
#[test]
fn a_read_over_a_truncation_returns_the_entries_of_one_log() {
    for nth_read in 0..6 {
        let (fs, storage, log) = log_of(60, 1024);
        assert!(log.segments().len() > 2);
        let (other, steps) = (log.clone(), storage.clone());
        fs.slow_read_after(nth_read, move || {
            truncate(&steps, &other, 3, 1);
            for index in 3..60 {
                append(&steps, &other, vec![records(2, index, 1, 100)]);
            }
            settle(&steps, &other);
        });
        let read = log.read(LogIndex(0)..LogIndex(60), usize::MAX).unwrap();
        let is_old = |term: u64| read.iter().skip(3).all(|entry| entry.id.term.0 == term);
        assert!(is_old(1) || is_old(2), "read {nth_read} returned a mix");
        let by_offset = log
            .read_from_offset(Offset(0), Offset(60), usize::MAX)
            .unwrap();
        assert_eq!(by_offset.len(), 60);
        assert_eq!(log.damage(), None);
    }
}

/// A search by time whose segment is cut under it starts again: it neither reports corruption nor
/// misses the batch.
#[test]
fn a_truncation_during_a_search_by_time_is_repeated() {
    for nth_read in 0..3 {
        let (fs, storage, log) = log_of(60, 1024);
        let (other, steps) = (log.clone(), storage.clone());
        fs.slow_read_after(nth_read, move || truncate(&steps, &other, 50, 1));
        // The record time of entry n is 1000 + n.
        let found = offset_for_time(&log, 1040, Offset(60));
        assert_eq!(found, Some(Offset(40)), "read {nth_read}");
        assert_eq!(log.damage(), None);
    }
}

/// A read whose segments are purged under it ends before them, or starts behind them. It never
/// skips them in the middle: a follower that got such entries would have a hole in its log.
#[test]
fn a_purge_during_a_read_is_not_reported_as_corruption() {
    for nth_read in 0..4 {
        let (fs, storage, log) = log_of(60, 1024);
        let (other, steps) = (log.clone(), storage.clone());
        fs.slow_read_after(nth_read, move || {
            crate::conformance::purge_old(&other);
            while steps.step() {}
        });
        let read = log.read(LogIndex(0)..LogIndex(60), usize::MAX).unwrap();
        let indexes: Vec<u64> = read.iter().map(|entry| entry.id.index.0).collect();
        let has_hole = indexes.windows(2).any(|two| two[0] + 1 != two[1]);
        assert!(!has_hole, "read {nth_read}: {indexes:?}");
        assert!(log.purged_id().is_some(), "read {nth_read} was slow");
        assert_eq!(log.damage(), None);
    }
}
