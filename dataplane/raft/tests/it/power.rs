//! Power failures of all nodes at once, which lose the writes that were not synced, and disk
//! failures.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use lograft_core::limits::{APPEND_MAX_BYTES, FLUSH_LAG_MAX, READ_LAG_MAX};
use lograft_core::{DiskMark, LogId, LogIndex, NodeId, Term};
use lograft_raft::{RaftGroup, Role};
use lograft_storage::{Crash, DiskCall};
use tokio::time::timeout;

use crate::cluster::{
    Cluster, FAULT_DISK_CACHE_BYTES, RESERVE_BYTES, UNFLUSHED_MAX_BYTES, batch, eventually, nodes,
    until,
};

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

/// Checks that all acknowledged batches are in the leader's log.
async fn check_acknowledged(cluster: &Cluster, acknowledged: &[(LogId, u64)]) {
    let leader = cluster.leader().await;
    let log = cluster.group(leader).log().clone();
    for (id, n) in acknowledged {
        let found = log.read(id.index..id.index.next(), 1).unwrap();
        assert_eq!(found.len(), 1, "entry {id} is lost");
        assert_eq!(found[0].id, *id);
        assert_eq!(
            found[0].proposal.payload[..8],
            n.to_le_bytes(),
            "entry {id}"
        );
    }
}

/// All nodes but one.
fn others(cluster: &Cluster, node: NodeId) -> BTreeSet<NodeId> {
    let mut others: BTreeSet<NodeId> = cluster.replicas.keys().copied().collect();
    others.remove(&node);
    others
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
        cluster.converged().await;
        check_acknowledged(&cluster, &expected).await;
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
    let others = others(&cluster, leader);
    let next = cluster.leader_among(&others).await;
    assert_ne!(next, leader);
}

/// A leader whose disk hangs commits through its followers' disks, and its heartbeats arrive: it
/// must give up its leadership by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_gives_up_its_leadership_and_nothing_is_lost() {
    for seed in 0..3 {
        let cluster = Cluster::on_fault_disks(3, 500 + seed).await;
        let first = cluster.leader().await;
        let group = cluster.group(first).clone();
        let term = group.status().term;
        let acknowledged = Acknowledged::default();
        let writer = tokio::spawn(write_until_failure(group, term, acknowledged.clone()));
        eventually("some batches are acknowledged", || {
            acknowledged.lock().unwrap().len() > 50
        })
        .await;
        cluster.disk(first).hang(DiskCall::Sync);
        let hung_at = tokio::time::Instant::now();
        let others = others(&cluster, first);
        let next = loop {
            let next = cluster.leader_among(&others).await;
            if cluster.group(next).status().term > term {
                break next;
            }
        };
        let took = hung_at.elapsed();
        assert!(took < FLUSH_LAG_MAX + Duration::from_secs(3), "{took:?}");
        let written = cluster
            .group(next)
            .propose(batch(1, 1, 100), cluster.group(next).status().term);
        assert!(written.await.unwrap().await.is_ok(), "seed {seed}");
        assert!(!cluster.group(first).watch().borrow().ready, "seed {seed}");
        // It returns as a follower once its disk works again.
        cluster.disk(first).release();
        until(cluster.group(first), "it follows", |status| {
            status.role == Role::Follower && status.leader == Some(next)
        })
        .await;
        writer.await.unwrap();
        let acknowledged = acknowledged.lock().unwrap().clone();
        cluster.converged().await;
        check_acknowledged(&cluster, &acknowledged).await;
        cluster.shutdown().await;
    }
}

