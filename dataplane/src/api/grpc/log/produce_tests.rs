//! Producing through the service, to one node and to several.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lograft_core::limits::{BATCH_MAX_BYTES, PRODUCER_BATCHES_MAX_COUNT};
use lograft_core::{LogIndex, Reason};
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use lograft_proto::log::{NO_FORWARD_HEADER, UNKNOWN_OFFSET};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::fixture::{
    PATIENCE, TOPIC, TestCluster, encoded, eventually, plain, produce, stamped, wire_error,
};
use crate::transport::status::reason_of;

type Client = LogServiceClient<Channel>;

async fn refused(client: &Client, request: proto::ProduceRequest) -> (Reason, Status) {
    let status = client.clone().produce(request).await.unwrap_err();
    (reason_of(&status).unwrap(), status)
}

/// A ProduceStream from the client's side.
struct Pipe {
    requests: mpsc::Sender<proto::ProduceRequest>,
    replies: Streaming<proto::ProduceReply>,
}

impl Pipe {
    async fn open(client: &Client) -> Self {
        let (requests, receiver) = mpsc::channel(1024);
        let replies = client
            .clone()
            .produce_stream(ReceiverStream::new(receiver))
            .await
            .unwrap();
        Self {
            requests,
            replies: replies.into_inner(),
        }
    }

    async fn send(&self, request: proto::ProduceRequest) {
        self.requests.send(request).await.unwrap();
    }

    async fn next(&mut self) -> proto::ProduceReply {
        let next = tokio::time::timeout(PATIENCE, self.replies.message());
        next.await
            .expect("a reply in time")
            .unwrap()
            .expect("no end")
    }
}

fn reason(reply: &proto::ProduceReply) -> Option<Reason> {
    Reason::from_wire(&reply.error.as_ref()?.reason)
}

/// Every record's value in the log, in order.
async fn values(client: &Client) -> Vec<String> {
    let request = proto::ConsumeRequest {
        topic: TOPIC.into(),
        position: Some(proto::Position {
            at: Some(proto::position::At::Earliest(true)),
        }),
        ..Default::default()
    };
    let mut replies = client.clone().consume(request).await.unwrap().into_inner();
    let mut values = Vec::new();
    while let Some(reply) = replies.message().await.unwrap() {
        for found in reply.records {
            assert_eq!(found.offset, values.len() as u64);
            let value = found.record.unwrap().value.unwrap();
            values.push(String::from_utf8(value.to_vec()).unwrap());
        }
    }
    values
}

