//! Helpers that build storages, entries and flushes for the tests.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lograft_core::{
    ClusterId, Entry, EntryKind, GroupId, LogId, LogIndex, NodeId, Offset, Proposal, Term, Vote,
};
use lograft_storage::{
    FaultFs, FlushCallback, Fs, GroupLog, GroupOptions, Identity, RealFs, Storage, StorageConfig,
    StorageError, WriterDrive,
};

pub(crate) const GROUP: GroupId = GroupId(7);

pub(crate) fn identity() -> Identity {
    Identity {
        cluster_id: ClusterId::from_bytes([9; 16]),
        node_id: NodeId(3),
    }
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId {
        term: Term(term),
        index: LogIndex(index),
    }
}

/// Payload bytes that differ from entry to entry.
pub(crate) fn payload(term: u64, index: u64, len: usize) -> Bytes {
    let mut state = (term << 40) ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

pub(crate) fn records(term: u64, index: u64, record_count: u32, len: usize) -> Entry {
    let payload = payload(term, index, len);
    Entry {
        id: id(term, index),
        base_offset: Offset::ZERO,
        proposal: Proposal {
            kind: EntryKind::Records,
            record_count,
            append_time_ms: 1000 + index.cast_signed(),
            max_time_ms: 1000 + index.cast_signed(),
            producer: None,
            payload_crc32c: crc32c::crc32c(&payload),
            payload,
        },
    }
}

pub(crate) fn blank(term: u64, index: u64) -> Entry {
    let proposal = Proposal::control(EntryKind::Blank, 1000, Bytes::new());
    Entry {
        id: id(term, index),
        base_offset: Offset::ZERO,
        proposal,
    }
}

/// A real or simulated disk and the configuration of a storage on it.
pub(crate) struct TestDisk {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) config: StorageConfig,
    pub(crate) _dir: Option<tempfile::TempDir>,
}

impl TestDisk {
    pub(crate) fn fault(seed: u64) -> (Self, FaultFs) {
        let fs = FaultFs::new(seed);
        let config = small(StorageConfig::new("/data"), WriterDrive::Manual);
        (
            Self {
                fs: Arc::new(fs.clone()),
                config,
                _dir: None,
            },
            fs,
        )
    }

    pub(crate) fn real() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let config = small(StorageConfig::new(data), WriterDrive::Threads(2));
        Self {
            fs: Arc::new(RealFs),
            config,
            _dir: Some(dir),
        }
    }

    pub(crate) fn open(&self) -> Storage {
        let fatal = Arc::new(|error: StorageError| panic!("a write failed: {error}"));
        let storage = Storage::open(Arc::clone(&self.fs), self.config.clone(), fatal).unwrap();
        storage.write_identity(&identity()).unwrap();
        storage
    }
}

/// Sets sizes small enough that a test has many segments.
fn small(mut config: StorageConfig, writers: WriterDrive) -> StorageConfig {
    config.segment_min_bytes = 4 * 1024;
    config.segment_max_bytes = 64 * 1024;
    config.tail_cache_max_bytes = 16 * 1024;
    config.reserve_bytes = 0;
    config.writers = writers;
    config
}

pub(crate) fn open_group(storage: &Storage) -> GroupLog {
    storage
        .open_group(GROUP, GroupOptions::default())
        .unwrap()
        .0
}

/// The outcome of a flush, once its callback was called.
#[derive(Clone, Default)]
pub(crate) struct Flush(Arc<(Mutex<Option<Outcome>>, std::sync::Condvar)>);

type Outcome = Result<(), StorageError>;

impl Flush {
    pub(crate) fn callback(&self) -> FlushCallback {
        let shared = Arc::clone(&self.0);
        Box::new(move |outcome| {
            *shared.0.lock().unwrap() = Some(outcome);
            shared.1.notify_all();
        })
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.0.0.lock().unwrap().clone()
    }

    /// Steps the writers, and waits for the callback.
    pub(crate) fn wait(&self, storage: &Storage) -> Outcome {
        storage.step();
        let guard = self.0.0.lock().unwrap();
        let limit = Duration::from_secs(20);
        let (guard, _) = self
            .0
            .1
            .wait_timeout_while(guard, limit, |it| it.is_none())
            .unwrap();
        guard.clone().expect("no flush within 20 s")
    }
}

/// Appends entries and waits until they are on disk.
pub(crate) fn append(storage: &Storage, log: &GroupLog, entries: Vec<Entry>) {
    let flush = Flush::default();
    log.append(entries, flush.callback()).unwrap();
    flush.wait(storage).unwrap();
}

/// Saves a vote and waits until it is on disk.
pub(crate) fn flush_vote(storage: &Storage, log: &GroupLog, vote: Vote) {
    let flush = Flush::default();
    log.save_vote(vote, flush.callback());
    flush.wait(storage).unwrap();
}

/// Waits until all operations so far are executed.
pub(crate) fn settle(storage: &Storage, log: &GroupLog) {
    while storage.step() {}
    let flush = Flush::default();
    log.append(Vec::new(), flush.callback()).unwrap();
    flush.wait(storage).unwrap();
    while storage.step() {}
}

/// The base offset of the first batch below `below` with a record of `time_ms` or later.
pub(crate) fn offset_for_time(log: &GroupLog, time_ms: i64, below: Offset) -> Option<Offset> {
    let found = log.batch_for_time(time_ms, Offset::ZERO..below).unwrap();
    found.map(|batch| batch.base_offset)
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "not within 20 s: {what}"
        );
        std::thread::yield_now();
    }
}
