//! Fetching and consuming through the service.

use std::time::{Duration, Instant};

use lograft_core::limits::{
    BATCH_DEFAULT_BYTES, BATCH_MAX_BYTES, FETCH_READ_MAX_BYTES, FETCH_REPLY_HEAD_MAX_BYTES,
    FETCH_REPLY_MAX_BYTES, FETCHED_BATCH_HEAD_MAX_BYTES,
};
use lograft_core::{
    BatchBuilder, Compression, EntryKind, Offset, PartitionState, Proposal, Reason,
};
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::FetchFormat;
use lograft_proto::log::v1::position::At;
use prost::Message;
use tonic::Streaming;

use crate::fixture::{
    PATIENCE, TOPIC, TestCluster, encoded, eventually, finished, produce, wire_error,
};
use crate::transport::status::reason_of;

fn fetch(at: At, format: FetchFormat) -> proto::FetchRequest {
    proto::FetchRequest {
        topic: TOPIC.into(),
        position: Some(proto::Position { at: Some(at) }),
        format: format.into(),
        ..Default::default()
    }
}

fn consume(at: At, format: FetchFormat) -> proto::ConsumeRequest {
    proto::ConsumeRequest {
        topic: TOPIC.into(),
        position: Some(proto::Position { at: Some(at) }),
        format: format.into(),
        ..Default::default()
    }
}

/// A request to write a batch of exactly so many bytes, of three records.
fn produce_bytes(bytes: usize) -> proto::ProduceRequest {
    let each = bytes / 3 - 100;
    let batch_of = |last_bytes: usize| {
        let mut builder = BatchBuilder::new(Compression::None);
        for value_bytes in [each, each, last_bytes] {
            let value = vec![7; value_bytes];
            builder.push_parts(1000, None, Some(&value), []).unwrap();
        }
        finished(builder)
    };
    let head_bytes = batch_of(each).data.len() - each * 3;
    let batch = batch_of(bytes - each * 2 - head_bytes);
    assert_eq!(batch.data.len(), bytes);
    proto::ProduceRequest {
        topic: TOPIC.into(),
        batch: Some(batch),
        ..Default::default()
    }
}

/// The size of a reply on the wire: what a client compares with its limit, and its head.
fn wire_bytes(reply: &proto::FetchReply) -> usize {
    reply.encoded_len() + 5
}

#[tokio::test]
async fn a_fetch_that_waits_for_more_stays_within_what_every_client_accepts() {
    let cluster = TestCluster::new(1, 1).await;
    let client = cluster.nodes[0].client.clone();
    // The first batch is not enough yet, the second one is as large as any.
    client
        .clone()
        .produce(produce_bytes(FETCH_READ_MAX_BYTES - 1))
        .await
        .unwrap();
    let request = proto::FetchRequest {
        min_bytes: u32::MAX,
        max_bytes: u32::MAX,
        max_wait_ms: 20_000,
        ..fetch(At::Offset(0), FetchFormat::Batches)
    };
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.fetch(request).await.unwrap().into_inner() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    let largest = produce_bytes(BATCH_DEFAULT_BYTES);
    client.clone().produce(largest).await.unwrap();
    let reply = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    let reply = reply.unwrap();
    assert!(
        wire_bytes(&reply) <= FETCH_REPLY_MAX_BYTES,
        "{}",
        wire_bytes(&reply)
    );
    // Nothing is left out: the next fetch continues there.
    assert_eq!((reply.next_offset, reply.high_watermark), (3, 6));
    let rest = fetch(At::Offset(reply.next_offset), FetchFormat::Batches);
    let rest = client.clone().fetch(rest).await.unwrap().into_inner();
    assert_eq!(rest.batches[0].base_offset, 3);
}

