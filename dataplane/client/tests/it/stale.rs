//! Nodes whose copy of the metadata is old, while a client uses a topic.

use std::time::Duration;

use bytes::Bytes;
use lograft_client::{ClientConfig, Producer, ProducerConfig, Record};

use crate::fake::{Cluster, TOPIC, until};

/// Refreshes its metadata all the time.
fn restless(cluster: &Cluster) -> ClientConfig {
    ClientConfig {
        metadata_max_age: Duration::from_millis(50),
        ..cluster.config()
    }
}

fn record() -> Record {
    Record {
        value: Some(Bytes::from_static(b"value")),
        ..Record::default()
    }
}

/// A producer that has written to the topic.
async fn used_producer(client: &lograft_client::Client) -> Producer {
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let sent = producer.send(TOPIC, record(), None).await.unwrap();
    sent.await.unwrap();
    producer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_in_use_survives_answers_of_nodes_that_lag_behind() {
    let cluster = Cluster::start(3, 3);
    cluster.state().metadata_version = 10;
    let client = lograft_client::Client::connect(restless(&cluster))
        .await
        .unwrap();
    let producer = used_producer(&client).await;
    // All nodes but one lag behind, and all are asked many times.
    let mut lagging_answers = 0;
    for current in 0..3 {
        {
            let mut state = cluster.state();
            state.lagging = (0..3).filter(|n| *n != current).map(|n| (n, 9)).collect();
            state.metadata_by.clear();
            state.move_leader(TOPIC, 0);
        }
        until("nodes were asked", || {
            (cluster.state().metadata_by.len() >= 6).then_some(())
        });
        let asked = cluster.state().metadata_by.clone();
        lagging_answers += asked.iter().filter(|node| **node != current).count();
        for _ in 0..20 {
            let sent = producer.send(TOPIC, record(), None).await.unwrap();
            sent.await.unwrap();
        }
    }
    assert!(lagging_answers > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_in_use_survives_even_if_no_current_node_is_left_to_ask() {
    let cluster = Cluster::start(2, 2);
    cluster.state().metadata_version = 10;
    let client = lograft_client::Client::connect(restless(&cluster))
        .await
        .unwrap();
    let producer = used_producer(&client).await;
    cluster.state().lagging = [(0, 9), (1, 8)].into();
    cluster.state().metadata_by.clear();
    until("lagging nodes were asked", || {
        (cluster.state().metadata_by.len() >= 6).then_some(())
    });
    // The leader of a partition moves: its batches need the cached topic.
    cluster.state().move_leader(TOPIC, 0);
    cluster.state().move_leader(TOPIC, 1);
    for _ in 0..20 {
        let sent = producer.send(TOPIC, record(), None).await.unwrap();
        sent.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_ready_is_passed_over_and_asked_again_if_there_is_no_other() {
    let cluster = Cluster::start(3, 3);
    cluster.state().not_ready = [0, 1].into();
    let client = cluster.client().await;
    let metadata = client.metadata().await.unwrap();
    assert_eq!(metadata.topics.len(), 1);
    assert!(cluster.state().metadata_by.iter().all(|node| *node == 2));
    // The meta group has lost its majority: all that is left is old, and good enough.
    cluster.state().not_ready = [0, 1, 2].into();
    let client = cluster.client().await;
    assert_eq!(client.metadata().await.unwrap().topics.len(), 1);
    used_producer(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metadata_that_a_caller_gets_is_not_older_than_before() {
    let cluster = Cluster::start(3, 3);
    cluster.state().metadata_version = 10;
    let client = cluster.client().await;
    assert_eq!(client.metadata().await.unwrap().topics.len(), 1);
    for current in 0..3 {
        // Nodes that lag behind know no topic.
        cluster.state().lagging = (0..3).filter(|n| *n != current).map(|n| (n, 9)).collect();
        let metadata = client.metadata().await.unwrap();
        assert_eq!(metadata.topics.len(), 1, "only node {current} is current");
    }
}