/// A leader that cannot read what its followers miss commits nothing once they are needed, and its
/// heartbeats arrive: it must give up its leadership as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_reads_hang_gives_up_its_leadership() {
    let cluster = Cluster::on_fault_disks(3, 650).await;
    let first = cluster.leader().await;
    let term = cluster.group(first).status().term;
    let others = others(&cluster, first);
    let behind = *others.first().unwrap();
    cluster.net.cut(behind);
    // More than the tail cache holds.
    write_all(
        &cluster,
        0,
        2 * (FAULT_DISK_CACHE_BYTES / (100 * 1024)) as u64,
    )
    .await;
    assert_eq!(cluster.leader().await, first);
    cluster.disk(first).hang(DiskCall::Read);
    cluster.net.reconnect(behind);
    let hung_at = tokio::time::Instant::now();
    let next = loop {
        let next = cluster.leader_among(&others).await;
        if cluster.group(next).status().term > term {
            break next;
        }
    };
    let took = hung_at.elapsed();
    assert!(took < READ_LAG_MAX + Duration::from_secs(4), "{took:?}");
    cluster.write(batch(1, 1, 100)).await;
    assert_ne!(next, first);
    cluster.disk(first).release();
    cluster.converged().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_hangs_takes_no_more_than_its_budget_and_catches_up() {
    let cluster = Cluster::on_fault_disks(3, 600).await;
    let leader = cluster.leader().await;
    let slow = others(&cluster, leader).pop_first().unwrap();
    cluster.disk(slow).hang(DiskCall::Sync);
    let budget = cluster.replicas[&slow].storage.write_budget();
    let group = cluster.group(leader);
    let mut most = 0;
    for n in 0..40 {
        let written = group.propose(batch(n, 1, 512 * 1024), group.status().term);
        written.await.unwrap().await.unwrap();
        most = most.max(budget.pending_bytes());
    }
    eventually("the budget is spent", || !budget.has_room()).await;
    most = most.max(budget.pending_bytes());
    let bound = UNFLUSHED_MAX_BYTES + APPEND_MAX_BYTES + 512 * 1024;
    assert!(most <= bound, "{most} bytes, at most {bound} expected");
    cluster.disk(slow).release();
    cluster.converged().await;
    eventually("all is flushed", || budget.pending_bytes() == 0).await;
    cluster.shutdown().await;
}

/// Leaves a node's disk so many free bytes, and lets the node notice.
fn leave_free(cluster: &Cluster, node: NodeId, bytes: u64) -> DiskMark {
    let disk = cluster.disk(node);
    disk.set_capacity(disk.used_bytes() + bytes);
    cluster.replicas[&node].storage.check_disk().unwrap()
}