#[tokio::test]
async fn short_batches_that_are_joined_count_with_their_framing() {
    let cluster = TestCluster::new(1, 1).await;
    let client = cluster.nodes[0].client.clone();
    let mut requests = Vec::new();
    for n in 0..60 {
        requests.push(produce(n, 1));
    }
    let bytes_of = |request: &proto::ProduceRequest| request.batch.as_ref().unwrap().data.len();
    let batches_bytes: usize = requests.iter().map(bytes_of).sum();
    let mut producer = client.clone();
    let replies = producer.produce_stream(tokio_stream::iter(requests));
    let mut replies = replies.await.unwrap().into_inner();
    while let Some(reply) = replies.message().await.unwrap() {
        assert_eq!(reply.error, None);
    }
    let request = fetch(At::Offset(0), FetchFormat::Batches);
    let reply = client.clone().fetch(request).await.unwrap().into_inner();
    assert_eq!(reply.batches.len(), 60);
    let head_bytes = wire_bytes(&reply) - batches_bytes;
    let bound = FETCH_REPLY_HEAD_MAX_BYTES + 60 * FETCHED_BATCH_HEAD_MAX_BYTES;
    assert!(head_bytes <= bound, "{head_bytes}");
}

#[test]
fn the_framing_of_a_reply_is_within_its_bounds() {
    let reply = |batches, records| proto::FetchReply {
        batches,
        records,
        high_watermark: u64::MAX,
        log_start_offset: u64::MAX,
        next_offset: u64::MAX,
        leader_epoch: u64::MAX,
        start_offset: Some(u64::MAX),
        consistency: proto::ReadConsistency::Linearizable.into(),
        read_by: u64::MAX,
        commit_index: u64::MAX,
    };
    let empty = reply(Vec::new(), Vec::new());
    assert!(wire_bytes(&empty) <= FETCH_REPLY_HEAD_MAX_BYTES);
    let batch = proto::FetchedBatch {
        base_offset: u64::MAX,
        record_count: u32::MAX,
        append_time_ms: i64::MIN,
        data: vec![0; BATCH_MAX_BYTES].into(),
        crc32c: u32::MAX,
        leader_epoch: u64::MAX,
    };
    let one = reply(vec![batch], Vec::new());
    let head_bytes = wire_bytes(&one) - wire_bytes(&empty) - BATCH_MAX_BYTES;
    assert!(head_bytes <= FETCHED_BATCH_HEAD_MAX_BYTES, "{head_bytes}");
    // A record takes no more than it counts, decoded.
    let header = proto::Header {
        key: "k".repeat(1000),
        value: vec![0; 1000].into(),
    };
    let record = proto::Record {
        key: Some(vec![0; 100_000].into()),
        value: Some(vec![0; 700_000].into()),
        headers: vec![header; 128],
        timestamp_ms: Some(i64::MIN),
    };
    let counted = lograft_core::record::decoded_bytes(800_000 + 128 * 2000, 128);
    let fetched = proto::FetchedRecord {
        offset: u64::MAX,
        record: Some(record),
        append_time_ms: i64::MIN,
    };
    let one = reply(Vec::new(), vec![fetched]);
    assert!(wire_bytes(&one) - wire_bytes(&empty) <= counted);
}

/// One node with batches 0.. of five records each.
async fn with_batches(count: u64) -> TestCluster {
    let cluster = TestCluster::new(1, 1).await;
    for n in 0..count {
        cluster.nodes[0]
            .client
            .clone()
            .produce(produce(n, 5))
            .await
            .unwrap();
    }
    cluster
}

async fn next(replies: &mut Streaming<proto::FetchReply>) -> Option<proto::FetchReply> {
    let next = tokio::time::timeout(PATIENCE, replies.message());
    next.await.expect("a reply in time").unwrap()
}

#[tokio::test]
async fn batches_come_as_they_were_sent() {
    let cluster = with_batches(3).await;
    let mut client = cluster.nodes[0].client.clone();
    let reply = client
        .fetch(fetch(At::Offset(7), FetchFormat::Batches))
        .await
        .unwrap();
    let reply = reply.into_inner();
    let offsets: Vec<u64> = reply.batches.iter().map(|b| b.base_offset).collect();
    assert_eq!(offsets, [5, 10]);
    let sent = encoded(1, 5);
    let found = &reply.batches[0];
    assert_eq!(
        (&found.data, found.crc32c, found.record_count),
        (&sent.data, sent.crc32c, 5)
    );
    assert!(found.append_time_ms > 0 && found.leader_epoch > 0);
    assert_eq!(
        (
            reply.high_watermark,
            reply.log_start_offset,
            reply.next_offset
        ),
        (15, 0, 15)
    );
}

