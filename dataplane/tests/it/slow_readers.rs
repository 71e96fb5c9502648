//! Clients that open streams and do not read them, through a node that forwards them.

use std::time::Duration;

use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use tokio::time::timeout;

use crate::cluster::{Cluster, follow_request, record_for};
use crate::load::lead_all;

const VALUE_BYTES: usize = 500 * 1024;
const VALUE_COUNT: usize = 30;
/// Enough that what they may be sent exceeds the flow control window of any connection.
const UNREAD_COUNT: usize = 12;
/// Far more than any of the calls takes.
const CALL_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_hold_up_nobody_else() {
    let cluster = Cluster::of(2).await;
    cluster.create_topic(0, "t", 1, 2).await;
    lead_all(&cluster, 0, cluster.id_of(0).await).await;
    let value = "x".repeat(VALUE_BYTES);
    for _ in 0..VALUE_COUNT {
        let request = record_for("t", &value);
        cluster.log(0).produce(request).await.unwrap();
    }
    let to = cluster.addresses(1).client;
    let channel = cluster.channel_of("user/slow", to);
    let mut unread = Vec::new();
    for _ in 0..UNREAD_COUNT {
        let mut client = LogServiceClient::new(channel.clone());
        let opened = client.consume(follow_request("t")).await.unwrap();
        unread.push(opened.into_inner());
    }
    unread[0].message().await.unwrap().unwrap();
    // Time for the rest to fill the windows.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let others = async {
        let base = cluster.produce(1, 0, "after").await;
        assert_eq!(base, VALUE_COUNT as u64);
        let request = log::FetchRequest {
            topic: "t".to_owned(),
            position: follow_request("t").position,
            ..log::FetchRequest::default()
        };
        let fetched = cluster.log(1).fetch(request).await.unwrap().into_inner();
        assert_eq!(fetched.records[0].offset, 0);
    };
    timeout(CALL_MAX, others).await.expect("others are held up");
}
