//! The loops of control: each is built of the parts that it uses, and they run together.

use std::sync::Arc;

use super::address_book::AddressBookLoop;
use super::cluster_entry::ClusterEntry;
use super::control_loop::{ControlLoop, PartitionChecks};
use super::disk_fence::{DiskFence, DiskFenceParts};
use super::disk_handover::DiskHandover;
use super::foreign_disk::ForeignDiskCheck;
use super::join::SeedJoin;
use super::leader_watch::LeaderWatch;
use super::lost_nodes::{LostNodes, LostNodesParts};
use super::meta_recovery::{MetaRecoveryCheck, MetaRecoveryStart};
use super::meta_repair::MetaRejoin;
use super::meta_replica::MetaReplicaStarter;
use super::meta_voters::MetaVoters;
use super::node_checkup::NodeCheckup;
use super::partition_start::PartitionStart;
use super::parts::ControlParts;
use super::preferred_leaders::PreferredLeaders;
use super::reassignment::Reassignment;
use super::rebalancing::Rebalancer;
use super::reconcile::Reconciler;
use super::recovery::{RecoveryCheck, Survivors};
use super::registration_check::RegistrationCheck;
use super::repair::ReplicaRepair;
use super::retention::Retention;
use super::shared::Shared;

/// The loops of control.
pub(crate) struct ControlLoops {
    entry: Arc<ClusterEntry>,
    disk_fence: DiskFence,
    foreign_disk: ForeignDiskCheck,
    reconciler: Reconciler,
    control: ControlLoop,
    leader_watch: LeaderWatch,
    addresses: AddressBookLoop,
}

impl ControlLoops {
    /// Builds the loops. Nothing happens before they run.
    pub(super) fn new(shared: &Shared, parts: &ControlParts) -> Self {
        Self {
            entry: Arc::new(shared.entry(parts)),
            disk_fence: shared.disk_fence(parts),
            foreign_disk: shared.foreign_disk(parts),
            reconciler: shared.reconciler(parts),
            control: shared.control_loop(parts),
            leader_watch: shared.leader_watch(parts),
            addresses: shared.address_book(parts),
        }
    }

    /// Enters a cluster.
    pub(super) fn entry(&self) -> Arc<ClusterEntry> {
        Arc::clone(&self.entry)
    }

    /// Runs until dropped: enters a cluster, then runs the loops.
    pub(crate) async fn run(self) {
        let Self {
            entry,
            disk_fence,
            foreign_disk,
            reconciler,
            control,
            leader_watch,
            addresses,
        } = self;
        let inside = async {
            entry.enter().await;
            tokio::join!(
                reconciler.run(),
                control.run(),
                leader_watch.run(),
                addresses.run(),
                foreign_disk.run(),
            );
        };
        tokio::join!(disk_fence.run(), inside);
    }
}

impl Shared {
    fn entry(&self, parts: &ControlParts) -> ClusterEntry {
        ClusterEntry {
            info: parts.info.clone(),
            level: parts.level,
            storage: parts.storage.clone(),
            registration: self.registration.clone(),
            seeds: SeedJoin {
                info: parts.info.clone(),
                level: parts.level,
                seeds: self.seeds.clone(),
                peers: Arc::clone(&parts.peers),
                registration: self.registration.clone(),
                addresses: parts.addresses.clone(),
            },
            rejoin: MetaRejoin {
                storage: parts.storage.clone(),
                registration: self.registration.clone(),
                seeds: self.seeds.clone(),
                peers: Arc::clone(&parts.peers),
                addresses: parts.addresses.clone(),
            },
            recovery: MetaRecoveryStart {
                intents: self.intents.clone(),
                storage: parts.storage.clone(),
                survivors: Self::survivors(parts),
                registration: self.registration.clone(),
            },
            meta_replica: MetaReplicaStarter {
                peers: Arc::clone(&parts.peers),
                storage: parts.storage.clone(),
                aside: self.set_aside(parts),
                groups: self.groups.clone(),
                view: self.view.clone(),
                catch_up: self.catch_up.clone(),
                replicas: self.replicas.clone(),
                member: self.member.clone(),
                level: parts.level,
                fatal: Arc::clone(&parts.fatal),
            },
            member: self.member.clone(),
            replicas: self.replicas.clone(),
            view: self.view.clone(),
            proposer: self.meta_handle(),
            readiness: self.readiness.clone(),
            entering: tokio::sync::Mutex::new(()),
        }
    }

    fn disk_fence(&self, parts: &ControlParts) -> DiskFence {
        DiskFence::new(DiskFenceParts {
            member: self.member.clone(),
            view: self.view.clone(),
            replicas: self.replicas.clone(),
            storage: parts.storage.clone(),
            peers: Arc::clone(&parts.peers),
            known: parts.exchange.incarnations().clone(),
            files: parts.incarnations.clone(),
            marks: parts.marks.clone(),
            released: self.released.clone(),
            state: self.disk_state.clone(),
        })
    }

    fn foreign_disk(&self, parts: &ControlParts) -> ForeignDiskCheck {
        ForeignDiskCheck {
            member: self.member.clone(),
            seeds: self.seeds.clone(),
            peers: Arc::clone(&parts.peers),
            foreign: self.foreign.clone(),
        }
    }

