//! The work that a node does by itself: it enters a cluster, holds the replicas that the metadata
//! assigns to it, and, for the groups that it leads, executes what the metadata asks for.
//! Everything is done by comparing the current state with the desired one, again and again:
//! nothing that a restart would need is kept in memory only.
//!
//! Architecture invariant: a membership is changed only because the metadata says so. A silent node
//! is reported as a problem, and keeps its votes.
//!
//! Each loop is a struct that holds exactly what it uses. [`Control`] wires them and is what the
//! rest of the node sees of them.

mod address_book;
mod catch_up;
mod checks_state;
pub(crate) mod cluster_entry;
pub(crate) mod cluster_report;
mod control_loop;
mod decommission;
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
pub(crate) mod peer_calls;
mod placement;
mod preferred_leaders;
pub(crate) mod propose;
mod reachability;
mod readiness_state;
mod reassignment;
mod reconcile;
mod registration;
mod registration_check;
mod repair;
mod retention;
mod seeds;
pub(crate) mod stop_check;
pub(crate) mod stop_preparation;
mod task_registry;
#[cfg(test)]
pub(crate) mod test_metadata;
#[cfg(test)]
pub(crate) mod test_status;
pub(crate) mod topic_admin;

use std::path::PathBuf;
use std::sync::Arc;

use lograft_core::{ClusterId, FeatureLevel};
use lograft_discovery::{DiscoveryReader, MembershipReader};
use lograft_raft::RaftTiming;
use lograft_storage::{Fs, Storage};
use tokio::sync::watch;

use self::address_book::AddressBookLoop;
use self::catch_up::CatchUp;
use self::checks_state::ChecksState;
use self::cluster_entry::ClusterEntry;
use self::cluster_report::ClusterReporter;
use self::control_loop::{ControlLoop, PartitionChecks};
use self::disk_fence::{DiskFence, DiskFenceParts, DiskState};
use self::disk_handover::DiskHandover;
use self::foreign_disk::ForeignDiskCheck;
use self::group_starter::GroupStarter;
use self::holdings::HoldingsReader;
use self::join::SeedJoin;
use self::known_leaders::KnownLeaders;
use self::leader_admin::LeaderAdmin;
use self::leader_transfer::LeaderTransfer;
use self::leader_watch::LeaderWatch;
use self::level_admin::LevelAdmin;
use self::meta_repair::MetaRejoin;
use self::meta_replica::MetaReplicaStarter;
use self::meta_voters::MetaVoters;
use self::node_admin::NodeAdmin;
use self::node_checkup::NodeCheckup;
use self::older_disk::OlderDisk;
use self::partition_start::PartitionStart;
use self::peer_calls::PeerCalls;
use self::placement::Placement;
use self::preferred_leaders::PreferredLeaders;
use self::propose::MetaProposer;
use self::reachability::Reachability;
use self::reassignment::Reassignment;
use self::reconcile::Reconciler;
use self::registration::RegistrationFile;
use self::registration_check::RegistrationCheck;
use self::repair::{ReplicaRepair, SetAside};
use self::retention::Retention;
use self::seeds::Seeds;
use self::stop_preparation::StopPreparation;
use self::task_registry::TaskRegistry;
use self::topic_admin::TopicAdmin;
use crate::clock::Clock;
use crate::config::TopicDefaultsSource;
use crate::exchange::NodeExchange;
use crate::fatal::FatalSink;
use crate::incarnation::IncarnationFiles;
use crate::incarnation::group_marks::GroupMarks;
use crate::net::AddressBook;
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

pub(crate) use group_starter::TransportFactory;
pub(crate) use leader_lookup::LeaderLookup;
pub(crate) use led_groups::LedGroupsPublisher;
pub(crate) use local_member::LocalMember;
pub(crate) use node_info::NodeInfo;
pub(crate) use node_reporter::{CertificateReader, NodeReporter};
pub(crate) use readiness_state::ReadinessState;

