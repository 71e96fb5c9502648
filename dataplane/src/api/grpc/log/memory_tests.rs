//! Memory of appends while a partition has lost its majority. The followers take no appends here
//! and still confirm the leader, so nothing is committed and the leader stays.

use lograft_core::limits::PRODUCE_NODE_IN_FLIGHT_MAX_BYTES;
use lograft_core::{BatchBuilder, Compression, NodeId};
use lograft_proto::log::v1 as proto;

use crate::fixture::{TOPIC, TestCluster, eventually, finished, plain, produce};

const BATCH_BYTES: usize = 900 * 1024;
const TIMEOUT_MS: u32 = 100;

async fn without_majority() -> (TestCluster, usize) {
    let cluster = TestCluster::new(3, 3).await;
    let leader = cluster.leader().await;
    for node in (0..3).filter(|node| *node != leader) {
        cluster.net.stall(NodeId(node as u64 + 1));
    }
    (cluster, leader)
}

fn large() -> proto::ProduceRequest {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![7; BATCH_BYTES];
    builder.push_parts(1000, None, Some(&value), []).unwrap();
    proto::ProduceRequest {
        batch: Some(finished(builder)),
        timeout_ms: TIMEOUT_MS,
        ..produce(0, 1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_an_append_is_held_until_its_outcome_is_known() {
    let (cluster, leader) = without_majority().await;
    let client = cluster.nodes[leader].client.clone();
    let mut refused = 0;
    for _ in 0..=PRODUCE_NODE_IN_FLIGHT_MAX_BYTES / BATCH_BYTES {
        let error = client.clone().produce(large()).await.unwrap_err();
        refused += usize::from(error.message().contains("have reached their limit"));
    }
    assert!(
        refused > 0,
        "the clients have given up, and their batches are still queued"
    );
    for node in 1..=3 {
        cluster.net.unstall(NodeId(node));
    }
    let raft = &cluster.nodes[leader].replica.as_ref().unwrap().raft;
    eventually("all batches have an outcome", || {
        let status = raft.status();
        status.committed == status.last
    })
    .await;
    let patient = proto::ProduceRequest {
        timeout_ms: 10_000,
        ..large()
    };
    client.clone().produce(patient).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_appends_that_were_given_up_leave_the_queue() {
    let (cluster, leader) = without_majority().await;
    let node = &cluster.nodes[leader];
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let mut client = node.client.clone();
            let request = proto::ProduceRequest {
                topic: TOPIC.into(),
                records: vec![plain(&n.to_string())],
                timeout_ms: TIMEOUT_MS,
                ..Default::default()
            };
            tokio::spawn(async move { client.produce(request).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap_err();
    }
    let coalescer = &node.replica.as_ref().unwrap().coalescer;
    eventually("the queue is empty", || coalescer.waiting_count() == 0).await;
}
