//! Proposals, leader failures and restarts.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use lograft_core::{NodeId, Offset, Term};
use lograft_raft::{ProposeError, RaftTiming, Response};

use crate::cluster::{Cluster, batch, eventually, nodes, propose, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_are_committed_in_the_order_of_the_calls() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    let term = group.status().term;
    let mut handles = FuturesOrdered::new();
    for n in 0..2000 {
        handles.push_back(group.propose(batch(n, 3, 100), term).await.unwrap());
    }
    let mut expected = Offset::ZERO;
    while let Some(committed) = handles.next().await {
        let response = committed.unwrap().response;
        assert_eq!(
            response,
            Response::Records {
                base_offset: expected,
                record_count: 3
            }
        );
        expected = expected.plus(3);
    }
    let sum = cluster.converged().await;
    assert_eq!((sum.batches, sum.next_offset), (2000, Offset(6000)));
    group.ensure_linearizable().await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_for_another_term_or_on_a_follower_is_rejected() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let term = cluster.group(leader).status().term;
    let stale = propose(cluster.group(leader), batch(1, 1, 8), Term(term.get() - 1)).await;
    assert_eq!(
        stale,
        Err(ProposeError::NotLeader {
            leader: Some(leader)
        })
    );
    let follower = *cluster
        .replicas
        .keys()
        .find(|node| **node != leader)
        .unwrap();
    until(cluster.group(follower), "the leader is known", |s| {
        s.leader == Some(leader)
    })
    .await;
    let rejected = propose(cluster.group(follower), batch(1, 1, 8), term).await;
    assert_eq!(
        rejected,
        Err(ProposeError::NotLeader {
            leader: Some(leader)
        })
    );
    assert_eq!(cluster.converged().await.batches, 0);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_leader_is_replaced_and_no_acknowledged_batch_is_lost() {
    let mut cluster = Cluster::of(3).await;
    let mut acknowledged = 0;
    for round in 0..3u64 {
        let leader = cluster.leader().await;
        let term = cluster.group(leader).status().term;
        let group = cluster.group(leader).clone();
        let writer = tokio::spawn(async move {
            let mut handles = FuturesOrdered::new();
            for n in 0..20_000 {
                match group.propose(batch(round << 32 | n, 1, 200), term).await {
                    Ok(handle) => handles.push_back(handle),
                    Err(_) => break,
                }
                if n % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let mut acknowledged = 0u64;
            while let Some(result) = handles.next().await {
                acknowledged += u64::from(result.is_ok());
            }
            acknowledged
        });
        let written = cluster.replicas[&leader].sum().batches;
        eventually("some batches are written", || {
            cluster.replicas[&leader].sum().batches > written + 500
        })
        .await;
        cluster.crash(leader).await;
        acknowledged += writer.await.unwrap();
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        cluster.write(batch(u64::MAX - round, 1, 8)).await;
        acknowledged += 1;
        cluster.start(leader).await;
        let sum = cluster.converged().await;
        assert!(
            sum.batches >= acknowledged,
            "{} of {acknowledged} acknowledged",
            sum.batches
        );
        // Batches that were not acknowledged may be in the log too. Every batch has one record.
        assert_eq!(sum.next_offset.get(), sum.batches);
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnected_leader_commits_nothing_and_its_tail_is_replaced() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    let term = cluster.group(old).status().term;
    cluster.write(batch(0, 1, 8)).await;
    cluster.net.cut(old);
    let mut lost = Vec::new();
    for n in 0..50 {
        lost.push(
            cluster
                .group(old)
                .propose(batch(100 + n, 1, 8), term)
                .await
                .unwrap(),
        );
    }
    let others: BTreeSet<NodeId> = cluster
        .replicas
        .keys()
        .copied()
        .filter(|node| *node != old)
        .collect();
    let new = cluster.leader_among(&others).await;
    let group = cluster.group(new);
    for n in 0..10 {
        propose(group, batch(n, 2, 8), group.status().term)
            .await
            .unwrap();
    }
    cluster.net.reconnect(old);
    for handle in lost {
        assert!(matches!(handle.await, Err(ProposeError::Discarded { .. })));
    }
    let sum = cluster.converged().await;
    assert_eq!((sum.batches, sum.next_offset), (11, Offset(21)));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_follower_catches_up() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let restarted = *cluster
        .replicas
        .keys()
        .find(|node| **node != leader)
        .unwrap();
    cluster.crash(restarted).await;
    for n in 0..300 {
        cluster.write(batch(n, 1, 10_000)).await;
    }
    cluster.start(restarted).await;
    let sum = cluster.converged().await;
    assert_eq!(sum.batches, 300);
    assert_eq!(
        cluster.net.snapshots(),
        0,
        "the log was not purged, so no snapshot is needed"
    );
    let leader = cluster.leader().await;
    if leader != restarted {
        let group = cluster.group(leader);
        until(group, "the follower caught up", |s| {
            s.is_caught_up(restarted, 0)
        })
        .await;
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_restart_from_disk_with_all_acknowledged_batches() {
    let mut cluster = Cluster::with_segments(3, 1024 * 1024).await;
    for n in 0..600 {
        cluster.write(batch(n, 1, 8_000)).await;
    }
    let before = cluster.converged().await;
    for node in nodes(1..=3) {
        cluster.crash(node).await;
    }
    for node in nodes(1..=3) {
        cluster.start(node).await;
        let replica = &cluster.replicas[&node];
        let restored = replica.sum();
        assert!(
            restored.batches > 0,
            "node {node} must restart from its checkpoint or committed index"
        );
    }
    cluster.leader().await;
    assert_eq!(cluster.converged().await, before);
    cluster.write(batch(601, 1, 8)).await;
    assert_eq!(cluster.converged().await.batches, 601);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_commits_alone_and_survives_a_restart() {
    let mut cluster = Cluster::of(1).await;
    for n in 0..10 {
        cluster.write(batch(n, 1, 8)).await;
    }
    cluster.crash(NodeId(1)).await;
    cluster.start(NodeId(1)).await;
    cluster.write(batch(10, 1, 8)).await;
    assert_eq!(cluster.converged().await.batches, 11);
    tokio::time::timeout(Duration::from_secs(5), cluster.shutdown())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_restarts_with_an_uncommitted_tail_continues_with_a_shorter_log() {
    let mut cluster = Cluster::of(3).await;
    cluster.write(batch(1, 1, 8)).await;
    let old = cluster.leader().await;
    let others: BTreeSet<NodeId> = nodes(1..=3).into_iter().filter(|n| *n != old).collect();
    let term = cluster.group(old).status().term;
    cluster.net.cut(old);
    for n in 0..20 {
        let proposal = batch(10 + n, 1, 8);
        drop(cluster.group(old).propose(proposal, term).await.unwrap());
    }
    until(cluster.group(old), "the tail is written", |s| {
        s.last > s.committed && s.last.is_some_and(|last| last.index.get() >= 20)
    })
    .await;
    cluster.leader_among(&others).await;
    cluster.crash(old).await;
    cluster.start(old).await;
    let before = cluster.group(old).status().last.unwrap();
    cluster.net.reconnect(old);
    until(cluster.group(old), "it follows the next leader", |s| {
        s.applied.is_some_and(|applied| applied >= before)
    })
    .await;
    // It has applied all that is committed, and has not reached the index of its former end.
    let applied = cluster.group(old).status().applied.unwrap();
    assert!(applied.index < before.index, "{applied} after {before}");
    assert_eq!(cluster.converged().await.batches, 1);
    cluster.shutdown().await;
}

/// Heartbeats of a leader that is cut off with a follower of its arrive, and say nothing of what the
/// majority commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_a_leader_without_a_majority_knows_how_old_its_state_is() {
    let cluster = Cluster::of(5).await;
    let leader = cluster.leader().await;
    let follower = *nodes(1..=5).iter().find(|n| **n != leader).unwrap();
    let is_recent = |age: Option<Duration>| age.is_some_and(|age| age < Duration::from_secs(2));
    let replica = || cluster.group(follower);
    eventually("it is current", || is_recent(replica().applied_age())).await;
    cluster.net.split(&[leader, follower]);
    eventually("it is old", || !is_recent(replica().applied_age())).await;
    assert!(
        is_recent(replica().contact_age()),
        "it hears from its leader"
    );
    cluster.net.split(&[]);
    eventually("it is current again", || is_recent(replica().applied_age())).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_knows_how_old_its_state_is() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let is_recent = |node: NodeId| {
        let age = cluster.group(node).contact_age();
        age.is_some_and(|age| age < Duration::from_secs(1))
    };
    for node in nodes(1..=3) {
        eventually("all have contact", || is_recent(node)).await;
    }
    let follower = *nodes(1..=3).iter().find(|n| **n != leader).unwrap();
    for cut in [follower, leader] {
        cluster.net.cut(cut);
        eventually("it has no contact", || !is_recent(cut)).await;
        cluster.net.reconnect(cut);
        eventually("it has contact again", || is_recent(cut)).await;
    }
    cluster.shutdown().await;
}

/// A leader that is cut off keeps its role, and serves no more: nothing that it takes is committed
/// before it has contact again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_is_not_ready_and_tells_those_who_wait() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    cluster.write(batch(0, 1, 100)).await;
    let group = cluster.group(leader).clone();
    eventually("the leader is ready", || group.status().ready).await;
    let waiting = {
        let group = group.clone();
        tokio::spawn(async move { group.contact_lost().await })
    };
    tokio::time::sleep(RaftTiming::default().contact_max()).await;
    assert!(!waiting.is_finished(), "it has contact");
    cluster.net.cut(leader);
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("the loss is told")
        .unwrap();
    let status = group.status();
    assert!(!status.is_leader() || !status.has_contact && !status.ready);
    cluster.net.reconnect(leader);
    eventually("it has contact again", || group.status().has_contact).await;
    cluster.shutdown().await;
}

/// A replica that restarts alone serves what it knew to be committed: it needs no leader for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_entries_are_applied_at_the_start_without_a_leader() {
    let mut cluster = Cluster::of(3).await;
    for n in 0..20 {
        cluster.write(batch(n, 1, 100)).await;
    }
    let before = cluster.converged().await;
    let leader = cluster.leader().await;
    let others: Vec<_> = cluster
        .replicas
        .keys()
        .copied()
        .filter(|node| *node != leader)
        .collect();
    for node in others {
        cluster.crash(node).await;
    }
    cluster.crash(leader).await;
    cluster.start(leader).await;
    assert!(cluster.group(leader).status().leader.is_none());
    assert_eq!(cluster.replicas[&leader].sum(), before);
    cluster.shutdown().await;
}
