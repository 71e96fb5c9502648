//! Membership changes and leadership transfers.

use std::time::Duration;

use lograft_core::NodeId;
use lograft_raft::{RaftError, Role};
use tokio::time::Instant;

use crate::cluster::{Cluster, batch, nodes, propose, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_becomes_learner_then_voter_and_another_leaves() {
    let mut cluster = Cluster::of(3).await;
    for n in 0..50 {
        cluster.write(batch(n, 1, 1000)).await;
    }
    let new = NodeId(4);
    cluster.start(new).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader).clone();
    group.add_learner(new).await.unwrap();
    group.add_learner(new).await.unwrap();
    until(&group, "the learner caught up", |s| s.is_caught_up(new, 0)).await;
    assert_eq!(group.status().learners, nodes([4]));
    until(cluster.group(new), "the learner knows its role", |s| {
        s.role == Role::Learner
    })
    .await;

    let gone = *cluster
        .replicas
        .keys()
        .find(|node| **node != leader && **node != new)
        .unwrap();
    let mut voters = nodes(1..=4);
    voters.remove(&gone);
    group.change_voters(voters.clone()).await.unwrap();
    let status = until(&group, "the change is committed", |s| {
        s.membership_committed
    })
    .await;
    assert_eq!(
        (status.voters, status.joint, status.learners),
        (voters, None, nodes([]))
    );

    // With the removed node and one more node stopped, the new voter is needed for a quorum.
    cluster.crash(gone).await;
    let other = *cluster
        .replicas
        .keys()
        .find(|node| **node != leader && **node != new)
        .unwrap();
    cluster.crash(other).await;
    cluster.write(batch(50, 1, 8)).await;
    assert_eq!(cluster.converged().await.batches, 51);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_leader_transfers_its_leadership() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let mut voters = nodes(1..=3);
    voters.remove(&leader);
    cluster
        .group(leader)
        .change_voters(voters.clone())
        .await
        .unwrap();
    let next = cluster.leader_among(&voters).await;
    let group = cluster.group(next);
    propose(group, batch(1, 1, 8), group.status().term)
        .await
        .unwrap();
    assert_eq!(group.status().voters, voters);
    until(
        cluster.group(leader),
        "the removed leader has stepped down",
        |s| s.role != Role::Leader,
    )
    .await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_changes_are_rejected() {
    let cluster = Cluster::of(2).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    let unknown_node = group.change_voters(nodes([1, 2, 9])).await;
    assert!(
        matches!(unknown_node, Err(RaftError::ChangeRefused { .. })),
        "{unknown_node:?}"
    );
    let no_voters = group.change_voters(nodes([])).await;
    assert!(
        matches!(no_voters, Err(RaftError::ChangeRefused { .. })),
        "{no_voters:?}"
    );
    let again = group.initialize(nodes([1, 2])).await;
    assert!(
        matches!(again, Err(RaftError::AlreadyInitialized { .. })),
        "{again:?}"
    );
    let to_unknown_node = group.transfer_leader(NodeId(9)).await;
    assert!(
        matches!(to_unknown_node, Err(RaftError::NotVoter { .. })),
        "{to_unknown_node:?}"
    );
    let follower = cluster
        .replicas
        .keys()
        .find(|node| **node != leader)
        .unwrap();
    let by_follower = cluster.group(*follower).add_learner(NodeId(3)).await;
    assert!(
        matches!(by_follower, Err(RaftError::NotLeader { .. })),
        "{by_follower:?}"
    );
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_transferred_without_an_election_timeout() {
    let cluster = Cluster::with_slow_elections(3).await;
    let mut worst = Duration::ZERO;
    for round in 0..6 {
        let from = cluster.leader().await;
        let to = *cluster
            .replicas
            .keys()
            .find(|node| **node > from)
            .unwrap_or(&NodeId(1));
        cluster.write(batch(round, 1, 100)).await;
        until(cluster.group(from), "the successor caught up", |s| {
            s.is_caught_up(to, 0)
        })
        .await;
        let started_at = Instant::now();
        cluster.group(from).transfer_leader(to).await.unwrap();
        let ready = until(cluster.group(to), "the new leader is ready", |s| s.ready).await;
        propose(cluster.group(to), batch(round, 1, 8), ready.term)
            .await
            .unwrap();
        worst = worst.max(started_at.elapsed());
    }
    assert!(
        worst < Duration::from_millis(1500),
        "the slowest transfer took {worst:?}"
    );
    assert_eq!(cluster.converged().await.batches, 12);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_recovers_from_a_lost_transfer() {
    let cluster = Cluster::of(3).await;
    let from = cluster.leader().await;
    let to = *cluster.replicas.keys().find(|node| **node != from).unwrap();
    let term = cluster.group(from).status().term;
    cluster.write(batch(1, 1, 8)).await;
    until(cluster.group(from), "both caught up", |s| {
        s.followers.values().all(|f| f.lag == 0)
    })
    .await;
    cluster.net.lose_transfers(true);
    // Another election may happen first, and may even elect the same node.
    match cluster.group(from).transfer_leader(to).await {
        Ok(()) | Err(RaftError::Timeout { .. } | RaftError::NotLeader { .. }) => {}
        other => panic!("{other:?}"),
    }
    cluster.net.lose_transfers(false);
    cluster.write(batch(2, 1, 8)).await;
    assert!(
        cluster.group(from).status().term > term,
        "an election must have started a new term"
    );
    assert_eq!(cluster.converged().await.batches, 2);
    cluster.shutdown().await;
}
