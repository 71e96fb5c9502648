//! Positions by time, through the service, against a scan of all timestamps: in any order within
//! and across batches, compressed or not, from the cache and from the disk, with log starts inside
//! of batches.

use std::time::Duration;

use lograft_core::{
    BatchBuilder, BatchView, Compression, EntryKind, Offset, PartitionState, Proposal,
};
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::FetchFormat;
use lograft_proto::log::v1::position::At;

use crate::fixture::{TOPIC, TestCluster, TestNode, finished, produce};

/// Pseudorandom numbers from a seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn time(&mut self, base_ms: i64) -> i64 {
        base_ms + i64::try_from(self.below(40)).unwrap() - 20
    }
}

/// The timestamps in the log by offset, and its start.
#[derive(Default)]
struct Times {
    times: Vec<i64>,
    log_start: usize,
}

impl Times {
    fn first_at(&self, time_ms: i64) -> Option<u64> {
        let mut readable = self.times.iter().enumerate().skip(self.log_start);
        let found = readable.find(|(_, found_ms)| **found_ms >= time_ms);
        found.map(|(offset, _)| offset as u64)
    }
}

/// A batch of records with these timestamps, whose values have this length.
fn batch(times: &[i64], compression: Compression, value_bytes: usize) -> proto::ProduceRequest {
    let mut builder = BatchBuilder::new(compression);
    let value = vec![7; value_bytes];
    for time_ms in times {
        builder
            .push_parts(*time_ms, None, Some(&value), [])
            .unwrap();
    }
    proto::ProduceRequest {
        batch: Some(finished(builder)),
        ..produce(0, 1)
    }
}

async fn trim(node: &TestNode, to: usize) {
    let raft = &node.replica.as_ref().unwrap().raft;
    let payload = PartitionState::trim_payload(Offset(to as u64));
    let trim = Proposal::control(EntryKind::Trim, 1, payload);
    let committed = raft.propose(trim, raft.status().term).await.unwrap();
    committed.await.unwrap();
}

async fn listed(node: &TestNode, time_ms: i64) -> proto::PartitionOffsets {
    let request = proto::ListOffsetsRequest {
        topic: TOPIC.into(),
        timestamp_ms: Some(time_ms),
        ..Default::default()
    };
    let reply = node.client.clone().list_offsets(request).await.unwrap();
    reply.into_inner().partitions.remove(0)
}

async fn fetched(node: &TestNode, at: At, format: FetchFormat) -> proto::FetchReply {
    let request = proto::FetchRequest {
        topic: TOPIC.into(),
        position: Some(proto::Position { at: Some(at) }),
        format: format.into(),
        max_bytes: 1,
        ..Default::default()
    };
    let reply = node.client.clone().fetch(request).await.unwrap();
    reply.into_inner()
}

/// Checks a reply with batches: what its client reads starts at `from`.
fn assert_starts_at(reply: &proto::FetchReply, from: u64, times: &Times) {
    assert_eq!(reply.start_offset, Some(from));
    let Some(first) = reply.batches.first() else {
        assert_eq!((reply.next_offset, from), (from, times.times.len() as u64));
        return;
    };
    let end = first.base_offset + u64::from(first.record_count);
    assert!(first.base_offset <= from && from < end);
    let skipped = usize::try_from(from - first.base_offset).unwrap();
    let batch = BatchView::parse(first.data.clone()).unwrap();
    let record = batch.records().unwrap().nth(skipped).unwrap().unwrap();
    let expected = times.times[usize::try_from(from).unwrap()];
    assert_eq!(record.timestamp_ms, Some(expected));
}

async fn check(node: &TestNode, time_ms: i64, times: &Times) {
    let expected = times.first_at(time_ms);
    let found = listed(node, time_ms).await;
    assert_eq!(found.error, None);
    assert_eq!(found.offset_at_timestamp, expected, "time {time_ms}");
    let from = expected.unwrap_or(times.times.len() as u64);
    let at = At::TimestampMs(time_ms);
    let reply = fetched(node, at, FetchFormat::Records).await;
    assert_eq!(reply.start_offset, Some(from), "time {time_ms}");
    assert_eq!(reply.records.first().map(|record| record.offset), expected);
    let reply = fetched(node, at, FetchFormat::Batches).await;
    assert_starts_at(&reply, from, times);
}

async fn run(seed: u64, cache_bytes: usize) {
    let mut numbers = Numbers(seed);
    let cluster = TestCluster::with_cache(2, 1, cache_bytes).await;
    let (leader, other) = (&cluster.nodes[0], &cluster.nodes[1]);
    let mut times = Times::default();
    for round in 0..4 {
        for _ in 0..12 {
            let count = 1 + numbers.below(30);
            let base_ms = numbers.time(1000 + 10 * round);
            let added: Vec<i64> = (0..count).map(|_| numbers.time(base_ms)).collect();
            let compression = match numbers.below(3) {
                0 => Compression::None,
                1 => Compression::Lz4,
                _ => Compression::Zstd,
            };
            let value_bytes = match numbers.below(6) {
                // Decompressed on a thread for blocking work.
                0 if compression != Compression::None => 40_000,
                _ => 10,
            };
            let request = batch(&added, compression, value_bytes);
            leader.client.clone().produce(request).await.unwrap();
            times.times.extend(added);
        }
        for time_ms in (930..1100).step_by(7) {
            check(leader, time_ms, &times).await;
        }
        check(other, 1000 + 5 * round, &times).await;
        let left = (times.times.len() - times.log_start) as u64;
        times.log_start += usize::try_from(numbers.below(left + 1)).unwrap();
        trim(leader, times.log_start).await;
        for time_ms in (930..1100).step_by(7) {
            check(leader, time_ms, &times).await;
        }
        let reply = fetched(leader, At::Earliest(true), FetchFormat::Batches).await;
        assert_starts_at(&reply, times.log_start as u64, &times);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_is_found_as_by_a_scan_of_all_records() {
    for seed in 1..=2 {
        run(seed, 16 << 20).await;
        run(seed + 100, 0).await;
    }
}

/// All late records of the batch that holds the log start are before it.
#[tokio::test]
async fn deleted_records_of_a_batch_do_not_count() {
    let cluster = TestCluster::new(1, 1).await;
    let node = &cluster.nodes[0];
    for times in [&[50, 1, 1][..], &[1, 1], &[1, 60]] {
        let request = batch(times, Compression::Lz4, 10);
        node.client.clone().produce(request).await.unwrap();
    }
    assert_eq!(listed(node, 40).await.offset_at_timestamp, Some(0));
    trim(node, 1).await;
    let found = listed(node, 40).await;
    assert_eq!(
        (found.log_start_offset, found.offset_at_timestamp),
        (1, Some(6))
    );
    assert_eq!(listed(node, 1).await.offset_at_timestamp, Some(1));
    assert_eq!(listed(node, 61).await.offset_at_timestamp, None);
}

/// The memory for decompressed batches bounds searches too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_waits_for_the_memory_of_a_large_batch() {
    let cluster = TestCluster::new(1, 1).await;
    let node = &cluster.nodes[0];
    let request = batch(&[1, 9, 5], Compression::Zstd, 300_000);
    node.client.clone().produce(request).await.unwrap();
    let held = node.engine.decompression.hold_all().await;
    let mut search = Box::pin(listed(node, 5));
    let soon = Duration::from_millis(100);
    let waits = tokio::time::timeout(soon, &mut search).await;
    assert!(waits.is_err(), "{waits:?}");
    drop(held);
    assert_eq!(search.await.offset_at_timestamp, Some(1));
}
