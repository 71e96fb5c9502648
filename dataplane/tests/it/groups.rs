//! Consumer groups over the wire, as a client without our library uses them: members that come, go,
//! die and return, on nodes that lead the coordinator and on others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lograft_core::limits::{
    COMMIT_OFFSETS_MAX_COUNT, COORDINATORS_COUNT, GROUP_CUT_CALL_MAX, OFFSET_METADATA_MAX_BYTES,
};
use lograft_core::metadata::COORDINATORS_NAME;
use lograft_core::{FeatureLevel, Reason};
use lograft_proto::admin::v1 as admin;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::group_service_client::GroupServiceClient;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cluster::{Cluster, eventually, record_for};
use crate::control::reason;

const GROUP: &str = "billing";
const WAIT_MS: u32 = 20_000;

/// A member, as its program sees it.
#[derive(Clone)]
struct Member {
    client: GroupServiceClient<Channel>,
    group: String,
    id: String,
    instance_id: Option<String>,
    reply: log::MemberReply,
}

fn client(cluster: &Cluster, at: usize) -> GroupServiceClient<Channel> {
    client_of(cluster, at, "user/app")
}

fn client_of(cluster: &Cluster, at: usize, user: &str) -> GroupServiceClient<Channel> {
    GroupServiceClient::new(cluster.channel_of(user, cluster.addresses(at).client))
}

