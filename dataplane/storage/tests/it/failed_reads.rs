//! Reads that fail: the disk cannot return bytes (damage of one group), or the host has no file
//! descriptor (which says nothing about the files).

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use lograft_core::{GroupId, LogIndex, NodeId, Offset, Term, Vote};
use lograft_storage::{
    Checkpoint, Crash, FaultFs, GroupLog, GroupOptions, OpenError, ReadError, Storage,
    StorageError, WriterDrive,
};

use crate::setup::{
    Flush, GROUP, TestDisk, append, id, offset_for_time, open_group, records, settle,
};

const OTHER: GroupId = GroupId(8);

fn vote(term: u64) -> Vote {
    Vote {
        term: Term(term),
        voted_for: NodeId(2),
        committed: false,
    }
}

fn save_vote(storage: &Storage, log: &GroupLog, vote: Vote) {
    let flush = Flush::default();
    log.save_vote(vote, flush.callback());
    flush.wait(storage).unwrap();
}

fn checkpoint(log: &GroupLog, index: u64) {
    let entry = log
        .read(LogIndex(index)..LogIndex(index + 1), 1)
        .unwrap()
        .remove(0);
    log.put_checkpoint(Checkpoint {
        last: entry.id,
        next_offset: entry.next_offset(),
        membership: Bytes::new(),
        membership_id: None,
        state: Bytes::from_static(b"a state"),
    });
}

/// A disk whose storage caches nothing, with several segments of one group, two checkpoints and a
/// vote, and another group.
fn filled() -> (TestDisk, FaultFs) {
    let (mut disk, fs) = TestDisk::fault(3);
    disk.config.tail_cache_max_bytes = 0;
    let storage = disk.open();
    let (other, _) = storage.open_group(OTHER, GroupOptions::default()).unwrap();
    append(&storage, &other, vec![records(1, 0, 1, 100)]);
    let log = open_group(&storage);
    save_vote(&storage, &log, vote(1));
    for index in 0..200 {
        append(&storage, &log, vec![records(1, index, 1, 400)]);
    }
    settle(&storage, &log);
    let sealed: Vec<u64> = log
        .segments()
        .iter()
        .filter(|segment| segment.sealed)
        .filter_map(|segment| Some(segment.last?.index.0))
        .collect();
    assert!(sealed.len() >= 2, "{sealed:?}");
    for last in &sealed[..2] {
        checkpoint(&log, *last);
    }
    settle(&storage, &log);
    log.save_committed(Some(id(1, 199)));
    settle(&storage, &log);
    (disk, fs)
}

fn reopened(disk: &TestDisk, fs: &FaultFs) -> (TestDisk, FaultFs) {
    let fs = fs.crash(Crash::Process);
    let disk = TestDisk {
        fs: std::sync::Arc::new(fs.clone()),
        config: disk.config.clone(),
        _dir: None,
    };
    (disk, fs)
}

/// The files of the group with this suffix.
fn files_of(fs: &FaultFs, suffix: &str) -> Vec<PathBuf> {
    let files = fs.files().into_iter().map(|(path, _)| path);
    files
        .filter(|path| path.starts_with("/data/groups/group-7"))
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect()
}

fn read_all(log: &GroupLog) -> Result<usize, StorageError> {
    log.read(LogIndex(0)..LogIndex(200), usize::MAX)
        .map(|entries| entries.len())
}

