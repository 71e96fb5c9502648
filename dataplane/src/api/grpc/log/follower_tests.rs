//! Reads from replicas that do not lead, through the service.

use std::time::Duration;

use lograft_core::limits::FOLLOWER_AGE_MAX;
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{NodeId, Reason};
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::position::At;
use lograft_proto::log::v1::{ReadConsistency, ReadPoint};
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming};

use crate::control::test_metadata;
use crate::fixture::{PATIENCE, TOPIC, TestCluster, eventually, produce, wire_error};
use crate::transport::status::reason_of;

fn session(at: At, seen: u64) -> proto::FetchRequest {
    proto::FetchRequest {
        topic: TOPIC.into(),
        position: Some(proto::Position { at: Some(at) }),
        consistency: ReadConsistency::Session.into(),
        seen: Some(ReadPoint {
            leader_epoch: 0,
            high_watermark: seen,
        }),
        ..Default::default()
    }
}

/// The same of a client that routes.
fn routed(at: At, seen: u64) -> proto::FetchRequest {
    proto::FetchRequest {
        no_forward: true,
        ..session(at, seen)
    }
}

fn follow() -> proto::ConsumeRequest {
    proto::ConsumeRequest {
        topic: TOPIC.into(),
        position: Some(proto::Position {
            at: Some(At::Earliest(true)),
        }),
        consistency: ReadConsistency::Session.into(),
        no_forward: true,
        follow: true,
        ..Default::default()
    }
}

/// Three replicas with the places of the leader and of a follower, and five records everywhere.
struct Reads {
    cluster: TestCluster,
    leader: usize,
    follower: usize,
}

impl Reads {
    async fn new() -> Self {
        let cluster = TestCluster::new(4, 3).await;
        let this = Self {
            leader: cluster.leader().await,
            follower: cluster.follower().await,
            cluster,
        };
        this.produce(0).await;
        for node in 0..3 {
            eventually("all have the records", || this.high_watermark(node) == 5).await;
        }
        this
    }

    /// Appends five records.
    async fn produce(&self, seed: u64) {
        let mut client = self.cluster.nodes[self.leader].client.clone();
        client.produce(produce(seed, 5)).await.unwrap();
    }

    fn high_watermark(&self, node: usize) -> u64 {
        let replica = self.cluster.nodes[node].replica.as_ref().unwrap();
        replica.state.watermarks().high_watermark.get()
    }

    async fn fetch(
        &self,
        node: usize,
        request: proto::FetchRequest,
    ) -> Result<proto::FetchReply, Status> {
        let mut client = self.cluster.nodes[node].client.clone();
        Ok(client.fetch(request).await?.into_inner())
    }

    async fn consume(
        &self,
        node: usize,
        request: proto::ConsumeRequest,
    ) -> Streaming<proto::FetchReply> {
        let mut client = self.cluster.nodes[node].client.clone();
        client.consume(request).await.unwrap().into_inner()
    }

    /// The reason why the follower does not answer, which names the leader.
    async fn refusal(&self, request: proto::FetchRequest) -> Option<Reason> {
        let status = self.fetch(self.follower, request).await.err()?;
        self.check_names_leader(&status);
        reason_of(&status)
    }

    fn check_names_leader(&self, status: &Status) {
        let leader = (self.leader + 1).to_string();
        let metadata = wire_error(status).metadata;
        assert_eq!(metadata.get("leader_node"), Some(&leader), "{metadata:?}");
        assert!(metadata.contains_key("leader_epoch"));
    }

    fn node_id(place: usize) -> u64 {
        place as u64 + 1
    }
}

