//! `lograft replica export` on files without a node.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use lograft_core::compression::Compression;
use lograft_core::record::{Header, Record};
use lograft_core::record_batch::BatchBuilder;
use lograft_core::{
    ClusterId, Entry, EntryKind, GroupId, LogId, LogIndex, NodeId, Offset, Proposal, Term,
};
use lograft_storage::{GroupOptions, Identity, RealFs, Storage, StorageConfig, WriterDrive};
use serde_json::{Value, json};

use crate::support::TestHome;

const ENTRIES: u64 = 10;

fn record(number: u64) -> Record {
    Record {
        timestamp_ms: Some(1_000),
        key: Some(vec![0xff].into()),
        value: Some(format!("record {number}").into_bytes().into()),
        headers: vec![Header {
            key: "h".to_owned(),
            value: b"\0\xfe".as_slice().into(),
        }],
    }
}

/// The files of a group of node 3, with one committed record in each entry.
fn replica(home: &TestHome) -> PathBuf {
    let data = home.path("node");
    let mut config = StorageConfig::new(&data);
    config.writers = WriterDrive::Threads(1);
    config.reserve_bytes = 0;
    let fatal = Arc::new(|error| panic!("{error}"));
    let storage = Storage::open(Arc::new(RealFs), config, fatal).unwrap();
    let identity = Identity {
        cluster_id: ClusterId::from_bytes([9; 16]),
        node_id: NodeId(3),
    };
    storage.write_identity(&identity).unwrap();
    let group = GroupId(7);
    let (log, _) = storage.open_group(group, GroupOptions::default()).unwrap();
    let id = |index| LogId {
        term: Term(1),
        index: LogIndex(index),
    };
    let entries = (0..ENTRIES).map(|index| {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(&record(index), 0).unwrap();
        let payload = batch.finish().unwrap().bytes;
        let mut proposal = Proposal::control(EntryKind::Records, 2_000, payload);
        proposal.record_count = 1;
        Entry {
            id: id(index),
            base_offset: Offset::ZERO,
            proposal,
        }
    });
    let (done, flushed) = mpsc::channel();
    let callback = Box::new(move |outcome| done.send(outcome).unwrap());
    log.append(entries.collect(), callback).unwrap();
    flushed.recv().unwrap().unwrap();
    log.save_committed(Some(id(ENTRIES - 3)));
    storage.close_group(group).unwrap();
    data.join("groups/group-7")
}

fn export(home: &TestHome, dir: &str, name: &str, more: &[&str]) -> crate::support::Finished {
    let out = home.path(name).display().to_string();
    let args = ["replica", "export", dir, "--out", &out];
    home.run(&[&args, more].concat())
}

#[test]
fn records_are_written_in_the_form_of_produce_and_gaps_are_named() {
    let home = TestHome::new();
    let dir = replica(&home);
    let shown = dir.display().to_string();
    let run = export(&home, &shown, "a.ndjson", &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("node 3 uses"), "{}", run.stderr);
    assert!(
        run.stderr.contains("8 records, offsets 0 to 7"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("2 more from offset 8 on"),
        "{}",
        run.stderr
    );
    let text = fs::read_to_string(home.path("a.ndjson")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 8);
    let expected = json!({
        "offset": 4, "timestamp_ms": 1_000, "append_time_ms": 2_000, "key_base64": "/w==",
        "value": "record 4", "headers": [{"name": "h", "value_base64": "AP4="}],
    });
    assert_eq!(lines[4], expected);
    let again = export(&home, &shown, "a.ndjson", &[]);
    assert_eq!(again.code, Some(1), "not overwritten: {}", again.stderr);

    // As the set-aside files of a node, with a damaged entry in the middle.
    let aside = home.path("node/groups/group-7.corrupt-1");
    fs::rename(&dir, &aside).unwrap();
    let segment = aside.join(format!("{:020}.seg", 0));
    let bytes = fs::read(&segment).unwrap();
    let at = bytes
        .windows(8)
        .position(|text| text == b"record 4")
        .unwrap();
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"R", u64::try_from(at).unwrap()).unwrap();
    let aside = aside.display().to_string();
    let run = export(&home, &aside, "b.ndjson", &["--all"]);
    assert_eq!(run.code, Some(5), "{}", run.stderr);
    assert!(!run.stderr.contains("node 3"), "{}", run.stderr);
    let gap = "gap: offsets 4 to 4 (entries 4 to 4): ";
    assert!(run.stderr.contains(gap), "{}", run.stderr);
    assert!(
        run.stderr.contains("9 records, offsets 0 to 9"),
        "{}",
        run.stderr
    );
    let text = fs::read_to_string(home.path("b.ndjson")).unwrap();
    assert!(!text.contains("\"offset\":4") && text.contains("\"offset\":9"));
}

#[test]
fn other_folders_are_refused_and_leave_no_file() {
    let home = TestHome::new();
    let missing = export(&home, "nowhere", "a.ndjson", &[]).failed(3);
    assert!(missing.contains("cannot read nowhere"), "{missing}");
    let other = export(&home, ".", "a.ndjson", &[]).failed(1);
    assert!(other.contains("has no files of a replica"), "{other}");
    assert!(!home.path("a.ndjson").exists());
}