    fn reconciler(&self, parts: &ControlParts) -> Reconciler {
        Reconciler {
            member: self.member.clone(),
            view: self.view.clone(),
            catch_up: self.catch_up.clone(),
            holdings: self.holdings.clone(),
            replicas: self.replicas.clone(),
            storage: parts.storage.clone(),
            aside: self.set_aside(parts),
            groups: self.groups.clone(),
            survivors: Self::survivors(parts),
            wake: self.tasks.wake(),
            fatal: Arc::clone(&parts.fatal),
        }
    }

    fn survivors(parts: &ControlParts) -> Survivors {
        Survivors {
            epochs: parts.epochs.clone(),
            marks: parts.marks.clone(),
            clock: Arc::clone(&parts.clock),
        }
    }

    fn leader_watch(&self, parts: &ControlParts) -> LeaderWatch {
        LeaderWatch {
            member: self.member.clone(),
            view: self.view.clone(),
            peers: Arc::clone(&parts.peers),
            leaders: Arc::clone(&self.known_leaders),
            reachability: Arc::clone(&self.reachability),
        }
    }

    fn address_book(&self, parts: &ControlParts) -> AddressBookLoop {
        AddressBookLoop {
            member: self.member.clone(),
            view: self.view.clone(),
            replicas: self.replicas.clone(),
            membership: parts.discovery.membership.clone(),
            seeds: self.seeds.clone(),
            peers: Arc::clone(&parts.peers),
            addresses: parts.addresses.clone(),
        }
    }

    fn control_loop(&self, parts: &ControlParts) -> ControlLoop {
        ControlLoop {
            view: self.view.clone(),
            catch_up: self.catch_up.clone(),
            wake: self.tasks.wake(),
            led_groups: self.led_groups.clone(),
            partitions: self.partition_checks(parts),
            meta_recovery: MetaRecoveryCheck {
                recoveries: parts.exchange.recoveries().clone(),
                intents: self.intents.clone(),
                replicas: self.replicas.clone(),
                proposer: self.meta_handle(),
                tasks: self.tasks.clone(),
                fatal: Arc::clone(&parts.fatal),
            },
            repair: ReplicaRepair {
                member: self.member.clone(),
                holdings: self.holdings.clone(),
                aside: self.set_aside(parts),
                proposer: self.meta_handle(),
                tasks: self.tasks.clone(),
            },
            disk_handover: self.disk_handover(parts),
            preferred_leaders: PreferredLeaders::new(
                self.replicas.clone(),
                Arc::clone(&self.reachability),
                parts.exchange.clone(),
                Arc::clone(&parts.clock),
                self.tasks.clone(),
            ),
            meta_voters: MetaVoters::new(
                self.member.clone(),
                self.replicas.clone(),
                (Arc::clone(&self.reachability), self.lost_nodes(parts)),
                (self.meta_handle(), parts.topic_defaults.clone()),
                self.tasks.clone(),
            ),
            rebalancer: Rebalancer {
                replicas: self.replicas.clone(),
                judge: self.node_judge(&parts.exchange, &parts.clock),
                proposer: self.meta_handle(),
                tasks: self.tasks.clone(),
                pace: Arc::default(),
            },
            registration: RegistrationCheck {
                info: parts.info.clone(),
                member: self.member.clone(),
                file: self.registration.clone(),
                proposer: self.meta_handle(),
                tasks: self.tasks.clone(),
                known: parts.exchange.incarnations().clone(),
                replicas: self.replicas.clone(),
                is_settled: false,
            },
            checkup: NodeCheckup {
                member: self.member.clone(),
                replicas: self.replicas.clone(),
                catch_up: self.catch_up.clone(),
                holdings: self.holdings.clone(),
                storage: parts.storage.clone(),
                exchange: parts.exchange.clone(),
                checks: self.checks.clone(),
                readiness: self.readiness.clone(),
                disk_state: self.disk_state.subscribe(),
                foreign: self.foreign.subscribe(),
                has_started: false,
                measured: None,
            },
        }
    }

    fn lost_nodes(&self, parts: &ControlParts) -> LostNodes {
        LostNodes::new(LostNodesParts {
            member: self.member.clone(),
            membership: parts.discovery.membership.clone(),
            exchange: parts.exchange.clone(),
            reachability: Arc::clone(&self.reachability),
            clock: Arc::clone(&parts.clock),
            settings: parts.recovery.clone(),
        })
    }

    fn disk_handover(&self, parts: &ControlParts) -> DiskHandover {
        DiskHandover {
            replicas: self.replicas.clone(),
            storage: parts.storage.clone(),
            exchange: parts.exchange.clone(),
            reachability: Arc::clone(&self.reachability),
            tasks: self.tasks.clone(),
        }
    }

    fn partition_checks(&self, parts: &ControlParts) -> PartitionChecks {
        PartitionChecks::new(
            self.replicas.clone(),
            PartitionStart {
                proposer: self.meta_handle(),
                tasks: self.tasks.clone(),
            },
            Reassignment {
                view: self.view.clone(),
                reachability: Arc::clone(&self.reachability),
                proposer: self.meta_handle(),
                tasks: self.tasks.clone(),
                turns: Arc::default(),
            },
            (
                Retention {
                    exchange: parts.exchange.clone(),
                    tasks: self.tasks.clone(),
                },
                RecoveryCheck {
                    proposer: self.meta_handle(),
                    tasks: self.tasks.clone(),
                },
            ),
        )
    }
}
