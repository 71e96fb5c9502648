//! Small requests that would become large: in the log, in memory, or in replies.

use bytes::Bytes;
use lograft_core::limits::{
    BATCH_DECODED_MAX_BYTES, FETCH_REPLY_DEFAULT_BYTES, LOG_REQUEST_MAX_BYTES, TOPICS_MAX_COUNT,
};
use lograft_core::{BatchBuilder, BatchView, Compression, EntryKind, Proposal, Reason};
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::FetchFormat;
use lograft_proto::log::v1::position::At;
use prost::Message as _;
use tokio_stream::once;

use crate::fixture::{TOPIC, TestCluster, TestNode, finished, produce, wire_error};
use crate::transport::status::reason_of;

const COSTLY_RECORD_COUNT: u32 = 20_000;
const HEADER_COUNT: usize = 128;

/// Empty records with empty headers: about 500 bytes, and 146 MB when they are decoded.
fn costly() -> proto::EncodedBatch {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    let headers = [("", &b""[..]); HEADER_COUNT];
    for _ in 0..2000 {
        builder.push_parts(1000, None, None, headers).unwrap();
    }
    // The builder takes no more than a batch may cost: the block is repeated.
    let small = builder.finish().unwrap();
    let record = [&[0, 0, 0, 0x80, 1][..], &[0; 2 * HEADER_COUNT]].concat();
    let small_view = BatchView::parse(small.bytes.clone()).unwrap();
    assert_eq!(small_view.uncompressed_len(), 2000 * record.len());
    let block = record.repeat(COSTLY_RECORD_COUNT as usize);
    let mut data = small.bytes[..28].to_vec();
    data[4..8].copy_from_slice(&COSTLY_RECORD_COUNT.to_le_bytes());
    data[24..28].copy_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
    data.extend(zstd::bulk::compress(&block, 1).unwrap());
    proto::EncodedBatch {
        crc32c: crc32c::crc32c(&data),
        record_count: COSTLY_RECORD_COUNT,
        data: data.into(),
    }
}

/// Appends a batch as the leader of an earlier version did, which did not check what it costs.
async fn append_unchecked(node: &TestNode, batch: proto::EncodedBatch) {
    let raft = &node.replica.as_ref().unwrap().raft;
    let mut proposal = Proposal::control(EntryKind::Records, 77, batch.data);
    proposal.record_count = batch.record_count;
    proposal.payload_crc32c = batch.crc32c;
    let proposed = raft.propose(proposal, raft.status().term).await.unwrap();
    proposed.await.unwrap();
}

