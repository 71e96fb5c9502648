//! Clients that ask for much and take little of it.

use std::time::Duration;

use http::Response;
use http_body_util::Full;
use lograft_core::limits::{REPLIES_MAX_BYTES, SCARCE_REPLY_BYTES};
use lograft_core::{BatchBuilder, Compression, Reason};
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::FetchFormat;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use lograft_proto::log::v1::position::At;
use prost::Message;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::Service;

use crate::fixture::{
    PATIENCE, REPLIES_BYTES, TOPIC, TestCluster, TestNode, eventually, finished, produce,
};
use crate::transport::status::reason_of;

const BATCH_BYTES: usize = 200 * 1024;
const BATCH_COUNT: u64 = 40;
/// Requests of the client that does not read.
const GREEDY_COUNT: usize = 60;
/// Its flow control window: it takes so little of each reply.
const TINY_WINDOW_BYTES: u32 = 1024;
/// Most memory of a user for one kind of request.
const SHARE_BYTES: usize = REPLIES_BYTES / 2 / 2;

/// Two nodes; the first holds the partition, with batches in it.
async fn filled() -> TestCluster {
    let cluster = TestCluster::new(2, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    for n in 0..BATCH_COUNT {
        let mut builder = BatchBuilder::new(Compression::None);
        let value = vec![u8::try_from(n).unwrap(); BATCH_BYTES];
        builder.push_parts(1000, None, Some(&value), []).unwrap();
        let request = proto::ProduceRequest {
            batch: Some(finished(builder)),
            ..produce(n, 1)
        };
        client.produce(request).await.unwrap();
    }
    cluster
}

fn earliest() -> proto::Position {
    let at = Some(At::Earliest(true));
    proto::Position { at }
}

fn consume(format: FetchFormat) -> proto::ConsumeRequest {
    proto::ConsumeRequest {
        topic: TOPIC.into(),
        position: Some(earliest()),
        format: format.into(),
        ..Default::default()
    }
}

fn fetch(format: FetchFormat) -> proto::FetchRequest {
    proto::FetchRequest {
        topic: TOPIC.into(),
        position: Some(earliest()),
        format: format.into(),
        ..Default::default()
    }
}

fn greedy_channel(node: &TestNode) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.address)).unwrap();
    let endpoint = endpoint
        .initial_stream_window_size(TINY_WINDOW_BYTES)
        .initial_connection_window_size(64 * 1024 * 1024);
    endpoint.connect_lazy()
}

/// Calls a method of the log service, and leaves the reply untaken.
async fn call(mut channel: Channel, method: &str, message: impl Message) -> Response<Body> {
    let length = u32::try_from(message.encoded_len()).unwrap();
    let framed = [&[0][..], &length.to_be_bytes(), &message.encode_to_vec()].concat();
    let address = format!("http://node/lograft.log.v1.LogService/{method}");
    let request = http::Request::post(address)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user", "1")
        .body(Body::new(Full::new(framed.into())))
        .unwrap();
    std::future::poll_fn(|cx| channel.poll_ready(cx))
        .await
        .unwrap();
    channel.call(request).await.unwrap()
}

/// Asks by streams and by calls, and takes nothing of the replies.
fn be_greedy(channel: &Channel) -> Vec<JoinHandle<Response<Body>>> {
    let ask = |n: usize| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let format = [FetchFormat::Batches, FetchFormat::Records][n / 2 % 2];
            if n.is_multiple_of(2) {
                call(channel, "Consume", consume(format)).await
            } else {
                call(channel, "Fetch", fetch(format)).await
            }
        })
    };
    (0..GREEDY_COUNT).map(ask).collect()
}

async fn read_all(client: &mut LogServiceClient<Channel>, format: FetchFormat) -> u64 {
    let mut replies = client.consume(consume(format)).await.unwrap().into_inner();
    let mut next = 0;
    while let Some(reply) = replies.message().await.unwrap() {
        next = reply.next_offset;
    }
    next
}

