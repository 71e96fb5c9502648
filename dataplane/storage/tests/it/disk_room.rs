//! A disk that fills, by bytes, by inodes and by quota, and what must still get through.

use std::path::Path;
use std::time::Duration;

use lograft_core::limits::{DISK_PROBE_INTERVAL, PREALLOCATED_PARTS_COUNT};
use lograft_core::{DiskMark, NodeId, Term, Vote};
use lograft_storage::{FaultFs, Fs, GroupOptions, OpenMode};

use crate::setup::{GROUP, TestDisk, append, blank, flush_vote, records};

const MIB: u64 = 1024 * 1024;
const RESERVE_BYTES: u64 = 64 * MIB;
const PREALLOCATED_BYTES: u64 = RESERVE_BYTES / PREALLOCATED_PARTS_COUNT;

fn create(fs: &FaultFs, path: &str) {
    fs.open(Path::new(path), OpenMode::Create).unwrap();
}

#[test]
fn a_low_disk_is_noticed_by_its_bytes_and_recovers() {
    let (mut disk, fs) = TestDisk::fault(2);
    disk.config.reserve_bytes = RESERVE_BYTES;
    fs.set_capacity(1 << 30);
    let storage = disk.open();
    assert_eq!(storage.disk_mark(), DiskMark::Ok, "checked at the start");
    for (free, mark) in [
        (RESERVE_BYTES - 1, DiskMark::Low),
        (RESERVE_BYTES / 4, DiskMark::Low),
        (RESERVE_BYTES / 4 - 1, DiskMark::Full),
    ] {
        fs.set_capacity(fs.used_bytes() + free);
        assert_eq!(storage.check_disk().unwrap(), mark, "{free} bytes");
        assert_eq!(storage.disk_mark(), mark);
    }
    let space = storage.space().unwrap();
    assert_eq!(space.reserve_bytes, RESERVE_BYTES);
    fs.set_capacity(1 << 30);
    assert_eq!(storage.check_disk().unwrap(), DiskMark::Ok);
}

#[test]
fn a_disk_without_inodes_is_full_although_it_has_free_bytes() {
    let (mut disk, fs) = TestDisk::fault(3);
    disk.config.reserve_bytes = RESERVE_BYTES;
    fs.set_inodes(64_000);
    let storage = disk.open();
    assert_eq!(storage.disk_mark(), DiskMark::Ok);
    fs.set_inodes(1000);
    assert_eq!(storage.check_disk().unwrap(), DiskMark::Ok);
    let used = fs.files().len() as u64;
    // A file system for 640 files has a reserve of 10.
    fs.set_inodes(640);
    for nth in used..632 {
        create(&fs, &format!("/data/{nth}"));
    }
    assert_eq!(storage.check_disk().unwrap(), DiskMark::Low);
    for nth in 632..639 {
        create(&fs, &format!("/data/{nth}"));
    }
    assert_eq!(storage.check_disk().unwrap(), DiskMark::Full);
}

#[test]
fn a_quota_counts_as_a_full_disk_although_the_disk_has_free_bytes() {
    let (mut disk, fs) = TestDisk::fault(4);
    disk.config.reserve_bytes = RESERVE_BYTES;
    fs.set_capacity(1 << 40);
    let storage = disk.open();
    assert_eq!(storage.disk_mark(), DiskMark::Ok);
    let probe = |quota: u64| {
        fs.set_quota(fs.used_bytes() + quota);
        std::thread::sleep(DISK_PROBE_INTERVAL + Duration::from_millis(50));
        storage.check_disk().unwrap()
    };
    assert_eq!(probe(RESERVE_BYTES - 1), DiskMark::Low);
    assert_eq!(probe(RESERVE_BYTES / 4 - 1), DiskMark::Full);
    assert_eq!(probe(RESERVE_BYTES), DiskMark::Ok);
}

#[test]
fn votes_and_small_entries_get_through_on_a_disk_that_others_have_filled() {
    let (mut disk, fs) = TestDisk::fault(5);
    disk.config.reserve_bytes = RESERVE_BYTES;
    fs.set_capacity(1 << 30);
    let storage = disk.open();
    let (log, _) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
    append(&storage, &log, vec![records(1, 0, 1, 100)]);
    let used = fs.used_bytes();
    assert!(used >= PREALLOCATED_BYTES, "the reserve is preallocated");
    // Another program takes all free bytes.
    fs.set_capacity(used);
    assert_eq!(storage.check_disk().unwrap(), DiskMark::Full);
    assert!(fs.used_bytes() + PREALLOCATED_BYTES <= used + 4096);
    for index in 1..200 {
        append(&storage, &log, vec![blank(2, index)]);
        let vote = Vote {
            term: Term(2 + index),
            voted_for: NodeId(1),
            committed: false,
        };
        flush_vote(&storage, &log, vote);
    }
    assert!(storage.stopped().is_none());
    // A restart on the full disk works as well.
    drop((log, storage));
    let storage = disk.open();
    assert_eq!(storage.disk_mark(), DiskMark::Full);
    let (log, _) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
    assert_eq!(log.last_id().unwrap().index.get(), 199);
    fs.set_capacity(1 << 30);
    assert_eq!(storage.check_disk().unwrap(), DiskMark::Ok);
    assert!(fs.used_bytes() >= PREALLOCATED_BYTES, "reserved again");
}

#[test]
fn recycled_segments_go_first() {
    let (mut disk, fs) = TestDisk::fault(6);
    disk.config.reserve_bytes = RESERVE_BYTES;
    fs.set_capacity(1 << 30);
    let storage = disk.open();
    let spare = disk.config.data_dir.join("recycled/00000001.seg");
    drop(storage);
    create(&fs, spare.to_str().unwrap());
    let storage = disk.open();
    assert_eq!(storage.check_disk().unwrap(), DiskMark::Ok);
    assert!(fs.bytes_of(&spare).is_some());
    fs.set_capacity(fs.used_bytes() + RESERVE_BYTES - 1);
    storage.check_disk().unwrap();
    assert!(fs.bytes_of(&spare).is_none());
}