fn join_request(id: &str, topics: &[&str]) -> log::JoinGroupRequest {
    log::JoinGroupRequest {
        group: GROUP.to_owned(),
        member_id: id.to_owned(),
        client_id: "test".to_owned(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..log::JoinGroupRequest::default()
    }
}

impl Member {
    async fn join(cluster: &Cluster, at: usize, id: &str) -> Self {
        eventually("the join", async || {
            let joined = Self::join_as(client(cluster, at), join_request(id, &["t"]));
            joined.await.ok()
        })
        .await
    }

    async fn join_as(
        mut client: GroupServiceClient<Channel>,
        request: log::JoinGroupRequest,
    ) -> Result<Self, Status> {
        let (group, id) = (request.group.clone(), request.member_id.clone());
        let instance_id = request.instance_id.clone();
        let reply = client.join_group(request).await?.into_inner();
        Ok(Self {
            client,
            group,
            id,
            instance_id,
            reply,
        })
    }

    fn heartbeat_request(&self, max_wait_ms: u32) -> log::HeartbeatRequest {
        log::HeartbeatRequest {
            group: self.group.clone(),
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            generation: self.reply.generation,
            max_wait_ms,
            ..log::HeartbeatRequest::default()
        }
    }

    /// Acknowledges the last reply, and takes the next one.
    async fn heartbeat(&mut self, max_wait_ms: u32) -> Result<(), Status> {
        let request = self.heartbeat_request(max_wait_ms);
        self.reply = self.client.heartbeat(request).await?.into_inner();
        Ok(())
    }

    /// A heartbeat that waits for news, in the background.
    fn wait(&self) -> JoinHandle<Result<Self, Status>> {
        let mut waiting = self.clone();
        tokio::spawn(async move {
            waiting.heartbeat(WAIT_MS).await?;
            Ok(waiting)
        })
    }

    fn partitions(&self) -> BTreeSet<u32> {
        self.reply.partitions.iter().map(|p| p.partition).collect()
    }

    fn committed(&self) -> BTreeMap<u32, u64> {
        let partitions = self.reply.partitions.iter();
        partitions
            .filter_map(|p| Some((p.partition, p.committed_offset?)))
            .collect()
    }

    async fn commit(&mut self, offsets: &[(u32, u64)]) -> Result<Vec<Option<Reason>>, Status> {
        let request = log::CommitOffsetsRequest {
            group: self.group.clone(),
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            generation: self.reply.generation,
            offsets: offsets.iter().map(|at| offset("t", *at)).collect(),
            ..log::CommitOffsetsRequest::default()
        };
        commit(&mut self.client, request).await
    }

    /// The request for a commit of partition 0, with a number.
    fn numbered(&self, sequence: u64, to: u64) -> log::CommitOffsetsRequest {
        log::CommitOffsetsRequest {
            member_id: self.id.clone(),
            generation: self.reply.generation,
            sequence,
            ..from_outside(vec![offset("t", (0, to))])
        }
    }

    async fn leave(&mut self) {
        let request = log::LeaveGroupRequest {
            group: self.group.clone(),
            member_id: self.id.clone(),
            ..log::LeaveGroupRequest::default()
        };
        self.client.leave_group(request).await.unwrap();
    }
}

fn offset(topic: &str, (partition, offset): (u32, u64)) -> log::PartitionOffset {
    log::PartitionOffset {
        topic: topic.to_owned(),
        partition,
        offset,
        metadata: format!("at {offset}"),
        ..log::PartitionOffset::default()
    }
}

/// The reason for which each offset was refused; none for those that were committed.
async fn commit(
    client: &mut GroupServiceClient<Channel>,
    request: log::CommitOffsetsRequest,
) -> Result<Vec<Option<Reason>>, Status> {
    let reply = client.commit_offsets(request).await?.into_inner();
    let outcome = |result: log::PartitionResult| {
        let error = result.error?;
        Some(Reason::from_wire(&error.reason).unwrap())
    };
    Ok(reply.results.into_iter().map(outcome).collect())
}

fn from_outside(offsets: Vec<log::PartitionOffset>) -> log::CommitOffsetsRequest {
    log::CommitOffsetsRequest {
        group: GROUP.to_owned(),
        offsets,
        ..log::CommitOffsetsRequest::default()
    }
}

async fn stored(cluster: &Cluster, at: usize) -> BTreeMap<u32, u64> {
    let request = log::FetchOffsetsRequest {
        group: GROUP.to_owned(),
        ..log::FetchOffsetsRequest::default()
    };
    let reply = client(cluster, at).fetch_offsets(request).await.unwrap();
    let offsets = reply.into_inner().offsets.into_iter();
    offsets.map(|o| (o.partition, o.offset)).collect()
}

async fn describe(cluster: &Cluster, at: usize) -> Result<log::DescribeGroupReply, Status> {
    let request = log::DescribeGroupRequest {
        group: GROUP.to_owned(),
        ..log::DescribeGroupRequest::default()
    };
    let reply = client(cluster, at).describe_group(request).await?;
    Ok(reply.into_inner())
}

async fn members(cluster: &Cluster, at: usize) -> Vec<String> {
    let described = describe(cluster, at).await.unwrap();
    described.members.into_iter().map(|m| m.member_id).collect()
}

/// The position of the node that coordinates the group.
async fn coordinator(cluster: &Cluster, nodes: usize) -> usize {
    let id = describe(cluster, 0).await.unwrap().coordinator_node;
    for at in 0..nodes {
        if cluster.id_of(at).await == id {
            return at;
        }
    }
    panic!("node {id} is not in the cluster")
}

fn all(count: u32) -> BTreeSet<u32> {
    (0..count).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_partitions_and_hand_them_over_one_by_one() {
    let cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 6, 3).await;
    let mut a = Member::join(&cluster, 0, "a").await;
    assert_eq!(a.partitions(), all(6));
    assert!(!a.reply.is_incomplete);
    assert_eq!(a.committed(), BTreeMap::new());
    let committed = a.commit(&[(0, 10), (5, 50)]).await.unwrap();
    assert_eq!(committed, [None, None]);

    // Nothing is taken from the first member before it has given it up.
    let waiting = a.wait();
    let mut b = Member::join(&cluster, 1, "b").await;
    assert_eq!(b.partitions(), all(0));
    assert!(b.reply.is_incomplete);
    let told = waiting.await.unwrap().unwrap();
    assert_eq!(told.partitions().len(), 3, "{:?}", told.reply);
    b.heartbeat(0).await.unwrap();
    assert_eq!(b.partitions(), all(0), "not given up yet");
    let described = describe(&cluster, 2).await.unwrap();
    assert_eq!(described.state(), log::GroupState::Rebalancing);

    // It may still commit partitions that it gives up.
    let mut leaving = told.clone();
    let given_up: Vec<u32> = all(6).difference(&told.partitions()).copied().collect();
    let last = (given_up[0], 99);
    assert_eq!(leaving.commit(&[last]).await.unwrap(), [None]);
    let other = b.commit(&[last]).await.unwrap();
    assert_eq!(other, [Some(Reason::NotAssigned)]);

    let waiting = b.wait();
    a = told;
    a.heartbeat(0).await.unwrap();
    b = waiting.await.unwrap().unwrap();
    assert_eq!(b.partitions(), given_up.iter().copied().collect());
    assert_eq!(b.committed().get(&given_up[0]), Some(&99));
    let described = describe(&cluster, 0).await.unwrap();
    assert_eq!(described.state(), log::GroupState::Stable);
    let late = a.commit(&[last]).await.unwrap();
    assert_eq!(late, [Some(Reason::NotAssigned)], "it belongs to the other");

    // One that leaves is replaced at once, and one that is cut off soon after.
    let waiting = b.wait();
    a.leave().await;
    b = waiting.await.unwrap().unwrap();
    assert_eq!(b.partitions(), all(6));
    let gone = a.commit(&[(0, 11)]).await.unwrap_err();
    assert_eq!(reason(&gone), Some(Reason::UnknownMember), "{gone:?}");
    let cut = b.wait();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let c = Member::join(&cluster, 2, "c").await;
    assert!(c.reply.is_incomplete);
    b = cut.await.unwrap().unwrap();
    assert_eq!(b.partitions().len(), 3);
    let cut = b.wait();
    tokio::time::sleep(Duration::from_millis(200)).await;
    cut.abort();
    let since = Instant::now();
    let mut c = c;
    while c.partitions() != all(6) {
        c.heartbeat(WAIT_MS).await.unwrap();
    }
    let took = since.elapsed();
    assert!(took < GROUP_CUT_CALL_MAX * 4, "{took:?}");
    assert_eq!(members(&cluster, 1).await, ["c"]);
    let zombie = b.heartbeat(0).await.unwrap_err();
    assert_eq!(reason(&zombie), Some(Reason::UnknownMember));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_the_loss_of_its_coordinator_and_a_restart_of_all_nodes() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 4, 3).await;
    let mut a = Member::join(&cluster, 0, "a").await;
    a.commit(&[(1, 7)]).await.unwrap();
    let lost = coordinator(&cluster, 3).await;
    let other = (lost + 1) % 3;
    let mut a = Member {
        client: client(&cluster, other),
        ..a
    };
    let waiting = a.wait();
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.stop(lost).await;
    // The call ends with an error that says to repeat it, or goes on at the next coordinator.
    if let Err(error) = waiting.await.unwrap() {
        let found = reason(&error).unwrap();
        assert!(found.is_retryable(), "{error:?}");
    }
    eventually("the next coordinator", async || a.heartbeat(0).await.ok()).await;
    assert_eq!(a.partitions(), all(4), "it has what it had");
    assert_eq!(a.commit(&[(2, 8)]).await.unwrap(), [None]);
    cluster.restart(lost).await;
    cluster.ready(lost).await;
    for at in 0..3 {
        cluster.stop(at).await;
    }
    for at in 0..3 {
        cluster.restart(at).await;
    }
    for at in 0..3 {
        cluster.ready(at).await;
    }
    let kept = eventually("the group", async || describe(&cluster, 0).await.ok()).await;
    assert_eq!(kept.members.len(), 1, "{kept:?}");
    assert_eq!(stored(&cluster, 1).await, [(1, 7), (2, 8)].into());
    let mut a = Member {
        client: client(&cluster, 2),
        ..a
    };
    a.heartbeat(0).await.unwrap();
    assert_eq!(a.partitions(), all(4));
}

