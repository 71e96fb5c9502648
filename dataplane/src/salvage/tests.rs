use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lograft_core::compression::Compression;
use lograft_core::record::Record;
use lograft_core::record_batch::BatchBuilder;
use lograft_core::{ClusterId, LogId, Membership, Proposal, Term};
use lograft_raft::encode_membership;
use lograft_storage::{GroupLog, GroupOptions, Identity, Storage, StorageConfig, WriterDrive};

use super::*;

const GROUP: GroupId = GroupId(7);

/// A replica on disk, and its log.
struct Disk {
    dir: tempfile::TempDir,
    storage: Storage,
    log: GroupLog,
}

impl Disk {
    fn new(group: GroupId) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = StorageConfig::new(dir.path());
        let mut config = config;
        config.writers = WriterDrive::Threads(1);
        config.reserve_bytes = 0;
        let fatal = Arc::new(|error: StorageError| panic!("{error}"));
        let storage = Storage::open(Arc::new(RealFs), config, fatal).unwrap();
        let identity = Identity {
            cluster_id: ClusterId::from_bytes([9; 16]),
            node_id: NodeId(3),
        };
        storage.write_identity(&identity).unwrap();
        let (log, _) = storage.open_group(group, GroupOptions::default()).unwrap();
        Self { dir, storage, log }
    }

    fn append(&self, kind: EntryKind, payload: Bytes) {
        let mut proposal = Proposal::control(kind, 5, payload);
        proposal.record_count = if kind == EntryKind::Records { 4 } else { 0 };
        let index = self
            .log
            .last_id()
            .map_or(LogIndex::ZERO, |id| id.index.next());
        let entry = Entry {
            id: LogId {
                term: Term(1),
                index,
            },
            base_offset: Offset::ZERO,
            proposal,
        };
        let (done, flushed) = mpsc::channel();
        let callback = Box::new(move |outcome| done.send(outcome).unwrap());
        self.log.append(vec![entry], callback).unwrap();
        flushed.recv().unwrap().unwrap();
    }

    fn records(&self, compression: Compression) {
        let mut batch = BatchBuilder::new(compression);
        for nth in 0..4_u8 {
            let record = Record {
                timestamp_ms: Some(nth.into()),
                key: Some(vec![0xff, nth].into()),
                value: Some(vec![nth; 200].into()),
                headers: Vec::new(),
            };
            batch.push(&record, 0).unwrap();
        }
        self.append(EntryKind::Records, batch.finish().unwrap().bytes);
    }

    fn voters(&self, voters: &[u64]) {
        let membership = Membership {
            voters: voters.iter().copied().map(NodeId).collect(),
            ..Membership::default()
        };
        self.append(EntryKind::Membership, encode_membership(&membership));
    }

    fn files(&self) -> ReplicaFiles {
        ReplicaFiles::open(&self.dir.path().join("groups/group-7")).unwrap()
    }

    /// The offsets of the records that are found, and whether they are committed.
    fn found(&self) -> Vec<(u64, bool)> {
        let files = self.files();
        let survey = files.survey().unwrap();
        let mut found = Vec::new();
        let read = files.read(&survey, |piece| {
            let Piece::Batch(batch) = piece else {
                panic!("{piece:?}");
            };
            let offsets = batch.base_offset.get()..;
            for (offset, record) in offsets.zip(&batch.records) {
                let nth = u8::try_from(offset % 4).unwrap();
                assert_eq!(record.unwrap().key, Some(&[0xff, nth][..]));
                found.push((offset, batch.is_committed));
            }
            let deleted = usize::try_from(batch.deleted_count).unwrap();
            let first = found.len() - 4;
            found.drain(first..first + deleted);
            Ok::<_, StorageError>(())
        });
        read.unwrap();
        found
    }
}

fn all(offsets: std::ops::Range<u64>, is_committed: bool) -> Vec<(u64, bool)> {
    offsets.map(|offset| (offset, is_committed)).collect()
}

#[test]
fn a_single_voter_has_committed_what_it_has_and_others_what_they_know() {
    let disk = Disk::new(GROUP);
    disk.voters(&[1, 2, 3]);
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        disk.records(compression);
    }
    assert_eq!(disk.found(), all(0..12, false));
    disk.log.save_committed(Some(LogId {
        term: Term(1),
        index: LogIndex(2),
    }));
    disk.records(Compression::None);
    let started = Instant::now();
    // It is written behind the entries, and nobody is told when.
    while disk.files().survey().unwrap().committed_end < LogIndex(3) {
        assert!(started.elapsed() < Duration::from_secs(20), "not written");
        std::thread::yield_now();
    }
    let expected = [all(0..8, true), all(8..16, false)].concat();
    assert_eq!(disk.found(), expected);
    disk.voters(&[1]);
    disk.records(Compression::None);
    assert_eq!(disk.found(), all(0..20, true));
    disk.voters(&[1, 2]);
    disk.records(Compression::None);
    let expected = [all(0..20, true), all(20..24, false)].concat();
    assert_eq!(disk.found(), expected);
    assert_eq!(disk.files().live_node(), Some(NodeId(3)));
    disk.storage.close_group(GROUP).unwrap();
}

#[test]
fn deleted_records_stay_deleted_once_that_is_committed() {
    let disk = Disk::new(GROUP);
    disk.voters(&[1, 2, 3]);
    disk.records(Compression::Zstd);
    disk.records(Compression::Zstd);
    disk.append(EntryKind::Trim, PartitionState::trim_payload(Offset(6)));
    assert_eq!(disk.found(), all(0..8, false));
    disk.voters(&[1]);
    assert_eq!(disk.found(), all(6..8, true));
    disk.append(EntryKind::Trim, PartitionState::trim_payload(Offset(99)));
    assert_eq!(disk.found(), []);
}

#[test]
fn the_metadata_and_a_batch_that_cannot_be_decoded_are_named() {
    let disk = Disk::new(GroupId::META);
    disk.append(EntryKind::Command, Bytes::from_static(b"{}"));
    let refused = ReplicaFiles::open(&disk.dir.path().join("groups/group-0"));
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("the metadata of the cluster"), "{refused}");
    let disk = Disk::new(GROUP);
    disk.append(EntryKind::Records, Bytes::from_static(b"no batch"));
    let files = disk.files();
    let mut gaps = Vec::new();
    let survey = files.survey().unwrap();
    let read = files.read(&survey, |piece| {
        let Piece::Gap(gap) = piece else {
            panic!("{piece:?}");
        };
        gaps.push(gap);
        Ok::<_, StorageError>(())
    });
    read.unwrap();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].end_offset, Some(Offset(4)));
}