/// Everything outside of control that it needs.
pub(crate) struct ControlParts {
    /// Name and addresses of this node.
    pub(crate) info: NodeInfo,
    /// Peer addresses of nodes that may know a cluster to join.
    pub(crate) seeds: Vec<Arc<str>>,
    /// The nodes that discovery has found, and its state.
    pub(crate) discovery: DiscoveryReader,
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    /// The file system under the data directory, and the source of random numbers.
    pub(crate) fs: Arc<dyn Fs>,
    /// The defaults for new topics.
    pub(crate) topic_defaults: TopicDefaultsSource,
    /// The logs.
    pub(crate) storage: Storage,
    /// Makes the raft transport.
    pub(crate) transport: TransportFactory,
    /// Calls to the other nodes.
    pub(crate) peers: Arc<dyn PeerCalls>,
    /// The wall clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// Raft's timing.
    pub(crate) timing: RaftTiming,
    /// The addresses that the transport connects to; control writes them.
    pub(crate) addresses: watch::Sender<AddressBook>,
    /// Reads the certificates in use.
    pub(crate) certificates: CertificateReader,
    /// Receives errors after which the node must stop.
    pub(crate) fatal: Arc<dyn FatalSink>,
    /// The newest feature level that this node knows.
    pub(crate) level: FeatureLevel,
    /// The readings of this node and the others.
    pub(crate) exchange: NodeExchange,
    /// The files with incarnations.
    pub(crate) incarnations: IncarnationFiles,
    /// The groups that were opened on the disk.
    pub(crate) marks: GroupMarks,
}

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
    /// Changes topics.
    pub(crate) topics: TopicAdmin,
    /// Registers and decommissions nodes.
    pub(crate) nodes: NodeAdmin,
    /// Changes preferred leaders.
    pub(crate) leader_admin: LeaderAdmin,
    /// Finalizes feature levels.
    pub(crate) levels: LevelAdmin,
    /// Accepts older disks.
    pub(crate) older_disk: OlderDisk,
    /// The nodes that discovery has found.
    pub(crate) membership: MembershipReader,
    /// The readings of this node and the others.
    pub(crate) exchange: NodeExchange,
}

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

/// State that several parts of control share.
struct Shared {
    member: LocalMember,
    readiness: ReadinessState,
    checks: ChecksState,
    replicas: ReplicaMap,
    view: MetaView,
    catch_up: CatchUp,
    tasks: TaskRegistry,
    known_leaders: Arc<KnownLeaders>,
    reachability: Arc<Reachability>,
    leaders: LeaderLookup,
    led_groups: LedGroupsPublisher,
    proposer: Arc<MetaProposer>,
    groups: GroupStarter,
    holdings: HoldingsReader,
    seeds: Seeds,
    registration: RegistrationFile,
    released: watch::Sender<bool>,
    disk_state: watch::Sender<DiskState>,
    foreign: watch::Sender<Option<ClusterId>>,
}

impl Control {
    /// Builds control. Nothing happens before the loops run.
    pub(crate) fn new(parts: ControlParts, view: MetaView) -> (Self, ControlLoops) {
        let shared = Shared::new(&parts, view);
        let entry = Arc::new(shared.entry(&parts));
        let loops = ControlLoops {
            entry: Arc::clone(&entry),
            disk_fence: shared.disk_fence(&parts),
            foreign_disk: shared.foreign_disk(&parts),
            reconciler: shared.reconciler(&parts),
            control: shared.control_loop(&parts),
            leader_watch: shared.leader_watch(&parts),
            addresses: shared.address_book(&parts),
        };
        (shared.into_control(parts, entry), loops)
    }
}

