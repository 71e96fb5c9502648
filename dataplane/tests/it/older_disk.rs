//! A disk that is not what it seems: put back to an older copy, running twice, without one of its
//! folders. It does not vote, and the way back that its message names works.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lograft_core::limits::INCARNATION_INTERVAL;
use lograft_node::config::RaftSettings;
use lograft_proto::admin::v1 as admin;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::cluster::{CLUSTER_ID, Cluster, Names, eventually};
use crate::load::assert_kept;
use crate::process::{Process, serves, three, three_empty};

const OLDER: &str = "disk is older than the other nodes have seen it: its replicas do not vote \
                     until the others have caught them up";
const CAUGHT_UP: &str = "fenced replica has caught up and votes again";
const TWICE: &str = "another process runs on a copy of this disk: stop one of them";

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else if let Err(error) = std::fs::copy(entry.path(), to) {
            // A small file is written beside the old one and renamed over it.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }
}

/// A copy of a node's data directory, taken while the node runs and nobody writes.
pub(crate) struct DiskCopy {
    dir: TempDir,
}

impl DiskCopy {
    pub(crate) fn take(cluster: &Cluster, at: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(&cluster.data_dir(at), &dir.path().join("data"));
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The node must not run.
    pub(crate) fn put_back(&self, cluster: &Cluster, at: usize) {
        let disk = cluster.data_dir(at);
        std::fs::remove_dir_all(&disk).unwrap();
        copy_dir(&self.path(), &disk);
    }
}

async fn says(process: &Process, text: &str) -> Value {
    eventually(text, async || process.said(text)).await
}

/// Whether a node has raised a check, as another one sees it.
pub(crate) async fn raises(cluster: &Cluster, asked: usize, node_id: u64, check: &str) -> bool {
    let problems = cluster.describe(asked).await.problems;
    let mut problems = problems.iter();
    problems.any(|problem| problem.kind == check && problem.node_id == Some(node_id))
}

/// Writes to a partition until the others have seen several new incarnations.
pub(crate) async fn write_for_a_while(
    cluster: &Cluster,
    at: usize,
    acknowledged: &mut Vec<String>,
) {
    let until = Instant::now() + INCARNATION_INTERVAL * 3 + Duration::from_secs(1);
    while Instant::now() < until {
        let value = format!("v-{}", acknowledged.len());
        cluster.produce(at, 0, &value).await;
        acknowledged.push(value);
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_snapshot_does_not_vote_before_it_has_caught_up() {
    let (mut cluster, mut processes) = three(RaftSettings::default()).await;
    let mut acknowledged = Vec::new();
    cluster.produce(0, 0, "first").await;
    let snapshot = DiskCopy::take(&cluster, 1);
    write_for_a_while(&cluster, 0, &mut acknowledged).await;
    processes[1].kill();
    processes[1].ended().await;
    snapshot.put_back(&cluster, 1);
    processes[1] = cluster.restart_process(1).await;
    says(&processes[1], OLDER).await;
    says(&processes[1], CAUGHT_UP).await;
    serves(&cluster, 1).await;
    let node_id = cluster.id_of(1).await;
    eventually("the fence to be lifted", async || {
        let is_raised = raises(&cluster, 0, node_id, "DISK_OLDER").await;
        (!is_raised).then_some(())
    })
    .await;
    // Now its vote is needed.
    processes[0].kill();
    processes[0].ended().await;
    cluster.produce(1, 0, "last").await;
    assert_kept(&cluster, 1, 0, &acknowledged).await;
    // A restart of a disk that is what it seems is not fenced.
    processes[1].kill();
    processes[1].ended().await;
    processes[1] = cluster.restart_process(1).await;
    cluster.produce(1, 0, "again").await;
    assert!(processes[1].said(OLDER).is_none());
    assert_kept(&cluster, 1, 0, &acknowledged).await;
}

/// All nodes stop. Then come back: a node that was down while records were acknowledged, and one of
/// the two that acknowledged them, on an older disk. Together they are a majority, and have lost
/// these records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_restart_with_one_older_disk_loses_nothing_and_writes_again() {
    let (mut cluster, mut processes) = three(RaftSettings::default()).await;
    let mut acknowledged = Vec::new();
    cluster.produce(0, 0, "first").await;
    let snapshot = DiskCopy::take(&cluster, 1);
    write_for_a_while(&cluster, 0, &mut acknowledged).await;
    processes[2].kill();
    processes[2].ended().await;
    for n in 0..20 {
        let value = format!("two-{n}");
        cluster.produce(0, 0, &value).await;
        acknowledged.push(value);
    }
    for process in &mut processes[..2] {
        process.kill();
        process.ended().await;
    }
    snapshot.put_back(&cluster, 1);
    processes[1] = cluster.restart_process(1).await;
    processes[2] = cluster.restart_process(2).await;
    says(&processes[1], OLDER).await;
    sleep(Duration::from_secs(3)).await;
    for at in [1, 2] {
        let produced = cluster.try_produce(at, 0, "unsafe").await;
        assert!(
            produced.is_err(),
            "a majority that has lost records was elected"
        );
    }
    processes[0] = cluster.restart_process(0).await;
    says(&processes[1], CAUGHT_UP).await;
    cluster.produce(0, 0, "last").await;
    assert_kept(&cluster, 2, 0, &acknowledged).await;
    cluster.healthy(0, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_on_copies_of_one_disk_only_one_votes() {
    let (cluster, mut processes) = three(RaftSettings::default()).await;
    let mut acknowledged = Vec::new();
    cluster.produce(0, 0, "first").await;
    let copy = DiskCopy::take(&cluster, 1);
    write_for_a_while(&cluster, 0, &mut acknowledged).await;
    let second = cluster.start_copy(1, copy.path()).await;
    says(&second, OLDER).await;
    // The first one learns of the second, and has its disk checked by the others as well.
    says(&processes[1], OLDER).await;
    says(&second, TWICE).await;
    says(&processes[1], CAUGHT_UP).await;
    for n in 0..20 {
        let value = format!("both-{n}");
        cluster.produce(0, 0, &value).await;
        acknowledged.push(value);
    }
    // The way back: one of both is stopped.
    drop(second);
    cluster.healthy(0, 3).await;
    processes[0].kill();
    processes[0].ended().await;
    cluster.produce(1, 0, "last").await;
    assert_kept(&cluster, 1, 0, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_folder_is_missing_is_fenced_and_caught_up() {
    let (mut cluster, mut processes) = three(RaftSettings::default()).await;
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        let value = format!("v-{n}");
        cluster.produce(0, 0, &value).await;
        acknowledged.push(value);
    }
    let partitions = cluster.describe(0).await.partitions;
    let is_first = |p: &&admin::PartitionDescription| p.partition == 0;
    let group = partitions.iter().find(is_first).unwrap().group_id;
    processes[1].kill();
    processes[1].ended().await;
    let folder = cluster.data_dir(1).join(format!("groups/group-{group}"));
    std::fs::remove_dir_all(folder).unwrap();
    processes[1] = cluster.restart_process(1).await;
    let text = "replica folder is missing: it does not vote until the others have caught it up";
    says(&processes[1], text).await;
    says(&processes[1], CAUGHT_UP).await;
    cluster.healthy(0, 3).await;
    processes[0].kill();
    processes[0].ended().await;
    cluster.produce(1, 0, "last").await;
    assert_kept(&cluster, 1, 0, &acknowledged).await;
}

/// Accepts the older disk, or says what that would mean.
async fn accept(
    cluster: &Cluster,
    asked: usize,
    node_id: u64,
    dry_run: bool,
) -> Vec<admin::FencedGroup> {
    let request = admin::AcceptOlderDiskRequest {
        node_id,
        dry_run,
        ..admin::AcceptOlderDiskRequest::default()
    };
    let reply = cluster.admin(asked).accept_older_disk(request).await;
    reply.unwrap().into_inner().groups
}

/// The only replica of a partition cannot be caught up. It refuses, says so, and is back once an
/// operator accepts what is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_replica_on_an_older_disk_waits_for_an_operator() {
    let (mut cluster, mut processes) = three_empty(RaftSettings::default()).await;
    cluster.create_topic(0, "t", 1, 1).await;
    cluster.healthy(0, 3).await;
    let leader = cluster.describe(0).await.partitions[0].leader_node.unwrap();
    let mut ids = Vec::new();
    for at in 0..3 {
        ids.push(cluster.id_of(at).await);
    }
    let at = ids.iter().position(|id| *id == leader).unwrap();
    let other = (at + 1) % 3;
    let end = cluster.produce(other, 0, "kept").await + 1;
    let snapshot = DiskCopy::take(&cluster, at);
    write_for_a_while(&cluster, other, &mut Vec::new()).await;
    processes[at].kill();
    processes[at].ended().await;
    snapshot.put_back(&cluster, at);
    processes[at] = cluster.restart_process(at).await;
    says(&processes[at], OLDER).await;
    // The meta group is caught up, the partition is not.
    says(&processes[at], CAUGHT_UP).await;
    eventually("the check to be raised", async || {
        raises(&cluster, other, leader, "DISK_OLDER")
            .await
            .then_some(())
    })
    .await;
    assert!(cluster.try_produce(other, 0, "refused").await.is_err());
    assert!(
        cluster
            .try_read_all(other, 0)
            .await
            .is_none_or(|read| read == ["kept"])
    );
    let fenced = accept(&cluster, other, leader, true).await;
    assert_eq!(fenced.len(), 1, "{fenced:?}");
    assert_eq!(
        (fenced[0].topic.as_str(), fenced[0].log_end_offset),
        ("t", end)
    );
    assert!(
        cluster.try_produce(other, 0, "refused").await.is_err(),
        "a dry run"
    );
    assert_eq!(accept(&cluster, other, leader, false).await, fenced);
    cluster.produce(other, 0, "new").await;
    assert_eq!(cluster.read_all(other, 0).await, ["kept", "new"]);
    let text = "older disk of a replica was accepted: records after its end may be lost";
    says(&processes[at], text).await;
    cluster.healthy(other, 3).await;
    // The decision is durable.
    processes[at].kill();
    processes[at].ended().await;
    processes[at] = cluster.restart_process(at).await;
    cluster.produce(other, 0, "again").await;
    assert!(accept(&cluster, other, leader, true).await.is_empty());
}

/// Of two replicas the newer one has all records, and needs the vote of the older one to lead. An
/// operator gives it, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_one_of_two_replicas_votes_when_an_operator_accepts_it() {
    let (mut cluster, mut processes) = three_empty(RaftSettings::default()).await;
    cluster.create_topic(0, "t", 1, 2).await;
    cluster.healthy(0, 3).await;
    let partition = cluster.describe(0).await.partitions.remove(0);
    let leader = partition.leader_node.unwrap();
    let holds = |id: u64| partition.replicas.iter().any(|held| held.node_id == id);
    let (mut older, mut asked) = (0, 0);
    for at in 0..3 {
        let id = cluster.id_of(at).await;
        if id == leader {
            older = at;
        } else if !holds(id) {
            asked = at;
        }
    }
    let mut acknowledged = Vec::new();
    write_for_a_while(&cluster, asked, &mut acknowledged).await;
    let snapshot = DiskCopy::take(&cluster, older);
    write_for_a_while(&cluster, asked, &mut acknowledged).await;
    processes[older].kill();
    processes[older].ended().await;
    snapshot.put_back(&cluster, older);
    processes[older] = cluster.restart_process(older).await;
    says(&processes[older], OLDER).await;
    eventually("the check to be raised", async || {
        let is_raised = raises(&cluster, asked, leader, "DISK_OLDER").await;
        is_raised.then_some(())
    })
    .await;
    assert!(cluster.try_produce(asked, 0, "refused").await.is_err());
    let fenced = eventually("the partition alone to be fenced", async || {
        let fenced = accept(&cluster, asked, leader, true).await;
        (fenced.len() == 1 && fenced[0].topic == "t").then_some(fenced)
    })
    .await;
    assert_eq!(accept(&cluster, asked, leader, false).await, fenced);
    cluster.produce(asked, 0, "new").await;
    acknowledged.push("new".to_owned());
    assert_kept(&cluster, asked, 0, &acknowledged).await;
    cluster.healthy(asked, 3).await;
}

/// A disk of another cluster, in a node whose seeds belong to this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_another_cluster_is_named_and_an_empty_one_joins() {
    let mut cluster = Cluster::new();
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    cluster.ready(0).await;
    // Without seeds, it is on its own.
    cluster.names = Some(Names::default());
    let other = cluster.add().await;
    let cluster_id = "5f0c3f5e-55a7-4a8e-8a52-0d8b0b3e7c11".to_owned();
    let request = admin::BootstrapRequest {
        cluster_id: cluster_id.clone(),
    };
    cluster.admin(other).bootstrap(request).await.unwrap();
    cluster.ready(other).await;
    cluster.stop(other).await;
    cluster.set_seeds(other, &[0]);
    cluster.restart(other).await;
    let expected = format!(
        "it has a disk of cluster {cluster_id}, but its seeds belong to cluster {CLUSTER_ID}"
    );
    eventually(&expected, async || {
        let waits_for = cluster.waits_for(other);
        waits_for.is_some_and(|text| text == expected).then_some(())
    })
    .await;
    // The way back.
    cluster.stop(other).await;
    std::fs::remove_dir_all(cluster.data_dir(other)).unwrap();
    cluster.restart(other).await;
    cluster.ready(other).await;
    assert_eq!(cluster.id_of(other).await, 2);
    cluster.healthy(0, 2).await;
}