#[test]
fn an_unreadable_segment_at_open_sets_that_group_aside_alone() {
    let (disk, fs) = filled();
    let (disk, fs) = reopened(&disk, &fs);
    let segments = files_of(&fs, ".seg");
    // The header of a sealed segment, and an entry of the last one.
    for (path, at) in [(&segments[0], 0), (segments.last().unwrap(), 600)] {
        let (disk, fs) = reopened(&disk, &fs);
        fs.fail_reads(path, at..at + 512);
        let storage = disk.open();
        let opened = storage.open_group(GROUP, GroupOptions::default());
        let Err(OpenError::Corrupt {
            damage, hard_state, ..
        }) = opened
        else {
            panic!("{path:?} was not reported: {opened:?}");
        };
        assert_eq!(&damage.path, path);
        assert_eq!(hard_state.unwrap().vote, Some(vote(1)));
        let (other, _) = storage.open_group(OTHER, GroupOptions::default()).unwrap();
        assert_eq!(other.last_id(), Some(id(1, 0)));
        assert_eq!(storage.set_aside_groups().unwrap(), [GROUP]);
        assert!(
            storage.stopped().is_none(),
            "a failed read stops no writing"
        );
        // Undo for the next round.
        let kept = PathBuf::from("/data/groups/group-7.corrupt-1");
        storage.close_group(OTHER).unwrap();
        drop((storage, other));
        lograft_storage::Fs::rename(&fs, &kept, &PathBuf::from("/data/groups/group-7")).unwrap();
        let name = path.file_name().unwrap();
        let path = PathBuf::from("/data/groups/group-7").join(name);
        let bytes = fs.bytes_of(&path).unwrap();
        let at = usize::try_from(at).unwrap();
        let file = lograft_storage::Fs::open(&fs, &path, lograft_storage::OpenMode::Write).unwrap();
        let mut parts = [std::io::IoSlice::new(&bytes[at..at + 512])];
        file.write_vectored_at(&mut parts, at as u64).unwrap();
    }
}

#[test]
fn a_read_error_that_does_not_come_back_is_no_damage() {
    let (disk, fs) = filled();
    let (disk, fs) = reopened(&disk, &fs);
    for nth in 0..12 {
        let (disk, fs) = reopened(&disk, &fs);
        let storage = disk.open();
        fs.fail_read_after(nth);
        let log = open_group(&storage);
        assert_eq!(read_all(&log).unwrap(), 200, "read {nth}");
        fs.flip_read_after(nth);
        assert_eq!(read_all(&log).unwrap(), 200, "flipped read {nth}");
        assert_eq!(log.damage(), None);
    }
}

#[test]
fn every_read_path_remembers_damage_and_serves_no_wrong_entry() {
    type Read = fn(&GroupLog) -> Option<StorageError>;
    let reads: [(&str, Read); 5] = [
        ("read", |log| read_all(log).err()),
        ("read_meta", |log| {
            log.read_meta(LogIndex(0)..LogIndex(200)).err()
        }),
        ("read_from_offset", |log| {
            let read = log.read_from_offset(Offset(0), Offset(200), usize::MAX);
            read.err().map(|error| match error {
                ReadError::Storage { source, .. } => source,
                ReadError::Purged { .. } => panic!("{error}"),
            })
        }),
        ("batch_for_time", |log| {
            log.batch_for_time(1004, Offset(0)..Offset(200)).err()
        }),
        ("truncate_after", |log| {
            log.truncate_after(Some(id(1, 4))).err()
        }),
    ];
    for (name, read) in reads {
        let (disk, fs) = filled();
        let (disk, fs) = reopened(&disk, &fs);
        let storage = disk.open();
        let log = open_group(&storage);
        let first = files_of(&fs, ".seg").remove(0);
        fs.fail_reads(&first, 96..4096);
        assert_eq!(log.damage(), None);
        let error = read(&log).unwrap_or_else(|| panic!("{name} met no damage"));
        assert!(
            error.is_damage() && !error.is_retryable(),
            "{name}: {error}"
        );
        assert_eq!(
            log.damage().map(|damage| &damage.path),
            Some(&first),
            "{name}"
        );
        assert!(storage.stopped().is_none(), "{name}");
    }
}

