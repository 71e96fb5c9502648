//! The work that a node does by itself: it enters a cluster, holds the replicas that the metadata
//! assigns to it, and, for the groups that it leads, executes what the metadata asks for.
//! Everything is done by comparing the current state with the desired one, again and again:
//! nothing that a restart would need is kept in memory only.
//!
//! Architecture invariant: a membership is changed only because the metadata says so. A silent node
//! is reported as a problem, and keeps its votes until it is marked as lost and replaced.
//!
//! Each loop is a struct that holds exactly what it uses. [`ControlLoops`] builds and runs them.
//! [`Control`] is what the rest of the node sees of control.

pub(crate) mod access_admin;
mod address_book;
mod catch_up;
mod checks_state;
pub(crate) mod cluster_entry;
pub(crate) mod cluster_report;
mod control_loop;
mod coordinator_admin;
pub(crate) mod decommission;
pub(crate) mod disk_fence;
mod disk_handover;
mod foreign_disk;
mod group_starter;
mod holdings;
mod join;
pub(crate) mod known_leaders;
pub(crate) mod leader_admin;
mod leader_handover;
mod leader_lookup;
pub(crate) mod leader_transfer;
mod leader_watch;
mod led_groups;
pub(crate) mod level_admin;
mod local_member;
mod loops;
mod lost_nodes;
mod meta_intent;
pub(crate) mod meta_recovery;
pub(crate) mod meta_repair;
mod meta_replica;
mod meta_voters;
pub(crate) mod node_admin;
mod node_checkup;
mod node_info;
pub(crate) mod node_report;
mod node_reporter;
pub(crate) mod older_disk;
mod partition_start;
mod parts;
pub(crate) mod peer_calls;
mod placement;
mod preferred_leaders;
pub(crate) mod propose;
mod reachability;
mod readiness_state;
mod reassignment;
pub(crate) mod rebalance_admin;
mod rebalancing;
mod reconcile;
mod recovery;
pub(crate) mod recovery_admin;
mod registration;
mod registration_check;
mod repair;
mod retention;
mod seeds;
mod shared;
pub(crate) mod stop_check;
pub(crate) mod stop_preparation;
mod task_registry;
#[cfg(test)]
pub(crate) mod test_metadata;
#[cfg(test)]
pub(crate) mod test_status;
pub(crate) mod topic_admin;

use std::sync::Arc;

use lograft_discovery::MembershipReader;

use self::access_admin::AccessAdmin;
use self::cluster_entry::ClusterEntry;
use self::cluster_report::ClusterReporter;
use self::coordinator_admin::CoordinatorAdmin;
use self::leader_admin::LeaderAdmin;
use self::leader_transfer::LeaderTransfer;
use self::level_admin::LevelAdmin;
use self::meta_recovery::MetaRecoveryAdmin;
use self::node_admin::NodeAdmin;
use self::older_disk::OlderDisk;
use self::peer_calls::PeerCalls;
use self::placement::Placement;
use self::propose::MetaProposer;
use self::rebalance_admin::RebalanceAdmin;
use self::rebalancing::NodeJudge;
use self::recovery_admin::RecoveryAdmin;
use self::shared::Shared;
use self::stop_preparation::StopPreparation;
use self::topic_admin::TopicAdmin;
use crate::clock::Clock;
use crate::config::{CurrentRecovery, TopicDefaultsSource};
use crate::exchange::NodeExchange;
use crate::fatal::FatalSink;
use crate::incarnation::group_marks::GroupMarks;
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

pub(crate) use leader_lookup::LeaderLookup;
pub(crate) use led_groups::LedGroupsPublisher;
pub(crate) use local_member::LocalMember;
pub(crate) use loops::ControlLoops;
pub(crate) use node_info::NodeInfo;
pub(crate) use node_reporter::NodeReporter;
pub(crate) use parts::ControlParts;
pub(crate) use readiness_state::ReadinessState;

