//! Many threads and many groups on one disk, and the use of disk space.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use lograft_core::{GroupId, LogIndex, Offset};
use lograft_storage::{FaultFs, Fs, GroupOptions, ReadError, Storage, StorageConfig, WriterDrive};

use crate::setup::{
    Flush, GROUP, TestDisk, append, eventually, identity, open_group, records, settle,
};

#[test]
fn waiting_appends_share_one_sync() {
    let (disk, fs) = TestDisk::fault(3);
    let storage = disk.open();
    let log = open_group(&storage);
    append(&storage, &log, vec![records(1, 0, 1, 100)]);
    let (writes, syncs) = fs.operations();
    let flushes: Vec<Flush> = (1..=15)
        .map(|index| {
            let flush = Flush::default();
            log.append(vec![records(1, index, 1, 100)], flush.callback())
                .unwrap();
            flush
        })
        .collect();
    assert_eq!(log.flushed_index(), Some(LogIndex(0)));
    storage.step();
    assert!(
        flushes
            .iter()
            .all(|flush| matches!(flush.outcome(), Some(Ok(()))))
    );
    assert_eq!(fs.operations(), (writes + 1, syncs + 1));
}

#[test]
fn readers_keep_up_with_writers_and_purges() {
    let disk = TestDisk::real();
    let storage = disk.open();
    let log = open_group(&storage);
    append(&storage, &log, vec![records(1, 0, 1, 100)]);
    let done = AtomicBool::new(false);
    let read = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (start, end) = (log.first_offset(), log.log_end_offset());
                    let middle = Offset(start.0.midpoint(end.0));
                    match log.read_from_offset(middle, end, 20_000) {
                        Ok(got) => {
                            let first = got.first().map(|entry| entry.base_offset);
                            assert!(
                                first.is_none_or(|first| first == middle),
                                "{first:?} {middle}"
                            );
                            read.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            assert!(matches!(error, ReadError::Purged { .. }), "{error:?}");
                        }
                    }
                }
            });
        }
        for index in 1..4000 {
            let flush = Flush::default();
            log.append(vec![records(1, index, 1, 900)], flush.callback())
                .unwrap();
            if index % 50 == 0 {
                flush.wait(&storage).unwrap();
                crate::conformance::purge_old(&log);
            }
        }
        settle(&storage, &log);
        done.store(true, Ordering::Relaxed);
    });
    assert!(read.load(Ordering::Relaxed) > 0);
    assert!(log.segments().len() < 10, "old segments are purged");
    let max = disk.config.tail_cache_max_bytes;
    eventually("the cache is in its budget", || {
        storage.tail_cache_bytes() <= max
    });
}

#[test]
fn many_threads_append_to_many_groups() {
    let disk = TestDisk::real();
    let storage = disk.open();
    let groups: Vec<_> = (0..6)
        .map(|group| {
            storage
                .open_group(GroupId(group), GroupOptions::default())
                .unwrap()
                .0
        })
        .collect();
    let flushed = Arc::new(AtomicU64::new(0));
    let start = Barrier::new(groups.len());
    std::thread::scope(|scope| {
        for log in &groups {
            let (flushed, start) = (&flushed, &start);
            scope.spawn(move || {
                start.wait();
                for index in 0..200 {
                    let flushed = Arc::clone(flushed);
                    let done = Box::new(move |outcome: Result<(), _>| {
                        outcome.unwrap();
                        flushed.fetch_add(1, Ordering::Relaxed);
                    });
                    log.append(vec![records(1, index, 2, 3000)], done).unwrap();
                }
            });
        }
    });
    eventually("all flushes", || flushed.load(Ordering::Relaxed) == 1200);
    for log in &groups {
        assert_eq!(log.flushed_index(), Some(LogIndex(199)));
        assert_eq!(log.log_end_offset(), Offset(400));
    }
}

/// A storage with default sizes on a simulated disk, without writer threads.
fn open_on_fault_fs() -> (FaultFs, Storage) {
    let fs = FaultFs::new(1);
    let mut config = StorageConfig::new("/data");
    config.writers = WriterDrive::Manual;
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let storage = Storage::open(shared, config, Arc::new(|_| ())).unwrap();
    storage.write_identity(&identity()).unwrap();
    (fs, storage)
}

#[test]
fn an_idle_group_is_small_on_disk() {
    let (fs, storage) = open_on_fault_fs();
    let before = fs.used_bytes();
    let (log, _) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
    append(&storage, &log, vec![records(1, 0, 1, 100)]);
    let used = fs.used_bytes() - before;
    assert!(used <= 16 * 1024, "{used} bytes for a group with one entry");
}

#[test]
fn small_writes_mostly_hit_written_blocks() {
    let (fs, storage) = open_on_fault_fs();
    let (log, _) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
    let mut grown = 0;
    for index in 0..1000 {
        let before = fs.used_bytes();
        append(&storage, &log, vec![records(1, index, 1, 300)]);
        grown += usize::from(fs.used_bytes() > before);
    }
    // 400 KB: the file grows by a page up to 16 KiB, and then doubles, by at most 256 KiB.
    assert!((6..16).contains(&grown), "the file grew {grown} times");
}
