//! A replica restarts from an older copy of its disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lograft_core::{LogId, NodeId};
use lograft_raft::{FenceStage, GroupStart, RaftError, RaftGroup, Role};
use tempfile::TempDir;

use crate::cluster::{Cluster, batch, eventually, nodes, until};

const FENCED: GroupStart = GroupStart {
    fence: FenceStage::Asking,
    is_held: false,
};

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A copy of a node's disk.
struct DiskCopy {
    _dir: TempDir,
    copy: PathBuf,
}

impl DiskCopy {
    /// The node is down meanwhile.
    async fn take(cluster: &mut Cluster, node: NodeId) -> Self {
        cluster.crash(node).await;
        let dir = TempDir::new().unwrap();
        let to = dir.path().join("copy");
        copy(&cluster.data_dir(node), &to);
        cluster.start(node).await;
        Self {
            _dir: dir,
            copy: to,
        }
    }

    /// The node must be down.
    fn put_back(&self, cluster: &Cluster, node: NodeId) {
        let disk = cluster.data_dir(node);
        std::fs::remove_dir_all(&disk).unwrap();
        copy(&self.copy, &disk);
    }
}

/// Asks the leader as a node does, and waits until the replica has caught up.
async fn catch_up(leader: &RaftGroup, fenced: &RaftGroup, node: NodeId) {
    let target = leader.catch_up_target(node).await.unwrap();
    fenced.set_catch_up_target(target);
    eventually("the replica has caught up", || {
        fenced.is_caught_up_to_target()
    })
    .await;
    assert!(!fenced.status().fence.is_lifted());
    fenced.lift_fence();
}

/// Two of three nodes acknowledge, and then one of these has an older disk and the other is down.
/// `behind` has nothing of what they acknowledged.
struct Scene {
    cluster: Cluster,
    leader: NodeId,
    older: NodeId,
    behind: NodeId,
    acknowledged: Vec<LogId>,
}

impl Scene {
    async fn new(seed: u64, start: GroupStart) -> Self {
        let mut cluster = Cluster::of(3).await;
        for n in 0..=seed {
            cluster.write(batch(n, 1, 100)).await;
        }
        cluster.converged().await;
        let leader = cluster.leader().await;
        let mut followers = nodes(1..=3);
        followers.remove(&leader);
        let (older, behind) = (
            followers.pop_first().unwrap(),
            followers.pop_first().unwrap(),
        );
        let older_disk = DiskCopy::take(&mut cluster, older).await;
        cluster.converged().await;
        cluster.net.cut(behind);
        let mut acknowledged = Vec::new();
        for n in 100..105 + seed {
            acknowledged.push(cluster.write(batch(n, 1, 100)).await.id);
        }
        assert_eq!(cluster.leader().await, leader);
        cluster.crash(leader).await;
        cluster.crash(older).await;
        older_disk.put_back(&cluster, older);
        cluster.net.reconnect(behind);
        cluster.next_start = start;
        cluster.start(older).await;
        cluster.next_start = GroupStart::default();
        Self {
            cluster,
            leader,
            older,
            behind,
            acknowledged,
        }
    }

    fn has_all_acknowledged(&self, node: NodeId) -> bool {
        let log = self.cluster.group(node).log();
        let mut acknowledged = self.acknowledged.iter();
        acknowledged.all(|id| log.term_at(id.index) == Some(id.term))
    }
}

/// The reason for the fence: without it, acknowledged entries are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_fence_an_older_disk_loses_acknowledged_entries() {
    let scene = Scene::new(0, GroupStart::default()).await;
    let written = scene.cluster.write(batch(1000, 1, 100)).await;
    let elected = scene.cluster.leader().await;
    assert!(!scene.has_all_acknowledged(elected));
    let last = scene.acknowledged.last().unwrap();
    assert!(
        written.id.index <= last.index,
        "in the place of another one"
    );
    scene.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_replica_loses_nothing_and_votes_again_once_it_has_caught_up() {
    for seed in 0..3 {
        let mut scene = Scene::new(seed, FENCED).await;
        let (leader, older, behind) = (scene.leader, scene.older, scene.behind);
        // The other node campaigns, and gets no vote.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for node in [older, behind] {
            let status = scene.cluster.group(node).status();
            assert!(!status.ready && status.role != Role::Leader, "{status:?}");
        }
        scene.cluster.start(leader).await;
        assert_eq!(scene.cluster.leader().await, leader);
        // The two without it are a majority, and it acknowledges nothing before it has a target.
        scene.cluster.write(batch(2000, 1, 100)).await;
        let fenced = scene.cluster.group(older).clone();
        assert!(!scene.has_all_acknowledged(older));
        assert_eq!(fenced.status().fence, FenceStage::Asking);
        catch_up(scene.cluster.group(leader), &fenced, older).await;
        assert!(scene.has_all_acknowledged(older));
        // It is needed now, and votes.
        scene.cluster.crash(leader).await;
        scene.cluster.write(batch(2001, 1, 100)).await;
        scene.cluster.start(leader).await;
        scene.cluster.converged().await;
        for node in [leader, older, behind] {
            assert!(scene.has_all_acknowledged(node), "seed {seed}, {node}");
        }
        scene.cluster.shutdown().await;
    }
}

