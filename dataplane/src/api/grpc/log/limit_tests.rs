//! A topic's own limit for batches: `batch.max.bytes`.

use bytes::Bytes;
use futures_util::future::join_all;
use lograft_core::limits::BATCH_MAX_BYTES;
use lograft_core::metadata::Command;
use lograft_core::{BatchBuilder, Compression, FeatureLevel, Reason, TopicKey, TopicSettings};
use lograft_proto::log::v1 as proto;
use tokio_stream::once;
use tonic::Status;

use crate::control::test_metadata;
use crate::fixture::{TOPIC, TestCluster, TestNode, wire_error};
use crate::transport::status::reason_of;

/// Changes the limit of batches on a node; none removes it.
fn alter(node: &TestNode, batch_max_bytes: Option<u32>) {
    let reset = match batch_max_bytes {
        Some(_) => Vec::new(),
        None => vec![TopicKey::BatchMaxBytes],
    };
    let settings = TopicSettings {
        batch_max_bytes,
        ..TopicSettings::default()
    };
    alter_settings(node, settings, reset);
}

/// Changes settings on a node, as a command of the meta group does.
fn alter_settings(node: &TestNode, settings: TopicSettings, reset: Vec<TopicKey>) {
    let mut metadata = (*node.meta.load()).clone();
    let level = settings.level().max(FeatureLevel(1));
    test_metadata::apply(&mut metadata, &Command::FinalizeLevel { level });
    let command = Command::AlterTopic {
        replication_factor: None,
        name: TOPIC.to_owned(),
        retention: None,
        settings,
        reset,
        growth: None,
        topic_id: None,
    };
    test_metadata::apply(&mut metadata, &command);
    node.meta.store(metadata);
}

/// A batch of one record that is `bytes` long when encoded.
fn batch(bytes: usize) -> proto::ProduceRequest {
    let encode = |value: &[u8]| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push_parts(1000, None, Some(value), []).unwrap();
        builder.finish().unwrap()
    };
    // The length of the value is encoded in as many bytes as that of the batch, for these sizes.
    let overhead = encode(&vec![0; bytes - 100]).bytes.len() - (bytes - 100);
    let encoded = encode(&vec![0; bytes - overhead]);
    assert_eq!(encoded.bytes.len(), bytes);
    proto::ProduceRequest {
        topic: TOPIC.into(),
        batch: Some(proto::EncodedBatch {
            crc32c: encoded.crc32c,
            record_count: 1,
            data: encoded.bytes,
        }),
        ..Default::default()
    }
}

fn record(bytes: usize) -> proto::ProduceRequest {
    proto::ProduceRequest {
        topic: TOPIC.into(),
        records: vec![proto::Record {
            value: Some(Bytes::from(vec![0; bytes])),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[track_caller]
fn assert_too_large(status: &Status, bound: usize) {
    assert_eq!(reason_of(status), Some(Reason::BatchTooLarge), "{status:?}");
    let error = wire_error(status);
    assert_eq!(error.metadata["field"], "batch.max.bytes");
    assert_eq!(error.metadata["bound"], bound.to_string());
    assert_eq!(error.retryable, Some(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_a_topic_holds_at_once_on_every_way() {
    let cluster = TestCluster::new(2, 1).await;
    let mut leader = cluster.nodes[0].client.clone();
    let mut other = cluster.nodes[1].client.clone();
    leader.produce(batch(5000)).await.unwrap();
    alter(&cluster.nodes[0], Some(4096));
    leader.produce(batch(4096)).await.unwrap();
    for client in [&mut leader, &mut other] {
        let refused = client.produce(batch(4097)).await.unwrap_err();
        assert_too_large(&refused, 4096);
        let refused = client.produce(record(4096)).await.unwrap_err();
        assert_too_large(&refused, 4096);
        let stream = client.produce_stream(once(batch(4097))).await.unwrap();
        let reply = stream.into_inner().message().await.unwrap().unwrap();
        let error = reply.error.unwrap();
        assert_eq!(error.reason, "BATCH_TOO_LARGE");
        assert_eq!(error.metadata["bound"], "4096");
    }
    alter(&cluster.nodes[0], None);
    leader.produce(batch(5000)).await.unwrap();
    let mut huge = batch(5000);
    huge.batch.as_mut().unwrap().data = vec![0; BATCH_MAX_BYTES + 1].into();
    let refused = leader.produce(huge).await.unwrap_err();
    assert_eq!(wire_error(&refused).metadata["field"], "batch bytes");
}

#[tokio::test]
async fn plain_records_up_to_the_limit_are_accepted() {
    let cluster = TestCluster::new(1, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    alter(&cluster.nodes[0], Some(1024));
    // 28 bytes of header, 1 of the timestamp, 1 of the absent key, 2 of the value's length, 1 of
    // the number of headers.
    client.produce(record(1024 - 33)).await.unwrap();
    let refused = client.produce(record(1024 - 32)).await.unwrap_err();
    assert_too_large(&refused, 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_coalesced_up_to_the_limit_of_the_topic() {
    let cluster = TestCluster::new(1, 1).await;
    alter(&cluster.nodes[0], Some(2048));
    let calls = (0..100).map(|_| {
        let mut client = cluster.nodes[0].client.clone();
        async move { client.produce(record(300)).await.unwrap() }
    });
    join_all(calls).await;
    let mut client = cluster.nodes[0].client.clone();
    let fetched = client
        .fetch(proto::FetchRequest {
            topic: TOPIC.into(),
            position: Some(proto::Position {
                at: Some(proto::position::At::Earliest(true)),
            }),
            max_bytes: 1024 * 1024,
            format: proto::FetchFormat::Batches.into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let records: u32 = fetched.batches.iter().map(|b| b.record_count).sum();
    assert_eq!(records, 100);
    assert!(fetched.batches.len() < 100, "some are coalesced");
    let largest = fetched.batches.iter().map(|b| b.data.len()).max().unwrap();
    assert!((600..=2048).contains(&largest), "{largest}");
}

#[tokio::test]
async fn clients_learn_the_limit_from_the_metadata() {
    let cluster = TestCluster::new(1, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    for limit in [None, Some(4096)] {
        if limit.is_some() {
            alter(&cluster.nodes[0], limit);
        }
        let request = proto::GetMetadataRequest::default();
        let reply = client.get_metadata(request).await.unwrap().into_inner();
        assert_eq!(reply.topics[0].batch_max_bytes, limit);
        assert_eq!(reply.topics[0].record_max_bytes, None);
    }
    // Without `batch.max.bytes`, batches are as large as the largest record needs.
    for (record, batch) in [(1024, None), (3 << 20, Some((3 << 20) + 4096))] {
        let settings = TopicSettings {
            record_max_bytes: Some(record),
            ..TopicSettings::default()
        };
        alter_settings(&cluster.nodes[0], settings, vec![TopicKey::BatchMaxBytes]);
        let request = proto::GetMetadataRequest::default();
        let reply = client.get_metadata(request).await.unwrap().into_inner();
        assert_eq!(reply.topics[0].batch_max_bytes, batch);
        assert_eq!(reply.topics[0].record_max_bytes, Some(record));
    }
}
