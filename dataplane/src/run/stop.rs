//! The end of a node's replicas.

use futures_util::future::join_all;
use lograft_core::limits::STOP_REPLICAS_MAX;
use tracing::warn;

use crate::replica::ReplicaMap;

/// Ends every replica.
pub(super) async fn shut_down(replicas: &ReplicaMap) {
    let partitions = replicas.all();
    let meta = replicas.meta().map(|meta| meta.raft.clone());
    let rafts = partitions
        .values()
        .map(|replica| replica.raft.clone())
        .chain(meta);
    let ended = join_all(rafts.map(|raft| async move { raft.shutdown().await }));
    if tokio::time::timeout(STOP_REPLICAS_MAX, ended)
        .await
        .is_err()
    {
        warn!("replicas not all ended in time");
    }
}
