//! Files that a newer version wrote: refused with a typed error, and no byte on disk changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lograft_core::limits::ENTRY_MAX_BYTES;
use lograft_core::{GroupId, LogIndex};
use lograft_storage::{GroupOptions, NewerFormat, OpenError, StorageError};
use tempfile::TempDir;

use crate::data_directories::{copy_dir, open, written_at_level_0};
use crate::setup::GROUP;

const GROUP_DIR: &str = "groups/group-7";
const FIRST_SEALED: &str = "groups/group-7/00000000000000000016.seg";
const ACTIVE: &str = "groups/group-7/00000000000000000096.seg";
const ENTRY_HEADER_BYTES: usize = 96;
const FIRST_ENTRY: usize = 96;

/// Every file of a directory with its bytes.
type Contents = BTreeMap<PathBuf, Vec<u8>>;

fn contents(dir: &Path) -> Contents {
    let mut found = Contents::new();
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A data directory that this version has opened.
fn good_directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&written_at_level_0(), dir.path());
    let storage = open(dir.path()).unwrap();
    drop(storage.open_group(GROUP, GroupOptions::default()).unwrap());
    drop(storage);
    dir
}

fn patch(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Changes a byte of the record of `len` bytes at `start`, and corrects its CRC.
fn patch_record(bytes: &mut [u8], start: usize, len: usize, change: (usize, u8)) {
    let record = &mut bytes[start..start + len];
    record[change.0] = change.1;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&record[..12]), &record[16..]);
    record[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// The position of an entry in a segment, counted from 0.
fn entry_position(segment: &[u8], nth: usize) -> usize {
    let mut at = FIRST_ENTRY;
    for _ in 0..nth {
        let payload = u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap());
        at += (ENTRY_HEADER_BYTES + payload as usize).next_multiple_of(8);
    }
    assert_eq!(&segment[at..at + 4], b"lgE1");
    at
}