fn fetch(from: u64, format: FetchFormat) -> proto::FetchRequest {
    proto::FetchRequest {
        topic: TOPIC.into(),
        position: Some(proto::Position {
            at: Some(At::Offset(from)),
        }),
        format: format.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_batch_that_decodes_to_much_is_read_in_pieces() {
    let cluster = TestCluster::new(1, 1).await;
    let node = &cluster.nodes[0];
    append_unchecked(node, costly()).await;
    let mut client = node.client.clone();
    let consume = proto::ConsumeRequest {
        topic: TOPIC.into(),
        position: Some(proto::Position {
            at: Some(At::Earliest(true)),
        }),
        ..Default::default()
    };
    let mut replies = client.consume(consume).await.unwrap().into_inner();
    let mut next = 0;
    while let Some(reply) = replies.message().await.unwrap() {
        let header_bytes = reply.records.len() * HEADER_COUNT * size_of::<proto::Header>();
        assert!(header_bytes <= FETCH_REPLY_DEFAULT_BYTES, "{header_bytes}");
        assert!(reply.encoded_len() <= FETCH_REPLY_DEFAULT_BYTES);
        assert_eq!(reply.records[0].offset, next);
        next = reply.next_offset;
    }
    assert_eq!(next, u64::from(COSTLY_RECORD_COUNT));
    let middle = fetch(10_000, FetchFormat::Records);
    let reply = client.fetch(middle).await.unwrap().into_inner();
    assert_eq!(reply.records[0].offset, 10_000);
    // As a batch it is as small as it was sent.
    let whole = client.fetch(fetch(5, FetchFormat::Batches)).await.unwrap();
    assert_eq!(whole.into_inner().batches[0].data, costly().data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_decodes_to_much_is_refused_on_every_way() {
    let cluster = TestCluster::new(2, 1).await;
    let request = proto::ProduceRequest {
        batch: Some(costly()),
        ..produce(0, 1)
    };
    for node in &cluster.nodes {
        let mut client = node.client.clone();
        let refused = client.produce(request.clone()).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(Reason::BatchTooLarge));
        let stream = client.produce_stream(once(request.clone())).await.unwrap();
        let reply = stream.into_inner().message().await.unwrap().unwrap();
        for error in [wire_error(&refused), reply.error.unwrap()] {
            assert_eq!(error.metadata["field"], "batch decoded bytes");
            let bound = BATCH_DECODED_MAX_BYTES.to_string();
            assert_eq!(error.metadata["bound"], bound);
            assert_eq!(error.retryable, Some(false));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_records_that_decode_to_much_are_refused_before_they_are_decoded() {
    let cluster = TestCluster::new(1, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    let request = |record: proto::Record, count: usize| proto::ProduceRequest {
        topic: TOPIC.into(),
        records: vec![record; count],
        ..Default::default()
    };
    let empty = proto::Record::default();
    let with_headers = proto::Record {
        headers: vec![proto::Header::default(); HEADER_COUNT],
        ..Default::default()
    };
    for request in [request(empty, 1_000_000), request(with_headers, 10_000)] {
        assert!(request.encoded_len() < LOG_REQUEST_MAX_BYTES);
        let refused = client.produce(request.clone()).await.unwrap_err();
        let error = wire_error(&refused);
        assert_eq!(error.reason, "INVALID_ARGUMENT");
        assert_eq!(error.metadata["field"], "request decoded bytes");
        assert_eq!(error.metadata["bound"], "16777216");
        assert_eq!(error.retryable, Some(false));
        let stream = client.produce_stream(once(request)).await.unwrap();
        let status = stream.into_inner().message().await.unwrap_err();
        assert_eq!(reason_of(&status), Some(Reason::InvalidArgument));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_plain_records_as_fit_into_a_batch_are_accepted() {
    let cluster = TestCluster::new(1, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    let record = proto::Record {
        value: Some(Bytes::from_static(b"v")),
        ..Default::default()
    };
    let request = proto::ProduceRequest {
        topic: TOPIC.into(),
        records: vec![record; 80_000],
        ..Default::default()
    };
    let reply = client.produce(request).await.unwrap().into_inner();
    assert_eq!(reply.record_count, 80_000);
}

#[tokio::test]
async fn a_request_for_more_topics_than_there_may_be_is_refused() {
    let cluster = TestCluster::new(1, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    let request = proto::GetMetadataRequest {
        topics: (0..=TOPICS_MAX_COUNT).map(|n| n.to_string()).collect(),
        ..Default::default()
    };
    let refused = client.get_metadata(request).await.unwrap_err();
    assert_eq!(wire_error(&refused).metadata["field"], "topics");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_compressed_batches_wait_for_memory_and_others_do_not() {
    let cluster = TestCluster::new(1, 1).await;
    let node = &cluster.nodes[0];
    let mut client = node.client.clone();
    let mut builder = BatchBuilder::new(Compression::Zstd);
    for _ in 0..20 {
        builder
            .push_parts(1000, None, Some(&vec![7; 100_000]), [])
            .unwrap();
    }
    let large = proto::ProduceRequest {
        batch: Some(finished(builder)),
        timeout_ms: 300,
        ..produce(0, 1)
    };
    client.produce(large.clone()).await.unwrap();
    let others = node.engine.decompression.hold_all().await;
    let refused = client.produce(large.clone()).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(Reason::Timeout));
    let mut reader = node.client.clone();
    let read = tokio::spawn(async move { reader.fetch(fetch(0, FetchFormat::Records)).await });
    client.produce(produce(1, 1)).await.unwrap();
    assert!(!read.is_finished());
    drop(others);
    let read = read.await.unwrap().unwrap().into_inner();
    assert_eq!(read.records[0].offset, 0);
    let patient = proto::ProduceRequest {
        timeout_ms: 10_000,
        ..large
    };
    client.produce(patient).await.unwrap();
}