/// The parts of control that the rest of the node uses. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    /// This node's cluster and id.
    pub(crate) member: LocalMember,
    /// Whether the node can serve.
    pub(crate) readiness: ReadinessState,
    /// The replicas on this node.
    pub(crate) replicas: ReplicaMap,
    /// The metadata as applied on this node.
    pub(crate) view: MetaView,
    /// Finds the leader of a group.
    pub(crate) leaders: LeaderLookup,
    /// The groups that this node leads.
    pub(crate) led_groups: LedGroupsPublisher,
    /// Changes the metadata.
    pub(crate) proposer: Arc<MetaProposer>,
    /// Bootstraps a cluster.
    pub(crate) entry: Arc<ClusterEntry>,
    /// Describes this node.
    pub(crate) reporter: Arc<NodeReporter>,
    /// Describes the cluster.
    pub(crate) cluster: Arc<ClusterReporter>,
    /// Transfers leaderships.
    pub(crate) transfers: LeaderTransfer,
    /// Prepares stops of nodes.
    pub(crate) stops: StopPreparation,
    /// Creates the coordinators of consumer groups.
    pub(crate) coordinators: CoordinatorAdmin,
    /// Changes topics.
    pub(crate) topics: TopicAdmin,
    /// Registers and decommissions nodes.
    pub(crate) nodes: NodeAdmin,
    /// Balances replicas.
    pub(crate) rebalance: RebalanceAdmin,
    /// Changes preferred leaders.
    pub(crate) leader_admin: LeaderAdmin,
    /// Finalizes feature levels.
    pub(crate) levels: LevelAdmin,
    /// Changes who may do what.
    pub(crate) access: AccessAdmin,
    /// Accepts older disks.
    pub(crate) older_disk: OlderDisk,
    /// Recovers groups that lost their majority.
    pub(crate) recoveries: RecoveryAdmin,
    /// Recovers the metadata.
    pub(crate) meta_recoveries: MetaRecoveryAdmin,
    /// The nodes that discovery has found.
    pub(crate) membership: MembershipReader,
    /// The readings of this node and the others.
    pub(crate) exchange: NodeExchange,
}

impl Control {
    /// Builds control. Nothing happens before the loops run.
    pub(crate) fn new(parts: ControlParts, view: MetaView) -> (Self, ControlLoops) {
        let shared = Shared::new(&parts, view);
        let loops = ControlLoops::new(&shared, &parts);
        (shared.into_control(parts, loops.entry()), loops)
    }
}

/// The parts that recover the metadata, beside the shared ones.
struct RecoveringParts {
    peers: Arc<dyn PeerCalls>,
    clock: Arc<dyn Clock>,
    fatal: Arc<dyn FatalSink>,
}

impl RecoveringParts {
    fn of(parts: &ControlParts) -> Self {
        Self {
            peers: Arc::clone(&parts.peers),
            clock: Arc::clone(&parts.clock),
            fatal: Arc::clone(&parts.fatal),
        }
    }
}

impl Shared {
    fn into_control(self, parts: ControlParts, entry: Arc<ClusterEntry>) -> Control {
        let recovering = RecoveringParts::of(&parts);
        let defaults = Arc::new(parts.topic_defaults);
        let reporter = Arc::new(NodeReporter {
            member: self.member.clone(),
            replicas: self.replicas.clone(),
            view: self.view.clone(),
            storage: parts.storage,
            certificates: parts.certificates,
            level: parts.level,
            checks: self.checks.clone(),
            defaults: Arc::clone(&defaults),
            discovery: parts.discovery.clone(),
            readiness: self.readiness.clone(),
            recoveries: parts.exchange.recoveries().clone(),
        });
        let judge = self.node_judge(&parts.exchange, &parts.clock);
        let cluster = self.cluster_reporter(
            (&parts.peers, &parts.clock, &parts.recovery),
            (&reporter, &defaults),
        );
        let older_disk = self.older_disk(parts.marks, &parts.exchange, &parts.peers);
        let meta_recoveries = self.meta_recovery_admin(&parts.exchange, &cluster, recovering);
        let transfers = self.transfers(parts.peers);
        let placement = self.placement(&parts.exchange);
        Control {
            stops: StopPreparation {
                view: self.view.clone(),
                cluster: Arc::clone(&cluster),
                transfers: transfers.clone(),
                proposer: self.meta_handle(),
                clock: Arc::clone(&parts.clock),
            },
            recoveries: self.recovery_admin(&cluster, &parts.clock),
            meta_recoveries,
            access: self.access_admin(parts.clock),
            topics: TopicAdmin {
                view: self.view.clone(),
                leaders: self.leaders.clone(),
                proposer: self.meta_handle(),
                defaults,
                placement: placement.clone(),
            },
            nodes: NodeAdmin {
                view: self.view.clone(),
                proposer: self.meta_handle(),
            },
            coordinators: self.coordinators(placement),
            rebalance: self.rebalance_admin(&cluster, judge),
            leader_admin: LeaderAdmin {
                view: self.view.clone(),
                proposer: self.meta_handle(),
                transfers: transfers.clone(),
            },
            levels: self.level_admin(&cluster),
            older_disk,
            member: self.member,
            readiness: self.readiness,
            replicas: self.replicas,
            view: self.view,
            leaders: self.leaders,
            led_groups: self.led_groups,
            proposer: self.proposer,
            entry,
            reporter,
            cluster,
            transfers,
            membership: parts.discovery.membership,
            exchange: parts.exchange,
        }
    }

