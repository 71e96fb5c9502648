//! A node whose disk hangs while it leads everything: no wait of its clients lasts longer than the
//! bound, and the node itself names the new leaders.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use lograft_core::limits::{FLUSH_LAG_GRACE, FLUSH_LAG_MAX, LEADER_WAIT_MAX};
use lograft_proto::admin::v1 as admin;
use lograft_proto::log::NO_FORWARD_HEADER;
use lograft_proto::log::v1 as log;
use lograft_storage::DiskCall;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use crate::cluster::{Cluster, PATIENCE};
use crate::disk::with_a_simulated_disk;
use crate::load::lead_all;

/// The time until a leader whose disk hangs is replaced and has answered what waits for its disk,
/// and a new leader is found. The slack is for a busy machine.
const WAIT_MAX: Duration = FLUSH_LAG_MAX
    .saturating_add(FLUSH_LAG_GRACE)
    .saturating_add(Duration::from_millis(1500));
const IN_FLIGHT_MAX_COUNT: usize = 16;

fn request(value: &[u8]) -> log::ProduceRequest {
    let record = log::Record {
        value: Some(value.to_vec().into()),
        ..log::Record::default()
    };
    log::ProduceRequest {
        topic: "t".to_owned(),
        records: vec![record],
        timeout_ms: 30_000,
        ..log::ProduceRequest::default()
    }
}

/// Writes on a stream to a node that must not forward, until it is told the new leader. Returns
/// the longest time without a reply.
async fn stream_until_redirected(cluster: &Cluster, at: usize, old_leader: u64) -> Duration {
    let (requests, receiver) = mpsc::channel(1);
    let mut call = Request::new(ReceiverStream::new(receiver));
    let header = "1".parse().unwrap();
    call.metadata_mut().insert(NO_FORWARD_HEADER, header);
    let replies = cluster.log(at).produce_stream(call).await.unwrap();
    let mut replies = replies.into_inner();
    let (mut sent, mut answered, mut longest) = (0, 0, Duration::ZERO);
    let mut last = Instant::now();
    loop {
        let next = request(&[7; 2000]);
        tokio::select! {
            place = requests.reserve(), if sent - answered < IN_FLIGHT_MAX_COUNT => {
                place.unwrap().send(next);
                sent += 1;
            }
            reply = timeout_at(last + PATIENCE, replies.next()) => {
                let reply = reply.expect("no reply").unwrap().unwrap();
                longest = longest.max(last.elapsed());
                last = Instant::now();
                answered += 1;
                let refusal = reply.error.map(|error| error.metadata).unwrap_or_default();
                let leader = refusal.get("leader_node");
                if leader.is_some_and(|leader| *leader != old_leader.to_string()) {
                    return longest;
                }
            }
        }
    }
}

/// Repeats a call until told to stop. Returns the longest time of one.
async fn repeat<T>(
    mut stop: watch::Receiver<bool>,
    mut call: impl AsyncFnMut() -> Result<T, Status>,
) -> Duration {
    let mut longest = Duration::ZERO;
    while !*stop.borrow_and_update() {
        let started = Instant::now();
        // A refusal that may be retried is an answer too.
        call().await.ok();
        longest = longest.max(started.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    longest
}

fn latest() -> log::Position {
    let at = Some(log::position::At::Latest(true));
    log::Position { at }
}

/// All kinds of calls of clients at once, each repeated; the longest time of each.
async fn call_all(
    cluster: &Cluster,
    stop: &watch::Receiver<bool>,
) -> BTreeMap<&'static str, Duration> {
    let unary = async |at: usize| cluster.log(at).produce(request(b"unary")).await;
    let fetch = async || {
        let request = log::FetchRequest {
            topic: "t".to_owned(),
            position: Some(latest()),
            max_wait_ms: 2000,
            ..log::FetchRequest::default()
        };
        cluster.log(0).fetch(request).await
    };
    let offsets = async || {
        let request = log::ListOffsetsRequest {
            topic: "t".to_owned(),
            ..log::ListOffsetsRequest::default()
        };
        cluster.log(0).list_offsets(request).await
    };
    let metadata = async || {
        let request = log::GetMetadataRequest::default();
        cluster.log(0).get_metadata(request).await
    };
    let producer = async || {
        let request = log::InitProducerRequest::default();
        cluster.log(0).init_producer(request).await
    };
    let alter = async || {
        let retention = admin::Retention {
            ms: Some(3_600_000),
            ..admin::Retention::default()
        };
        let request = admin::AlterTopicRequest {
            name: "t".to_owned(),
            retention: Some(retention),
            ..admin::AlterTopicRequest::default()
        };
        cluster.admin(0).alter_topic(request).await
    };
    let found = tokio::join!(
        repeat(stop.clone(), async || unary(0).await),
        repeat(stop.clone(), async || unary(1).await),
        repeat(stop.clone(), fetch),
        repeat(stop.clone(), offsets),
        repeat(stop.clone(), metadata),
        repeat(stop.clone(), producer),
        repeat(stop.clone(), alter),
    );
    BTreeMap::from([
        ("produce", found.0),
        ("forwarded produce", found.1),
        ("fetch", found.2),
        ("list offsets", found.3),
        ("metadata", found.4),
        ("producer id", found.5),
        ("alter topic", found.6),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_of_a_leader_whose_disk_hangs_waits_longer_than_the_bound() {
    let (cluster, disk) = with_a_simulated_disk().await;
    let hung = cluster.id_of(0).await;
    lead_all(&cluster, 1, hung).await;
    let (stop, stopped) = watch::channel(false);
    let longest = tokio::join!(
        stream_until_redirected(&cluster, 0, hung),
        call_all(&cluster, &stopped),
        async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            disk.hang(DiskCall::Sync);
            let hung_at = Instant::now();
            // A second producer without a state of its own: the node names the new leader.
            let writes = async {
                loop {
                    let reply = cluster.log(1).produce(request(b"after")).await;
                    if reply.is_ok_and(|reply| reply.get_ref().leader_epoch > 0)
                        && is_moved(&cluster, hung).await
                    {
                        return;
                    }
                }
            };
            timeout_at(hung_at + WAIT_MAX, writes)
                .await
                .expect("writes go on elsewhere");
            tokio::time::sleep_until(hung_at + WAIT_MAX + LEADER_WAIT_MAX).await;
            stop.send_replace(true);
        },
    );
    disk.release();
    let (stream, calls, ()) = longest;
    assert!(stream < WAIT_MAX, "produce stream: {stream:?}");
    for (call, took) in calls {
        assert!(took < WAIT_MAX, "{call}: {took:?}");
    }
    assert!(!cluster.read_all(1, 0).await.is_empty());
}

/// Whether the node with the hung disk itself names another leader of the first partition.
async fn is_moved(cluster: &Cluster, hung: u64) -> bool {
    let request = log::GetMetadataRequest {
        topics: vec!["t".to_owned()],
        ..log::GetMetadataRequest::default()
    };
    let reply = cluster.log(0).get_metadata(request).await;
    reply.is_ok_and(|reply| {
        let leader = reply.get_ref().topics[0].partitions[0].leader_node;
        leader.is_some_and(|leader| leader != hung)
    })
}
