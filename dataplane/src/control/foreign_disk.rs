//! Finds a data directory of another cluster: the seeds of the node belong to one cluster, and its
//! disk to another. Requests between the two are refused anyway; this says so to people, and keeps
//! the node from being ready.

use std::sync::Arc;

use lograft_core::ClusterId;
use lograft_core::limits::FOREIGN_DISK_INTERVAL;
use tokio::sync::watch;
use tracing::error;

use super::local_member::LocalMember;
use super::peer_calls::PeerCalls;
use super::seeds::{Seeds, members_at};

/// Compares the cluster of the disk with that of the seeds.
pub(crate) struct ForeignDiskCheck {
    pub(crate) member: LocalMember,
    pub(crate) seeds: Seeds,
    pub(crate) peers: Arc<dyn PeerCalls>,
    /// The cluster of the seeds, if it is another one than that of the disk.
    pub(crate) foreign: watch::Sender<Option<ClusterId>>,
}

impl ForeignDiskCheck {
    /// Returns once a seed has confirmed the cluster of the disk.
    pub(crate) async fn run(self) {
        loop {
            let found = self.clusters_of_seeds().await;
            let own = self.member.get().map(|member| member.cluster);
            let foreign = foreign(own, &found);
            let was = self.foreign.send_replace(foreign);
            if let (Some(own), Some(other)) = (own, foreign)
                && was != foreign
            {
                error!(disk_cluster = %own, cluster = %other, "disk belongs to another cluster");
            }
            if own.is_some_and(|own| found.contains(&own)) {
                return;
            }
            tokio::time::sleep(FOREIGN_DISK_INTERVAL).await;
        }
    }

    async fn clusters_of_seeds(&self) -> Vec<ClusterId> {
        let found = members_at(self.seeds.list(), &*self.peers).await;
        found.iter().map(|(member, _)| member.cluster).collect()
    }
}

/// The cluster of the seeds, if none of them belongs to that of the disk.
fn foreign(own: Option<ClusterId>, found: &[ClusterId]) -> Option<ClusterId> {
    let own = own.filter(|own| !found.contains(own))?;
    found.iter().copied().find(|cluster| *cluster != own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_of_the_own_cluster_is_enough() {
        let [own, other] = [1, 2].map(|byte| ClusterId::from_bytes([byte; 16]));
        assert_eq!(foreign(Some(own), &[]), None);
        assert_eq!(foreign(Some(own), &[other]), Some(other));
        assert_eq!(foreign(Some(own), &[other, own]), None);
        assert_eq!(foreign(None, &[other]), None);
    }
}
