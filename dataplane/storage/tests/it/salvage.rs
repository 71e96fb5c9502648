//! Salvage of damaged logs: intact entries are read, nothing wrong is, and what is missing is named.

use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{Entry, GroupId, LogIndex, Offset};
use lograft_storage::{
    Crash, FaultFs, Fs, GroupOptions, LogGap, NewerFormat, OpenMode, Salvage, SalvageError,
    Salvaged, StorageError,
};
use proptest::prelude::*;

use crate::setup::{TestDisk, append, id, open_group, records, settle};

const DIR: &str = "/data/groups/group-7";
const ENTRIES: u64 = 200;
const CUT: u64 = 120;
const ENTRY_BYTES: u64 = 96 + 400;

/// The log of the tests: several segments, a truncated suffix, two records in each entry.
fn filled() -> (FaultFs, Vec<Entry>) {
    let (mut disk, fs) = TestDisk::fault(3);
    disk.config.tail_cache_max_bytes = 0;
    let storage = disk.open();
    let log = open_group(&storage);
    for index in 0..CUT + 30 {
        append(&storage, &log, vec![records(1, index, 2, 400)]);
    }
    log.truncate_after(Some(id(1, CUT - 1))).unwrap();
    for index in CUT..ENTRIES {
        append(&storage, &log, vec![records(2, index, 2, 400)]);
    }
    log.save_committed(Some(id(2, ENTRIES - 1)));
    settle(&storage, &log);
    let range = LogIndex(0)..LogIndex(ENTRIES);
    let entries = log.read(range, usize::MAX).unwrap();
    assert_eq!(entries.len() as u64, ENTRIES);
    assert!(log.segments().len() >= 4, "{:?}", log.segments());
    drop(storage);
    (fs.crash(Crash::Process), entries)
}

struct Found {
    entries: Vec<Entry>,
    gaps: Vec<LogGap>,
}

fn salvage(fs: &FaultFs, dir: &str) -> Result<Found, SalvageError> {
    let salvage = Salvage::open(Arc::new(fs.clone()), Path::new(dir))?;
    let mut found = Found {
        entries: Vec::new(),
        gaps: Vec::new(),
    };
    salvage.read(|piece| {
        match piece {
            Salvaged::Entry(entry) => found.entries.push(entry),
            Salvaged::Gap(gap) => found.gaps.push(gap),
        }
        Ok::<_, StorageError>(())
    })?;
    Ok(found)
}

/// Checks that all entries but those in `missing` are found, and that one gap names it.
fn check(fs: &FaultFs, entries: &[Entry], missing: Range<u64>) -> LogGap {
    let found = salvage(fs, DIR).unwrap();
    let is_kept = |entry: &&Entry| !missing.contains(&entry.id.index.get());
    let kept: Vec<&Entry> = entries.iter().filter(is_kept).collect();
    assert!(
        found.entries.iter().eq(kept),
        "{} entries",
        found.entries.len()
    );
    assert_eq!(found.gaps.len(), 1, "{:?}", found.gaps);
    let gap = found.gaps[0].clone();
    let end = gap.end_index.unwrap_or(LogIndex(ENTRIES));
    assert_eq!(gap.first_index..end, range(&missing), "{gap:?}");
    let first_offset = entries[usize::try_from(missing.start).unwrap()].base_offset;
    assert_eq!(gap.first_offset, Some(first_offset), "{gap:?}");
    gap
}

fn range(indexes: &Range<u64>) -> Range<LogIndex> {
    LogIndex(indexes.start)..LogIndex(indexes.end)
}

fn segments(fs: &FaultFs) -> Vec<PathBuf> {
    let files = fs.files().into_iter().map(|(path, _)| path);
    files
        .filter(|path| path.starts_with(DIR) && path.extension().is_some_and(|name| name == "seg"))
        .collect()
}

