//! Nodes of two feature levels in one cluster: the upgrade, the way back, and what is refused.

use lograft_core::limits::{
    BATCH_LEVEL_1_MAX_BYTES, BATCH_MAX_BYTES, META_COMMAND_MAX_BYTES, RECORD_DEFAULT_BYTES,
    RECORD_MAX_BYTES,
};
use lograft_core::metadata::{Command, MetaError, Outcome};
use lograft_core::{FeatureLevel, Reason};
use lograft_proto::admin::v1 as admin;
use lograft_proto::log::v1::delete_records_request::Before;
use lograft_proto::raft::v1 as raft;
use lograft_proto::raft::v1::node_service_client::NodeServiceClient;
use tonic::{Response, Status};

use crate::cluster::{CLUSTER_ID, Cluster, eventually};
use crate::control::reason;
use crate::delete_records::delete;
use crate::large_records::{alter, assert_too_large, client, create, full, plain};
use crate::load::assert_kept;
use crate::older_disk::{DiskCopy, raises, write_for_a_while};

const OLD: FeatureLevel = FeatureLevel(FeatureLevel::CURRENT.get() - 1);
const NEW: FeatureLevel = FeatureLevel::CURRENT;

async fn finalize(
    cluster: &Cluster,
    at: usize,
    level: Option<u32>,
) -> Result<admin::FinalizeLevelReply, Status> {
    let request = admin::FinalizeLevelRequest { level };
    let reply = cluster.admin(at).finalize_level(request).await?;
    Ok(reply.into_inner())
}

/// A cluster of the former level with one topic.
async fn three_old() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.level = OLD;
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    cluster.add().await;
    cluster.add().await;
    for at in 0..3 {
        cluster.ready(at).await;
    }
    cluster.create_topic(0, "t", 1, 3).await;
    cluster
}

/// Restarts a node with a program of a level, and waits until it is ready.
async fn change_version(cluster: &mut Cluster, at: usize, level: FeatureLevel) {
    cluster.level = level;
    cluster.stop(at).await;
    cluster.restart(at).await;
    cluster.ready(at).await;
}

/// Waits until a node has heard the levels of all nodes, in the order of their ids.
async fn levels(cluster: &Cluster, at: usize, expected: &[FeatureLevel]) {
    eventually("the levels of all nodes", async || {
        let nodes = cluster.describe(at).await.nodes;
        let found = nodes.iter().map(|node| FeatureLevel(node.feature_level));
        let is_reachable = nodes.iter().all(|node| node.reachable);
        (is_reachable && found.eq(expected.iter().copied())).then_some(())
    })
    .await;
}

