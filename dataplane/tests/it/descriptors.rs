//! A node for which the host has no file descriptors.

use std::time::Duration;

use lograft_core::limits::FLUSH_HANG_MAX;
use lograft_storage::FaultFs;

use crate::cluster::Cluster;

/// A writer waits for a descriptor for longer than the watchdog allows a disk to hang: the node
/// does not end, because it would start again with the same limit, and continues once there are
/// descriptors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_free_descriptors_does_not_end_and_continues_with_some() {
    let disk = FaultFs::new(8);
    let mut cluster = Cluster::new();
    cluster.fs = Some(disk.clone());
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    cluster.ready(0).await;
    cluster.create_topic(0, "t", 1, 1).await;
    cluster.produce(0, 0, "before").await;
    disk.limit_open_files(Some(0));
    // The commit of this record is saved in the hard state, which is opened for it.
    let meanwhile = cluster.try_produce(0, 0, "meanwhile");
    let meanwhile = tokio::time::timeout(Duration::from_secs(1), meanwhile).await;
    tokio::time::sleep(FLUSH_HANG_MAX + Duration::from_secs(2)).await;
    assert!(cluster.is_running(0).await, "the node has ended");
    disk.limit_open_files(None);
    cluster.produce(0, 0, "after").await;
    let read = cluster.read_all(0, 0).await;
    assert_eq!(read.first().map(String::as_str), Some("before"));
    assert_eq!(read.last().map(String::as_str), Some("after"));
    if let Ok(Ok(_)) = meanwhile {
        assert_eq!(read[1], "meanwhile");
    }
}
