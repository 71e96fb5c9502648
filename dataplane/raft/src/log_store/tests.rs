//! Tests of the reads that openraft's replication and apply make.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use lograft_core::{ClusterId, GroupId, NodeId};
use lograft_storage::{
    Checkpoint, FaultFs, GroupOptions, Identity, Storage, StorageConfig, WriterDrive,
};

use super::*;

/// A log of 60 entries in several segments on a simulated disk, nothing of it cached.
fn filled() -> (FaultFs, Storage, LogStore) {
    let fs = FaultFs::new(1);
    let mut config = StorageConfig::new("/data");
    config.segment_min_bytes = 1024;
    config.segment_max_bytes = 4096;
    config.tail_cache_max_bytes = 0;
    config.reserve_bytes = 0;
    config.writers = WriterDrive::Manual;
    let fatal = Arc::new(|error| panic!("a write failed: {error}"));
    let storage = Storage::open(Arc::new(fs.clone()), config, fatal).unwrap();
    let identity = Identity {
        cluster_id: ClusterId::from_bytes([1; 16]),
        node_id: NodeId(1),
    };
    storage.write_identity(&identity).unwrap();
    let (log, _) = storage
        .open_group(GroupId(1), GroupOptions::default())
        .unwrap();
    for index in 0..60 {
        let payload = Bytes::from(vec![7; 200]);
        let entry = Entry {
            id: id(index),
            base_offset: Offset::ZERO,
            proposal: Proposal {
                record_count: 1,
                ..Proposal::control(EntryKind::Records, 1, payload)
            },
        };
        log.append(vec![entry], Box::new(|_| ())).unwrap();
        while storage.step() {}
    }
    // Opened again, sealed segments have no open file.
    drop(log);
    storage.close_group(GroupId(1)).unwrap();
    let (log, _) = storage
        .open_group(GroupId(1), GroupOptions::default())
        .unwrap();
    (fs, storage, LogStore::new(log))
}

fn id(index: u64) -> LogId {
    LogId {
        term: Term(1),
        index: LogIndex(index),
    }
}

/// Purges up to `index`, the last entry of a segment.
fn purge(storage: &Storage, log: &GroupLog, index: u64) {
    log.put_checkpoint(Checkpoint {
        last: id(index),
        next_offset: Offset(index + 1),
        membership: Bytes::new(),
        membership_id: None,
        state: Bytes::new(),
    });
    log.purge_to(id(index));
    while storage.step() {}
}

/// openraft sends the entries with the log id before the first requested one as predecessor. Were
/// a part of them purged, and the rest sent, the follower's log would have a hole.
#[tokio::test]
async fn entries_purged_under_a_reader_are_not_answered_with_later_ones() {
    let (fs, storage, mut store) = filled();
    let indexes = async |store: &mut LogStore, from| {
        let entries = store.limited_get_log_entries(from, 60).await.unwrap();
        let indexes = entries.iter().map(|entry| entry.log_id.index());
        indexes.collect::<Vec<_>>()
    };
    assert_eq!(indexes(&mut store, 5).await, (5..60).collect::<Vec<_>>());
    let last = store.log.segments()[4].last.unwrap().index.get();
    // Before the read, and while it is under way.
    let (log, steps) = (store.log.clone(), storage.clone());
    fs.slow_read_after(0, move || purge(&steps, &log, last));
    for _ in 0..2 {
        let read = indexes(&mut store, 5).await;
        let is_whole = read.first() == Some(&5) && read.windows(2).all(|two| two[0] + 1 == two[1]);
        assert!(read.is_empty() || is_whole, "a hole: {read:?}");
    }
    assert!(indexes(&mut store, 5).await.is_empty(), "they are purged");
    let rest = indexes(&mut store, last + 1).await;
    assert_eq!(rest, (last + 1..60).collect::<Vec<_>>());
}

/// A damaged entry stops the replication to one follower and not openraft's core: the leader can
/// hand its leadership over before it is set aside.
#[tokio::test(start_paused = true)]
async fn a_damaged_entry_is_not_sent_and_is_remembered() {
    let (fs, _storage, mut store) = filled();
    let (path, _) = fs
        .files()
        .into_iter()
        .find(|(path, _)| path.extension().is_some_and(|suffix| suffix == "seg"))
        .unwrap();
    fs.flip_bit(&path, 400, 2);
    let entries = store.limited_get_log_entries(0, 60).await.unwrap();
    assert!(entries.is_empty());
    assert!(store.log.damage().is_some());
    // Apply needs the entry: it fails. Records are applied without their payloads.
    fs.fail_reads(&path, 0..4096);
    let mut applied = std::pin::pin!(store.entries_stream(0..60).await);
    assert!(applied.next().await.unwrap().is_err());
}

/// EMFILE says nothing about the log: the reads of raft wait until the host has a descriptor again.
#[tokio::test(start_paused = true)]
async fn reads_wait_while_there_is_no_free_descriptor() {
    let (fs, _storage, mut store) = filled();
    let started = tokio::time::Instant::now();
    let refuse = || fs.refuse_opens_after(0, 3);
    fs.limit_open_files(Some(0));
    let freed = fs.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        freed.limit_open_files(None);
    });
    let entries = store.limited_get_log_entries(0, 60).await.unwrap();
    assert_eq!(entries.len(), 60);
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "it was served at once"
    );
    refuse();
    let entries = store.try_get_log_entries(0..60).await.unwrap();
    assert_eq!(entries.len(), 60);
    refuse();
    let applied = store.entries_stream(0..60).await;
    assert_eq!(
        applied
            .filter(|item| std::future::ready(item.is_ok()))
            .count()
            .await,
        60
    );
    assert_eq!(store.log.damage(), None);
}