fn notes(description: &admin::DescribeClusterReply) -> Vec<&str> {
    let kinds = description.problems.iter().map(|p| p.kind.as_str());
    kinds
        .filter(|kind| *kind == "UPGRADE_NOT_FINALIZED")
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_goes_back_until_it_is_finalized() {
    let mut cluster = three_old().await;
    cluster.produce(0, 0, "old").await;
    levels(&cluster, 0, &[OLD; 3]).await;
    assert_eq!(cluster.describe(0).await.finalized_level, OLD.get());
    assert!(!finalize(&cluster, 0, None).await.unwrap().changed);
    let refused = delete(&cluster, 0, Before::Offset(0)).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::FeatureNotFinalized));

    change_version(&mut cluster, 0, NEW).await;
    levels(&cluster, 0, &[NEW, OLD, OLD]).await;
    let refused = finalize(&cluster, 0, Some(NEW.get())).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::VersionTooOld), "{refused:?}");
    assert!(refused.message().contains("node 2 (n1)"), "{refused:?}");
    change_version(&mut cluster, 1, NEW).await;
    change_version(&mut cluster, 2, NEW).await;
    cluster.produce(1, 0, "new").await;
    levels(&cluster, 2, &[NEW; 3]).await;
    let described = cluster.describe(2).await;
    assert_eq!(notes(&described).len(), 1, "{described:?}");
    assert_eq!(described.finalized_level, OLD.get());

    change_version(&mut cluster, 1, OLD).await;
    cluster.produce(1, 0, "back").await;
    change_version(&mut cluster, 1, NEW).await;
    levels(&cluster, 1, &[NEW; 3]).await;
    cluster.stop(2).await;
    let refused = eventually("a node to be missed", async || {
        finalize(&cluster, 1, None).await.err()
    });
    assert_eq!(reason(&refused.await), Some(Reason::NotReady));
    cluster.restart(2).await;
    cluster.ready(2).await;
    levels(&cluster, 1, &[NEW; 3]).await;
    let reply = finalize(&cluster, 1, None).await.unwrap();
    assert_eq!((reply.finalized_level, reply.changed), (NEW.get(), true));
    assert!(!finalize(&cluster, 2, None).await.unwrap().changed);
    eventually("all nodes to know it", async || {
        let described = cluster.describe(0).await;
        (described.finalized_level == NEW.get() && notes(&described).is_empty()).then_some(())
    })
    .await;
    assert_eq!(delete(&cluster, 0, Before::Offset(0)).await.unwrap(), 0);

    cluster.level = OLD;
    cluster.stop(2).await;
    cluster.restart(2).await;
    let fault = cluster.fault(2).await;
    assert!(
        fault.contains("cluster has finalized feature level"),
        "{fault}"
    );
    cluster.produce(0, 0, "after").await;
    assert_eq!(
        cluster.read_all(0, 0).await,
        ["old", "new", "back", "after"]
    );
    let joined = cluster.add().await;
    let bound = format!("feature level of node n3 must be at least {NEW}");
    eventually("the join to be refused", async || {
        cluster
            .waits_for(joined)
            .filter(|text| text.contains(&bound))
    })
    .await;
    assert_eq!(cluster.describe(0).await.nodes.len(), 3);
}

/// A topic may get no batch that nodes of the former level cannot read until they cannot return.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_wait_for_the_finalized_level() {
    let mut cluster = three_old().await;
    for at in 0..3 {
        change_version(&mut cluster, at, NEW).await;
    }
    levels(&cluster, 0, &[NEW; 3]).await;
    let (record, batch) = ("record.max.bytes", "batch.max.bytes");
    for (setting, feature) in [
        ((record, 1024), record),
        ((record, RECORD_MAX_BYTES), record),
        (
            (batch, BATCH_LEVEL_1_MAX_BYTES + 1),
            "batch.max.bytes above 2097152",
        ),
    ] {
        let refused = [
            alter(&cluster, setting.0, setting.1).await.unwrap_err(),
            create(&cluster, "u", 3, &[setting]).await.unwrap_err(),
        ];
        for refused in refused {
            assert_eq!(
                reason(&refused),
                Some(Reason::FeatureNotFinalized),
                "{refused:?}"
            );
            let text = refused.message();
            assert!(
                text.starts_with(&format!("{feature} needs feature level 2")),
                "{text}"
            );
        }
    }
    alter(&cluster, batch, BATCH_LEVEL_1_MAX_BYTES)
        .await
        .unwrap();
    let large = plain(&full(RECORD_MAX_BYTES, 1));
    let refused = client(&cluster, 0)
        .produce(large.clone())
        .await
        .unwrap_err();
    assert_too_large(&refused, "record bytes", RECORD_DEFAULT_BYTES);
    // Records that fit, and together do not.
    let mut several = large.clone();
    several.records = vec![full(RECORD_DEFAULT_BYTES, 2), full(RECORD_DEFAULT_BYTES, 3)];
    let refused = client(&cluster, 0).produce(several).await.unwrap_err();
    assert_too_large(&refused, batch, BATCH_LEVEL_1_MAX_BYTES);
    assert_eq!(cluster.read_all(0, 0).await, [""; 0]);

    assert!(finalize(&cluster, 0, None).await.unwrap().changed);
    alter(&cluster, batch, BATCH_MAX_BYTES).await.unwrap();
    alter(&cluster, record, RECORD_MAX_BYTES).await.unwrap();
    eventually("the leader to know it", async || {
        client(&cluster, 0).produce(large.clone()).await.ok()
    })
    .await;
}