/// A call that hung in a node arrives after the member has repeated it elsewhere and has gone on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_duplicate_of_a_commit_does_not_set_the_offset_back() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 1, 3).await;
    let a = Member::join(&cluster, 0, "a").await;
    let late = a.numbered(1, 10);
    for (at, request) in [late.clone(), late.clone(), a.numbered(2, 20)]
        .into_iter()
        .enumerate()
    {
        let outcome = commit(&mut client(&cluster, at), request).await;
        assert_eq!(outcome.unwrap(), [None]);
    }
    for at in 0..3 {
        let mut node = client(&cluster, at);
        let reply = node.commit_offsets(late.clone()).await.unwrap();
        let error = reply.into_inner().results[0].error.clone().unwrap();
        assert_eq!(error.reason, "COMMIT_SUPERSEDED");
        assert_eq!(error.metadata["sequence"], "2");
        assert_eq!(error.retryable, Some(false));
        assert_eq!(stored(&cluster, at).await, [(0, 20)].into());
    }
    // The next coordinator knows it too.
    let lost = coordinator(&cluster, 3).await;
    let other = (lost + 1) % 3;
    cluster.stop(lost).await;
    let outcome = eventually("the next coordinator", async || {
        commit(&mut client(&cluster, other), late.clone())
            .await
            .ok()
    })
    .await;
    assert_eq!(outcome, [Some(Reason::CommitSuperseded)]);
    assert_eq!(stored(&cluster, other).await, [(0, 20)].into());
    // A member that goes back says so with a later commit.
    let back = commit(&mut client(&cluster, other), a.numbered(3, 5)).await;
    assert_eq!(back.unwrap(), [None]);
    assert_eq!(stored(&cluster, other).await, [(0, 5)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_an_instance_id_returns_without_a_move() {
    let cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 4, 1).await;
    let as_instance = |id: &str| log::JoinGroupRequest {
        instance_id: Some("pod-0".to_owned()),
        session_timeout_ms: 5_000,
        ..join_request(id, &["t"])
    };
    let first = Member::join_as(client(&cluster, 0), as_instance("a-1")).await;
    let mut first = first.unwrap();
    let mut other = Member::join(&cluster, 0, "b").await;
    first.heartbeat(0).await.unwrap();
    first.heartbeat(0).await.unwrap();
    other.heartbeat(WAIT_MS).await.unwrap();
    assert_eq!((first.partitions().len(), other.partitions().len()), (2, 2));

    // Its process ends, and the next one takes its place: the other member is not disturbed.
    let cut = first.wait();
    tokio::time::sleep(Duration::from_millis(200)).await;
    cut.abort();
    tokio::time::sleep(GROUP_CUT_CALL_MAX + Duration::from_millis(500)).await;
    let before = other.partitions();
    let next = Member::join_as(client(&cluster, 0), as_instance("a-2")).await;
    let next = next.unwrap();
    assert_eq!(next.partitions(), first.partitions());
    other.heartbeat(0).await.unwrap();
    assert_eq!(other.partitions(), before);
    let replaced = first.heartbeat(0).await.unwrap_err();
    assert_eq!(reason(&replaced), Some(Reason::MemberReplaced));
    let partition = *first.partitions().first().unwrap();
    let replaced = first.commit(&[(partition, 1)]).await.unwrap_err();
    assert_eq!(reason(&replaced), Some(Reason::MemberReplaced));

    // It has its session to return, and no more.
    let waiting = other.wait();
    let since = Instant::now();
    let other = waiting.await.unwrap().unwrap();
    assert_eq!(other.partitions(), all(4));
    assert!(
        since.elapsed() > Duration::from_secs(3),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_grow_go_and_come_again_are_followed() {
    let cluster = Cluster::of(2).await;
    cluster.create_topic(0, "t", 2, 1).await;
    let request = log::JoinGroupRequest {
        topic_pattern: Some("x-.*".to_owned()),
        ..join_request("a", &["t"])
    };
    let mut a = Member::join_as(client(&cluster, 0), request).await.unwrap();
    assert_eq!(a.partitions(), all(2));
    let former_id = a.reply.partitions[0].topic_id;
    a.commit(&[(0, 5), (1, 6)]).await.unwrap();

    let waiting = a.wait();
    let grow = admin::AlterTopicRequest {
        name: "t".to_owned(),
        partitions: Some(4),
        ..admin::AlterTopicRequest::default()
    };
    cluster.admin(0).alter_topic(grow).await.unwrap();
    a = waiting.await.unwrap().unwrap();
    assert_eq!(a.partitions(), all(4));
    let waiting = a.wait();
    cluster.create_topic(0, "x-1", 1, 1).await;
    a = waiting.await.unwrap().unwrap();
    assert_eq!(a.reply.partitions.len(), 5);

    // A topic that is made again starts without offsets, and offsets for the former one are refused.
    let delete = |name: &str| admin::DeleteTopicRequest {
        name: name.to_owned(),
        ..admin::DeleteTopicRequest::default()
    };
    let waiting = a.wait();
    cluster.admin(0).delete_topic(delete("t")).await.unwrap();
    a = waiting.await.unwrap().unwrap();
    assert_eq!(a.reply.partitions.len(), 1, "{:?}", a.reply);
    let waiting = a.wait();
    cluster.create_topic(0, "t", 2, 1).await;
    a = waiting.await.unwrap().unwrap();
    assert_eq!(a.reply.partitions.len(), 3);
    assert_eq!(a.committed(), BTreeMap::new());
    let stale = log::CommitOffsetsRequest {
        member_id: "a".to_owned(),
        generation: a.reply.generation,
        ..from_outside(vec![log::PartitionOffset {
            topic_id: Some(former_id),
            ..offset("t", (0, 9))
        }])
    };
    let outcome = commit(&mut a.client, stale).await.unwrap();
    assert_eq!(outcome, [Some(Reason::TopicRecreated)]);
    eventually(
        "the offsets of the deleted topic to be forgotten",
        async || {
            let kept = stored(&cluster, 1).await;
            kept.is_empty().then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_set_from_outside_while_nobody_is_in_the_group() {
    let cluster = Cluster::of(2).await;
    cluster.create_topic(0, "t", 2, 1).await;
    let mut outside = client(&cluster, 1);
    let refused = describe(&cluster, 0).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::UnknownGroup));
    assert_eq!(stored(&cluster, 0).await, BTreeMap::new());
    let set = |at| from_outside(vec![offset("t", at)]);
    assert_eq!(commit(&mut outside, set((0, 4))).await.unwrap(), [None]);
    let described = describe(&cluster, 0).await.unwrap();
    assert_eq!(described.state(), log::GroupState::Empty);
    let refused = [
        (offset("u", (0, 1)), Reason::UnknownTopic),
        (offset("t", (2, 1)), Reason::UnknownPartition),
        (
            log::PartitionOffset {
                metadata: "x".repeat(5000),
                ..offset("t", (1, 1))
            },
            Reason::InvalidArgument,
        ),
    ];
    let (offsets, reasons): (Vec<_>, Vec<_>) = refused.into_iter().unzip();
    let outcomes = commit(&mut outside, from_outside(offsets)).await.unwrap();
    assert_eq!(outcomes, reasons.into_iter().map(Some).collect::<Vec<_>>());

    let mut a = Member::join(&cluster, 0, "a").await;
    assert_eq!(a.committed(), [(0, 4)].into());
    let outcome = commit(&mut outside, set((0, 1))).await.unwrap();
    assert_eq!(outcome, [Some(Reason::GroupNotEmpty)]);
    let delete = log::DeleteGroupRequest {
        group: GROUP.to_owned(),
        ..log::DeleteGroupRequest::default()
    };
    let refused = outside.delete_group(delete.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::GroupNotEmpty));
    let stranger = log::HeartbeatRequest {
        group: GROUP.to_owned(),
        member_id: "a".to_owned(),
        ..log::HeartbeatRequest::default()
    };
    let refused = client_of(&cluster, 0, "user/stranger")
        .heartbeat(stranger)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::UnknownMember));
    a.leave().await;
    assert_eq!(commit(&mut outside, set((0, 1))).await.unwrap(), [None]);
    commit(&mut outside, set((1, 2))).await.unwrap();
    let forget = log::DeleteOffsetsRequest {
        group: GROUP.to_owned(),
        topic: "t".to_owned(),
        partitions: vec![0],
        ..log::DeleteOffsetsRequest::default()
    };
    let forgotten = outside.delete_offsets(forget).await.unwrap().into_inner();
    assert_eq!(forgotten.deleted_count, 1);
    assert_eq!(stored(&cluster, 0).await, [(1, 2)].into());
    let listed = outside
        .list_groups(log::ListGroupsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = listed.groups.iter().map(|g| g.group.as_str()).collect();
    assert_eq!(names, [GROUP]);
    outside.delete_group(delete.clone()).await.unwrap();
    let refused = outside.delete_group(delete).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::UnknownGroup));
}