/// Changes bytes of the header of an entry, and corrects its CRC.
fn patch_entry(segment: &mut [u8], nth: usize, change: (usize, &[u8])) {
    let at = entry_position(segment, nth);
    let uid = segment[40..48].to_vec();
    let header = &mut segment[at..at + ENTRY_HEADER_BYTES];
    header[change.0..change.0 + change.1.len()].copy_from_slice(change.1);
    let seed = crc32c::crc32c_append(crc32c::crc32c(&GROUP.0.to_le_bytes()), &uid);
    let crc = crc32c::crc32c_append(seed, &header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn newer_error(dir: &Path) -> NewerFormat {
    let storage = open(dir).unwrap();
    match storage.open_group(GROUP, GroupOptions::default()) {
        Err(OpenError::NewerFormat { group, newer }) => {
            assert_eq!(group, GROUP);
            *newer
        }
        other => panic!("expected a newer format, got {other:?}"),
    }
}

/// Opens the group of a patched directory: refused because of `file`, and no byte changes.
fn assert_group_refused(dir: &Path, file: &str, field: &str, found: u64) {
    let before = contents(dir);
    let newer = newer_error(dir);
    assert_eq!(newer.path, dir.join(file));
    assert_eq!((newer.field, newer.found), (field, found), "{file}");
    assert!(newer.known < found);
    assert!(
        before == contents(dir),
        "{file}, {field}: a byte has changed"
    );
    // A second attempt sees the same: nothing was prepared for a repair.
    assert_eq!(newer_error(dir), newer);
}

#[test]
fn records_with_a_newer_version_or_unknown_flags_are_refused() {
    let group_file = |name: &str| format!("{GROUP_DIR}/{name}");
    let hard_state = group_file("hard_state");
    let index = group_file("00000000000000000016.idx");
    let (oldest, newest) = (
        group_file("00000000000000000015.ckpt"),
        group_file("00000000000000000095.ckpt"),
    );
    let cases = [
        (FIRST_SEALED, 0, Some(96), "segment"),
        (ACTIVE, 0, Some(96), "segment"),
        (&index, 0, None, "index"),
        (&oldest, 0, None, "checkpoint"),
        (&newest, 0, None, "checkpoint"),
        (&hard_state, 0, Some(96), "hard state"),
        (&hard_state, 4096, Some(96), "hard state"),
        (&hard_state, 8192, Some(96), "hard state"),
    ];
    for (file, start, len, kind) in cases {
        let changes = [
            ((8, 2), "version", 2),
            ((8, 255), "version", 255),
            ((10, 1), "flags", 256),
            ((11, 128), "flags", 128 << 16),
        ];
        for (change, field, found) in changes {
            let dir = good_directory();
            let mut flags = 0;
            patch(&dir.path().join(file), |bytes| {
                flags = u64::from(bytes[start + 9]);
                let len = len.unwrap_or(bytes.len());
                patch_record(bytes, start, len, change);
            });
            let found = if field == "flags" {
                found | flags
            } else {
                found
            };
            assert_group_refused(dir.path(), file, &format!("{kind} {field}"), found);
        }
    }
}

#[test]
fn an_identity_of_a_newer_version_is_refused() {
    for (file, change, field, found) in [
        ("identity", (8, 2), "identity version", 2),
        ("identity", (9, 1), "identity flags", 1),
        ("identity.copy", (8, 2), "identity version", 2),
    ] {
        let dir = good_directory();
        // Leftovers that an open would remove.
        fs::create_dir(dir.path().join("groups/group-9.removed")).unwrap();
        let path = dir.path().join(file);
        patch(&path, |bytes| patch_record(bytes, 0, 48, change));
        let before = contents(dir.path());
        let Err(StorageError::NewerFormat(newer)) = open(dir.path()) else {
            panic!("expected a newer format");
        };
        assert_eq!(
            (newer.field, newer.found, newer.known),
            (field, found, found - 1)
        );
        assert_eq!(newer.path, path);
        assert!(before == contents(dir.path()), "a byte has changed");
    }
}

/// Bytes at a position of an entry header, the field that they are in, and its value.
type NewerEntry = ((usize, Vec<u8>), &'static str, u64);

/// The kind, the flags, the reserved bytes and the length of an entry, beyond this version.
fn newer_entries() -> Vec<NewerEntry> {
    let long = u32::try_from(ENTRY_MAX_BYTES + 1).unwrap();
    vec![
        ((16, vec![6]), "entry kind", 6),
        ((16, vec![255]), "entry kind", 255),
        ((17, vec![0x80]), "entry flags", 0x80),
        ((18, vec![1]), "entry flags", 1 << 8),
        (
            (8, long.to_le_bytes().to_vec()),
            "entry payload bytes",
            long.into(),
        ),
    ]
}

#[test]
fn entries_of_a_newer_version_at_the_end_are_no_torn_write() {
    for ((at, bytes), field, found) in newer_entries() {
        for nth in 0..3 {
            let dir = good_directory();
            let mut flag = 0;
            patch(&dir.path().join(ACTIVE), |segment| {
                flag = u64::from(segment[entry_position(segment, nth) + 17]);
                patch_entry(segment, nth, (at, &bytes));
            });
            let found = if at == 18 { found | flag } else { found };
            assert_group_refused(dir.path(), ACTIVE, field, found);
        }
    }
}

/// An entry of a newer version behind a torn one, or behind one of which nothing is left.
#[test]
fn entries_of_a_newer_version_behind_an_invalid_one_are_found() {
    let dir = good_directory();
    patch(&dir.path().join(ACTIVE), |segment| {
        let torn = entry_position(segment, 0);
        patch_entry(segment, 2, (16, &[6]));
        segment[torn..torn + ENTRY_HEADER_BYTES].fill(0);
    });
    assert_group_refused(dir.path(), ACTIVE, "entry kind", 6);
}

/// What recovery would clean up, rebuild and copy stays as it is too.
#[test]
fn nothing_is_cleaned_up_before_a_refusal() {
    let dir = good_directory();
    let group = dir.path().join(GROUP_DIR);
    fs::write(group.join("00000000000000000200.seg.new"), b"unfinished").unwrap();
    fs::write(group.join("00000000000000000300.ckpt.reset"), b"unfinished").unwrap();
    fs::remove_file(group.join("00000000000000000016.idx")).unwrap();
    fs::write(
        group.join("00000000000000000096.idx"),
        b"of the active segment",
    )
    .unwrap();
    patch(&group.join("hard_state"), |bytes| bytes[4096..4192].fill(0));
    patch(&dir.path().join(ACTIVE), |segment| {
        patch_entry(segment, 1, (16, &[6]));
    });
    assert_group_refused(dir.path(), ACTIVE, "entry kind", 6);
}

#[test]
fn a_checkpoint_of_a_reset_of_a_newer_version_is_refused() {
    let dir = good_directory();
    let file = format!("{GROUP_DIR}/00000000000000000095.ckpt.reset");
    let path = dir.path().join(&file);
    fs::rename(path.with_extension(""), &path).unwrap();
    patch(&path, |bytes| {
        let len = bytes.len();
        patch_record(bytes, 0, len, (8, 2));
    });
    assert_group_refused(dir.path(), &file, "checkpoint version", 2);
}

/// A sealed segment without its index is scanned at the start.
#[test]
fn entries_of_a_newer_version_in_a_scanned_segment_are_no_damage() {
    for ((at, bytes), field, _) in newer_entries() {
        let dir = good_directory();
        let path = dir.path().join(FIRST_SEALED);
        patch(&path, |segment| patch_entry(segment, 3, (at, &bytes)));
        fs::remove_file(path.with_extension("idx")).unwrap();
        let before = contents(dir.path());
        assert_eq!(newer_error(dir.path()).field, field);
        assert!(
            before == contents(dir.path()),
            "{field}: a byte has changed"
        );
    }
}

/// Entries of sealed segments with an index are first seen by a read.
#[test]
fn a_read_of_an_entry_of_a_newer_version_is_no_damage() {
    for ((at, bytes), field, _) in newer_entries() {
        let dir = good_directory();
        let path = dir.path().join(FIRST_SEALED);
        patch(&path, |segment| patch_entry(segment, 3, (at, &bytes)));
        let before = fs::read(&path).unwrap();
        let storage = open(dir.path()).unwrap();
        let (log, _) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
        let end = LogIndex(30);
        let first = log.first_id().unwrap().index;
        for result in [log.read(first..end, usize::MAX), log.read_meta(first..end)] {
            let Err(StorageError::NewerFormat(newer)) = result else {
                panic!("expected a newer format, got {result:?}");
            };
            assert_eq!((newer.field, &newer.path), (field, &path));
        }
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

/// One sentence that names the file, its version and the newest known one.
#[test]
fn the_error_says_what_to_do() {
    let newer = NewerFormat {
        path: PathBuf::from("/data/groups/group-7/hard_state"),
        position: 4096,
        field: "hard state version",
        found: 2,
        known: 1,
    };
    let expected = "/data/groups/group-7/hard_state was written by a newer version of Lograft and \
                    can be read only by it: hard state version must be at most 1, got 2 \
                    (at byte 4096)";
    assert_eq!(newer.to_string(), expected);
    let error = OpenError::NewerFormat {
        group: GroupId(7),
        newer: Box::new(newer),
    };
    assert_eq!(error.to_string(), "cannot open group 7");
}
