//! A consumer gets committed records only. Records behind the high watermark are on the leader's
//! disk and may be replaced by another leader: a consumer that has seen them has seen what never
//! happened. Each test breaks if one way of reading serves the log up to its end.
//!
//! The followers take no appends here and still confirm the leader, so positions and offsets are
//! linearizable, and what is appended stays behind the high watermark.

use std::time::Duration;

use lograft_core::{BatchBuilder, Compression, NodeId};
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::FetchFormat;
use lograft_proto::log::v1::position::At;

use crate::fixture::{PATIENCE, TOPIC, TestCluster, eventually, finished, produce};
use crate::serving::replica::Replica;

/// The number of records in each batch.
const BATCH: u64 = 5;
/// The high watermark: a large batch and a small one are committed.
const COMMITTED: u64 = 2 * BATCH;
/// Enough for one large batch, or for all small ones.
const CHUNK_BYTES: u32 = 4096;
const BOTH: [FetchFormat; 2] = [FetchFormat::Records, FetchFormat::Batches];

/// A cluster whose leader has three batches behind its high watermark.
struct Uncommitted {
    cluster: TestCluster,
    leader: usize,
}

/// A batch whose records have this time and values of this length.
fn batch(seed: u64, time_ms: i64, value_bytes: usize) -> proto::ProduceRequest {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![7; value_bytes];
    for _ in 0..BATCH {
        builder.push_parts(time_ms, None, Some(&value), []).unwrap();
    }
    proto::ProduceRequest {
        batch: Some(finished(builder)),
        ..produce(seed, 1)
    }
}

impl Uncommitted {
    async fn with_cache(cache_bytes: usize) -> Self {
        let cluster = TestCluster::with_cache(3, 3, cache_bytes).await;
        let leader = cluster.leader().await;
        let client = &cluster.nodes[leader].client;
        let large = batch(0, 1000, CHUNK_BYTES as usize / 5);
        client.clone().produce(large).await.unwrap();
        client.clone().produce(batch(1, 1000, 8)).await.unwrap();
        for node in (1..=3).map(NodeId).filter(|n| n.get() != leader as u64 + 1) {
            cluster.net.stall(node);
        }
        let this = Self { cluster, leader };
        for seed in 2..5 {
            let mut client = this.cluster.nodes[leader].client.clone();
            tokio::spawn(async move { client.produce(batch(seed, 1001, 8)).await });
        }
        let log = &this.replica().log;
        eventually("the leader has the batches", || {
            log.log_end_offset().get() == COMMITTED + 3 * BATCH
        })
        .await;
        assert_eq!(this.high_watermark(), COMMITTED);
        this
    }

    fn replica(&self) -> &Replica {
        self.cluster.nodes[self.leader].replica.as_ref().unwrap()
    }

    fn high_watermark(&self) -> u64 {
        self.replica().state.watermarks().high_watermark.get()
    }

    /// The leader, and a node that forwards to it.
    fn nodes(&self) -> [usize; 2] {
        [self.leader, (self.leader + 1) % 3]
    }

    /// The last offset that a consumer gets within a moment, exclusive, and how its stream ended.
    async fn consumed(&self, node: usize, request: proto::ConsumeRequest) -> (u64, bool) {
        let mut client = self.cluster.nodes[node].client.clone();
        let mut replies = client.consume(request).await.unwrap().into_inner();
        let mut end = 0;
        loop {
            let next = tokio::time::timeout(Duration::from_millis(300), replies.message());
            match next.await {
                Ok(Ok(Some(reply))) => {
                    check(&reply);
                    end = end_of(&reply).unwrap_or(end);
                }
                Ok(ended) => {
                    ended.unwrap();
                    return (end, true);
                }
                Err(_) => return (end, false),
            }
        }
    }
}

/// The offset behind the last record of a reply.
fn end_of(reply: &proto::FetchReply) -> Option<u64> {
    let batch = reply.batches.last();
    let batch = batch.map(|batch| batch.base_offset + u64::from(batch.record_count));
    batch.or_else(|| reply.records.last().map(|record| record.offset + 1))
}

/// Nothing in a reply is beyond the high watermark.
fn check(reply: &proto::FetchReply) {
    assert_eq!(reply.high_watermark, COMMITTED);
    assert!(reply.next_offset <= COMMITTED, "{reply:?}");
    assert!(
        end_of(reply).is_none_or(|end| end <= COMMITTED),
        "{reply:?}"
    );
}

