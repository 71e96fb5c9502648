//! The end of connections: at their maximum age, and before their certificate expires.

use std::time::{Duration, SystemTime};

use lograft_core::Reason;
use lograft_node::config::ConnectionSettings;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::cluster::{Cluster, eventually, follow_request, record_for};
use crate::control::reason;

const AGE: Duration = Duration::from_secs(2);

/// One node with connections that live for up to [`AGE`], and a topic.
async fn short_lived() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.connections = ConnectionSettings {
        max_age_ms: 2000,
        ..ConnectionSettings::default()
    };
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    cluster.ready(0).await;
    cluster.create_topic(0, "t", 1, 1).await;
    cluster
}

fn produce_request(request_id: u64) -> log::ProduceRequest {
    log::ProduceRequest {
        request_id,
        ..record_for("t", &request_id.to_string())
    }
}

/// Sends as fast as replies arrive, until the stream ends. Returns the numbers of the requests that
/// were answered, in the order of their replies, and the end.
async fn produce_until_end(mut client: LogServiceClient<Channel>) -> (Vec<u64>, Status) {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let sending = tokio::spawn(async move {
        for request_id in 1.. {
            if sender.send(produce_request(request_id)).await.is_err() {
                return;
            }
        }
    });
    let mut replies = client.produce_stream(requests).await.unwrap().into_inner();
    let mut answered = Vec::new();
    let end = loop {
        match replies.message().await {
            Ok(reply) => {
                let reply = reply.expect("an end with a reason");
                assert_eq!(reply.error, None);
                answered.push(reply.request_id);
            }
            Err(end) => break end,
        }
    };
    sending.await.unwrap();
    (answered, end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_in_order_at_the_maximum_age() {
    let cluster = short_lived().await;
    let started = std::time::Instant::now();
    let mut follower = cluster.follow(0).await;
    let (answered, end) = produce_until_end(cluster.log(0)).await;
    assert!(started.elapsed() < AGE * 2, "{:?}", started.elapsed());
    assert_eq!(reason(&end), Some(Reason::ConnectionClosing), "{end:?}");
    // Nothing is in doubt: what is in the log was answered, and the rest was not read.
    let expected: Vec<u64> = (1..=answered.len() as u64).collect();
    assert!(!answered.is_empty() && answered == expected, "{answered:?}");
    let stored = cluster.read_all(0, 0).await;
    let stored: Vec<u64> = stored.iter().map(|value| value.parse().unwrap()).collect();
    assert_eq!(stored, answered);

    let end = loop {
        match follower.message().await {
            Ok(chunk) => assert!(chunk.is_some(), "an end with a reason"),
            Err(end) => break end,
        }
    };
    assert_eq!(reason(&end), Some(Reason::ConnectionClosing), "{end:?}");
    let metrics = cluster.get(0, "/metrics").await;
    let line = "lograft_connections_expired_total{reason=\"AGE\"}";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_progress_outlives_the_age_of_its_connection() {
    let cluster = short_lived().await;
    let mut client = cluster.log(0);
    // Longer than the connection lives, which is opened now.
    let wait_ms = u32::try_from(AGE.as_millis()).unwrap() + 1500;
    let request = log::FetchRequest {
        topic: "t".to_owned(),
        position: follow_request("t").position,
        max_wait_ms: wait_ms,
        min_bytes: 1,
        ..log::FetchRequest::default()
    };
    let started = std::time::Instant::now();
    client.fetch(request).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(wait_ms.into()));
    // The same channel opens another connection for the next one.
    client.produce(produce_request(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closes_before_its_certificate_expires() {
    let cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let not_after = SystemTime::now() + Duration::from_secs(8);
    let leaf = cluster
        .ca
        .issue_with(&[crate::pki::uri("user/short")], |params| {
            params.not_after = not_after.into();
        });
    let channel = cluster.channel_with(&leaf, cluster.addresses(0).client);
    let mut client = LogServiceClient::new(channel);
    let mut follower = client
        .consume(follow_request("t"))
        .await
        .unwrap()
        .into_inner();
    let end = follower.message().await.unwrap_err();
    assert_eq!(reason(&end), Some(Reason::ConnectionClosing), "{end:?}");
    assert!(SystemTime::now() < not_after - Duration::from_millis(500));
    eventually("the closed connection to be counted", async || {
        let metrics = cluster.get(0, "/metrics").await;
        let line = "lograft_connections_expired_total{reason=\"CERTIFICATE\"} 1";
        metrics.contains(line).then_some(())
    })
    .await;
}