/// The bytes that are held, once they no longer grow.
async fn settled(node: &TestNode) -> usize {
    let held = || usize::try_from(node.metrics.replies_held_bytes.get()).unwrap();
    let mut last = 0;
    eventually("replies are held", || held() > 0).await;
    while last != held() {
        last = held();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    last
}

async fn nothing_is_held(cluster: &TestCluster) {
    eventually("all memory is given back", || {
        let held = |node: &TestNode| node.metrics.replies_held_bytes.get();
        cluster.nodes.iter().all(|node| held(node) == 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_takes_nothing_leaves_memory_for_the_others() {
    let cluster = filled().await;
    // Directly, and through a node that forwards.
    for node in &cluster.nodes {
        let asked = be_greedy(&greedy_channel(node));
        let held = settled(node).await;
        assert!(held > SHARE_BYTES / 3, "{held} bytes are held");
        // A reply of another node is counted once more when it has arrived.
        let exceeded_by = held.saturating_sub(SHARE_BYTES);
        assert!(exceeded_by < 8 * BATCH_BYTES, "{held} bytes are held");
        let mut other = node.client.clone();
        for format in [FetchFormat::Batches, FetchFormat::Records] {
            let reading = timeout(PATIENCE / 2, read_all(&mut other, format));
            assert_eq!(reading.await.unwrap(), BATCH_COUNT);
            let fetched = other.fetch(fetch(format)).await.unwrap();
            assert!(fetched.into_inner().next_offset > 0);
        }
        for asked in asked {
            asked.abort();
            drop(asked.await);
        }
        nothing_is_held(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_memory_is_told_to_read_and_may_retry() {
    let cluster = filled().await;
    let node = &cluster.nodes[0];
    let asked = be_greedy(&greedy_channel(node));
    let mut refused = 0;
    for asked in asked {
        let reply = timeout(PATIENCE, asked).await.unwrap().unwrap();
        let Some(status) = Status::from_header_map(reply.headers()) else {
            continue;
        };
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert_eq!(reason_of(&status), Some(Reason::TooManyReads));
        assert!(status.message().contains("read the replies"), "{status}");
        refused += 1;
    }
    assert!(refused > GREEDY_COUNT / 4, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_is_given_back_once_it_is_taken() {
    let cluster = filled().await;
    for node in &cluster.nodes {
        let mut client = node.client.clone();
        for format in [FetchFormat::Batches, FetchFormat::Records] {
            for _ in 0..3 * REPLIES_BYTES / (2 * BATCH_BYTES) {
                client.fetch(fetch(format)).await.unwrap();
            }
            let long_poll = proto::FetchRequest {
                min_bytes: 1024 * 1024,
                max_bytes: 1024 * 1024,
                max_wait_ms: 100,
                ..fetch(format)
            };
            let whole = client.fetch(long_poll).await.unwrap().into_inner();
            assert!(whole.next_offset >= 4);
        }
        let metadata = proto::GetMetadataRequest::default();
        client.get_metadata(metadata).await.unwrap();
        nothing_is_held(&cluster).await;
    }
    const { assert!(SCARCE_REPLY_BYTES < BATCH_BYTES && REPLIES_BYTES < REPLIES_MAX_BYTES) };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_reply_of_a_stream_counts_until_it_is_taken() {
    let cluster = filled().await;
    for node in &cluster.nodes {
        let message = proto::ConsumeRequest {
            position: Some(proto::Position {
                at: Some(At::Offset(BATCH_COUNT - 1)),
            }),
            follow: true,
            ..consume(FetchFormat::Batches)
        };
        // There is nothing to read behind it, so the stream only waits.
        let untaken = call(greedy_channel(node), "Consume", message).await;
        let held = settled(node).await;
        assert!(held >= BATCH_BYTES, "{held} bytes are held");
        drop(untaken);
        nothing_is_held(&cluster).await;
    }
}