    fn placement(&self, exchange: &NodeExchange) -> Placement {
        let (exchange, member) = (exchange.clone(), self.member.clone());
        Placement {
            replicas_max: Arc::new(move |node| exchange.replicas_max_count(member.node(), node)),
        }
    }

    fn cluster_reporter(
        &self,
        (peers, clock, recovery): (&Arc<dyn PeerCalls>, &Arc<dyn Clock>, &CurrentRecovery),
        (local, defaults): (&Arc<NodeReporter>, &Arc<TopicDefaultsSource>),
    ) -> Arc<ClusterReporter> {
        Arc::new(ClusterReporter {
            member: self.member.clone(),
            view: self.view.clone(),
            peers: Arc::clone(peers),
            local: Arc::clone(local),
            defaults: Arc::clone(defaults),
            recovery: recovery.clone(),
            clock: Arc::clone(clock),
        })
    }

    fn coordinators(&self, placement: Placement) -> CoordinatorAdmin {
        CoordinatorAdmin {
            view: self.view.clone(),
            proposer: self.meta_handle(),
            placement,
        }
    }

    fn access_admin(&self, clock: Arc<dyn Clock>) -> AccessAdmin {
        AccessAdmin {
            view: self.view.clone(),
            proposer: self.meta_handle(),
            clock,
        }
    }

    fn rebalance_admin(&self, cluster: &Arc<ClusterReporter>, judge: NodeJudge) -> RebalanceAdmin {
        RebalanceAdmin {
            view: self.view.clone(),
            proposer: self.meta_handle(),
            cluster: Arc::clone(cluster),
            judge,
        }
    }

    fn meta_recovery_admin(
        &self,
        exchange: &NodeExchange,
        cluster: &Arc<ClusterReporter>,
        parts: RecoveringParts,
    ) -> MetaRecoveryAdmin {
        let RecoveringParts {
            peers,
            clock,
            fatal,
        } = parts;
        MetaRecoveryAdmin {
            member: self.member.clone(),
            view: self.view.clone(),
            replicas: self.replicas.clone(),
            cluster: Arc::clone(cluster),
            recoveries: exchange.recoveries().clone(),
            intents: self.intents.clone(),
            peers,
            clock,
            fatal,
        }
    }

    fn recovery_admin(
        &self,
        cluster: &Arc<ClusterReporter>,
        clock: &Arc<dyn Clock>,
    ) -> RecoveryAdmin {
        RecoveryAdmin {
            view: self.view.clone(),
            proposer: self.meta_handle(),
            cluster: Arc::clone(cluster),
            clock: Arc::clone(clock),
        }
    }

    fn level_admin(&self, cluster: &Arc<ClusterReporter>) -> LevelAdmin {
        LevelAdmin {
            view: self.view.clone(),
            proposer: self.meta_handle(),
            cluster: Arc::clone(cluster),
        }
    }

    fn older_disk(
        &self,
        marks: GroupMarks,
        exchange: &NodeExchange,
        peers: &Arc<dyn PeerCalls>,
    ) -> OlderDisk {
        OlderDisk {
            member: self.member.clone(),
            view: self.view.clone(),
            replicas: self.replicas.clone(),
            marks,
            known: exchange.incarnations().clone(),
            peers: Arc::clone(peers),
        }
    }

    fn transfers(&self, peers: Arc<dyn PeerCalls>) -> LeaderTransfer {
        LeaderTransfer {
            member: self.member.clone(),
            replicas: self.replicas.clone(),
            leaders: self.leaders.clone(),
            reachability: Arc::clone(&self.reachability),
            peers,
        }
    }
}
