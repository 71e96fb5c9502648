//! Deleting the records before an offset, through the service.

use lograft_core::metadata::Command;
use lograft_core::{FeatureLevel, Reason};
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::FetchFormat;
use lograft_proto::log::v1::delete_records_request::Before;
use lograft_proto::log::v1::position::At;
use tonic::Status;

use crate::control::test_metadata;
use crate::fixture::{TOPIC, TestCluster, TestNode, eventually, produce, wire_error};
use crate::transport::status::reason_of;

fn request(before: Before) -> proto::DeleteRecordsRequest {
    proto::DeleteRecordsRequest {
        topic: TOPIC.into(),
        before: Some(before),
        ..Default::default()
    }
}

async fn delete(node: &TestNode, before: Before) -> Result<proto::DeleteRecordsReply, Status> {
    let reply = node.client.clone().delete_records(request(before)).await?;
    Ok(reply.into_inner())
}

async fn fetch(node: &TestNode, at: At) -> Result<proto::FetchReply, Status> {
    let request = proto::FetchRequest {
        topic: TOPIC.into(),
        position: Some(proto::Position { at: Some(at) }),
        format: FetchFormat::Records.into(),
        ..Default::default()
    };
    Ok(node.client.clone().fetch(request).await?.into_inner())
}

fn finalize(cluster: &TestCluster) {
    for node in &cluster.nodes {
        let mut metadata = (*node.meta.load()).clone();
        let level = FeatureLevel::CURRENT;
        test_metadata::apply(&mut metadata, &Command::FinalizeLevel { level });
        node.meta.store(metadata);
    }
}

/// Nodes of which `replicas` have three batches of five records.
async fn with_records(nodes: u8, replicas: u8) -> TestCluster {
    let cluster = TestCluster::new(nodes, replicas).await;
    finalize(&cluster);
    let leader = cluster.leader().await;
    for seed in 0..3 {
        let mut client = cluster.nodes[leader].client.clone();
        client.produce(produce(seed, 5)).await.unwrap();
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_deleted_up_to_an_offset_by_any_node() {
    let cluster = with_records(3, 2).await;
    // The log start may be inside of a batch.
    for (node, (before, log_start)) in cluster.nodes.iter().zip([(3, 3), (7, 7), (12, 12)]) {
        let reply = delete(node, Before::Offset(before)).await.unwrap();
        assert_eq!(
            (reply.log_start_offset, reply.high_watermark),
            (log_start, 15)
        );
        assert!(reply.leader_epoch > 0);
        // At once, for readers at any node.
        let error = wire_error(&fetch(node, At::Offset(log_start - 1)).await.unwrap_err());
        assert_eq!(error.reason, Reason::OffsetOutOfRange.as_str());
        assert_eq!(error.metadata["log_start_offset"], log_start.to_string());
        let reply = fetch(node, At::Earliest(true)).await.unwrap();
        assert_eq!(reply.records[0].offset, log_start);
        assert_eq!(reply.start_offset, Some(log_start));
    }
    for node in cluster
        .nodes
        .iter()
        .filter_map(|node| node.replica.as_ref())
    {
        eventually("every replica to have the log start", || {
            node.state.watermarks().log_start_offset.get() == 12
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_start_only_moves_forward() {
    let cluster = with_records(1, 1).await;
    let node = &cluster.nodes[0];
    delete(node, Before::Offset(8)).await.unwrap();
    let log = &node.replica.as_ref().unwrap().log;
    let last = log.last_id();
    for before in [0, 7, 8] {
        let reply = delete(node, Before::Offset(before)).await.unwrap();
        assert_eq!(reply.log_start_offset, 8, "before {before}");
    }
    assert_eq!(log.last_id(), last, "nothing to replicate");
    let reply = delete(node, Before::HighWatermark(true)).await.unwrap();
    assert_eq!((reply.log_start_offset, reply.high_watermark), (15, 15));
    let reply = fetch(node, At::Earliest(true)).await.unwrap();
    assert_eq!((reply.records.len(), reply.next_offset), (0, 15));
    let mut client = node.client.clone();
    let reply = client.produce(produce(3, 5)).await.unwrap().into_inner();
    assert_eq!(reply.base_offset, 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_above_the_high_watermark_is_refused_on_every_node() {
    let cluster = with_records(2, 1).await;
    for node in &cluster.nodes {
        for before in [16, u64::MAX] {
            let error = wire_error(&delete(node, Before::Offset(before)).await.unwrap_err());
            assert_eq!(error.reason, Reason::OffsetOutOfRange.as_str());
            assert_eq!(error.metadata["high_watermark"], "15");
            assert_eq!(error.metadata["log_start_offset"], "0");
            assert!(
                error.text.contains("at most 15, the high watermark"),
                "{error:?}"
            );
        }
        assert_eq!(fetch(node, At::Offset(0)).await.unwrap().records.len(), 15);
    }
}

#[tokio::test]
async fn a_request_is_checked() {
    let cluster = with_records(1, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    let unset = proto::DeleteRecordsRequest {
        before: None,
        ..request(Before::Offset(0))
    };
    let unknown = proto::DeleteRecordsRequest {
        topic: "other".into(),
        ..request(Before::Offset(0))
    };
    let partition = proto::DeleteRecordsRequest {
        partition: 1,
        ..request(Before::Offset(0))
    };
    for (request, reason) in [
        (unset, Reason::InvalidArgument),
        (unknown, Reason::UnknownTopic),
        (partition, Reason::UnknownPartition),
    ] {
        let refused = client.delete_records(request).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(reason));
    }
}

#[tokio::test]
async fn nothing_is_deleted_before_the_feature_level() {
    let cluster = TestCluster::new(1, 1).await;
    let node = &cluster.nodes[0];
    node.client.clone().produce(produce(0, 5)).await.unwrap();
    let refused = delete(node, Before::Offset(2)).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(Reason::FeatureNotFinalized));
    assert_eq!(fetch(node, At::Offset(0)).await.unwrap().records.len(), 5);
    finalize(&cluster);
    delete(node, Before::Offset(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_has_the_log_start() {
    let cluster = with_records(3, 3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    delete(&cluster.nodes[leader], Before::Offset(7))
        .await
        .unwrap();
    let to = cluster.nodes[follower].id;
    let raft = &cluster.nodes[leader].replica.as_ref().unwrap().raft;
    raft.transfer_leader(to).await.unwrap();
    let node = &cluster.nodes[follower];
    eventually("the follower to lead", || {
        let replica = node.replica.as_ref().unwrap();
        replica.raft.watch().borrow().ready
    })
    .await;
    let error = wire_error(&fetch(node, At::Offset(6)).await.unwrap_err());
    assert_eq!(error.metadata["log_start_offset"], "7");
    let reply = delete(node, Before::Offset(5)).await.unwrap();
    assert_eq!(reply.log_start_offset, 7);
}

/// Without a majority nothing is deleted, and the caller is not left waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_deleted() {
    let cluster = with_records(3, 3).await;
    let leader = cluster.leader().await;
    for (n, node) in cluster.nodes.iter().enumerate() {
        if n != leader {
            cluster.net.cut(node.id);
        }
    }
    let refused = delete(&cluster.nodes[leader], Before::Offset(7))
        .await
        .unwrap_err();
    assert!(
        matches!(
            reason_of(&refused),
            Some(Reason::NoLeader | Reason::NotLeader | Reason::Timeout)
        ),
        "{refused:?}"
    );
    let replica = cluster.nodes[leader].replica.as_ref().unwrap();
    assert_eq!(replica.state.watermarks().log_start_offset.get(), 0);
}
