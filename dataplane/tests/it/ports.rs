//! What the ports answer besides the log itself.

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cluster::{Cluster, eventually};

async fn get(cluster: &Cluster, path: &str) -> String {
    cluster.get(0, path).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_cluster_says_what_it_waits_for() {
    let mut cluster = Cluster::new();
    cluster.add().await;
    assert!(get(&cluster, "/healthz").await.starts_with("HTTP/1.1 200"));
    eventually("the reason", async || {
        let text = get(&cluster, "/readyz").await;
        (text.starts_with("HTTP/1.1 503") && text.contains("does not belong to a cluster"))
            .then_some(())
    })
    .await;
    let refused = cluster.try_produce(0, 0, "x").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");

    cluster.bootstrap(0).await.unwrap();
    cluster.ready(0).await;
    assert!(get(&cluster, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_follow_what_happens() {
    let cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    for at in 0..3 {
        cluster.produce(0, 0, &format!("v{at}")).await;
    }
    let text = get(&cluster, "/metrics").await;
    for line in [
        "lograft_produce_records_total 3",
        "lograft_produce_requests_total{result=\"OK\"} 3",
        "lograft_replicas{role=\"leader\"} 1",
        "lograft_partition_high_watermark{partition=\"0\",topic=\"t\"} 3",
        "lograft_disk_low 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_readiness() {
    let mut cluster = Cluster::new();
    cluster.add().await;
    let check = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let reply = HealthClient::new(cluster.channel(0))
            .check(request)
            .await
            .unwrap();
        reply.into_inner().status()
    };
    assert_eq!(check("").await, ServingStatus::NotServing);
    cluster.bootstrap(0).await.unwrap();
    cluster.ready(0).await;
    for service in [
        "",
        "lograft.log.v1.LogService",
        "lograft.admin.v1.AdminService",
    ] {
        eventually("to be serving", async || {
            (check(service).await == ServingStatus::Serving).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_cannot_reach_the_peer_port() {
    let mut cluster = Cluster::new();
    cluster.add().await;
    let failed = cluster
        .connect_as("user/alice", cluster.addresses(0).peer)
        .await;
    assert!(failed.is_err());
    cluster
        .connect_as("user/alice", cluster.addresses(0).client)
        .await
        .unwrap();
    cluster
        .connect_as("node/n9", cluster.addresses(0).peer)
        .await
        .unwrap();
}
