//! A replica that returns to a group gets a log in which its former self is a voter.

use std::time::Duration;

use lograft_core::NodeId;
use lograft_raft::{FenceStage, GroupStart, Role};
use tempfile::TempDir;

use crate::cluster::{Cluster, batch, nodes, until};
use crate::older_disk::copy;

const SOME_ELECTIONS: Duration = Duration::from_millis(1500);

fn start_at(fence: FenceStage) -> GroupStart {
    GroupStart {
        fence,
        is_held: false,
    }
}

/// Makes `to` the only voter instead of `from`, which leads.
async fn move_group(cluster: &Cluster, from: NodeId, to: NodeId) {
    let leader = cluster.group(from);
    leader.add_learner(to).await.unwrap();
    until(leader, "the new replica has joined", |status| {
        status.is_caught_up(to, 0) && status.has_joined(to)
    })
    .await;
    let both = nodes([from.get(), to.get()]);
    leader.change_voters(both).await.unwrap();
    // At once: a replica that has joined leads without further steps.
    leader.transfer_leader(to).await.unwrap();
    let next = cluster.group(to);
    until(next, "the new replica leads", |status| status.ready).await;
    next.change_voters(nodes([to.get()])).await.unwrap();
    until(next, "the change is committed", |status| {
        status.membership_committed && status.voters == nodes([to.get()])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_former_only_voter_does_not_lead_a_prefix_of_the_log_when_it_returns() {
    let (first, second) = (NodeId(1), NodeId(2));
    let mut cluster = Cluster::of(1).await;
    for n in 0..10 {
        cluster.write(batch(n, 1, 100)).await;
    }
    // The prefix: in it, the first node is the only voter.
    cluster.crash(first).await;
    let dir = TempDir::new().unwrap();
    copy(&cluster.data_dir(first), &dir.path().join("prefix"));
    let put_prefix = |cluster: &Cluster| {
        std::fs::remove_dir_all(cluster.data_dir(first)).unwrap();
        copy(&dir.path().join("prefix"), &cluster.data_dir(first));
    };
    cluster.start(first).await;
    cluster.leader().await;
    cluster.start(second).await;
    move_group(&cluster, first, second).await;
    cluster.crash(first).await;
    for n in 10..20 {
        cluster.write(batch(n, 1, 100)).await;
    }

    // The danger: it elects itself, and knows nothing of the later records.
    put_prefix(&cluster);
    cluster.start(first).await;
    cluster.net.cut(first);
    until(cluster.group(first), "it leads a prefix", |s| s.ready).await;
    cluster.crash(first).await;

    // It returns as a new replica, which takes nothing before it has a target.
    std::fs::remove_dir_all(cluster.data_dir(first)).unwrap();
    cluster.next_start = start_at(FenceStage::Joining(None));
    cluster.start(first).await;
    cluster.group(second).add_learner(first).await.unwrap();
    tokio::time::sleep(SOME_ELECTIONS).await;
    assert_eq!(cluster.group(first).status().last, None);
    let target = cluster.group(second).catch_up_target(first).await.unwrap();
    assert_eq!(Some(target), cluster.group(second).status().membership);
    cluster.crash(first).await;

    // It has got the prefix, and is cut off and restarted.
    put_prefix(&cluster);
    cluster.next_start = start_at(FenceStage::Joining(Some(target)));
    cluster.start(first).await;
    cluster.net.cut(first);
    tokio::time::sleep(SOME_ELECTIONS).await;
    let status = cluster.group(first).status();
    assert_eq!(
        status.voters,
        nodes([1]),
        "it knows the old membership alone"
    );
    assert_ne!(status.role, Role::Leader);

    cluster.net.reconnect(first);
    move_group(&cluster, second, first).await;
    cluster.write(batch(20, 1, 100)).await;
    assert!(cluster.group(first).status().fence.is_lifted());
    assert_eq!(cluster.replicas[&first].sum().batches, 21);
    cluster.shutdown().await;
}
