//! Topics are made and altered, leaders come back, damage is mended, old records go.

use std::path::{Path, PathBuf};

use lograft_core::Reason;
use lograft_node::config::HttpSettings;
use lograft_proto::admin::v1 as admin;
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::log::v1 as log;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::cluster::{Cluster, eventually};
use crate::http_client::HttpClient;

pub(crate) fn reason(status: &Status) -> Option<Reason> {
    Reason::from_wire(&status.get_details_error_info()?.reason)
}

pub(crate) fn bound(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap();
    info.metadata.get("bound").cloned().unwrap_or_default()
}

fn new_topic(name: &str, partitions: u32, replication_factor: u32) -> admin::CreateTopicRequest {
    admin::CreateTopicRequest {
        name: name.to_owned(),
        partitions,
        replication_factor,
        ..admin::CreateTopicRequest::default()
    }
}

pub(crate) fn setting(key: &str, number: u64) -> admin::TopicSetting {
    admin::TopicSetting {
        key: key.to_owned(),
        value: Some(admin::topic_setting::Value::Number(number)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_topic_are_set_changed_and_removed() {
    let cluster = Cluster::of(1).await;
    let mut client = cluster.admin(0);
    let unknown = admin::CreateTopicRequest {
        settings: vec![setting("no.such", 1)],
        ..new_topic("t", 1, 1)
    };
    let refused = client.create_topic(unknown).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::InvalidArgument));
    let request = admin::CreateTopicRequest {
        settings: vec![
            setting("batch.max.bytes", 4096),
            setting("retention.ms", 9000),
        ],
        ..new_topic("t", 1, 1)
    };
    let created = client.create_topic(request).await.unwrap().into_inner();
    let topic = created.topic.unwrap();
    let both = [
        setting("retention.ms", 9000),
        setting("batch.max.bytes", 4096),
    ];
    assert_eq!(topic.settings, both);
    assert_eq!(topic.retention.unwrap().ms, Some(9000));
    let alter = admin::AlterTopicRequest {
        name: "t".to_owned(),
        settings: vec![setting("retention.bytes", 5 << 20)],
        reset_settings: vec!["batch.max.bytes".to_owned()],
        ..admin::AlterTopicRequest::default()
    };
    let altered = client.alter_topic(alter).await.unwrap().into_inner();
    let kept = [
        setting("retention.bytes", 5 << 20),
        setting("retention.ms", 9000),
    ];
    assert_eq!(altered.topic.unwrap().settings, kept);
    let listed = client
        .list_topics(admin::ListTopicsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().topics[0].settings, kept);
}

/// Grows a topic of three partitions to five and bounds it; what is not allowed is refused.
async fn alter(client: &mut AdminServiceClient<Channel>) {
    let request = |partitions, retention| admin::AlterTopicRequest {
        name: "t".to_owned(),
        partitions,
        retention,
        ..admin::AlterTopicRequest::default()
    };
    let keep = Some(admin::Retention {
        bytes: Some(5 << 20),
        ms: None,
    });
    let altered = client
        .alter_topic(request(Some(5), keep))
        .await
        .unwrap()
        .into_inner();
    assert!(altered.ready);
    let altered = altered.topic.unwrap();
    assert_eq!(altered.partitions.len(), 5);
    assert_eq!(altered.retention, keep);
    let fewer = client
        .alter_topic(request(Some(4), None))
        .await
        .unwrap_err();
    assert_eq!(reason(&fewer), Some(Reason::InvalidPartitionCount));
    assert_eq!(bound(&fewer), "5..=10000");
    let too_little = Some(admin::Retention {
        bytes: Some(1),
        ms: None,
    });
    let refused = client
        .alter_topic(request(None, too_little))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_created_refused_altered_and_deleted() {
    let cluster = Cluster::of(2).await;
    let mut client = cluster.admin(1);
    for (request, expected) in [
        (new_topic("a b", 1, 1), Reason::InvalidTopicName),
        (new_topic("", 1, 1), Reason::InvalidTopicName),
        (new_topic("t", 20_000, 1), Reason::InvalidPartitionCount),
        (new_topic("t", 1, 3), Reason::InvalidReplicationFactor),
    ] {
        let refused = client.create_topic(request).await.unwrap_err();
        assert_eq!(reason(&refused), Some(expected), "{refused:?}");
        assert_ne!(bound(&refused), "", "{refused:?}");
    }
    let created = client
        .create_topic(new_topic("t", 3, 0))
        .await
        .unwrap()
        .into_inner();
    let topic = created.topic.unwrap();
    assert!(created.ready);
    assert_eq!(
        (topic.partitions.len(), topic.replication_factor),
        (3, 2),
        "all nodes"
    );
    let again = client.create_topic(new_topic("t", 1, 1)).await.unwrap_err();
    assert_eq!(reason(&again), Some(Reason::TopicExists));

    alter(&mut client).await;
    let listed = cluster
        .admin(0)
        .list_topics(admin::ListTopicsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().topics[0].partitions, 5);
    let delete = |topic_id| admin::DeleteTopicRequest {
        name: "t".to_owned(),
        topic_id,
    };
    let former = delete(Some(topic.topic_id));
    client.delete_topic(former.clone()).await.unwrap();
    let gone = client.delete_topic(delete(None)).await.unwrap_err();
    assert_eq!(reason(&gone), Some(Reason::UnknownTopic));
    let anew = client
        .create_topic(new_topic("t", 1, 2))
        .await
        .unwrap()
        .into_inner();
    let current = anew.topic.unwrap().topic_id;
    assert!(current > topic.topic_id);
    let recreated = client.delete_topic(former).await.unwrap_err();
    assert_eq!(reason(&recreated), Some(Reason::TopicRecreated));
    let details = recreated.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.metadata["topic_id"], current.to_string());
    let alter = admin::AlterTopicRequest {
        name: "t".to_owned(),
        topic_id: Some(topic.topic_id),
        ..admin::AlterTopicRequest::default()
    };
    let recreated = client.alter_topic(alter).await.unwrap_err();
    assert_eq!(reason(&recreated), Some(Reason::TopicRecreated));
    eventually("the files to go", async || {
        let groups = std::fs::read_dir(cluster.data_dir(0).join("groups"))
            .unwrap()
            .count();
        (groups == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_partitions_are_listed_in_pages() {
    let cluster = Cluster::of(1).await;
    let mut expected = Vec::new();
    for topic in ["a", "b", "b.c", "c", "d"] {
        cluster.create_topic(0, topic, 3, 1).await;
        expected.extend((0..3).map(|number| (topic.to_owned(), number)));
    }
    let mut admin = cluster.admin(0);
    let mut request = admin::ListTopicsRequest {
        max_count: 2,
        after: String::new(),
    };
    let mut pages = Vec::new();
    loop {
        let page = admin.list_topics(request.clone()).await.unwrap();
        let page = page.into_inner();
        pages.push(page.topics.into_iter().map(|t| t.name).collect::<Vec<_>>());
        if page.next.is_empty() {
            break;
        }
        request.after = page.next;
    }
    assert_eq!(pages, [vec!["a", "b"], vec!["b.c", "c"], vec!["d"]]);
    let mut request = admin::DescribeClusterRequest {
        max_partition_count: 4,
        ..admin::DescribeClusterRequest::default()
    };
    let mut found = Vec::new();
    loop {
        let page = admin.describe_cluster(request.clone()).await.unwrap();
        let page = page.into_inner();
        assert!(page.partitions.len() <= 4 && page.partition_count == 15);
        let partitions = page.partitions.into_iter();
        found.extend(partitions.map(|p| (p.topic, p.partition)));
        if page.next_partition.is_empty() {
            break;
        }
        request.after_partition = page.next_partition;
    }
    assert_eq!(found, expected);
    request.after_partition = "a".to_owned();
    let refused = admin.describe_cluster(request).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::InvalidArgument));
}

/// The files of a group on a node with this suffix, sorted.
fn files_of(cluster: &Cluster, at: usize, group: u64, suffix: &str) -> Vec<PathBuf> {
    let dir = cluster.data_dir(at).join(format!("groups/group-{group}"));
    let files = std::fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

fn flip_byte(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Waits until all three nodes have a voter of the first partition, and no corrupt copy is left.
async fn repaired(cluster: &Cluster, damaged: usize) {
    eventually("the damage to be mended", async || {
        let described = cluster.describe(usize::from(damaged == 0)).await;
        let replicas = described.partitions[0].replicas.iter();
        let voters = replicas.filter(|replica| replica.voter).count();
        let groups = std::fs::read_dir(cluster.data_dir(damaged).join("groups")).unwrap();
        let copies = groups
            .filter(|dir| {
                let name = dir.as_ref().unwrap().file_name();
                name.to_string_lossy().contains("corrupt")
            })
            .count();
        (described.healthy && voters == 3 && copies == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_replica_is_fetched_again() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 1, 3).await;
    let value = "x".repeat(1000);
    for at in 0..40 {
        cluster.produce(at % 3, 0, &format!("{at} {value}")).await;
    }
    cluster.healthy(0, 3).await;
    let group = cluster.describe(0).await.partitions[0].group_id;
    let damaged = 1;
    cluster.stop(damaged).await;
    flip_byte(&files_of(&cluster, damaged, group, ".seg")[0], 20_000);
    cluster.produce(0, 0, "meanwhile").await;

    cluster.restart(damaged).await;
    cluster.ready(damaged).await;
    repaired(&cluster, damaged).await;
    // It serves what it fetched, alone with one other.
    cluster.stop(0).await;
    cluster.produce(damaged, 0, "after").await;
    let read = cluster.read_all(damaged, 0).await;
    assert_eq!(read.len(), 42);
    assert_eq!(read[41], "after");
}

/// Rot that only a read meets, while the node runs: its replica alone is set aside and repaired.
/// The node keeps running, serves its other groups, and no wrong record is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_met_while_running_costs_one_replica() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 2, 3).await;
    let value = "x".repeat(60 << 10);
    let count = 40;
    for at in 0..count {
        cluster.produce(at % 3, 0, &format!("{at} {value}")).await;
        cluster.produce(at % 3, 1, &format!("other {at}")).await;
    }
    cluster.healthy(0, 3).await;
    let group = cluster.describe(0).await.partitions[0].group_id;
    let damaged = 2;
    let damaged_id = cluster.id_of(damaged).await;
    cluster.stop(damaged).await;
    // A sealed segment is not scanned at the start.
    let segments = files_of(&cluster, damaged, group, ".seg");
    assert!(segments.len() > 1, "{segments:?}");
    flip_byte(&segments[0], 100_000);
    cluster.restart(damaged).await;
    cluster.ready(damaged).await;
    cluster.healthy(0, 3).await;
    let request = admin::TransferLeadershipRequest {
        topic: "t".to_owned(),
        partition: 0,
        group_id: 0,
        to_node: damaged_id,
    };
    eventually("the damaged replica to lead", async || {
        let moved = cluster.admin(0).transfer_leadership(request.clone()).await;
        moved.ok()
    })
    .await;
    // The read meets the damage on the leader, which hands over and is repaired.
    let is_right = |(at, record): (usize, &String)| *record == format!("{at} {value}");
    eventually("all records to be read", async || {
        let read = cluster.try_read_all(damaged, 0).await?;
        let all_right = read.iter().enumerate().all(is_right);
        assert!(all_right, "a wrong record was served");
        (read.len() == count).then_some(())
    })
    .await;
    assert_eq!(cluster.read_all(damaged, 1).await.len(), count);
    repaired(&cluster, damaged).await;
    assert!(cluster.is_running(damaged).await, "the node has ended");
}

/// Makes a node the leader of the meta group.
async fn lead_meta(cluster: &Cluster, at: usize) {
    let to_node = cluster.id_of(at).await;
    let request = admin::TransferLeadershipRequest {
        to_node,
        ..admin::TransferLeadershipRequest::default()
    };
    eventually("the node to lead the meta group", async || {
        let moved = cluster.admin(at).transfer_leadership(request.clone()).await;
        moved.ok()
    })
    .await;
}

/// The log of the meta group concerns the whole node: it leaves the group, and replicates the log
/// again, by itself. It has lost the addresses with the metadata, and its only seed does not lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_of_the_meta_group_is_replicated_again() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 1, 3).await;
    cluster.produce(0, 0, "before").await;
    cluster.healthy(0, 3).await;
    let damaged = 2;
    let node_id = cluster.id_of(damaged).await;
    for round in 0..2 {
        cluster.stop(damaged).await;
        cluster.set_seeds(damaged, &[1]);
        lead_meta(&cluster, 0).await;
        if round == 0 {
            flip_byte(&files_of(&cluster, damaged, 0, ".seg")[0], 150);
        } else {
            std::fs::remove_file(&files_of(&cluster, damaged, 0, "hard_state")[0]).unwrap();
        }
        cluster.restart(damaged).await;
        cluster.ready(damaged).await;
        assert_eq!(cluster.id_of(damaged).await, node_id);
        repaired(&cluster, damaged).await;
        eventually("the node to vote in the meta group again", async || {
            let described = cluster.describe(0).await;
            let voters = described.nodes.iter().filter(|node| {
                node.meta_role() == admin::MetaRole::Voter
                    || node.meta_role() == admin::MetaRole::Leader
            });
            (voters.count() == 3).then_some(())
        })
        .await;
    }
    // It counts for the majority again.
    cluster.stop(1).await;
    cluster.produce(damaged, 0, "after").await;
    assert_eq!(cluster.read_all(damaged, 0).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leadership_is_handed_over_and_stays_there() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 1, 3).await;
    cluster.healthy(0, 3).await;
    let before = cluster.describe(0).await.partitions[0].leader_node.unwrap();
    let to = 2;
    let to_node = cluster.id_of(to).await;
    let from = usize::from(before == to_node);
    let request = admin::TransferLeadershipRequest {
        topic: "t".to_owned(),
        partition: 0,
        group_id: 0,
        to_node,
    };
    let moved = cluster
        .admin(from)
        .transfer_leadership(request.clone())
        .await;
    assert_eq!(moved.unwrap().into_inner().leader_node, to_node);
    let no_replica = admin::TransferLeadershipRequest {
        to_node: 9,
        ..request
    };
    let refused = cluster
        .admin(0)
        .transfer_leadership(no_replica)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::UnknownNode));

    // It is the preferred leader now: it leads again after it was away.
    cluster.stop(to).await;
    eventually("another leader", async || {
        let leader = cluster.describe(0).await.partitions[0].leader_node;
        leader.filter(|node| *node != to_node)
    })
    .await;
    cluster.restart(to).await;
    eventually("the preferred leader", async || {
        let leader = cluster.describe(0).await.partitions[0].leader_node;
        leader.filter(|node| *node == to_node)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_elsewhere_is_found() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 3, 3).await;
    let moved = 2;
    let node_id = cluster.id_of(moved).await;
    cluster.stop(moved).await;
    cluster.restart_elsewhere(moved).await;
    cluster.ready(moved).await;
    cluster.healthy(0, 3).await;
    assert_eq!(cluster.id_of(moved).await, node_id);
    for partition in 0..3 {
        cluster.produce(moved, partition, "x").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_records_go_and_the_disk_stays_bounded() {
    let cluster = Cluster::of(3).await;
    let keep_bytes = 1 << 20;
    let request = admin::CreateTopicRequest {
        retention: Some(admin::Retention {
            bytes: Some(keep_bytes),
            ms: None,
        }),
        ..new_topic("t", 1, 3)
    };
    cluster.admin(0).create_topic(request).await.unwrap();
    let value = "y".repeat(128 << 10);
    for at in 0..48 {
        cluster.produce(at % 3, 0, &value).await;
    }
    let described = eventually("old segments to go", async || {
        let described = cluster.describe(0).await.partitions[0].clone();
        // What is kept, the segment that is written, and what is on its way out.
        (described.bytes <= keep_bytes + (2 << 20)).then_some(described)
    })
    .await;
    assert!(described.log_start_offset > 20, "{described:?}");
    assert_eq!(described.high_watermark, 48);
    let left = described.high_watermark - described.log_start_offset;
    assert_eq!(cluster.read_all(1, 0).await.len() as u64, left);
    for at in 0..3 {
        let dir = cluster
            .data_dir(at)
            .join("groups")
            .join(format!("group-{}", described.group_id));
        eventually("each replica's old segments to go", async || {
            let files = std::fs::read_dir(&dir).unwrap();
            let segments = files.filter(|f| {
                f.as_ref()
                    .is_ok_and(|f| f.path().extension().is_some_and(|e| e == "seg"))
            });
            (segments.count() <= 3).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_bounded_by_what_each_node_reports_to_carry() {
    let mut cluster = Cluster::new();
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    cluster.replicas_max_count = Some(2);
    cluster.add().await;
    cluster.ready(0).await;
    cluster.ready(1).await;
    // Node 1 must have heard from node 2.
    let refused = eventually("a refusal", async || {
        let topic = new_topic(&uuid::Uuid::new_v4().to_string(), 3, 2);
        cluster.admin(0).create_topic(topic).await.err()
    })
    .await;
    assert_eq!(reason(&refused), Some(Reason::LimitExceeded));
    assert_eq!(bound(&refused), "1..=2");
    let text = "replicas of node 2 must be at most 2, got ";
    assert!(refused.message().contains(text), "{refused:?}");
}

/// The reasons of calls to the log service of a node that are not carried out: gRPC and HTTP.
async fn refusals_of_log(cluster: &Cluster, at: usize) -> [String; 3] {
    let produced = cluster.try_produce(at, 0, "value").await.unwrap_err();
    let request = log::GetMetadataRequest::default();
    let described = cluster.log(at).get_metadata(request).await.unwrap_err();
    let http = HttpClient::new(cluster, (at, "user/admin"));
    let answer = http.get("/v1/topics/t/offsets").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["retryable"], true);
    let of = |status: &Status| reason(status).unwrap().as_str().to_owned();
    let by_http = answer.json()["reason"].as_str().unwrap().to_owned();
    [of(&produced), of(&described), by_http]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_enter_its_cluster_is_not_ready_and_an_empty_node_not_bootstrapped() {
    let mut cluster = Cluster::with_http(3).await;
    cluster.create_topic(0, "t", 1, 3).await;
    for at in 0..3 {
        cluster.stop(at).await;
    }
    // It has to ask the others for its metadata, and they are gone.
    flip_byte(&files_of(&cluster, 0, 0, ".seg")[0], 300);
    cluster.restart(0).await;
    assert_eq!(refusals_of_log(&cluster, 0).await, ["NOT_READY"; 3]);

    let mut empty = Cluster::new();
    empty.http = Some(HttpSettings::default());
    empty.add().await;
    assert_eq!(refusals_of_log(&empty, 0).await, ["NOT_BOOTSTRAPPED"; 3]);
}