/// A call that hangs in a node waits no longer than until its member repeats it at another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_is_repeated_ends_the_one_before() {
    let cluster = Cluster::of(2).await;
    cluster.create_topic(0, "t", 2, 1).await;
    let a = Member::join(&cluster, 0, "a").await;
    let first = a.wait();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!first.is_finished());
    let elsewhere = Member {
        client: client(&cluster, 1),
        ..a.clone()
    };
    let second = elsewhere.wait();
    // It would wait for `WAIT_MS`.
    let ended =
        tokio::time::timeout(Duration::from_millis(u64::from(WAIT_MS) * 3 / 4), first).await;
    let ended = ended.unwrap().unwrap().unwrap();
    assert_eq!(ended.partitions(), all(2));
    assert!(!second.is_finished());
    // The one that waits now is the call by which the member is known to be alive.
    tokio::time::sleep(GROUP_CUT_CALL_MAX * 2).await;
    assert_eq!(members(&cluster, 0).await, ["a"]);
    second.abort();
}

/// All pages of a description, each as the ids of its members and the partitions of its offsets.
async fn described_pages(cluster: &Cluster, at: usize, limit: u32) -> Vec<(Vec<String>, Vec<u32>)> {
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let request = log::DescribeGroupRequest {
            group: GROUP.to_owned(),
            after,
            limit,
            ..log::DescribeGroupRequest::default()
        };
        let page = client(cluster, at).describe_group(request).await.unwrap();
        let page = page.into_inner();
        let members = page.members.into_iter().map(|m| m.member_id).collect();
        assert!(page.offsets.iter().all(|o| o.metadata.is_empty()));
        pages.push((members, page.offsets.iter().map(|o| o.partition).collect()));
        let Some(next) = page.next else { return pages };
        after = next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_and_descriptions_are_read_in_pages_at_any_node() {
    let cluster = Cluster::of(2).await;
    cluster.create_topic(0, "t", 4, 1).await;
    let offsets = (0..4).map(|p| offset("t", (p, 10))).collect();
    commit(&mut client(&cluster, 0), from_outside(offsets))
        .await
        .unwrap();
    Member::join(&cluster, 0, "a").await;
    Member::join(&cluster, 1, "b").await;
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    for at in 0..2 {
        let by_one = described_pages(&cluster, at, 1).await;
        assert_eq!(by_one.len(), 6, "{by_one:?}");
        assert_eq!(by_one[0], (ids(&["a"]), vec![]));
        assert_eq!(by_one[5], (vec![], vec![3]));
        let by_three = described_pages(&cluster, at, 3).await;
        assert_eq!(
            by_three,
            [(ids(&["a", "b"]), vec![0]), (vec![], vec![1, 2, 3])]
        );
        let by_two = described_pages(&cluster, at, 2).await;
        assert_eq!(by_two[0], (ids(&["a", "b"]), vec![]));
        assert_eq!(by_two[1..], [(vec![], vec![0, 1]), (vec![], vec![2, 3])]);
        assert_eq!(described_pages(&cluster, at, 0).await.len(), 1);

        let fetch = |after: String| log::FetchOffsetsRequest {
            group: GROUP.to_owned(),
            after,
            limit: 3,
            ..log::FetchOffsetsRequest::default()
        };
        let mut node = client(&cluster, at);
        let first = node.fetch_offsets(fetch(String::new())).await.unwrap();
        let first = first.into_inner();
        let second = node
            .fetch_offsets(fetch(first.next.unwrap()))
            .await
            .unwrap();
        let second = second.into_inner();
        assert_eq!((first.offsets.len(), second.offsets.len()), (3, 1));
        assert_eq!((second.offsets[0].partition, second.next), (3, None));
        let refused = node.fetch_offsets(fetch("nonsense".to_owned())).await;
        let refused = refused.unwrap_err();
        assert_eq!(reason(&refused), Some(Reason::InvalidArgument));
        assert!(refused.message().contains("after"), "{refused:?}");
    }
}

/// A good request with one bad field, beside the name of the field.
fn bad_joins() -> Vec<(&'static str, log::JoinGroupRequest)> {
    type Change = fn(&mut log::JoinGroupRequest);
    let changes: [(&str, Change); 14] = [
        ("group", |join| join.group = String::new()),
        ("group", |join| "a b".clone_into(&mut join.group)),
        ("group", |join| join.group = "x".repeat(300)),
        ("member_id", |join| join.member_id = String::new()),
        ("member_id", |join| "a/b".clone_into(&mut join.member_id)),
        ("instance_id", |join| {
            join.instance_id = Some("x".repeat(65));
        }),
        ("client_id", |join| join.client_id = "x".repeat(65)),
        ("topics", |join| join.topics = Vec::new()),
        ("topic_pattern", |join| {
            join.topic_pattern = Some("(".to_owned());
        }),
        ("topic_pattern", |join| {
            join.topic_pattern = Some("x".repeat(257));
        }),
        ("topic_pattern", |join| {
            join.topic_pattern = Some("(((a{99}){99}){99}){99}".to_owned());
        }),
        ("assignor", |join| join.assignor = 77),
        ("session_timeout_ms", |join| join.session_timeout_ms = 10),
        ("rebalance_timeout_ms", |join| {
            join.rebalance_timeout_ms = 10;
        }),
    ];
    let request = |(field, change): (&'static str, Change)| {
        let mut request = join_request("a", &["t"]);
        change(&mut request);
        (field, request)
    };
    changes.into_iter().map(request).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_calls_name_the_field_and_the_bound() {
    let cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    for (field, request) in bad_joins() {
        let refused = client(&cluster, 0).join_group(request).await.unwrap_err();
        let found = reason(&refused);
        assert_eq!(found, Some(Reason::InvalidArgument), "{field}: {refused:?}");
        assert!(refused.message().contains(field), "{field}: {refused:?}");
    }
    let none = from_outside(Vec::new());
    let refused = client(&cluster, 0).commit_offsets(none).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let a = Member::join(&cluster, 0, "a").await;
    let too_large = a.numbered(u64::MAX, 1);
    let without_member = log::CommitOffsetsRequest {
        sequence: 1,
        ..from_outside(vec![offset("t", (0, 1))])
    };
    for request in [too_large, without_member] {
        let refused = client(&cluster, 0).commit_offsets(request).await;
        let refused = refused.unwrap_err();
        assert_eq!(reason(&refused), Some(Reason::InvalidArgument));
        assert!(refused.message().contains("sequence"), "{refused:?}");
    }
}

/// An entry that the log refuses for its size would end the node, and the next one after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fits_into_no_entry_is_refused_and_the_node_lives() {
    let cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let mut outside = client(&cluster, 0);
    let with_text = |count: usize, text_bytes: usize| {
        let offset = log::PartitionOffset {
            metadata: "x".repeat(text_bytes),
            ..offset("t", (0, 1))
        };
        from_outside(vec![offset; count])
    };
    let largest = with_text(COMMIT_OFFSETS_MAX_COUNT, OFFSET_METADATA_MAX_BYTES);
    let refused = outside.commit_offsets(largest).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::InvalidArgument));
    assert!(refused.message().contains("several calls"), "{refused:?}");
    let many = commit(&mut outside, with_text(COMMIT_OFFSETS_MAX_COUNT, 0)).await;
    assert!(many.unwrap().iter().all(Option::is_none));
    let long = commit(&mut outside, with_text(100, OFFSET_METADATA_MAX_BYTES)).await;
    assert!(long.unwrap().iter().all(Option::is_none));
    assert!(cluster.is_running(0).await);
}