fn position(at: At) -> proto::Position {
    proto::Position { at: Some(at) }
}

fn consume(at: At, format: FetchFormat, follow: bool) -> proto::ConsumeRequest {
    proto::ConsumeRequest {
        topic: TOPIC.into(),
        position: Some(position(at)),
        format: format.into(),
        max_bytes: CHUNK_BYTES,
        follow,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_ends_at_the_high_watermark() {
    for cache_bytes in [0, 1 << 20] {
        let uncommitted = Uncommitted::with_cache(cache_bytes).await;
        for (node, format) in uncommitted
            .nodes()
            .into_iter()
            .flat_map(|n| BOTH.map(|f| (n, f)))
        {
            // One that waits for more gets no more either.
            for (at, max_wait_ms, min_bytes) in [
                (At::Offset(0), 0, 0),
                (At::Earliest(true), 100, 1 << 20),
                (At::Offset(COMMITTED - 1), 0, 0),
                (At::Offset(COMMITTED), 100, 1),
                (At::Latest(true), 100, 1),
                (At::TimestampMs(1000), 0, 0),
            ] {
                let request = proto::FetchRequest {
                    topic: TOPIC.into(),
                    position: Some(position(at)),
                    format: format.into(),
                    max_wait_ms,
                    min_bytes,
                    ..Default::default()
                };
                let mut client = uncommitted.cluster.nodes[node].client.clone();
                let reply = client.fetch(request).await.unwrap().into_inner();
                check(&reply);
                assert_eq!(reply.next_offset, COMMITTED, "{at:?} {format:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_behind_the_high_watermark_is_out_of_range() {
    let uncommitted = Uncommitted::with_cache(1 << 20).await;
    let mut client = uncommitted.cluster.nodes[uncommitted.leader].client.clone();
    for format in BOTH {
        let at = At::Offset(COMMITTED + 1);
        let request = proto::FetchRequest {
            topic: TOPIC.into(),
            position: Some(position(at)),
            format: format.into(),
            ..Default::default()
        };
        client.fetch(request).await.unwrap_err();
        client.consume(consume(at, format, true)).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_ends_or_waits_at_the_high_watermark() {
    // Without a cache each chunk is read ahead from the disk: the second one begins with the
    // small batch that is committed, and has room for those that are not.
    for cache_bytes in [0, 1 << 20] {
        let uncommitted = Uncommitted::with_cache(cache_bytes).await;
        for (node, format) in uncommitted
            .nodes()
            .into_iter()
            .flat_map(|n| BOTH.map(|f| (n, f)))
        {
            for follow in [false, true] {
                let request = consume(At::Earliest(true), format, follow);
                let consumed = uncommitted.consumed(node, request).await;
                assert_eq!(consumed, (COMMITTED, !follow), "{format:?}, {cache_bytes}");
            }
            let latest = consume(At::Latest(true), format, true);
            assert_eq!(uncommitted.consumed(node, latest).await, (0, false));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_consumer_gets_records_once_they_are_committed() {
    for cache_bytes in [0, 1 << 20] {
        let uncommitted = Uncommitted::with_cache(cache_bytes).await;
        let mut client = uncommitted.cluster.nodes[uncommitted.leader].client.clone();
        let request = consume(At::Offset(COMMITTED), FetchFormat::Batches, true);
        let mut replies = client.consume(request).await.unwrap().into_inner();
        let early = tokio::time::timeout(Duration::from_millis(200), replies.message());
        assert!(early.await.is_err(), "not committed");
        for node in 1..=3 {
            uncommitted.cluster.net.unstall(NodeId(node));
        }
        let next = tokio::time::timeout(PATIENCE, replies.message());
        let reply = next.await.unwrap().unwrap().unwrap();
        assert_eq!(reply.batches[0].base_offset, COMMITTED);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_end_at_the_high_watermark() {
    let uncommitted = Uncommitted::with_cache(1 << 20).await;
    for node in uncommitted.nodes() {
        let request = proto::ListOffsetsRequest {
            topic: TOPIC.into(),
            timestamp_ms: Some(1001),
            ..Default::default()
        };
        let mut client = uncommitted.cluster.nodes[node].client.clone();
        let reply = client.list_offsets(request).await.unwrap().into_inner();
        assert_eq!(reply.partitions[0].high_watermark, COMMITTED);
        assert_eq!(reply.partitions[0].offset_at_timestamp, None);
    }
}
