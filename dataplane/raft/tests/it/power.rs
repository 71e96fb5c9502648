//! Power failures of all nodes at once, which lose the writes that were not synced, and disk
//! failures.

use std::sync::{Arc, Mutex};

use futures_util::stream::{FuturesOrdered, StreamExt};
use lograft_core::{LogId, Term};
use lograft_raft::{RaftGroup, Role};

use crate::cluster::{Cluster, batch, eventually, until};

type Acknowledged = Arc<Mutex<Vec<(LogId, u64)>>>;

/// Writes until a proposal fails, with 32 batches in flight.
async fn write_until_failure(group: RaftGroup, term: Term, acknowledged: Acknowledged) {
    let mut in_flight = FuturesOrdered::new();
    for n in 0.. {
        let payload_bytes = 100 + usize::try_from(n % 7).unwrap() * 3000;
        let Ok(handle) = group.propose(batch(n, 1, payload_bytes), term).await else {
            return;
        };
        in_flight.push_back(async move { handle.await.map(|committed| (committed.id, n)) });
        if in_flight.len() >= 32 {
            match in_flight.next().await {
                Some(Ok(written)) => acknowledged.lock().unwrap().push(written),
                _ => return,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_batches_survive_a_power_failure_of_all_nodes() {
    for seed in 0..6u64 {
        let mut cluster = Cluster::on_fault_disks(3, seed).await;
        let mut expected = Vec::new();
        for _ in 0..2 {
            let leader = cluster.leader().await;
            let group = cluster.group(leader).clone();
            let term = group.status().term;
            let acknowledged = Acknowledged::default();
            let writer = tokio::spawn(write_until_failure(group, term, acknowledged.clone()));
            let enough = 40 + usize::try_from(seed).unwrap() * 37;
            eventually("some batches are acknowledged", || {
                acknowledged.lock().unwrap().len() > enough
            })
            .await;
            expected.extend(acknowledged.lock().unwrap().iter().copied());
            cluster.power_failure().await;
            writer.await.unwrap();
        }
        let leader = cluster.leader().await;
        let log = cluster.group(leader).log().clone();
        for (id, n) in expected {
            let found = log.read(id.index..id.index.next(), 1).unwrap();
            assert_eq!(found.len(), 1, "seed {seed}: entry {id} is lost");
            assert_eq!(found[0].id, id, "seed {seed}");
            assert_eq!(
                found[0].proposal.payload[..8],
                n.to_le_bytes(),
                "seed {seed}: entry {id}"
            );
        }
        cluster.converged().await;
        cluster.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_failure_stops_the_replica_with_a_fatal_status() {
    let cluster = Cluster::on_fault_disks(3, 77).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    cluster.fail_syncs(leader);
    let result = group
        .propose(batch(1, 1, 100), group.status().term)
        .await
        .unwrap()
        .await;
    let status = until(group, "the replica has stopped", |s| {
        s.role == Role::Stopped
    })
    .await;
    assert!(status.fatal.is_some());
    assert!(!status.ready);
    // The proposer cannot know whether the entry reached the other replicas.
    assert!(result.map_or_else(|error| error.is_outcome_unknown(), |_| true));
    let mut others = cluster
        .replicas
        .keys()
        .copied()
        .collect::<std::collections::BTreeSet<_>>();
    others.remove(&leader);
    let next = cluster.leader_among(&others).await;
    assert_ne!(next, leader);
}
