//! The search for the first batch of a time, against a scan of all entries: timestamps in any
//! order, several segments, truncated and purged logs, restarts.

use std::ops::Range;

use lograft_core::{Entry, LogIndex, Offset};
use lograft_storage::{GroupLog, Storage};
use proptest::prelude::*;

use crate::conformance::purge_old;
use crate::setup::{TestDisk, append, blank, id, open_group, records, settle};

#[derive(Clone, Debug)]
enum Step {
    /// Batches with these maximum times, so many records each, of so many bytes.
    Append(Vec<(i64, u32, usize)>),
    Blank,
    /// Removes so many entries from the end.
    Truncate(u64),
    Purge,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let batch = (0_i64..60, 1_u32..5, 0_usize..1500);
    prop_oneof![
        8 => prop::collection::vec(batch, 1..12).prop_map(Step::Append),
        1 => Just(Step::Blank),
        2 => (1_u64..15).prop_map(Step::Truncate),
        1 => Just(Step::Purge),
        1 => Just(Step::Restart),
    ]
}

/// All entries of kind `Records` in the files and in memory.
fn batches(log: &GroupLog) -> Vec<Entry> {
    let (start, end) = (log.first_offset(), log.log_end_offset());
    log.read_from_offset(start, end, usize::MAX).unwrap()
}

/// The base offset that a scan of all batches finds.
fn scan(batches: &[Entry], time_ms: i64, offsets: &Range<Offset>) -> Option<Offset> {
    let mut batches = batches.iter();
    let found = batches.find(|batch| {
        batch.next_offset() > offsets.start
            && batch.base_offset < offsets.end
            && batch.proposal.max_time_ms >= time_ms
    });
    found.map(|batch| batch.base_offset)
}

fn check_all(log: &GroupLog) {
    let batches = batches(log);
    let end = log.log_end_offset().get();
    let middle = batches
        .get(batches.len() / 2)
        .map_or(0, |b| b.base_offset.get());
    let ends = [0, 1, middle, middle + 1, end.saturating_sub(1), end];
    for time_ms in (-1..62).step_by(3) {
        for (from, below) in ends
            .iter()
            .flat_map(|from| ends.map(|below| (*from, below)))
        {
            let offsets = Offset(from)..Offset(below);
            let found = log.batch_for_time(time_ms, offsets.clone()).unwrap();
            let expected = scan(&batches, time_ms, &offsets);
            assert_eq!(
                found.as_ref().map(|batch| batch.base_offset),
                expected,
                "time {time_ms} in {offsets:?}"
            );
            if let Some(batch) = found {
                let read = log.read_from_offset(batch.base_offset, Offset(end), 1);
                assert_eq!(read.unwrap()[0], batch);
            }
        }
    }
}

fn timed(term: u64, index: u64, (time_ms, count, len): (i64, u32, usize)) -> Entry {
    let mut entry = records(term, index, count, len);
    entry.proposal.max_time_ms = time_ms;
    entry
}

fn run(steps: Vec<Step>, cache_bytes: usize) {
    let (mut disk, _) = TestDisk::fault(1);
    disk.config.tail_cache_max_bytes = cache_bytes;
    let mut storage = disk.open();
    let mut log = open_group(&storage);
    let mut term = 1;
    for step in steps {
        let next = log.last_id().map_or(0, |last| last.index.0 + 1);
        match step {
            Step::Append(times) => {
                let entries = (next..).zip(times);
                let entries = entries.map(|(index, time)| timed(term, index, time));
                append(&storage, &log, entries.collect());
            }
            Step::Blank => append(&storage, &log, vec![blank(term, next)]),
            Step::Truncate(count) => {
                let Some(first) = log.first_id() else {
                    continue;
                };
                let keep = next.saturating_sub(count + 1).max(first.index.0);
                let keep = id(log.term_at(LogIndex(keep)).unwrap().0, keep);
                log.truncate_after(Some(keep)).unwrap();
                term += 1;
            }
            Step::Purge => purge_old(&log),
            Step::Restart => {
                settle(&storage, &log);
                drop(log);
                drop(storage);
                storage = disk.open();
                log = open_group(&storage);
            }
        }
        check_all(&log);
    }
    settle(&storage, &log);
    check_all(&log);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn finds_what_a_scan_finds(
        steps in prop::collection::vec(step(), 1..25),
        cache_bytes in prop_oneof![Just(0_usize), Just(4096), Just(1 << 20)],
    ) {
        run(steps, cache_bytes);
    }
}

/// A log of `count` batches of one record in one segment. Only the first and the one of this index
/// are of time 100, all others of time 1.
fn log_with_late(late: u64, count: u64) -> (TestDisk, lograft_storage::FaultFs, Storage, GroupLog) {
    let (mut disk, fs) = TestDisk::fault(1);
    disk.config.segment_min_bytes = 1 << 20;
    disk.config.segment_max_bytes = 1 << 20;
    disk.config.tail_cache_max_bytes = 128 * 1024;
    let storage = disk.open();
    let log = open_group(&storage);
    for index in 0..count {
        let time_ms = if index == 0 || index == late { 100 } else { 1 };
        append(&storage, &log, vec![timed(1, index, (time_ms, 1, 1000))]);
    }
    settle(&storage, &log);
    (disk, fs, storage, log)
}

/// A batch that leaves the cache while the files before it are searched is found in the file.
#[test]
fn a_batch_that_is_evicted_during_the_search_is_found() {
    let (_disk, fs, storage, log) = log_with_late(290, 300);
    let cached_from = log.cached_from().unwrap();
    assert!(cached_from > Offset(10) && cached_from <= Offset(290));
    let (other, steps) = (log.clone(), storage.clone());
    fs.slow_read_after(0, move || {
        for index in 300..600 {
            append(&steps, &other, vec![timed(1, index, (1, 1, 1000))]);
        }
        settle(&steps, &other);
        assert!(other.cached_from().unwrap() > Offset(290));
    });
    let found = log.batch_for_time(50, Offset(1)..Offset(300)).unwrap();
    assert_eq!(found.unwrap().base_offset, Offset(290));
}

/// The time index knows that a batch of the time is before the start of the search: the offset
/// index leads past it.
#[test]
fn a_late_batch_before_the_start_does_not_count() {
    let (_disk, _fs, _storage, log) = log_with_late(290, 300);
    let found = |from, below| {
        let found = log.batch_for_time(50, Offset(from)..Offset(below)).unwrap();
        found.map(|batch| batch.base_offset.get())
    };
    assert_eq!(found(0, 300), Some(0));
    assert_eq!(found(1, 300), Some(290));
    assert_eq!(found(290, 300), Some(290));
    assert_eq!(found(291, 300), None);
    assert_eq!(found(1, 290), None);
}
