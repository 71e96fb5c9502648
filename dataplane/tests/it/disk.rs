//! Disks that hang: the node's leaderships move, its ports close, and it ends; reads that hang
//! block nothing else.

use std::time::Duration;

use lograft_core::limits::{
    FLUSH_HANG_MAX, FLUSH_LAG_MAX, PREFERRED_JITTER_MAX, PREFERRED_STABLE_MIN,
};
use lograft_node::error_chain;
use lograft_proto::log::v1 as log;
use lograft_storage::{DiskCall, FaultFs};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::cluster::{Cluster, PATIENCE, eventually};

const PARTITIONS: u32 = 6;

/// Three nodes with a topic on all of them; the first is on a simulated disk.
pub(crate) async fn with_a_simulated_disk() -> (Cluster, FaultFs) {
    let disk = FaultFs::new(7);
    let mut cluster = Cluster::new();
    cluster.fs = Some(disk.clone());
    cluster.add().await;
    cluster.fs = None;
    cluster.bootstrap(0).await.unwrap();
    for _ in 1..3 {
        cluster.add().await;
    }
    for at in 0..3 {
        cluster.ready(at).await;
    }
    cluster.create_topic(0, "t", PARTITIONS, 3).await;
    (cluster, disk)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_hangs_hands_over_closes_its_ports_and_ends() {
    let (mut cluster, disk) = with_a_simulated_disk().await;
    for partition in 0..PARTITIONS {
        cluster.produce(1, partition, "before").await;
    }
    let node = cluster.take(0);
    let addresses = node.addresses();
    let ended = tokio::spawn(node.run(async || std::future::pending().await));
    disk.hang(DiskCall::Sync);
    let hung_at = Instant::now();
    // Writes go on elsewhere. The first ones may still reach the old leader and time out.
    for partition in 0..PARTITIONS {
        cluster.produce(1, partition, "after").await;
    }
    let took = hung_at.elapsed();
    assert!(took < FLUSH_LAG_MAX + Duration::from_secs(8), "{took:?}");
    let ended = timeout(FLUSH_HANG_MAX + PATIENCE, ended).await;
    let error = ended.unwrap().unwrap().unwrap_err();
    assert!(hung_at.elapsed() >= FLUSH_HANG_MAX);
    let text = error_chain(&error);
    assert!(text.contains("the disk hangs"), "{text}");
    assert!(disk.hung_count() > 0, "the write still hangs");
    for port in [addresses.client, addresses.peer, addresses.health] {
        let connected = TcpStream::connect(port).await;
        assert!(connected.is_err(), "{port} is open");
    }
    for partition in 0..PARTITIONS {
        let read = cluster.read_all(1, partition).await;
        assert!(read.contains(&"before".to_owned()), "{read:?}");
        assert!(read.contains(&"after".to_owned()), "{read:?}");
    }
    disk.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "24 s long, and its bounds need a quiet machine"]
async fn reads_that_hang_are_answered_and_block_no_writes_and_no_control() {
    let (cluster, disk) = with_a_simulated_disk().await;
    // More than the tail cache holds, so that the first records are read from disk.
    let value = "x".repeat(700 * 1024);
    for _ in 0..6 {
        for partition in 0..PARTITIONS {
            cluster.produce(0, partition, &value).await;
        }
    }
    // The leaders settle: a new one may have to read what its followers miss.
    tokio::time::sleep(PREFERRED_STABLE_MIN + PREFERRED_JITTER_MAX * 2).await;
    disk.hang(DiskCall::Read);
    let mut reads = Vec::new();
    for n in 0..200 {
        let mut client = cluster.log(0);
        let request = log::FetchRequest {
            topic: "t".to_owned(),
            partition: n % PARTITIONS,
            position: Some(log::Position {
                at: Some(log::position::At::Earliest(true)),
            }),
            ..log::FetchRequest::default()
        };
        reads.push(tokio::spawn(async move { client.fetch(request).await }));
    }
    eventually("reads to hang", async || {
        (disk.hung_count() > 4).then_some(())
    })
    .await;
    let started = Instant::now();
    for partition in 0..PARTITIONS {
        cluster.produce(0, partition, "written").await;
    }
    let written = started.elapsed();
    cluster.create_topic(0, "another", 2, 3).await;
    let took = started.elapsed();
    assert!(
        took < PATIENCE / 2,
        "{written:?} for writes, {took:?} in all"
    );
    let mut refused = 0;
    for read in reads {
        refused += usize::from(timeout(PATIENCE, read).await.unwrap().unwrap().is_err());
    }
    assert!(refused > 0, "no read was refused");
    disk.release();
    assert!(!cluster.read_all(0, 0).await.is_empty());
}