/// The coordinators are replicated as the cluster's nodes allow, and are no topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_follow_the_size_of_the_cluster() {
    let mut cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let mut a = Member::join(&cluster, 0, "a").await;
    a.commit(&[(0, 3)]).await.unwrap();
    for at in 1..3 {
        cluster.add().await;
        cluster.ready(at).await;
    }
    // Voters, not only copies.
    let is_voter_of_all = async |at| {
        let metrics = cluster.get(at, "/metrics").await;
        let count = |role| {
            let line = format!("lograft_replicas{{role=\"{role}\"}} ");
            let mut lines = metrics.lines();
            lines.find_map(|found| found.strip_prefix(&line)?.parse::<u32>().ok())
        };
        let voters = count("leader").unwrap_or(0) + count("follower").unwrap_or(0);
        (voters >= COORDINATORS_COUNT).then_some(())
    };
    for at in 1..3 {
        eventually("replicas of all coordinators", async || {
            is_voter_of_all(at).await
        })
        .await;
    }
    cluster.healthy(0, 3).await;
    cluster.stop(0).await;
    eventually("the group on the others", async || {
        let kept = describe(&cluster, 1).await.ok()?;
        (kept.offsets.len() == 1).then_some(())
    })
    .await;
    let topics = cluster.topics(1).await;
    assert_eq!(topics.len(), 1, "{topics:?}");
    let hidden = record_for(COORDINATORS_NAME, "x");
    let refused = cluster.log(1).produce(hidden).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::UnknownTopic));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_wait_for_the_finalized_level() {
    let mut cluster = Cluster::new();
    cluster.level = FeatureLevel(FeatureLevel::CURRENT.get() - 1);
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    cluster.ready(0).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let refused = client(&cluster, 0)
        .join_group(join_request("a", &["t"]))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::FeatureNotFinalized));
    cluster.level = FeatureLevel::CURRENT;
    cluster.stop(0).await;
    cluster.restart(0).await;
    cluster.ready(0).await;
    let request = admin::FinalizeLevelRequest { level: None };
    cluster.admin(0).finalize_level(request).await.unwrap();
    Member::join(&cluster, 0, "a").await;
}