async fn write_all(cluster: &Cluster, from: u64, count: u64) {
    for n in from..from + count {
        cluster.write(batch(n, 1, 100 * 1024)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_a_full_disk_takes_no_records_stays_a_follower_and_catches_up() {
    let cluster = Cluster::on_fault_disks(3, 700).await;
    let leader = cluster.leader().await;
    let full = others(&cluster, leader).pop_first().unwrap();
    write_all(&cluster, 0, 5).await;
    cluster.converged().await;
    // Below the first mark it still takes what the leader has.
    assert_eq!(leave_free(&cluster, full, RESERVE_BYTES - 1), DiskMark::Low);
    write_all(&cluster, 5, 5).await;
    cluster.converged().await;
    let free = RESERVE_BYTES / 4 - 1;
    assert_eq!(leave_free(&cluster, full, free), DiskMark::Full);
    let used = cluster.disk(full).used_bytes();
    write_all(&cluster, 10, 20).await;
    let status = cluster.group(full).status();
    assert_eq!(status.role, Role::Follower);
    assert_eq!(status.leader, Some(leader), "it hears the leader");
    assert!(status.fatal.is_none());
    // 20 batches would be 2 MB; an entry that was accepted before may still have been in the queue.
    assert!(cluster.disk(full).used_bytes() < used + 500 * 1024);
    assert!(
        cluster.group(full).log().flushed_index() < cluster.group(leader).log().flushed_index()
    );
    // Space is freed: it catches up by itself.
    assert_eq!(leave_free(&cluster, full, 1 << 30), DiskMark::Ok);
    cluster.converged().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_follower_gets_a_snapshot_instead_of_the_entries_that_were_purged() {
    let cluster = Cluster::on_fault_disks(3, 800).await;
    let leader = cluster.leader().await;
    let full = others(&cluster, leader).pop_first().unwrap();
    write_all(&cluster, 0, 10).await;
    cluster.converged().await;
    let free = RESERVE_BYTES / 4 - 1;
    assert_eq!(leave_free(&cluster, full, free), DiskMark::Full);
    let used = cluster.disk(full).used_bytes();
    write_all(&cluster, 10, 20).await;
    let group = cluster.group(leader);
    group.set_purge_hold(Duration::ZERO);
    let end = group.status().applied.unwrap().index;
    let behind = group.status().followers[&full].matched.unwrap().index;
    eventually_purged(group, end, behind).await;
    eventually("the full node has installed the snapshot", || {
        cluster.net.snapshots() > 0 && cluster.disk(full).used_bytes() < used - 500 * 1024
    })
    .await;
    assert!(cluster.group(full).status().fatal.is_none());
    // Its old entries are gone: there is room for the new ones.
    cluster.replicas[&full].storage.check_disk().unwrap();
    cluster.converged().await;
    cluster.shutdown().await;
}

/// A pseudorandom number below `bound` for each call.
fn below(state: &mut u64, bound: u64) -> u64 {
    let next = state.wrapping_mul(6_364_136_223_846_793_005);
    *state = next.wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % bound
}

/// Proposes a batch to the current leader and notes it if it is acknowledged in a bounded time.
/// Checks the disks, as a node does.
async fn try_write(cluster: &Cluster, n: u64, len: usize, acknowledged: &mut Vec<(LogId, u64)>) {
    for replica in cluster.replicas.values() {
        replica.storage.check_disk().ok();
    }
    let ready = cluster
        .replicas
        .values()
        .filter(|it| it.group.status().ready);
    let Some(leader) = ready.max_by_key(|it| it.group.status().term) else {
        return tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (group, term) = (leader.group.clone(), leader.group.status().term);
    let written = async { group.propose(batch(n, 1, len), term).await?.await };
    if let Ok(Ok(committed)) = timeout(Duration::from_millis(300), written).await {
        acknowledged.push((committed.id, n));
    }
}

/// One fault of one disk at a time, with writes meanwhile; a node whose storage has stopped is
/// restarted, as its pod would be.
async fn survives_disk_faults(seed: u64) {
    let mut state = seed ^ 0x5eed;
    let mut cluster = Cluster::on_fault_disks(3, 1000 + seed).await;
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let node = NodeId(1 + below(&mut state, 3));
        let disk = cluster.disk(node).clone();
        match below(&mut state, 6) {
            0 => drop(leave_free(
                &cluster,
                node,
                below(&mut state, RESERVE_BYTES / 4),
            )),
            1 => disk.fail_allocations(Some(2 + below(&mut state, 3))),
            2 => disk.hang(DiskCall::Sync),
            3 => disk.hang(DiskCall::Read),
            4 => disk.fail_sync_after(below(&mut state, 20)),
            _ => disk.fail_write_after(below(&mut state, 20)),
        }
        for nth in 0..12 {
            let len = 100 + usize::try_from(below(&mut state, 60_000)).unwrap();
            try_write(&cluster, round * 100 + nth, len, &mut acknowledged).await;
        }
        disk.set_capacity(u64::MAX);
        disk.fail_allocations(None);
        disk.fail_sync_after(u64::MAX);
        disk.fail_write_after(u64::MAX);
        disk.release();
        let has_stopped = cluster.replicas[&node].storage.stopped().is_some();
        if has_stopped || below(&mut state, 4) == 0 {
            let crash =
                [Crash::Process, Crash::Power][usize::try_from(below(&mut state, 2)).unwrap()];
            cluster.restart(node, crash).await;
        }
    }
    cluster.write(batch(9999, 1, 100)).await;
    // A node whose disk was full notices that there is room, at the next probe at the latest.
    eventually("all disks have room", || {
        cluster.replicas.values().all(|it| {
            it.storage
                .check_disk()
                .is_ok_and(|mark| mark == DiskMark::Ok)
                && !it.group.log().waits_for_room()
        })
    })
    .await;
    cluster.converged().await;
    check_acknowledged(&cluster, &acknowledged).await;
    assert!(!acknowledged.is_empty());
    cluster.shutdown().await;
}

/// `LOGRAFT_SEEDS` sets the number of seeds, `LOGRAFT_SEED` runs one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_batches_survive_full_hung_and_failing_disks() {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("LOGRAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LOGRAFT_SEEDS").unwrap_or(4),
    };
    for seed in seeds {
        println!("seed {seed}");
        survives_disk_faults(seed).await;
    }
}

async fn eventually_purged(group: &RaftGroup, end: LogIndex, above: LogIndex) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let purged = group.snapshot_and_purge(end).await.unwrap();
        if purged.is_some_and(|purged| purged.index > above) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "not purged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The number of seeds of the runs on failing disks; `LOGRAFT_RAFT_SEEDS` sets another.
fn seeds() -> u64 {
    let seeds = std::env::var("LOGRAFT_RAFT_SEEDS").ok();
    seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(4)
}

/// A bad sector in the log of one node: the others go on, no acknowledged batch is lost, and the
/// node never answers with another entry than the one written. Its replica, set aside and evicted,
/// rejoins empty and gets the whole log again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_sector_costs_one_replica_and_no_acknowledged_batch() {
    for seed in 0..seeds() {
        let mut cluster = Cluster::on_fault_disks(3, 1000 + seed).await;
        for n in 0..60 {
            cluster.write(batch(n, 1, 16 * 1024)).await;
        }
        let before = cluster.converged().await;
        // The victim is restarted, so that it reads its disk and not its cache: as a leader, which
        // replicates, or as a follower, which applies.
        let leader = cluster.leader().await;
        let all = nodes(1..=3);
        let is_victim = |node: &NodeId| (*node == leader) == (seed % 2 == 0);
        let victim = all.iter().copied().find(is_victim).unwrap();
        let others: BTreeSet<NodeId> = all.iter().copied().filter(|node| *node != victim).collect();
        cluster.crash(victim).await;
        cluster.fail_a_segment(victim, seed);
        let opened = cluster.try_start(victim).await;
        for n in 60..80 {
            cluster.write(batch(n, 1, 16 * 1024)).await;
        }
        if opened {
            let log = cluster.group(victim).log().clone();
            let end = log.last_id().unwrap().index;
            for index in 1..end.get() {
                let index = LogIndex(index);
                match log.read(index..index.next(), 1) {
                    Ok(entries) => assert!(entries.iter().all(|entry| entry.id.index == index)),
                    Err(error) => assert!(error.is_damage(), "seed {seed}: {error}"),
                }
            }
            assert!(
                log.damage().is_some(),
                "seed {seed}: the read met no damage"
            );
            drop(log);
            // As a node does: it hands its leadership over, closes the replica and sets it aside.
            let to = *others.first().unwrap();
            let _ = cluster.group(victim).transfer_leader(to).await;
            cluster.set_aside(victim).await;
        }
        let leader = cluster.leader_among(&others).await;
        let group = cluster.group(leader).clone();
        group.change_voters(others.clone()).await.unwrap();
        let learners = group.status().learners.contains(&victim);
        if learners {
            group.remove_learner(victim).await.unwrap();
        }
        cluster.start(victim).await;
        assert!(cluster.group(victim).log().last_id().is_none());
        group.add_learner(victim).await.unwrap();
        until(&group, "the victim caught up", |s| {
            s.is_caught_up(victim, 0)
        })
        .await;
        group.change_voters(all).await.unwrap();
        let after = cluster.converged().await;
        assert_eq!(after.batches, before.batches + 20, "seed {seed}");
        drop(group);
        cluster.shutdown().await;
    }
}
