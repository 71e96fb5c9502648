//! The calls about offsets, metadata and producers.

use std::sync::atomic::Ordering;

use lograft_core::Reason;
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::position::At;

use crate::fixture::{TOPIC, TestCluster, TestNode, produce, wire_error};
use crate::transport::status::reason_of;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_tells_offsets() {
    let cluster = TestCluster::new(3, 2).await;
    cluster.nodes[0]
        .client
        .clone()
        .produce(produce(0, 5))
        .await
        .unwrap();
    for node in &cluster.nodes {
        let mut client = node.client.clone();
        for (timestamp_ms, expected) in [(None, None), (Some(1000), Some(0)), (Some(1001), None)] {
            let request = proto::ListOffsetsRequest {
                topic: TOPIC.into(),
                timestamp_ms,
                ..Default::default()
            };
            let reply = client.list_offsets(request).await.unwrap().into_inner();
            let [found] = reply.partitions.as_slice() else {
                panic!("{reply:?}")
            };
            assert_eq!(
                (found.log_start_offset, found.high_watermark),
                (0, 5),
                "{found:?}"
            );
            assert_eq!(found.offset_at_timestamp, expected);
            assert!(found.error.is_none() && found.leader_epoch > 0);
        }
        let request = proto::ListOffsetsRequest {
            topic: TOPIC.into(),
            partitions: vec![0, 3],
            ..Default::default()
        };
        let status = client.list_offsets(request).await.unwrap_err();
        assert_eq!(reason_of(&status), Some(Reason::UnknownPartition));
    }
}

async fn topic_id(cluster: &TestCluster) -> u64 {
    let mut client = cluster.nodes[0].client.clone();
    let request = proto::GetMetadataRequest::default();
    let reply = client.get_metadata(request).await.unwrap();
    reply.into_inner().topics[0].topic_id
}

/// The outcome of each call for the topic of this id, and that of a batch on a stream.
async fn outcomes(node: &TestNode, topic_id: Option<u64>) -> Vec<Option<Reason>> {
    let mut client = node.client.clone();
    let topic = TOPIC.to_owned();
    let position = proto::Position {
        at: Some(At::Earliest(true)),
    };
    let request = proto::ProduceRequest {
        topic_id,
        ..produce(0, 5)
    };
    let failed = |status: tonic::Status| reason_of(&status).unwrap();
    let produced = client.produce(request.clone()).await.map_err(failed).err();
    let stream = tokio_stream::iter([request]);
    let mut replies = client.produce_stream(stream).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap();
    // A stream does not wait for a leader that its node does not know yet.
    let streamed = reply
        .error
        .and_then(|error| Reason::from_wire(&error.reason));
    let streamed = streamed.filter(|reason| *reason != Reason::NotLeader);
    let fetch = proto::FetchRequest {
        topic: topic.clone(),
        topic_id,
        position: Some(position),
        ..Default::default()
    };
    let fetched = client.fetch(fetch).await.map_err(failed).err();
    let consume = proto::ConsumeRequest {
        topic: topic.clone(),
        topic_id,
        position: Some(position),
        ..Default::default()
    };
    let consumed = match client.consume(consume).await {
        Ok(replies) => replies.into_inner().message().await.map_err(failed).err(),
        Err(status) => Some(failed(status)),
    };
    let offsets = proto::ListOffsetsRequest {
        topic,
        topic_id,
        ..Default::default()
    };
    let listed = client.list_offsets(offsets).await.map_err(failed).err();
    vec![produced, streamed, fetched, consumed, listed]
}

/// On the leader, on a follower and on a node without a replica: forwarded requests keep the id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_a_former_topic_of_the_name_are_refused() {
    let cluster = TestCluster::new(3, 2).await;
    let current = topic_id(&cluster).await;
    for node in &cluster.nodes {
        for (topic_id, expected) in [
            (None, None),
            (Some(current), None),
            (Some(current - 1), Some(Reason::TopicRecreated)),
            // The node has not heard of that one yet.
            (Some(current + 1), Some(Reason::UnknownTopic)),
        ] {
            assert_eq!(
                outcomes(node, topic_id).await,
                [expected; 5],
                "{topic_id:?}"
            );
        }
    }
}

#[tokio::test]
async fn metadata_names_nodes_topics_and_leaders() {
    let cluster = TestCluster::new(2, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    let all = client
        .get_metadata(proto::GetMetadataRequest::default())
        .await
        .unwrap();
    let all = all.into_inner();
    assert_eq!(all.nodes.len(), 2);
    assert_eq!(all.nodes[1].client_address, "host-2:9400");
    assert_eq!(all.answered_by, 1);
    assert!(!all.cluster_id.is_empty() && all.metadata_version > 0);
    let [topic] = all.topics.as_slice() else {
        panic!("{all:?}")
    };
    let [partition] = topic.partitions.as_slice() else {
        panic!("{topic:?}")
    };
    assert_eq!(
        (partition.leader_node, partition.replicas.as_slice()),
        (Some(1), &[1][..])
    );
    assert!(partition.leader_epoch > 0 && partition.group_id == 1);

    let topics = vec!["other".into(), TOPIC.into()];
    let some = client
        .get_metadata(proto::GetMetadataRequest {
            topics,
            ..Default::default()
        })
        .await
        .unwrap();
    let topics = some.into_inner().topics;
    assert_eq!(
        topics.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        [TOPIC, "other"]
    );
    assert!(topics[0].error.is_none());
    assert_eq!(topics[1].error.as_ref().unwrap().reason, "UNKNOWN_TOPIC");
}

#[tokio::test]
async fn a_node_with_old_metadata_says_so_unless_the_client_takes_it() {
    let cluster = TestCluster::new(1, 1).await;
    let node = &cluster.nodes[0];
    node.meta_is_current.store(false, Ordering::Relaxed);
    let mut client = node.client.clone();
    let request = proto::GetMetadataRequest::default();
    let status = client.get_metadata(request.clone()).await.unwrap_err();
    let error = wire_error(&status);
    assert_eq!(error.reason, "NOT_READY");
    assert_eq!(error.retryable, Some(true));
    let old = proto::GetMetadataRequest {
        allow_stale: true,
        ..request.clone()
    };
    assert_eq!(
        client
            .get_metadata(old)
            .await
            .unwrap()
            .into_inner()
            .topics
            .len(),
        1
    );
    node.meta_is_current.store(true, Ordering::Relaxed);
    client.get_metadata(request).await.unwrap();
}

#[tokio::test]
async fn producers_get_ids_of_their_own() {
    let cluster = TestCluster::new(1, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    let first = client
        .init_producer(proto::InitProducerRequest {})
        .await
        .unwrap()
        .into_inner();
    let second = client
        .init_producer(proto::InitProducerRequest {})
        .await
        .unwrap()
        .into_inner();
    let numbers = [first.producer_id, second.producer_id].map(|id| id & ((1 << 36) - 1));
    assert_eq!(numbers, [1, 2]);
    // Who knows the first does not know the second.
    assert_ne!(first.producer_id >> 36, second.producer_id >> 36);
    assert_eq!(first.producer_epoch, 0);
}
