//! What this node tells others of itself, and what metrics take samples of.

use lograft_core::{GroupId, LogId, NodeId};
use lograft_proto::raft::v1::{FollowerLag, NodeReport, ReplicaReport};
use lograft_raft::{GroupStatus, Role};
use lograft_storage::GroupLog;

use super::Control;
use crate::metrics::{PartitionSample, Sample};
use crate::state_machine::Watermarks;

impl Control {
    /// This node as it sees itself. Looks at the disk's free space.
    pub fn report(&self) -> NodeReport {
        let member = self.member();
        let space = self.parts().storage.space().ok();
        let certificates = (self.parts().certificates)();
        let mut replicas = Vec::new();
        if let Some(meta) = self.replicas().meta() {
            let status = meta.raft.watch();
            let report = replica_report(&status.borrow(), &meta.log, Watermarks::default());
            replicas.push(report);
        }
        for replica in self.replicas().all().values() {
            let status = replica.raft.watch();
            let marks = replica.state.watermarks();
            replicas.push(replica_report(&status.borrow(), &replica.log, marks));
        }
        for group in self.replicas().all_corrupt().keys() {
            let corrupt = true;
            let group_id = group.get();
            replicas.push(ReplicaReport {
                group_id,
                corrupt,
                ..ReplicaReport::default()
            });
        }
        NodeReport {
            node_id: member.map_or(0, |member| member.node.get()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            disk_total_bytes: space.map_or(0, |space| space.total_bytes),
            disk_free_bytes: space.map_or(0, |space| space.free_bytes),
            disk_low: self.parts().storage.is_disk_low(),
            replicas,
            meta_applied_index: self.view().load().version().get(),
            cluster_id: member
                .map(|member| member.cluster.to_bytes().to_vec().into())
                .unwrap_or_default(),
            certificate_not_after_s: Some(certificates.not_after_s),
            ca_fingerprints: certificates.ca_fingerprints,
        }
    }

    /// What metrics show, all but the certificate's expiry.
    pub fn sample(&self) -> Sample {
        let space = self.parts().storage.space().ok();
        let mut sample = Sample {
            corrupt_count: self.replicas().all_corrupt().len(),
            disk_free_bytes: space.map_or(0, |space| space.free_bytes),
            disk_total_bytes: space.map_or(0, |space| space.total_bytes),
            disk_low: self.parts().storage.is_disk_low(),
            ..Sample::default()
        };
        for replica in self.replicas().all().values() {
            let status = replica.raft.watch();
            let status = status.borrow();
            match status.role {
                Role::Leader => sample.leaders_count += 1,
                Role::Learner => sample.learners_count += 1,
                Role::Follower | Role::Candidate => sample.followers_count += 1,
                Role::Stopped => {}
            }
            let marks = replica.state.watermarks();
            let lag = status.followers.values().map(|follower| follower.lag).max();
            sample.partitions.push(PartitionSample {
                topic: replica.topic.to_string(),
                partition: replica.partition.get(),
                term: status.term.get(),
                leads: status.is_leader(),
                high_watermark: marks.high_watermark.get(),
                log_start: marks.log_start_offset.get(),
                bytes: replica.log.bytes_on_disk(),
                lag_entries: lag.filter(|_| status.is_leader()),
            });
        }
        sample
    }
}

fn replica_report(status: &GroupStatus, log: &GroupLog, marks: Watermarks) -> ReplicaReport {
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index.get());
    let ids = |nodes: &std::collections::BTreeSet<NodeId>| nodes.iter().map(|n| n.get()).collect();
    let lags = status.followers.iter().filter(|_| status.is_leader());
    let GroupId(group_id) = status.group;
    ReplicaReport {
        group_id,
        corrupt: false,
        term: status.term.get(),
        leader_node: status.leader.map(NodeId::get),
        voters: ids(&status.voters),
        learners: ids(&status.learners),
        last_index: index(status.last),
        committed_index: index(status.committed),
        applied_index: index(status.applied),
        log_start_offset: marks.log_start_offset.get(),
        high_watermark: marks.high_watermark.get(),
        bytes: log.bytes_on_disk(),
        lags: lags
            .map(|(node, follower)| FollowerLag {
                node_id: node.get(),
                entries: follower.lag,
            })
            .collect(),
        ready_leader: status.ready,
        joint_voters: status.joint.as_ref().map(ids).unwrap_or_default(),
    }
}