/// Offers a command to the leader of the meta group, as another node does.
async fn offer(cluster: &Cluster, command: Vec<u8>) -> Result<Outcome, MetaError> {
    let reply = try_offer(cluster, command).await.unwrap();
    Outcome::decode(&reply.outcome).unwrap()
}

async fn try_offer(cluster: &Cluster, command: Vec<u8>) -> Result<raft::ProposeMetaReply, Status> {
    let cluster_id: lograft_core::ClusterId = CLUSTER_ID.parse().unwrap();
    let request = raft::ProposeMetaRequest {
        principal: String::new(),
        route: Some(raft::Route {
            cluster_id: cluster_id.to_bytes().to_vec().into(),
            from_node: 1,
            to_node: 1,
            group_id: 0,
            recovery_epoch: 0,
        }),
        command: command.into(),
    };
    let channel = cluster.channel_of("node/n0", cluster.addresses(0).peer);
    let mut node = NodeServiceClient::new(channel);
    node.propose_meta(request).await.map(Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_leader_refuses_commands_that_it_does_not_know() {
    let mut cluster = Cluster::new();
    cluster.level = OLD;
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    cluster.ready(0).await;
    let newer = Command::FinalizeLevel { level: NEW };
    for command in [
        b"\x01{\"of_a_later_version\":{}}".to_vec(),
        b"\x01{\"drain_node\":{\"node\":1,\"later\":true}}".to_vec(),
        b"\x09{\"drain_node\":{\"node\":1}}".to_vec(),
        Vec::new(),
        newer.encode().unwrap(),
    ] {
        let text = String::from_utf8_lossy(&command).into_owned();
        let refused = offer(&cluster, command).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::VersionTooOld, "{text}: {refused}");
    }
    // Nodes of the former level read no larger entry.
    let name = "x".repeat(META_COMMAND_MAX_BYTES);
    let topic_id = None;
    let long = Command::DeleteTopic { name, topic_id }.encode().unwrap();
    let refused = try_offer(&cluster, long).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::LimitExceeded), "{refused:?}");
    let known = Command::AllocateProducers { count: 1 };
    offer(&cluster, known.encode().unwrap()).await.unwrap();
    cluster.stop(0).await;
    cluster.restart(0).await;
    cluster.ready(0).await;
}

/// Puts the disk of a node back to an older copy, and starts the node.
async fn restore(cluster: &mut Cluster, at: usize, copy: &DiskCopy) {
    cluster.stop(at).await;
    copy.put_back(cluster, at);
    cluster.restart(at).await;
}

/// While the former level is finalized, nodes of both levels are one cluster, and none is fenced: a
/// node of the former level could not say what it has seen. From the new level on it counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_disk_counts_from_the_finalized_level_on() {
    let mut cluster = three_old().await;
    change_version(&mut cluster, 0, NEW).await;
    change_version(&mut cluster, 1, NEW).await;
    levels(&cluster, 0, &[NEW, NEW, OLD]).await;
    let id = cluster.id_of(1).await;
    let mut acknowledged = Vec::new();
    write_for_a_while(&cluster, 0, &mut acknowledged).await;
    let copy = DiskCopy::take(&cluster, 1);
    write_for_a_while(&cluster, 0, &mut acknowledged).await;
    restore(&mut cluster, 1, &copy).await;
    cluster.ready(1).await;
    assert!(!raises(&cluster, 0, id, "DISK_OLDER").await);
    cluster.healthy(0, 3).await;
    assert_kept(&cluster, 0, 0, &acknowledged).await;

    change_version(&mut cluster, 2, NEW).await;
    levels(&cluster, 0, &[NEW; 3]).await;
    assert!(finalize(&cluster, 0, None).await.unwrap().changed);
    write_for_a_while(&cluster, 0, &mut acknowledged).await;
    let copy = DiskCopy::take(&cluster, 1);
    write_for_a_while(&cluster, 0, &mut acknowledged).await;
    restore(&mut cluster, 1, &copy).await;
    eventually("the older disk to be noticed", async || {
        raises(&cluster, 0, id, "DISK_OLDER").await.then_some(())
    })
    .await;
    cluster.healthy(0, 3).await;
    assert_kept(&cluster, 0, 0, &acknowledged).await;
}