fn base(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// The second segment, its base and the base of the next one.
fn second(fs: &FaultFs) -> (PathBuf, Range<u64>) {
    let found = segments(fs);
    (found[1].clone(), base(&found[1])..base(&found[2]))
}

fn set_len(fs: &FaultFs, path: &Path, len: u64) {
    let file = fs.open(path, OpenMode::Write).unwrap();
    file.set_len(len).unwrap();
}

#[test]
fn an_intact_log_is_read_whole_without_a_change_or_a_lock() {
    let (fs, entries) = filled();
    let contents = || -> Vec<_> {
        let files = fs.files();
        let bytes = |(path, len): (PathBuf, u64)| (fs.bytes_of(&path), path, len);
        files.into_iter().map(bytes).collect()
    };
    let before = contents();
    let lock = fs.lock(Path::new("/data/LOCK")).unwrap();
    let found = salvage(&fs, DIR).unwrap();
    drop(lock);
    assert_eq!(found.entries, entries);
    assert_eq!(found.gaps, []);
    assert!(contents() == before, "a file was changed");
    let open = Salvage::open(Arc::new(fs.clone()), Path::new(DIR)).unwrap();
    assert_eq!(open.group(), GroupId(7));
    assert_eq!(open.committed_end(), LogIndex(ENTRIES));
    fs.rename(Path::new(DIR), Path::new("/data/any name"))
        .unwrap();
    assert_eq!(salvage(&fs, "/data/any name").unwrap().entries, entries);
}

#[test]
fn a_flipped_bit_costs_its_entry_alone() {
    let (fs, entries) = filled();
    let (path, indexes) = second(&fs);
    for (at, what) in [(200, "payload"), (30, "header")] {
        let (fs, _) = filled();
        let position = 96 + 5 * ENTRY_BYTES;
        fs.flip_bit(&path, position + at, 3);
        let nth = indexes.start + 5;
        let gap = check(&fs, &entries, nth..nth + 1);
        assert_eq!(gap.path, path);
        assert_eq!(gap.bytes, position..position + ENTRY_BYTES, "{what}");
        assert_eq!(gap.end_offset, Some(Offset(2 * (nth + 1))));
        assert!(gap.may_have_records());
    }
}

#[test]
fn an_unreadable_sector_costs_the_entries_of_its_page() {
    let (fs, entries) = filled();
    let (path, indexes) = second(&fs);
    fs.fail_reads(&path, 4096..4096 + 512);
    let first = indexes.start + (4096 - 96) / ENTRY_BYTES;
    let last = indexes.start + (8192 - 96) / ENTRY_BYTES;
    let gap = check(&fs, &entries, first..(last + 1).min(indexes.end));
    assert_eq!(gap.why, "the disk cannot read it");
}

#[test]
fn a_torn_tail_is_named() {
    let (fs, entries) = filled();
    let last = segments(&fs).pop().unwrap();
    let end = 96 + (ENTRIES - base(&last)) * ENTRY_BYTES;
    for (cut, missing) in [(100, 1), (ENTRY_BYTES, 1), (2 * ENTRY_BYTES, 2)] {
        let (fs, _) = filled();
        set_len(&fs, &last, end - cut);
        let gap = check(&fs, &entries, ENTRIES - missing..ENTRIES);
        assert_eq!(gap.path, last);
    }
}

#[test]
fn a_missing_segment_is_named_and_a_missing_index_costs_nothing() {
    let (fs, entries) = filled();
    let (path, indexes) = second(&fs);
    for segment in segments(&fs) {
        fs.remove_file(&segment.with_extension("idx")).ok();
    }
    let found = salvage(&fs, DIR).unwrap();
    assert!(found.entries == entries && found.gaps.is_empty());
    let (fs, _) = filled();
    fs.remove_file(&path).unwrap();
    let gap = check(&fs, &entries, indexes.clone());
    assert_eq!((gap.path, gap.bytes), (path, 0..0));
    assert_eq!(gap.end_offset, Some(Offset(2 * indexes.end)));
    let (fs, _) = filled();
    let first = segments(&fs).remove(0);
    fs.remove_file(&first).unwrap();
    let found = salvage(&fs, DIR).unwrap();
    assert_eq!(found.gaps.len(), 1, "{:?}", found.gaps);
    assert_eq!(found.gaps[0].end_index, Some(LogIndex(indexes.start)));
    let last = segments(&fs).pop().unwrap();
    fs.remove_file(&last).unwrap();
    let found = salvage(&fs, DIR).unwrap();
    let gap = &found.gaps[1];
    assert_eq!(gap.first_index..gap.end_index.unwrap(), {
        LogIndex(base(&last))..LogIndex(ENTRIES)
    });
}

#[test]
fn a_damaged_segment_header_costs_nothing_and_a_cut_off_one_its_segment() {
    let (fs, entries) = filled();
    let (path, indexes) = second(&fs);
    let last = segments(&fs).pop().unwrap();
    let first = segments(&fs).remove(0);
    // Base offset; uid, which is in the index file too; group, which the others name.
    for (path, at) in [
        (&path, 58),
        (&path, 42),
        (&path, 33),
        (&first, 58),
        (&last, 58),
    ] {
        let (fs, _) = filled();
        fs.flip_bit(path, at, 1);
        let found = salvage(&fs, DIR).unwrap();
        assert!(found.entries == entries, "{path:?} {at}");
        assert_eq!(found.gaps.len(), 1, "{:?}", found.gaps);
        assert!(!found.gaps[0].may_have_records(), "{:?}", found.gaps);
    }
    set_len(&fs, &path, 50);
    let gap = check(&fs, &entries, indexes);
    assert_eq!(gap.why, "segment header is cut off");
    let (fs, _) = filled();
    // Nothing but the header of the last segment has its uid.
    fs.flip_bit(&last, 42, 1);
    let gap = check(&fs, &entries, base(&last)..ENTRIES);
    assert_eq!((gap.path, gap.end_index), (last, None));
}

#[test]
fn a_log_of_one_segment_with_a_damaged_header_is_read() {
    let (disk, fs) = TestDisk::fault(3);
    let storage = disk.open();
    let log = open_group(&storage);
    append(
        &storage,
        &log,
        vec![records(1, 0, 2, 400), records(1, 1, 2, 400)],
    );
    settle(&storage, &log);
    let fs = fs.crash(Crash::Process);
    fs.flip_bit(&segments(&fs)[0], 20, 0);
    let found = salvage(&fs, DIR).unwrap();
    assert_eq!(found.entries.len(), 2);
    assert!(found.gaps.iter().all(|gap| !gap.may_have_records()));
}

#[test]
fn folders_and_files_of_others_are_refused() {
    let (fs, entries) = filled();
    for dir in ["/data", "/data/groups", "/nowhere"] {
        let refused = salvage(&fs, dir).err().unwrap();
        assert!(
            matches!(refused, SalvageError::NoReplica { .. }),
            "{refused}"
        );
    }
    let (disk, other) = TestDisk::fault(4);
    let storage = disk.open();
    let (log, _) = storage
        .open_group(GroupId(8), GroupOptions::default())
        .unwrap();
    append(&storage, &log, vec![records(1, 0, 2, 400)]);
    let foreign = other.bytes_of(Path::new("/data/groups/group-8/00000000000000000000.seg"));
    let (path, indexes) = second(&fs);
    let file = fs.open(&path, OpenMode::Create).unwrap();
    file.write_vectored_at(&mut [IoSlice::new(&foreign.unwrap())], 0)
        .unwrap();
    let gap = check(&fs, &entries, indexes);
    assert_eq!(gap.why, "the file belongs to another replica or segment");
}

#[test]
fn files_of_a_newer_version_are_refused() {
    let (fs, _) = filled();
    let (path, _) = second(&fs);
    let file = fs.open(&path, OpenMode::Write).unwrap();
    let mut header = file.read_at(0, 96).unwrap().to_vec();
    header[8] = 2;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    file.write_vectored_at(&mut [IoSlice::new(&header)], 0)
        .unwrap();
    let refused = salvage(&fs, DIR).err().unwrap();
    let SalvageError::Storage(StorageError::NewerFormat(NewerFormat { path: found, .. })) = refused
    else {
        panic!("{refused}");
    };
    assert_eq!(found, path);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is damaged, salvage returns entries of the log alone, in their order, and names
    /// exactly those that are missing.
    #[test]
    fn damage_never_makes_a_wrong_entry_and_each_missing_one_is_named(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0_u8..8), 1..12),
        zeroed in proptest::option::of((any::<prop::sample::Index>(), any::<u64>(), 1_usize..9000)),
    ) {
        let (fs, entries) = filled();
        let files: Vec<_> = fs.files().into_iter().filter(|(path, _)| path.starts_with(DIR)).collect();
        for (file, at, bit) in flips {
            let (path, len) = file.get(&files);
            fs.flip_bit(path, at % len, bit);
        }
        if let Some((file, at, count)) = zeroed {
            let (path, len) = file.get(&files);
            let file = fs.open(path, OpenMode::Write).unwrap();
            file.write_vectored_at(&mut [IoSlice::new(&vec![0; count])], at % len).unwrap();
        }
        match salvage(&fs, DIR) {
            Ok(found) => is_covered(&entries, &found)?,
            Err(SalvageError::NoReplica { .. }) => {}
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }
}

fn is_covered(entries: &[Entry], found: &Found) -> Result<(), TestCaseError> {
    let mut found_entries = found.entries.iter().peekable();
    for entry in entries {
        let index = entry.id.index;
        let is_found = found_entries.next_if(|found| *found == entry).is_some();
        let is_in = |gap: &LogGap| {
            gap.first_index <= index
                && gap.end_index.is_none_or(|end| index < end)
                && gap.may_have_records()
        };
        let is_named = found.gaps.iter().any(is_in);
        prop_assert!(is_found != is_named, "entry {}: {:?}", index, found.gaps);
    }
    let wrong = found_entries.next();
    prop_assert!(
        wrong.is_none(),
        "an entry that is not in the log: {:?}",
        wrong
    );
    Ok(())
}