#[tokio::test]
async fn records_begin_exactly_where_asked() {
    let cluster = with_batches(3).await;
    let mut client = cluster.nodes[0].client.clone();
    let reply = client
        .fetch(fetch(At::Offset(7), FetchFormat::Records))
        .await
        .unwrap();
    let records = reply.into_inner().records;
    let offsets: Vec<u64> = records.iter().map(|r| r.offset).collect();
    assert_eq!(offsets, (7..15).collect::<Vec<_>>());
    let record = records[0].record.clone().unwrap();
    assert_eq!(record.value.unwrap(), "1-2");
    assert_eq!(record.timestamp_ms, Some(1000));
}

#[tokio::test]
async fn positions_find_their_place() {
    let cluster = with_batches(2).await;
    let mut client = cluster.nodes[0].client.clone();
    for (at, expected) in [
        (At::Earliest(true), 0),
        (At::Latest(true), 10),
        (At::Offset(10), 10),
        (At::TimestampMs(1000), 0),
        (At::TimestampMs(1001), 10),
    ] {
        let reply = client
            .fetch(fetch(at, FetchFormat::Records))
            .await
            .unwrap()
            .into_inner();
        let first = reply
            .records
            .first()
            .map_or(reply.next_offset, |r| r.offset);
        assert_eq!(first, expected, "{at:?}");
    }
    let unset = proto::FetchRequest {
        topic: TOPIC.into(),
        ..Default::default()
    };
    let status = client.fetch(unset).await.unwrap_err();
    assert_eq!(reason_of(&status), Some(Reason::InvalidArgument));
}

#[tokio::test]
async fn an_offset_out_of_range_tells_the_range() {
    let cluster = with_batches(3).await;
    let node = &cluster.nodes[0];
    let raft = &node.replica.as_ref().unwrap().raft;
    let trim = Proposal::control(EntryKind::Trim, 1, PartitionState::trim_payload(Offset(5)));
    raft.propose(trim, raft.status().term)
        .await
        .unwrap()
        .await
        .unwrap();
    for offset in [4, 16] {
        let request = fetch(At::Offset(offset), FetchFormat::Records);
        let fetched = node.client.clone().fetch(request).await.unwrap_err();
        let request = consume(At::Offset(offset), FetchFormat::Records);
        let consumed = node.client.clone().consume(request).await.unwrap_err();
        for status in [fetched, consumed] {
            let error = wire_error(&status);
            assert_eq!(error.reason, Reason::OffsetOutOfRange.as_str());
            assert_eq!(error.metadata["log_start_offset"], "5");
            assert_eq!(error.metadata["high_watermark"], "15");
        }
    }
    let request = fetch(At::Earliest(true), FetchFormat::Records);
    let reply = node
        .client
        .clone()
        .fetch(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.records[0].offset, 5);
}

#[tokio::test]
async fn a_fetch_at_the_end_sleeps_until_there_is_enough() {
    let cluster = with_batches(1).await;
    let client = cluster.nodes[0].client.clone();
    let request = fetch(At::Offset(5), FetchFormat::Batches);
    let now = proto::FetchRequest {
        max_wait_ms: 0,
        ..request.clone()
    };
    assert!(
        client
            .clone()
            .fetch(now)
            .await
            .unwrap()
            .into_inner()
            .batches
            .is_empty()
    );
    let started = Instant::now();
    let short = proto::FetchRequest {
        max_wait_ms: 60,
        ..request.clone()
    };
    let reply = client.clone().fetch(short).await.unwrap().into_inner();
    assert!(reply.batches.is_empty() && started.elapsed() >= Duration::from_millis(60));

    let batch_bytes = u32::try_from(encoded(1, 5).data.len()).unwrap();
    let patient = proto::FetchRequest {
        max_wait_ms: 20_000,
        min_bytes: batch_bytes * 2,
        ..request
    };
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.fetch(patient).await.unwrap().into_inner() });
    client.clone().produce(produce(1, 5)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!waiting.is_finished());
    client.clone().produce(produce(2, 5)).await.unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(reply.batches.len(), 2);
    assert_eq!((reply.next_offset, reply.high_watermark), (15, 15));
}