impl Shared {
    fn new(parts: &ControlParts, view: MetaView) -> Self {
        let (member, replicas) = (LocalMember::default(), ReplicaMap::default());
        let (tasks, known_leaders) = (TaskRegistry::default(), Arc::<KnownLeaders>::default());
        let catch_up = CatchUp::default();
        let released = watch::Sender::new(false);
        let leaders = LeaderLookup {
            replicas: replicas.clone(),
            known: Arc::clone(&known_leaders),
        };
        let proposer = Arc::new(MetaProposer {
            member: member.clone(),
            replicas: replicas.clone(),
            view: view.clone(),
            catch_up: catch_up.clone(),
            leaders: leaders.clone(),
            peers: Arc::clone(&parts.peers),
            clock: Arc::clone(&parts.clock),
            level: parts.level,
        });
        Self {
            readiness: ReadinessState::default(),
            checks: ChecksState::default(),
            catch_up,
            reachability: Arc::default(),
            led_groups: LedGroupsPublisher::new(replicas.clone()),
            groups: GroupStarter {
                transport: Arc::clone(&parts.transport),
                timing: parts.timing,
                wake: tasks.wake(),
                fatal: Arc::clone(&parts.fatal),
                marks: parts.marks.clone(),
                known: parts.exchange.incarnations().clone(),
                released: released.subscribe(),
            },
            holdings: HoldingsReader {
                replicas: replicas.clone(),
                storage: parts.storage.clone(),
                fatal: Arc::clone(&parts.fatal),
            },
            seeds: Seeds::new(
                &parts.seeds,
                parts.discovery.membership.clone(),
                &parts.info,
            ),
            registration: RegistrationFile {
                fs: Arc::clone(&parts.fs),
                dir: parts.data_dir.clone(),
            },
            member,
            replicas,
            view,
            tasks,
            known_leaders,
            leaders,
            proposer,
            released,
            disk_state: watch::Sender::default(),
            foreign: watch::Sender::default(),
        }
    }

    fn into_control(self, parts: ControlParts, entry: Arc<ClusterEntry>) -> Control {
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
        });
        let cluster = Arc::new(ClusterReporter {
            member: self.member.clone(),
            view: self.view.clone(),
            peers: Arc::clone(&parts.peers),
            local: Arc::clone(&reporter),
            defaults: Arc::clone(&defaults),
        });
        let older_disk = self.older_disk(parts.marks, &parts.exchange, &parts.peers);
        let transfers = self.transfers(parts.peers);
        let (exchange, member) = (parts.exchange.clone(), self.member.clone());
        let placement = Placement {
            replicas_max: Arc::new(move |node| exchange.replicas_max_count(member.node(), node)),
        };
        Control {
            stops: StopPreparation {
                view: self.view.clone(),
                cluster: Arc::clone(&cluster),
                transfers: transfers.clone(),
                proposer: self.meta_handle(),
                clock: parts.clock,
            },
            topics: TopicAdmin {
                view: self.view.clone(),
                leaders: self.leaders.clone(),
                proposer: self.meta_handle(),
                defaults,
                placement,
            },
            nodes: NodeAdmin {
                view: self.view.clone(),
                proposer: self.meta_handle(),
            },
            leader_admin: LeaderAdmin {
                view: self.view.clone(),
                proposer: self.meta_handle(),
                transfers: transfers.clone(),
            },
            levels: LevelAdmin {
                view: self.view.clone(),
                proposer: self.meta_handle(),
                cluster: Arc::clone(&cluster),
            },
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

    fn meta_handle(&self) -> MetaHandle {
        Arc::clone(&self.proposer) as MetaHandle
    }

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
            meta_replica: MetaReplicaStarter {
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

    fn set_aside(&self, parts: &ControlParts) -> SetAside {
        SetAside {
            storage: parts.storage.clone(),
            replicas: self.replicas.clone(),
            fatal: Arc::clone(&parts.fatal),
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
            wake: self.tasks.wake(),
            fatal: Arc::clone(&parts.fatal),
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
                Arc::clone(&self.reachability),
                self.meta_handle(),
                self.tasks.clone(),
            ),
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
            Retention {
                exchange: parts.exchange.clone(),
                tasks: self.tasks.clone(),
            },
        )
    }
}
