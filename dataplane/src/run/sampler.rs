//! The current values of a node's metrics.

use std::sync::Arc;

use lograft_raft::{GroupStatus, Role};
use lograft_storage::Storage;

use crate::control::Control;
use crate::metrics::{PartitionSample, Sample, Sampler};
use crate::replica::Replica;
use crate::tls::Tls;

/// Asks the node's parts.
pub(super) struct NodeSampler {
    pub(super) control: Arc<Control>,
    pub(super) storage: Storage,
    pub(super) tls: Arc<Tls>,
}

impl Sampler for NodeSampler {
    fn sample(&self) -> Sample {
        let replicas = self.control.replicas();
        let mut sample = Sample {
            corrupt_count: replicas.all_corrupt().len(),
            disk_low: self.storage.is_disk_low(),
            certificate_expiry_s: self.tls.not_after_s(),
            ..Sample::default()
        };
        // Without an answer the last values stay out of sight: zeros tell that something is wrong.
        if let Ok(space) = self.storage.space() {
            sample.disk_free_bytes = space.free_bytes;
            sample.disk_total_bytes = space.total_bytes;
        }
        for replica in replicas.all().values() {
            let status = replica.raft.watch().borrow().clone();
            match status.role {
                Role::Leader => sample.leaders_count += 1,
                Role::Learner => sample.learners_count += 1,
                _ => sample.followers_count += 1,
            }
            sample.partitions.push(partition(replica, &status));
        }
        sample
    }
}

fn partition(replica: &Replica, status: &GroupStatus) -> PartitionSample {
    let marks = replica.state.watermarks();
    let slowest = status.followers.values().map(|follower| follower.lag).max();
    PartitionSample {
        topic: replica.topic.to_string(),
        partition: replica.partition.get(),
        term: status.term.get(),
        leads: status.is_leader(),
        high_watermark: marks.high_watermark.get(),
        log_start: marks.log_start_offset.get(),
        bytes: replica.log.bytes_on_disk(),
        lag_entries: slowest.filter(|_| status.is_leader()),
    }
}
