//! Deleted records of a replicated partition: gone from every disk, and over restarts, changes of
//! leader and new replicas.

use lograft_core::Reason;
use lograft_proto::admin::v1 as admin;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::delete_records_request::Before;
use tonic::Status;

use crate::cluster::{Cluster, eventually};
use crate::control::reason;

/// Three of these are more than a segment.
const VALUE_BYTES: usize = 400 << 10;
const COUNT: u64 = 15;

pub(crate) async fn delete(cluster: &Cluster, at: usize, before: Before) -> Result<u64, Status> {
    let request = log::DeleteRecordsRequest {
        topic: "t".to_owned(),
        before: Some(before),
        ..log::DeleteRecordsRequest::default()
    };
    let reply = cluster.log(at).delete_records(request).await?;
    Ok(reply.into_inner().log_start_offset)
}

/// The log start and the error metadata that a reader below it gets.
async fn assert_starts_at(cluster: &Cluster, at: usize, log_start: u64) {
    let read = async |offset| {
        let position = Some(log::position::At::Offset(offset));
        let request = log::FetchRequest {
            topic: "t".to_owned(),
            position: Some(log::Position { at: position }),
            max_bytes: 1,
            ..log::FetchRequest::default()
        };
        eventually("an answer of the leader", async || {
            match cluster.log(at).fetch(request.clone()).await {
                Ok(reply) => Some(Ok(reply.into_inner())),
                Err(status) if reason(&status) == Some(Reason::OffsetOutOfRange) => {
                    Some(Err(status))
                }
                Err(_) => None,
            }
        })
        .await
    };
    let refused = read(log_start - 1).await.unwrap_err();
    let bounds = format!("offset must be between {log_start} and {COUNT}");
    assert!(refused.message().contains(&bounds), "{refused:?}");
    let reply = read(log_start).await.unwrap();
    assert_eq!(reply.log_start_offset, log_start);
}

async fn filled() -> Cluster {
    let cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 1, 3).await;
    cluster.healthy(0, 3).await;
    let value = "y".repeat(VALUE_BYTES);
    for at in 0..COUNT {
        cluster
            .produce(usize::try_from(at % 3).unwrap(), 0, &value)
            .await;
    }
    cluster
}

/// Waits until the segment files of a replica have at most this length together, of those in which
/// there are entries.
async fn disk_is_given_back(cluster: &Cluster, at: usize, max_count: usize) {
    let group = cluster.describe(at).await.partitions[0].group_id;
    let dir = cluster
        .data_dir(at)
        .join("groups")
        .join(format!("group-{group}"));
    eventually("the segments of a replica to go", async || {
        let files = std::fs::read_dir(&dir).unwrap();
        let is_segment = |path: std::path::PathBuf| path.extension().is_some_and(|e| e == "seg");
        let count = files.filter(|file| is_segment(file.as_ref().unwrap().path()));
        (count.count() <= max_count).then_some(())
    })
    .await;
}

async fn transfer(cluster: &Cluster, to_node: u64) {
    let request = admin::TransferLeadershipRequest {
        topic: "t".to_owned(),
        to_node,
        ..admin::TransferLeadershipRequest::default()
    };
    eventually("the leadership to move", async || {
        let moved = cluster.admin(0).transfer_leadership(request.clone()).await;
        moved.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_are_gone_from_every_disk_and_stay_gone() {
    let mut cluster = filled().await;
    assert_eq!(delete(&cluster, 1, Before::Offset(9)).await.unwrap(), 9);
    assert_starts_at(&cluster, 2, 9).await;
    for at in 0..3 {
        // Two records each: those with 8 to 14, and the one that is written.
        disk_is_given_back(&cluster, at, 5).await;
    }
    for at in 0..3 {
        transfer(&cluster, cluster.id_of(at).await).await;
        assert_starts_at(&cluster, (at + 1) % 3, 9).await;
    }
    for at in 0..3 {
        cluster.stop(at).await;
    }
    for at in 0..3 {
        cluster.restart(at).await;
    }
    for at in 0..3 {
        cluster.ready(at).await;
    }
    assert_starts_at(&cluster, 0, 9).await;
    assert_eq!(delete(&cluster, 0, Before::Offset(4)).await.unwrap(), 9);
    assert_eq!(cluster.read_all(1, 0).await.len() as u64, COUNT - 9);
}

/// The segment that is being written goes too, and a replica that is added later starts at the log
/// start although it has seen no deleted record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_records_are_deleted_and_a_new_replica_starts_behind_them() {
    let mut cluster = filled().await;
    assert_eq!(
        delete(&cluster, 0, Before::HighWatermark(true))
            .await
            .unwrap(),
        COUNT
    );
    for at in 0..3 {
        disk_is_given_back(&cluster, at, 1).await;
    }
    let bytes = eventually("the size to be reported", async || {
        let bytes = cluster.describe(0).await.partitions[0].bytes;
        (bytes < VALUE_BYTES as u64).then_some(bytes)
    });
    assert!(bytes.await > 0);
    assert_starts_at(&cluster, 1, COUNT).await;

    let newcomer = cluster.add().await;
    cluster.ready(newcomer).await;
    let leaving = cluster.id_of(2).await;
    let request = admin::DecommissionNodeRequest { node_id: leaving };
    eventually("the replica to move", async || {
        let reply = cluster.admin(0).decommission_node(request).await.ok()?;
        (reply.into_inner().state() == admin::NodeState::Removed).then_some(())
    })
    .await;
    transfer(&cluster, cluster.id_of(newcomer).await).await;
    assert_starts_at(&cluster, 0, COUNT).await;
    assert_eq!(cluster.produce(1, 0, "after").await, COUNT);
    assert_eq!(cluster.read_all(newcomer, 0).await, ["after"]);
}
