//! The control loop: at an interval, and earlier when something relevant changes, it checks
//! everything that this node is responsible for and starts the tasks that are due.
//!
//! The checks keep no state that a restart would need: each one compares the current state with
//! the metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use lograft_core::GroupId;
use lograft_core::limits::{CONTROL_INTERVAL, CONTROL_INTERVAL_MIN};
use lograft_core::metadata::Metadata;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::catch_up::CatchUp;
use super::disk_handover::DiskHandover;
use super::led_groups::LedGroupsPublisher;
use super::meta_recovery::MetaRecoveryCheck;
use super::meta_voters::MetaVoters;
use super::node_checkup::NodeCheckup;
use super::partition_start::PartitionStart;
use super::preferred_leaders::PreferredLeaders;
use super::reassignment::Reassignment;
use super::rebalancing::Rebalancer;
use super::recovery::RecoveryCheck;
use super::registration_check::RegistrationCheck;
use super::repair::ReplicaRepair;
use super::retention::Retention;
use crate::serving::replica::{Replica, ReplicaMap};
use crate::state_machine::MetaView;

/// The control loop and its checks.
pub(crate) struct ControlLoop {
    pub(crate) view: MetaView,
    pub(crate) catch_up: CatchUp,
    pub(crate) wake: Arc<Notify>,
    pub(crate) led_groups: LedGroupsPublisher,
    pub(crate) partitions: PartitionChecks,
    pub(crate) meta_recovery: MetaRecoveryCheck,
    pub(crate) repair: ReplicaRepair,
    pub(crate) disk_handover: DiskHandover,
    pub(crate) preferred_leaders: PreferredLeaders,
    pub(crate) meta_voters: MetaVoters,
    pub(crate) rebalancer: Rebalancer,
    pub(crate) registration: RegistrationCheck,
    pub(crate) checkup: NodeCheckup,
}

impl ControlLoop {
    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        let mut version = self.view.watch();
        loop {
            self.check_all().await;
            tokio::time::sleep(CONTROL_INTERVAL_MIN).await;
            tokio::select! {
                () = tokio::time::sleep(CONTROL_INTERVAL) => {}
                () = self.wake.notified() => {}
                changed = version.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn check_all(&mut self) {
        let metadata = self.view.load();
        self.led_groups.publish();
        self.repair.check_meta();
        self.meta_recovery.check(&metadata);
        if self.catch_up.is_done() {
            let now = Instant::now();
            self.partitions.check(&metadata, now);
            self.repair.check(&metadata);
            self.disk_handover.check();
            self.preferred_leaders.check(&metadata, now);
            self.meta_voters.check(&metadata, now);
            self.rebalancer.check(&metadata);
            self.registration.check_phase(&metadata).await;
        }
        self.registration.check_addresses(&metadata);
        self.checkup.check(&metadata);
    }
}

/// The checks of the partitions that this node has a replica of.
pub(crate) struct PartitionChecks {
    replicas: ReplicaMap,
    start: PartitionStart,
    reassignment: Reassignment,
    retention: Retention,
    recovery: RecoveryCheck,
    opened: OpenSince,
}

impl PartitionChecks {
    /// Without open replicas.
    pub(crate) fn new(
        replicas: ReplicaMap,
        start: PartitionStart,
        reassignment: Reassignment,
        (retention, recovery): (Retention, RecoveryCheck),
    ) -> Self {
        Self {
            replicas,
            start,
            reassignment,
            retention,
            recovery,
            opened: OpenSince::default(),
        }
    }

    fn check(&mut self, metadata: &Metadata, now: Instant) {
        let replicas = self.replicas.all();
        self.opened.retain(&replicas);
        let mut due = Vec::new();
        for (group, replica) in replicas.iter() {
            let Some(place) = metadata.group(*group) else {
                continue;
            };
            let open_for = now.duration_since(self.opened.since(*group, now));
            if place.partition.started {
                self.recovery.check(place.partition, replica);
                due.extend(self.reassignment.is_due(place.partition, replica));
                if replica.groups.is_some() {
                    self.retention.check_coordinator(replica);
                } else {
                    self.retention.check(place.topic.retention, replica);
                }
            } else {
                self.start.check(place.partition, replica, open_for);
            }
        }
        self.reassignment.start(&due, &replicas);
    }
}

/// The time at which the loop first saw each open replica.
#[derive(Debug, Default)]
struct OpenSince(BTreeMap<GroupId, Instant>);

impl OpenSince {
    /// Removes replicas that are closed.
    fn retain(&mut self, open: &BTreeMap<GroupId, Arc<Replica>>) {
        self.0.retain(|group, _| open.contains_key(group));
    }

    fn since(&mut self, group: GroupId, now: Instant) -> Instant {
        *self.0.entry(group).or_insert(now)
    }
}