/// The follower is put back while its leader stays: the leader remembers entries that the follower
/// has no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_sends_an_older_follower_its_entries_again() {
    let mut cluster = Cluster::of(3).await;
    cluster.write(batch(0, 1, 100)).await;
    cluster.converged().await;
    let leader = cluster.leader().await;
    let older = *nodes(1..=3).iter().find(|node| **node != leader).unwrap();
    let older_disk = DiskCopy::take(&mut cluster, older).await;
    for n in 1..20 {
        cluster.write(batch(n, 1, 100)).await;
    }
    cluster.converged().await;
    cluster.crash(older).await;
    older_disk.put_back(&cluster, older);
    cluster.next_start = FENCED;
    cluster.start(older).await;
    assert_eq!(cluster.leader().await, leader);
    let fenced = cluster.group(older).clone();
    catch_up(cluster.group(leader), &fenced, older).await;
    cluster.write(batch(20, 1, 100)).await;
    cluster.converged().await;
    cluster.shutdown().await;
}

/// Without the fenced replica there is no majority, so no leader can be confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_other_replica_is_no_majority_and_a_removed_one_stays_outside() {
    let mut cluster = Cluster::of(2).await;
    cluster.write(batch(0, 1, 100)).await;
    cluster.converged().await;
    let leader = cluster.leader().await;
    let older = *nodes(1..=2).iter().find(|node| **node != leader).unwrap();
    cluster.crash(older).await;
    cluster.next_start = FENCED;
    cluster.start(older).await;
    let group = cluster.group(leader);
    let asked = group.catch_up_target(older).await;
    let is_no_quorum = matches!(
        asked,
        Err(RaftError::NoQuorum | RaftError::NotLeader { .. })
    );
    assert!(is_no_quorum, "{asked:?}");
    // The explicit call of an operator.
    cluster.group(older).lift_fence();
    cluster.write(batch(1, 1, 100)).await;
    let leader = cluster.leader().await;
    let stranger = cluster.group(leader).catch_up_target(NodeId(9)).await;
    assert!(
        matches!(stranger, Err(RaftError::NotMember { .. })),
        "{stranger:?}"
    );
    cluster.shutdown().await;
}

/// The only voter of a group elects itself and commits alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_replica_neither_leads_nor_writes_while_it_is_fenced() {
    let mut cluster = Cluster::of(1).await;
    let node = NodeId(1);
    cluster.write(batch(0, 1, 100)).await;
    cluster.group(node).fence();
    let group = cluster.group(node).clone();
    until(&group, "it leads no more", |status| !status.ready).await;
    let proposed = group.propose(batch(1, 1, 100), group.status().term).await;
    assert!(proposed.is_err());
    drop(group);
    cluster.crash(node).await;
    cluster.next_start = FENCED;
    cluster.start(node).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_ne!(cluster.group(node).status().role, Role::Leader);
    cluster.group(node).lift_fence();
    cluster.write(batch(1, 1, 100)).await;
    // Held at the start, until the node has asked the others.
    cluster.crash(node).await;
    cluster.next_start = GroupStart {
        fence: FenceStage::Lifted,
        is_held: true,
    };
    cluster.start(node).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_ne!(cluster.group(node).status().role, Role::Leader);
    cluster.group(node).release();
    cluster.write(batch(2, 1, 100)).await;
    cluster.shutdown().await;
}

/// Two processes on copies of one disk: the one that learns of the other stops leading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_fenced_hands_over_and_catches_up() {
    let cluster = Cluster::of(3).await;
    cluster.write(batch(0, 1, 100)).await;
    let first = cluster.leader().await;
    let fenced = cluster.group(first).clone();
    fenced.fence();
    let mut others = nodes(1..=3);
    others.remove(&first);
    let next = cluster.leader_among(&others).await;
    catch_up(cluster.group(next), &fenced, first).await;
    cluster.write(batch(1, 1, 100)).await;
    cluster.converged().await;
    cluster.shutdown().await;
}