fn values(reply: &proto::FetchReply) -> Vec<u64> {
    reply.records.iter().map(|record| record.offset).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_consistency_is_given_by_the_replica_that_can() {
    let reads = Reads::new().await;
    let follower = reads.follower;
    for (asked, given, by) in [
        (
            ReadConsistency::Unspecified,
            ReadConsistency::Leader,
            reads.leader,
        ),
        (
            ReadConsistency::Leader,
            ReadConsistency::Leader,
            reads.leader,
        ),
        (ReadConsistency::Session, ReadConsistency::Session, follower),
        (
            ReadConsistency::Linearizable,
            ReadConsistency::Linearizable,
            reads.leader,
        ),
    ] {
        let request = proto::FetchRequest {
            consistency: asked.into(),
            ..session(At::Earliest(true), 5)
        };
        let reply = reads.fetch(follower, request).await.unwrap();
        assert_eq!(values(&reply), [0, 1, 2, 3, 4], "{asked:?}");
        assert_eq!(reply.consistency(), given);
        assert_eq!(reply.read_by, Reads::node_id(by), "{asked:?}");
        // The blank entry of the term, the membership and the batch.
        assert!(
            reply.commit_index >= 2 && reply.leader_epoch > 0,
            "{reply:?}"
        );
        let stream = proto::ConsumeRequest {
            consistency: asked.into(),
            follow: false,
            no_forward: false,
            ..follow()
        };
        let mut replies = reads.consume(follower, stream).await;
        let reply = replies.message().await.unwrap().unwrap();
        assert_eq!(
            (reply.consistency(), reply.read_by),
            (given, Reads::node_id(by))
        );
        assert!(replies.message().await.unwrap().is_none());
    }
    let reply = reads
        .fetch(reads.leader, session(At::Latest(true), 5))
        .await
        .unwrap();
    let expected = (ReadConsistency::Session, Reads::node_id(reads.leader));
    assert_eq!((reply.consistency(), reply.read_by), expected);
    let metrics = reads.cluster.nodes[follower].metrics.encode().unwrap();
    let counted = "lograft_fetch_replica_bytes_total{role=\"follower\",zone=\"unknown\"}";
    assert!(metrics.contains(counted), "{metrics}");
    let unknown = proto::FetchRequest {
        consistency: 77,
        ..session(At::Earliest(true), 0)
    };
    let refused = reads.fetch(follower, unknown).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(Reason::InvalidArgument));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_behind_its_client_sends_it_on() {
    let reads = Reads::new().await;
    let node = NodeId(Reads::node_id(reads.follower));
    reads.cluster.net.stall(node);
    reads.produce(1).await;
    let earlier = reads
        .fetch(reads.follower, routed(At::Offset(3), 5))
        .await
        .unwrap();
    assert_eq!((values(&earlier), earlier.high_watermark), (vec![3, 4], 5));
    let latest = reads
        .fetch(reads.follower, routed(At::Latest(true), 0))
        .await
        .unwrap();
    assert_eq!(latest.next_offset, 5, "the end of this replica");
    // More than it has, an offset beyond the end of the replica, and a newer leader.
    let newer = proto::FetchRequest {
        seen: Some(ReadPoint {
            leader_epoch: earlier.leader_epoch + 1,
            high_watermark: 0,
        }),
        ..routed(At::Offset(3), 0)
    };
    for request in [routed(At::Offset(3), 6), routed(At::Offset(7), 0), newer] {
        let refusal = reads.refusal(request).await;
        assert_eq!(refusal, Some(Reason::ReplicaNotCurrent));
    }
    let forwarded = reads
        .fetch(reads.follower, session(At::Offset(3), 6))
        .await
        .unwrap();
    assert_eq!(forwarded.read_by, Reads::node_id(reads.leader));
    assert_eq!(forwarded.high_watermark, 10);
    let beyond = reads
        .fetch(reads.follower, session(At::Offset(11), 0))
        .await;
    assert_eq!(
        reason_of(&beyond.unwrap_err()),
        Some(Reason::OffsetOutOfRange)
    );
    let waiting = reads.fetch(reads.follower, routed(At::Offset(3), 10));
    let unstall = async {
        sleep(Duration::from_millis(100)).await;
        reads.cluster.net.unstall(node);
    };
    let (reply, ()) = tokio::join!(waiting, unstall);
    let reply = reply.unwrap();
    assert_eq!(reply.read_by, node.get(), "it waits a moment");
    assert_eq!(reply.high_watermark, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_has_not_heard_from_a_leader_for_long_answers_nothing() {
    let reads = Reads::new().await;
    let mut stream = reads.consume(reads.follower, follow()).await;
    assert_eq!(stream.message().await.unwrap().unwrap().next_offset, 5);
    reads
        .cluster
        .net
        .cut(NodeId(Reads::node_id(reads.follower)));
    let ended = timeout(PATIENCE, stream.message()).await.unwrap();
    let ended = ended.unwrap_err();
    assert_eq!(reason_of(&ended), Some(Reason::ReplicaNotCurrent));
    reads.check_names_leader(&ended);
    let refusal = reads.refusal(routed(At::Earliest(true), 0)).await;
    assert_eq!(refusal, Some(Reason::ReplicaNotCurrent));
    reads
        .cluster
        .net
        .reconnect(NodeId(Reads::node_id(reads.follower)));
    let mut again = routed(At::Earliest(true), 5);
    again.max_wait_ms = 0;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while reads.fetch(reads.follower, again.clone()).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline);
    }
}

/// Heartbeats arrive, and what they say is committed does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_without_the_entries_is_as_old_as_its_last_one() {
    let reads = Reads::new().await;
    reads
        .cluster
        .net
        .stall(NodeId(Reads::node_id(reads.follower)));
    reads.produce(1).await;
    sleep(FOLLOWER_AGE_MAX).await;
    eventually("its age grows", || {
        let replica = reads.cluster.nodes[reads.follower]
            .replica
            .as_ref()
            .unwrap();
        replica.raft.applied_age().unwrap() > FOLLOWER_AGE_MAX
    })
    .await;
    let refusal = reads.refusal(routed(At::Earliest(true), 0)).await;
    assert_eq!(refusal, Some(Reason::ReplicaNotCurrent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_moved_away_or_repaired_ends_its_streams() {
    let reads = Reads::new().await;
    let follower = Reads::node_id(reads.follower);
    let view = &reads.cluster.nodes[reads.follower].meta;
    let before = Metadata::clone(&view.load());
    let group = test_metadata::group(&before, TOPIC, 0);
    let changes = [
        Command::ReportDamage {
            group,
            node: NodeId(follower),
        },
        Command::CommitMove {
            group,
            replicas: (1..=4)
                .map(NodeId)
                .filter(|n| n.get() != follower)
                .collect(),
        },
    ];
    for change in changes {
        let mut metadata = before.clone();
        test_metadata::apply(&mut metadata, &Command::StartPartition { group });
        if let Command::CommitMove { replicas, .. } = &change {
            let replicas = replicas.clone();
            test_metadata::apply(&mut metadata, &Command::SetTarget { group, replicas });
        }
        view.store(metadata.clone());
        let mut stream = reads.consume(reads.follower, follow()).await;
        assert_eq!(stream.message().await.unwrap().unwrap().next_offset, 5);
        test_metadata::apply(&mut metadata, &change);
        view.store(metadata);
        let ended = timeout(PATIENCE, stream.message()).await.unwrap();
        let ended = ended.unwrap_err();
        assert_eq!(
            reason_of(&ended),
            Some(Reason::ReplicaNotCurrent),
            "{change:?}"
        );
        reads.check_names_leader(&ended);
        let refusal = reads.refusal(routed(At::Earliest(true), 0)).await;
        assert_eq!(refusal, Some(Reason::ReplicaNotCurrent), "{change:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_replica_outlives_the_move_of_the_leader() {
    let mut reads = Reads::new().await;
    let mut streams = Vec::new();
    for node in [reads.follower, reads.leader] {
        let mut stream = reads.consume(node, follow()).await;
        assert_eq!(stream.message().await.unwrap().unwrap().next_offset, 5);
        streams.push(stream);
    }
    // To the follower itself, and away again.
    for to in [reads.follower, reads.leader] {
        let from = reads.cluster.nodes[reads.leader].replica.as_ref().unwrap();
        let node = NodeId(Reads::node_id(to));
        from.raft.transfer_leader(node).await.unwrap();
        eventually("it leads", || {
            let replica = reads.cluster.nodes[to].replica.as_ref().unwrap();
            replica.raft.watch().borrow().ready
        })
        .await;
        reads.leader = to;
        let end = reads.high_watermark(to);
        reads.produce(end).await;
        for stream in &mut streams {
            let reply = timeout(PATIENCE, stream.message()).await.unwrap();
            let reply = reply.unwrap().unwrap();
            assert_eq!(values(&reply), (end..end + 5).collect::<Vec<_>>());
            assert_eq!(reply.consistency(), ReadConsistency::Session);
        }
    }
}

/// Five replicas, of which two have what no majority has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_shows_nothing_of_its_log_that_is_not_committed() {
    let cluster = TestCluster::new(5, 5).await;
    let reads = Reads {
        leader: cluster.leader().await,
        follower: cluster.follower().await,
        cluster,
    };
    reads.produce(0).await;
    eventually("it has the records", || {
        reads.high_watermark(reads.follower) == 5
    })
    .await;
    let has_part = [reads.leader, reads.follower];
    for node in (0..5).filter(|node| !has_part.contains(node)) {
        reads.cluster.net.stall(NodeId(Reads::node_id(node)));
    }
    let mut client = reads.cluster.nodes[reads.leader].client.clone();
    tokio::spawn(async move { client.produce(produce(1, 5)).await });
    let replica = reads.cluster.nodes[reads.follower].replica.clone().unwrap();
    eventually("it has more", || replica.log.log_end_offset().get() == 10).await;
    let mut long_poll = routed(At::Offset(5), 5);
    long_poll.max_wait_ms = 300;
    for request in [
        routed(At::Earliest(true), 0),
        long_poll,
        routed(At::Latest(true), 0),
    ] {
        let reply = reads.fetch(reads.follower, request).await.unwrap();
        assert_eq!((reply.high_watermark, reply.next_offset), (5, 5));
        assert!(values(&reply).iter().all(|offset| *offset < 5), "{reply:?}");
    }
    let mut stream = reads.consume(reads.follower, follow()).await;
    assert_eq!(stream.message().await.unwrap().unwrap().next_offset, 5);
    let more = timeout(Duration::from_millis(300), stream.message()).await;
    assert!(more.is_err(), "{more:?}");
    for node in (0..5).filter(|node| !has_part.contains(node)) {
        reads.cluster.net.unstall(NodeId(Reads::node_id(node)));
    }
    let more = timeout(PATIENCE, stream.message()).await.unwrap();
    assert_eq!(values(&more.unwrap().unwrap()), [5, 6, 7, 8, 9]);
}

/// The leader and a follower are cut off together. The follower hears from it all the time, and the
/// others commit without both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_a_leader_without_a_majority_stops_to_answer() {
    let cluster = TestCluster::new(5, 5).await;
    let mut reads = Reads {
        leader: cluster.leader().await,
        follower: cluster.follower().await,
        cluster,
    };
    reads.produce(0).await;
    eventually("it has the records", || {
        reads.high_watermark(reads.follower) == 5
    })
    .await;
    let replica = reads.cluster.nodes[reads.follower].replica.clone().unwrap();
    let side = [reads.leader, reads.follower].map(|at| NodeId(Reads::node_id(at)));
    let mut stream = reads.consume(reads.follower, follow()).await;
    assert_eq!(stream.message().await.unwrap().unwrap().next_offset, 5);
    reads.cluster.net.split(&side);
    let ended = timeout(PATIENCE, stream.message()).await.unwrap();
    assert_eq!(
        reason_of(&ended.unwrap_err()),
        Some(Reason::ReplicaNotCurrent)
    );
    let contact = replica.raft.contact_age().unwrap();
    assert!(
        contact < FOLLOWER_AGE_MAX / 2,
        "it hears from its leader: {contact:?}"
    );
    let refusal = reads.refusal(routed(At::Earliest(true), 0)).await;
    assert_eq!(refusal, Some(Reason::ReplicaNotCurrent));
    // It answers again once the others have told it what they have committed.
    reads.leader = reads.cluster.leader_but(Some(reads.leader)).await;
    reads.produce(1).await;
    reads.cluster.net.split(&[]);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        assert!(tokio::time::Instant::now() < deadline);
        let read = reads.fetch(reads.follower, routed(At::Offset(5), 0)).await;
        if let Ok(reply) = read {
            assert_eq!(values(&reply), [5, 6, 7, 8, 9], "it was behind");
            break;
        }
    }
}