#[tokio::test]
async fn a_batch_is_appended_at_the_end() {
    let cluster = TestCluster::new(1, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    for n in 0..3 {
        let reply = client.produce(produce(n, 5)).await.unwrap().into_inner();
        assert_eq!((reply.base_offset, reply.record_count), (n * 5, 5));
        assert_eq!(reply.durability(), proto::Durability::MajorityFsync);
        assert!(reply.leader_epoch > 0 && reply.append_time_ms > 0 && !reply.duplicate);
        assert_eq!((reply.topic.as_str(), reply.request_id), (TOPIC, n));
    }
    let found = values(&client).await;
    assert_eq!(found.len(), 15);
    assert_eq!(found[7], "1-2");
}

#[tokio::test]
async fn a_refusal_says_what_is_wrong() {
    let cluster = TestCluster::new(1, 1).await;
    let client = &cluster.nodes[0].client;
    let with = |change: &dyn Fn(&mut proto::ProduceRequest)| {
        let mut request = produce(1, 2);
        change(&mut request);
        request
    };
    let batch = |change: &dyn Fn(&mut proto::EncodedBatch)| {
        with(&|request| change(request.batch.as_mut().unwrap()))
    };
    let requests = [
        (with(&|r| r.topic = "nope".into()), Reason::UnknownTopic),
        (with(&|r| r.partition = 7), Reason::UnknownPartition),
        (with(&|r| r.batch = None), Reason::InvalidArgument),
        (
            with(&|r| r.records.push(plain("x"))),
            Reason::InvalidArgument,
        ),
        (batch(&|b| b.crc32c ^= 1), Reason::BatchCorrupt),
        (batch(&|b| b.record_count = 3), Reason::BatchMalformed),
        (
            batch(&|b| {
                b.data = Bytes::from_static(b"nonsense");
                b.crc32c = crc32c::crc32c(&b.data);
            }),
            Reason::BatchMalformed,
        ),
        (
            batch(&|b| b.data = Bytes::from(vec![0; BATCH_MAX_BYTES + 1])),
            Reason::BatchTooLarge,
        ),
        (
            with(&|r| {
                r.batch = None;
                r.records = vec![plain(&"x".repeat(2 << 20))];
            }),
            Reason::BatchTooLarge,
        ),
    ];
    let mut pipe = Pipe::open(client).await;
    for (request, expected) in requests {
        let (found, status) = refused(client, request.clone()).await;
        assert_eq!(found, expected, "{status:?}");
        pipe.send(request).await;
        let reply = pipe.next().await;
        assert_eq!(reason(&reply), Some(expected), "{reply:?}");
        assert_eq!(reply.error, Some(wire_error(&status)));
    }
    pipe.send(produce(9, 1)).await;
    assert_eq!(
        pipe.next().await.base_offset,
        0,
        "the stream continues, and nothing was appended"
    );
}

#[tokio::test]
async fn only_nodes_may_mark_requests_as_forwarded() {
    let cluster = TestCluster::new(1, 1).await;
    let mut client = cluster.nodes[0].client.clone();
    let request = proto::ProduceRequest {
        forwarded: true,
        ..produce(1, 1)
    };
    client.produce(request.clone()).await.unwrap();
    let mut as_user = Request::new(request);
    as_user.metadata_mut().insert("user", "u".parse().unwrap());
    let status = client.produce(as_user).await.unwrap_err();
    assert_eq!(reason_of(&status), Some(Reason::PermissionDenied));
}

#[tokio::test]
async fn a_stream_answers_in_order() {
    let cluster = TestCluster::new(1, 1).await;
    let mut pipe = Pipe::open(&cluster.nodes[0].client).await;
    for n in 0..300 {
        pipe.send(produce(n, 1 + u32::try_from(n % 3).unwrap()))
            .await;
    }
    let mut next = 0;
    for n in 0..300 {
        let reply = pipe.next().await;
        assert_eq!(
            (reply.request_id, reply.base_offset),
            (n, next),
            "{reply:?}"
        );
        next += u64::from(reply.record_count);
    }
    drop(pipe.requests);
    assert!(pipe.replies.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_batch_sent_twice_is_written_once() {
    let cluster = TestCluster::new(1, 1).await;
    let client = &cluster.nodes[0].client;
    let mut pipe = Pipe::open(client).await;
    for request in [
        stamped(1, 0, 5),
        stamped(1, 5, 5),
        stamped(1, 0, 5),
        stamped(1, 5, 5),
    ] {
        pipe.send(request).await;
    }
    for (base_offset, duplicate) in [(0, false), (5, false), (0, true), (5, true)] {
        let reply = pipe.next().await;
        assert_eq!(
            (reply.base_offset, reply.duplicate),
            (base_offset, duplicate),
            "{reply:?}"
        );
    }
    let again = client
        .clone()
        .produce(stamped(1, 5, 5))
        .await
        .unwrap()
        .into_inner();
    assert!(again.duplicate && again.base_offset == 5);
    let (found, status) = refused(client, stamped(1, 12, 1)).await;
    assert_eq!(found, Reason::OutOfOrderSequence);
    assert_eq!(wire_error(&status).metadata["expected_sequence"], "10");
    assert_eq!(values(client).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_acknowledged_also_if_its_offset_is_forgotten() {
    let cluster = TestCluster::new(2, 2).await;
    let leader = cluster.nodes[cluster.leader().await].client.clone();
    let other = cluster.nodes[cluster.follower().await].client.clone();
    let count = PRODUCER_BATCHES_MAX_COUNT as u64 + 1;
    for n in 0..count {
        leader.clone().produce(stamped(1, n * 5, 5)).await.unwrap();
    }
    // Also as a part of a batch, or over the end of one: the records are in the log.
    let plain_records = proto::ProduceRequest {
        batch: None,
        records: vec![plain("a"), plain("b")],
        ..stamped(1, 2, 2)
    };
    for client in [leader, other] {
        for (request, record_count) in [(stamped(1, 0, 5), 5), (plain_records.clone(), 2)] {
            let unary = client.clone().produce(request.clone()).await.unwrap();
            let mut pipe = Pipe::open(&client).await;
            pipe.send(request).await;
            for reply in [unary.into_inner(), pipe.next().await] {
                assert_eq!(reply.error, None);
                assert!(reply.duplicate && reply.leader_epoch > 0, "{reply:?}");
                assert_eq!(reply.base_offset, UNKNOWN_OFFSET);
                assert_eq!(reply.record_count, record_count);
            }
        }
        // The next one in order is appended: nothing was counted twice.
        let gap = stamped(1, count * 5 + 1, 1);
        let (found, status) = refused(&client, gap).await;
        assert_eq!(found, Reason::OutOfOrderSequence);
        let expected = (count * 5).to_string();
        assert_eq!(wire_error(&status).metadata["expected_sequence"], expected);
    }
}

#[tokio::test]
async fn a_newer_epoch_fences_the_older() {
    let cluster = TestCluster::new(1, 1).await;
    let client = &cluster.nodes[0].client;
    client.clone().produce(stamped(1, 0, 5)).await.unwrap();
    let mut newer = stamped(1, 0, 1);
    newer.producer.as_mut().unwrap().producer_epoch = 1;
    client.clone().produce(newer).await.unwrap();
    assert_eq!(
        refused(client, stamped(1, 5, 1)).await.0,
        Reason::ProducerFenced
    );
}

#[tokio::test]
async fn concurrent_unary_calls_share_entries() {
    let cluster = TestCluster::new(1, 1).await;
    let replica = cluster.nodes[0].replica.clone().unwrap();
    let before = replica.log.last_id().unwrap().index;
    let calls = (0..200).map(|n| {
        let mut client = cluster.nodes[0].client.clone();
        let records = vec![plain(&format!("{n}-a")), plain(&format!("{n}-b"))];
        let request = proto::ProduceRequest {
            topic: TOPIC.into(),
            records,
            ..Default::default()
        };
        async move { client.produce(request).await.unwrap().into_inner() }
    });
    let replies = join_all(calls).await;
    let found = values(&cluster.nodes[0].client).await;
    assert_eq!(found.len(), 400);
    for (n, reply) in replies.iter().enumerate() {
        let at = usize::try_from(reply.base_offset).unwrap();
        assert_eq!(found[at..at + 2], [format!("{n}-a"), format!("{n}-b")]);
        assert_eq!(reply.record_count, 2);
    }
    let LogIndex(entries) = replica.log.last_id().unwrap().index;
    assert!(
        entries - before.get() < 100,
        "{} entries",
        entries - before.get()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_forwards_a_batch_to_its_leader_and_counts_it() {
    let cluster = TestCluster::new(4, 3).await;
    let mut at = 0;
    for node in &cluster.nodes {
        let reply = node
            .client
            .clone()
            .produce(produce(at, 2))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(reply.base_offset, at, "node {}", node.id);
        at += 2;
    }
    let follower = cluster.follower().await;
    let mut pipe = Pipe::open(&cluster.nodes[follower].client).await;
    for n in 0..50 {
        pipe.send(stamped(1, n, 1)).await;
    }
    for n in 0..50 {
        let reply = pipe.next().await;
        assert_eq!(
            (reply.request_id, reply.base_offset),
            (n, at + n),
            "{reply:?}"
        );
    }
    assert_eq!(values(&cluster.nodes[3].client).await.len(), 58);
    let forwarded = |node: usize| {
        let outcomes = &cluster.nodes[node].metrics.forwards;
        outcomes.with_label_values(&["OK"]).get()
    };
    assert!(forwarded(follower) >= 51, "{}", forwarded(follower));
    assert!(forwarded(3) >= 2, "{}", forwarded(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_must_not_be_forwarded_is_refused_with_the_leader() {
    let cluster = TestCluster::new(2, 2).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let client = &cluster.nodes[follower].client;
    let passed_on = proto::ProduceRequest {
        forwarded: true,
        ..produce(1, 1)
    };
    let (found, status) = refused(client, passed_on).await;
    assert_eq!(found, Reason::NotLeader);
    let details = wire_error(&status).metadata;
    let id = cluster.nodes[leader].id;
    assert_eq!(details["leader_node"], id.to_string());
    assert_eq!(details["leader_address"], format!("host-{id}:9400"));

    let (requests, receiver) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(receiver));
    request
        .metadata_mut()
        .insert(NO_FORWARD_HEADER, "1".parse().unwrap());
    let replies = client
        .clone()
        .produce_stream(request)
        .await
        .unwrap()
        .into_inner();
    let mut pipe = Pipe { requests, replies };
    pipe.send(produce(1, 1)).await;
    let reply = pipe.next().await;
    assert_eq!(reason(&reply), Some(Reason::NotLeader));
    assert_eq!(reply.error.unwrap().metadata, details);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_acknowledged() {
    let cluster = TestCluster::new(2, 2).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    cluster.net.cut(cluster.nodes[follower].id);
    let request = proto::ProduceRequest {
        timeout_ms: 300,
        ..produce(1, 1)
    };
    let (found, _) = refused(&cluster.nodes[leader].client, request.clone()).await;
    assert_eq!(found, Reason::Timeout);
    let mut pipe = Pipe::open(&cluster.nodes[leader].client).await;
    pipe.send(request).await;
    let found = reason(&pipe.next().await).unwrap();
    assert!(found.is_retryable(), "{found}");
}

/// Sends records 0.. of one idempotent producer, one per batch and several in flight, and goes
/// back to the first that failed, until `count` are acknowledged.
async fn produce_all(clients: &[Client], count: u64, progress: &dyn Fn(u64)) {
    let mut acked = 0;
    let mut tried = 0;
    while acked < count {
        let mut pipe = Pipe::open(&clients[tried % clients.len()]).await;
        tried += 1;
        assert!(tried < 1000, "no progress behind {acked}");
        let mut sent = acked;
        loop {
            while sent < count && sent < acked + 16 {
                let request = proto::ProduceRequest {
                    timeout_ms: 2000,
                    ..stamped(1, sent, 1)
                };
                pipe.send(request).await;
                sent += 1;
            }
            let reply = pipe.next().await;
            if let Some(found) = reason(&reply) {
                assert!(found.is_retryable(), "{reply:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                break;
            }
            assert_eq!(
                (reply.request_id, reply.base_offset),
                (acked, acked),
                "{reply:?}"
            );
            acked += 1;
            progress(acked);
            if acked == count {
                break;
            }
        }
    }
}

async fn exactly_once(clients: &[Client], count: u64) {
    let expected: Vec<String> = (0..count).map(|n| format!("{n}-0")).collect();
    assert_eq!(values(&clients[0]).await, expected);
}

/// Sends batches `from`.. of one record, one every millisecond, whatever the replies are. Returns
/// the first that was not acknowledged; none behind it may have been.
async fn send_paced(client: &Client, from: u64, count: u64) -> u64 {
    let mut pipe = Pipe::open(client).await;
    let requests = pipe.requests.clone();
    let sender = tokio::spawn(async move {
        for n in from..count {
            let request = proto::ProduceRequest {
                timeout_ms: 5000,
                ..stamped(1, n, 1)
            };
            requests.send(request).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut acked = from;
    for n in from..count {
        let reply = pipe.next().await;
        assert_eq!(reply.request_id, n);
        if reply.error.is_none() {
            assert_eq!(acked, n, "acknowledged although one before it was refused");
            assert_eq!(reply.base_offset, n);
            acked += 1;
        }
    }
    sender.await.unwrap();
    acked
}

/// A leader whose lease runs out refuses some proposals and takes later ones in the same term.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_partitioned_for_a_while_appends_each_batch_once_and_in_order() {
    let cluster = TestCluster::new(2, 2).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let client = cluster.nodes[leader].client.clone();
    let net = cluster.net.clone();
    let other = cluster.nodes[follower].id;
    let flapping = tokio::spawn(async move {
        for pause_ms in [700, 650, 750, 800] {
            tokio::time::sleep(Duration::from_millis(150)).await;
            net.cut(other);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            net.reconnect(other);
        }
    });
    let (mut acked, mut rounds) = (0, 0);
    while acked < 2000 {
        acked = send_paced(&client, acked, 2000).await;
        rounds += 1;
        assert!(rounds < 100, "no progress behind {acked}");
        cluster.leader().await;
    }
    flapping.await.unwrap();
    assert!(rounds > 1, "nothing was ever refused");
    exactly_once(&[client], 2000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_the_leader_loses_no_acknowledged_record_and_duplicates_none() {
    let cluster = TestCluster::new(3, 3).await;
    let first = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|n| *n != first).collect();
    let clients: Vec<Client> = others
        .iter()
        .map(|n| cluster.nodes[*n].client.clone())
        .collect();
    let (net, lost) = (cluster.net.clone(), cluster.nodes[first].id);
    let progress = move |acked: u64| {
        if acked == 300 {
            net.cut(lost);
        }
    };
    produce_all(&clients, 1000, &progress).await;
    let heir = cluster.leader_but(Some(first)).await;
    assert!(others.contains(&heir));
    exactly_once(&clients, 1000).await;
    cluster.net.reconnect(lost);
    let replica = cluster.nodes[first].replica.clone().unwrap();
    let caught_up = || replica.state.watermarks().high_watermark.get() == 1000;
    eventually("the old leader has caught up", caught_up).await;
}

#[tokio::test]
async fn a_disconnected_client_leaves_nothing_behind() {
    let cluster = TestCluster::new(1, 1).await;
    let client = &cluster.nodes[0].client;
    let mut seen = BTreeSet::new();
    for n in 0..20 {
        let pipe = Pipe::open(client).await;
        for k in 0..10 {
            pipe.send(stamped(n + 1, k, 1)).await;
        }
        drop(pipe);
        let mut pipe = Pipe::open(client).await;
        for k in 0..10 {
            pipe.send(stamped(n + 1, k, 1)).await;
        }
        for _ in 0..10 {
            let reply = pipe.next().await;
            assert_eq!(reply.error, None);
            assert!(seen.insert(reply.base_offset));
        }
    }
    assert_eq!(values(client).await.len(), 200);
    assert_eq!(encoded(0, 1).record_count, 1);
}

#[tokio::test]
async fn a_node_with_old_metadata_does_not_say_that_a_topic_is_unknown() {
    let cluster = TestCluster::new(1, 1).await;
    let node = &cluster.nodes[0];
    let request = proto::ProduceRequest {
        topic: "later".into(),
        ..produce(0, 1)
    };
    let refused = async || {
        let mut client = node.client.clone();
        let status = client.produce(request.clone()).await.unwrap_err();
        reason_of(&status)
    };
    assert_eq!(refused().await, Some(Reason::UnknownTopic));
    node.meta_is_current
        .store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(refused().await, Some(Reason::NotReady));
    // What it knows it serves.
    node.client.clone().produce(produce(0, 1)).await.unwrap();
}