#[tokio::test]
async fn a_consumer_ends_at_the_end_seen_first_or_follows() {
    let cluster = with_batches(3).await;
    let client = cluster.nodes[0].client.clone();
    let request = consume(At::Offset(3), FetchFormat::Records);
    let mut replies = client
        .clone()
        .consume(request.clone())
        .await
        .unwrap()
        .into_inner();
    client.clone().produce(produce(3, 5)).await.unwrap();
    let mut offsets = Vec::new();
    while let Some(reply) = next(&mut replies).await {
        offsets.extend(reply.records.iter().map(|r| r.offset));
    }
    assert_eq!(offsets, (3..15).collect::<Vec<_>>());

    let limited = proto::ConsumeRequest {
        max_records: 4,
        ..request.clone()
    };
    let mut replies = client.clone().consume(limited).await.unwrap().into_inner();
    assert_eq!(next(&mut replies).await.unwrap().records.len(), 4);
    assert!(next(&mut replies).await.is_none());

    let following = proto::ConsumeRequest {
        follow: true,
        format: FetchFormat::Batches.into(),
        position: Some(proto::Position {
            at: Some(At::Latest(true)),
        }),
        ..request
    };
    let mut replies = client
        .clone()
        .consume(following)
        .await
        .unwrap()
        .into_inner();
    for n in 4..8 {
        client.clone().produce(produce(n, 5)).await.unwrap();
        let reply = next(&mut replies).await.unwrap();
        assert_eq!(reply.batches[0].base_offset, n * 5);
    }
}

#[tokio::test]
async fn an_empty_log_is_read_at_once() {
    let cluster = TestCluster::new(1, 1).await;
    let request = consume(At::Earliest(true), FetchFormat::Records);
    let mut replies = cluster.nodes[0]
        .client
        .clone()
        .consume(request)
        .await
        .unwrap()
        .into_inner();
    assert!(next(&mut replies).await.is_none());
}

#[tokio::test]
async fn a_consumer_that_does_not_read_is_not_read_for() {
    let cluster = TestCluster::new(1, 1).await;
    let node = &cluster.nodes[0];
    let value = "x".repeat(100_000);
    for _ in 0..200 {
        let records = vec![crate::fixture::plain(&value)];
        let request = proto::ProduceRequest {
            topic: TOPIC.into(),
            records,
            ..Default::default()
        };
        node.client.clone().produce(request).await.unwrap();
    }
    for format in [FetchFormat::Batches, FetchFormat::Records] {
        let before = node.metrics.fetch_bytes.get();
        let request = consume(At::Earliest(true), format);
        let mut replies = node
            .client
            .clone()
            .consume(request)
            .await
            .unwrap()
            .into_inner();
        let read = || node.metrics.fetch_bytes.get() - before;
        eventually("something is read", || read() > 0).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(read() < 3 << 20, "{} bytes", read());
        let mut count = 0;
        while let Some(reply) = next(&mut replies).await {
            count += reply.batches.len() + reply.records.len();
        }
        assert_eq!(count, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_gives_what_the_leader_has() {
    let cluster = TestCluster::new(4, 3).await;
    cluster.nodes[0]
        .client
        .clone()
        .produce(produce(0, 5))
        .await
        .unwrap();
    for node in &cluster.nodes {
        let mut client = node.client.clone();
        let request = fetch(At::Offset(0), FetchFormat::Records);
        assert_eq!(
            client
                .fetch(request)
                .await
                .unwrap()
                .into_inner()
                .records
                .len(),
            5
        );
        let request = consume(At::Earliest(true), FetchFormat::Batches);
        let mut replies = client.consume(request).await.unwrap().into_inner();
        assert_eq!(next(&mut replies).await.unwrap().batches.len(), 1);
        assert!(next(&mut replies).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_at_the_tail_is_told_when_leadership_moves() {
    let cluster = TestCluster::new(2, 2).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let node = &cluster.nodes[leader];
    let request = proto::ConsumeRequest {
        follow: true,
        ..consume(At::Latest(true), FetchFormat::Records)
    };
    let mut replies = node
        .client
        .clone()
        .consume(request)
        .await
        .unwrap()
        .into_inner();
    let to = cluster.nodes[follower].id;
    node.replica
        .as_ref()
        .unwrap()
        .raft
        .transfer_leader(to)
        .await
        .unwrap();
    let ended = tokio::time::timeout(PATIENCE, replies.message())
        .await
        .unwrap();
    assert_eq!(reason_of(&ended.unwrap_err()), Some(Reason::NotLeader));
}
