//! The state of this node that it gossips.

use std::time::Duration;

use lograft_discovery::NodeFacts;
use lograft_discovery::gossip::OwnState;
use tokio::sync::watch;

use crate::config::Zone;
use crate::control::{Control, LocalMember, ReadinessState};
use crate::exchange::NodeExchange;
use crate::health::Readiness;
use crate::serving::replica::ReplicaMap;

/// Interval of changes that can wait: load and free space.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// Free space is told in parts of the disk, so that it does not change with each record.
const DISK_PARTS_COUNT: u64 = 64;

/// Publishes the state of this node.
pub(super) struct OwnStateLoop {
    member: LocalMember,
    readiness: ReadinessState,
    replicas: ReplicaMap,
    exchange: NodeExchange,
    zone: Zone,
    own: watch::Sender<OwnState>,
}

impl OwnStateLoop {
    pub(super) fn new(control: &Control, zone: Zone, own: watch::Sender<OwnState>) -> Self {
        Self {
            member: control.member.clone(),
            readiness: control.readiness.clone(),
            replicas: control.replicas.clone(),
            exchange: control.exchange.clone(),
            zone,
            own,
        }
    }

    /// Runs until dropped.
    pub(super) async fn run(self) {
        let (mut member, mut readiness) = (self.member.watch(), self.readiness.watch());
        loop {
            let is_ready = *readiness.borrow_and_update() == Readiness::Ready;
            member.borrow_and_update();
            self.publish(is_ready);
            tokio::select! {
                changed = readiness.changed() => if changed.is_err() { return },
                changed = member.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(REFRESH_INTERVAL) => {}
            }
        }
    }

    fn publish(&self, is_ready: bool) {
        let member = self.member.get();
        let disk = self.exchange.local().disk;
        let (total, free) = (disk.total_bytes, disk.free_bytes);
        let part = (total / DISK_PARTS_COUNT).max(1);
        let leads = self.replicas.all();
        let leads = leads.values().filter(|replica| {
            let status = replica.raft.watch();
            status.borrow().is_leader()
        });
        let leaders_count = u32::try_from(leads.count()).unwrap_or(u32::MAX);
        self.own.send_if_modified(|own| {
            let new = OwnState {
                cluster: member.map(|member| member.cluster),
                facts: NodeFacts {
                    node: member.map(|member| member.node),
                    is_ready,
                    leaders_count,
                    disk_free_bytes: free / part * part,
                    disk_total_bytes: total,
                    zone: self.zone.get(),
                    ..own.facts.clone()
                },
            };
            let is_new = *own != new;
            *own = new;
            is_new
        });
    }
}
