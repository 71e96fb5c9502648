//! The report of this node about itself, and the values that its metrics sample.

use std::sync::Arc;

use lograft_core::check::{CheckReport, NodeChecks, PlacementFindings};
use lograft_core::lost_nodes::LostReplicas;
use lograft_core::{DiskMark, FeatureLevel, LogId, LogIndex, NodeId, NodeState, Term};
use lograft_discovery::DiscoveryReader;
use lograft_discovery::gossip::Gossip;
use lograft_raft::{RaftGroup, Role};
use lograft_storage::{GroupLog, Storage};

use super::checks_state::ChecksState;
use super::local_member::LocalMember;
use super::node_report::{NodeReport, ReplicaReport};
use super::readiness_state::ReadinessState;
use crate::config::TopicDefaultsSource;
use crate::metrics::{MemberCounts, PartitionSample, Sample};
use crate::recovery_epochs::RecoveryEpochs;
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;
use crate::state_machine::Watermarks;
use crate::tls::LoadedCertificates;

/// Reads the certificates that the node has loaded.
pub(crate) type CertificateReader = Arc<dyn Fn() -> LoadedCertificates + Send + Sync>;

/// Reports the state of this node.
pub(crate) struct NodeReporter {
    pub(crate) member: LocalMember,
    pub(crate) replicas: ReplicaMap,
    pub(crate) view: MetaView,
    pub(crate) storage: Storage,
    pub(crate) certificates: CertificateReader,
    /// The newest feature level that this node knows.
    pub(crate) level: FeatureLevel,
    pub(crate) checks: ChecksState,
    pub(crate) defaults: Arc<TopicDefaultsSource>,
    pub(crate) discovery: DiscoveryReader,
    pub(crate) readiness: ReadinessState,
    pub(crate) recoveries: RecoveryEpochs,
}

impl NodeReporter {
    /// The node's report. Makes no call to the disk.
    pub(crate) fn report(&self) -> NodeReport {
        let space = self.storage.measured_space();
        let certificates = (self.certificates)();
        NodeReport {
            member: self.member.get(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            level: self.level,
            disk_total_bytes: space.map_or(0, |space| space.total_bytes),
            disk_free_bytes: space.map_or(0, |space| space.free_bytes),
            disk_low: self.storage.disk_mark() >= DiskMark::Low,
            replicas: self.replica_reports(),
            meta_applied_index: self.view.load().version(),
            certificate_not_after_s: Some(certificates.not_after_s),
            ca_fingerprints: certificates.ca_fingerprints,
            checks: (*self.checks.load()).clone(),
            peers: self.peers(),
            gossip_key_ids: self.gossip_key_ids(),
            waits_for: self.readiness.waits_for(),
        }
    }

    fn gossip_key_ids(&self) -> Vec<String> {
        let gossip = self.discovery.gossip.as_ref().map(Gossip::report);
        gossip.map_or_else(Vec::new, |report| report.key_ids)
    }

    /// The addresses of the members.
    fn peers(&self) -> Vec<(NodeId, Arc<str>)> {
        let metadata = self.view.load();
        let nodes = metadata.nodes();
        let members = nodes.filter(|node| node.state != NodeState::Removed);
        members
            .map(|node| (node.id, node.registration.peer_address.as_str().into()))
            .collect()
    }

    fn replica_reports(&self) -> Vec<ReplicaReport> {
        let mut reports = Vec::new();
        if let Some(meta) = self.replicas.meta() {
            let report = replica_report(&meta.raft, &meta.log, Watermarks::default());
            reports.push(report);
        }
        for replica in self.replicas.all().values() {
            let marks = replica.state.watermarks();
            reports.push(replica_report(&replica.raft, &replica.log, marks));
        }
        for group in self.replicas.all_corrupt().keys() {
            reports.push(ReplicaReport {
                group: *group,
                corrupt: true,
                ..ReplicaReport::default()
            });
        }
        reports
    }

    /// The raised checks of this node, and those that each node computes from the metadata.
    fn all_checks(&self) -> NodeChecks {
        let factor = self.defaults.latest().replication_factor();
        let placement = PlacementFindings::new(&self.view.load(), factor).raised();
        let own = self.checks.load();
        let own = own.iter().cloned();
        NodeChecks::new(own.chain(placement.iter().map(CheckReport::from)))
    }

    fn member_counts(&self) -> MemberCounts {
        let view = self.discovery.membership.load();
        let gossip = view
            .members
            .iter()
            .filter_map(|member| member.gossip.as_ref());
        let (reachable, unreachable): (Vec<_>, Vec<_>) = gossip.partition(|node| node.is_alive);
        MemberCounts {
            reachable: reachable.len(),
            unreachable: unreachable.len(),
        }
    }

    /// The values for the metrics, except the expiry of the certificate.
    pub(crate) fn sample(&self) -> Sample {
        let space = self.storage.measured_space();
        let metadata = self.view.load();
        let lost = metadata.lost_nodes().map(|node| node.id);
        let lost: Vec<LostReplicas> = lost.map(|id| LostReplicas::new(&metadata, id)).collect();
        let mut sample = Sample {
            corrupt_count: self.replicas.all_corrupt().len(),
            finalized_level: metadata.finalized_level(),
            lost_nodes_count: lost.len(),
            lost_replicas_count: lost.iter().map(LostReplicas::left_count).sum(),
            disk_free_bytes: space.map_or(0, |space| space.free_bytes),
            disk_total_bytes: space.map_or(0, |space| space.total_bytes),
            disk_low: self.storage.disk_mark() >= DiskMark::Low,
            checks: self.all_checks(),
            members: self.member_counts(),
            other_epoch_count: self.recoveries.refused_count(),
            recovered_count: self.recoveries.all_own().len(),
            gossip: self.discovery.gossip.as_ref().map(Gossip::report),
            ..Sample::default()
        };
        let meta = self.replicas.meta();
        let is_fenced = |raft: &RaftGroup| raft.fence_stage().is_disk_older();
        sample.fenced_count += usize::from(meta.is_some_and(|meta| is_fenced(&meta.raft)));
        for replica in self.replicas.all().values() {
            sample.fenced_count += usize::from(is_fenced(&replica.raft));
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

fn replica_report(raft: &RaftGroup, log: &GroupLog, marks: Watermarks) -> ReplicaReport {
    let status = raft.watch();
    let (status, epoch) = (status.borrow(), raft.epoch());
    let index = |id: Option<LogId>| id.map_or(LogIndex(0), |id| id.index);
    let lags = status.followers.iter().filter(|_| status.is_leader());
    ReplicaReport {
        group: status.group,
        corrupt: false,
        term: status.term,
        leader: status.leader,
        ready_leader: status.ready,
        voters: status.voters.clone(),
        joint_voters: status.joint.clone().unwrap_or_default(),
        learners: status.learners.clone(),
        last_index: index(status.last),
        committed_index: index(status.committed),
        applied_index: index(status.applied),
        log_start_offset: marks.log_start_offset,
        high_watermark: marks.high_watermark,
        bytes: log.bytes_on_disk(),
        lags: lags.map(|(node, follower)| (*node, follower.lag)).collect(),
        fenced: !status.fence.is_lifted(),
        last_term: status.last.map_or(Term::ZERO, |last| last.term),
        log_end: log.log_end_offset(),
        recovery_epoch: epoch,
    }
}