#[test]
fn a_flipped_byte_in_any_file_is_never_served_and_ends_no_writing() {
    let (disk, fs) = filled();
    let (disk, fs) = reopened(&disk, &fs);
    let storage = disk.open();
    let log = open_group(&storage);
    for path in files_of(&fs, "") {
        fs.flip_bit(&path, 200, 3);
    }
    match read_all(&log) {
        Ok(count) => assert_eq!(count, 200),
        Err(error) => assert!(error.is_damage(), "{error}"),
    }
    assert!(log.damage().is_some());
    assert!(storage.stopped().is_none());
}

#[test]
fn no_free_descriptor_is_no_damage_and_the_read_may_be_retried() {
    let (disk, fs) = filled();
    let (disk, fs) = reopened(&disk, &fs);
    for nth in 0..20 {
        let (disk, fs) = reopened(&disk, &fs);
        let storage = disk.open();
        fs.refuse_opens_after(nth, 2);
        let log = match storage.open_group(GROUP, GroupOptions::default()) {
            Ok((log, _)) => log,
            Err(OpenError::Storage { source, .. }) => {
                assert!(source.is_retryable(), "open {nth}: {source}");
                fs.refuse_opens_after(0, 0);
                open_group(&storage)
            }
            Err(error) => panic!("open {nth}: {error}"),
        };
        fs.refuse_opens_after(0, 2);
        match read_all(&log) {
            Ok(count) => assert_eq!(count, 200),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        fs.refuse_opens_after(0, 1);
        let error = log.latest_checkpoint().unwrap_err();
        assert!(error.is_retryable(), "{error}");
        fs.refuse_opens_after(0, 0);
        assert_eq!(read_all(&log).unwrap(), 200);
        assert!(log.latest_checkpoint().unwrap().is_some());
        assert_eq!(log.damage(), None);
        assert!(storage.stopped().is_none());
    }
}

/// Writers wait for a descriptor: a node that ended would start again with the same limit.
#[test]
fn no_free_descriptor_stops_no_writing() {
    let (disk, fs) = filled();
    let (disk, fs) = reopened(&disk, &fs);
    for nth in 0..30 {
        let (disk, fs) = reopened(&disk, &fs);
        let storage = disk.open();
        let log = open_group(&storage);
        let end = log.last_id().unwrap().index.0 + 1;
        fs.refuse_opens_after(nth, 3);
        save_vote(&storage, &log, vote(2 + nth));
        for index in end..end + 8 {
            append(&storage, &log, vec![records(1, index, 1, 9000)]);
        }
        let first = log.segments()[0].last.unwrap();
        checkpoint_when_possible(&log, first.index.0);
        log.purge_to(first);
        log.truncate_after(Some(id(1, end + 3))).unwrap();
        append(&storage, &log, vec![records(1, end + 4, 1, 100)]);
        settle(&storage, &log);
        assert!(storage.stopped().is_none(), "open {nth} was refused");
        fs.refuse_opens_after(0, 0);
        drop((log, storage));
        let (disk, _) = reopened(&disk, &fs);
        let storage = disk.open();
        let log = open_group(&storage);
        assert_eq!(log.last_id(), Some(id(1, end + 4)));
        assert_eq!(log.hard_state().vote, Some(vote(2 + nth)));
    }
}

/// The watchdog ends a node whose writer hangs in a call to the disk. One that waits for a
/// descriptor does not: it is late, as the lag says, and its leaderships go elsewhere.
#[test]
fn a_writer_that_waits_for_a_descriptor_does_not_count_as_a_disk_that_hangs() {
    let (mut disk, fs) = filled();
    disk.config.writers = WriterDrive::Threads(1);
    let (disk, fs) = reopened(&disk, &fs);
    let storage = disk.open();
    let log = open_group(&storage);
    fs.limit_open_files(Some(0));
    let flush = Flush::default();
    log.save_vote(vote(9), flush.callback());
    std::thread::sleep(Duration::from_millis(600));
    let health = storage.write_probe().health();
    fs.limit_open_files(None);
    flush.wait(&storage).unwrap();
    assert!(health.lag >= Duration::from_millis(500), "{health:?}");
    assert!(health.stuck < Duration::from_millis(300), "{health:?}");
    assert_eq!(log.hard_state().vote, Some(vote(9)));
}

fn checkpoint_when_possible(log: &GroupLog, index: u64) {
    for _ in 0..10 {
        match log.read(LogIndex(index)..LogIndex(index + 1), 1) {
            Ok(_) => return checkpoint(log, index),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

#[test]
fn an_idle_group_keeps_one_file_open() {
    let (disk, fs) = TestDisk::fault(4);
    let storage = disk.open();
    let mut logs = Vec::new();
    for group in 0..50 {
        let (log, _) = storage
            .open_group(GroupId(group), GroupOptions::default())
            .unwrap();
        save_vote(&storage, &log, vote(1));
        logs.push(log);
    }
    assert_eq!(fs.open_files(), 0, "hard state files are open");
    // One descriptor besides those of the active segments is enough for the votes of all groups.
    for log in &logs {
        append(&storage, log, vec![records(1, 0, 1, 10)]);
    }
    assert_eq!(fs.open_files(), 50, "one active segment per group");
    fs.limit_open_files(Some(51));
    for log in &logs {
        save_vote(&storage, log, vote(2));
        log.save_committed(Some(id(1, 0)));
    }
    while storage.step() {}
    assert!(storage.stopped().is_none());
    assert_eq!(fs.open_files(), 50);
}

/// One of the three slots may be unreadable; its loss is repaired at the next start.
#[test]
fn a_hard_state_with_one_unreadable_slot_loses_no_vote() {
    for slot in 0..3 {
        let (disk, fs) = filled();
        let (disk, fs) = reopened(&disk, &fs);
        let path = files_of(&fs, "hard_state").remove(0);
        let at = slot * 4096;
        fs.fail_reads(&path, at..at + 96);
        let storage = disk.open();
        let log = open_group(&storage);
        assert_eq!(log.hard_state().vote, Some(vote(1)), "slot {slot}");
        drop((log, storage));
        // All slots are readable again, and the next one may fail.
        let (disk, fs) = reopened(&disk, &fs);
        fs.fail_reads(&path, (slot + 1) % 3 * 4096..(slot + 1) % 3 * 4096 + 96);
        let storage = disk.open();
        let log = open_group(&storage);
        assert_eq!(log.hard_state().vote, Some(vote(1)), "after slot {slot}");
    }
}

/// With two slots lost, the last vote may be among them: the replica must not vote again.
#[test]
fn a_hard_state_with_two_lost_slots_is_damage() {
    for (first, second) in [(0, 1), (1, 2), (2, 0)] {
        let (disk, fs) = filled();
        let (disk, fs) = reopened(&disk, &fs);
        drop(open_group(&disk.open())); // syncs the file
        let (disk, fs) = reopened(&disk, &fs);
        let path = files_of(&fs, "hard_state").remove(0);
        fs.fail_reads(&path, first * 4096..first * 4096 + 96);
        fs.flip_bit(&path, second * 4096 + 50, 1);
        let storage = disk.open();
        let opened = storage.open_group(GROUP, GroupOptions::default());
        assert!(
            matches!(opened, Err(OpenError::Corrupt { .. })),
            "slots {first} and {second}: {opened:?}"
        );
    }
}

/// An index is only a shortcut: reads work without it, and the next start rebuilds it.
#[test]
fn an_unreadable_index_harms_nothing() {
    let (disk, fs) = filled();
    let (disk, fs) = reopened(&disk, &fs);
    let indexes = files_of(&fs, ".idx");
    assert!(!indexes.is_empty());
    let storage = disk.open();
    let log = open_group(&storage);
    for path in &indexes {
        fs.fail_reads(path, 0..96);
    }
    assert_eq!(read_all(&log).unwrap(), 200);
    assert_eq!(offset_for_time(&log, 1100, Offset(200)), Some(Offset(100)));
    assert_eq!(log.damage(), None);
    // A cut into a segment with an unreadable index rewrites the index.
    let cut = log.segments()[1].last.unwrap().index.0 - 1;
    log.truncate_after(Some(id(1, cut))).unwrap();
    append(&storage, &log, vec![records(2, cut + 1, 1, 10)]);
    settle(&storage, &log);
    assert!(storage.stopped().is_none());
    drop((log, storage));

    let (disk, fs) = reopened(&disk, &fs);
    let storage = disk.open();
    let log = open_group(&storage);
    assert_eq!(log.last_id(), Some(id(2, cut + 1)));
    drop((log, storage));
    let (disk, fs) = reopened(&disk, &fs);
    let reads = fs.reads();
    let storage = disk.open();
    drop(open_group(&storage));
    let rebuilt = fs.reads() - reads;
    let readable = files_of(&fs, ".idx").iter().all(|path| {
        let file = lograft_storage::Fs::open(&fs, path, lograft_storage::OpenMode::Read).unwrap();
        file.read_at(0, 96).is_ok()
    });
    assert!(readable && rebuilt > 0, "the indexes were not rebuilt");
}

#[test]
fn an_unreadable_checkpoint_is_skipped_for_an_older_one() {
    let (disk, fs) = filled();
    let (disk, fs) = reopened(&disk, &fs);
    let checkpoints = files_of(&fs, ".ckpt");
    assert_eq!(checkpoints.len(), 2);
    let storage = disk.open();
    let log = open_group(&storage);
    let newest = log.latest_checkpoint().unwrap().unwrap();
    fs.fail_reads(&checkpoints[1], 0..96);
    let older = log.latest_checkpoint().unwrap().unwrap();
    assert!(older.last < newest.last);
    drop((log, storage));
    let (disk, fs) = reopened(&disk, &fs);
    let storage = disk.open();
    let log = open_group(&storage);
    assert_eq!(log.latest_checkpoint().unwrap(), Some(older));
    assert!(fs.reads() > 0 && log.damage().is_none());
}

/// A slow read holds no lock: writes and reads of the same group go on meanwhile.
#[test]
fn a_slow_read_delays_nothing_else() {
    let (disk, fs) = filled();
    let (disk, fs) = reopened(&disk, &fs);
    let storage = disk.open();
    let log = open_group(&storage);
    let (other, steps) = (log.clone(), storage.clone());
    fs.slow_read_after(0, move || {
        append(&steps, &other, vec![records(1, 200, 1, 10)]);
        save_vote(&steps, &other, vote(5));
        assert_eq!(read_all(&other).unwrap(), 200);
    });
    assert_eq!(read_all(&log).unwrap(), 200);
    assert_eq!(log.last_id(), Some(id(1, 200)));
}

/// Nothing is left of the last segment, or of all, and the hard state says that their entries were
/// durable: the shorter log must not pass for the whole one, or the replica could elect a leader
/// without them.
#[test]
fn a_last_segment_that_is_missing_below_the_durable_end_is_damage() {
    for (is_all, what) in [
        (false, "durable entry is not valid"),
        (true, "durable entries are missing"),
    ] {
        let (disk, fs) = filled();
        let (disk, fs) = reopened(&disk, &fs);
        let segments = files_of(&fs, ".seg");
        let kept = if is_all { 0 } else { segments.len() - 1 };
        for path in &segments[kept..] {
            lograft_storage::Fs::remove_file(&fs, path).unwrap();
        }
        let opened = disk.open().open_group(GROUP, GroupOptions::default());
        let Err(OpenError::Corrupt { damage, .. }) = opened else {
            panic!("a shorter log was accepted: {opened:?}");
        };
        assert_eq!(damage.what, what);
    }
}
