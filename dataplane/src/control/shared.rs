//! What several parts of control share: it is built first, and each part clones what it uses.

use std::sync::Arc;

use lograft_core::ClusterId;
use tokio::sync::watch;

use super::catch_up::CatchUp;
use super::checks_state::ChecksState;
use super::disk_fence::DiskState;
use super::group_starter::GroupStarter;
use super::holdings::HoldingsReader;
use super::known_leaders::KnownLeaders;
use super::leader_lookup::LeaderLookup;
use super::led_groups::LedGroupsPublisher;
use super::local_member::LocalMember;
use super::meta_intent::MetaIntentFile;
use super::parts::ControlParts;
use super::propose::MetaProposer;
use super::reachability::Reachability;
use super::readiness_state::ReadinessState;
use super::rebalancing::NodeJudge;
use super::registration::RegistrationFile;
use super::repair::SetAside;
use super::seeds::Seeds;
use super::task_registry::TaskRegistry;
use crate::clock::Clock;
use crate::exchange::NodeExchange;
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

/// State that several parts of control share.
pub(super) struct Shared {
    pub(super) member: LocalMember,
    pub(super) readiness: ReadinessState,
    pub(super) checks: ChecksState,
    pub(super) replicas: ReplicaMap,
    pub(super) view: MetaView,
    pub(super) catch_up: CatchUp,
    pub(super) tasks: TaskRegistry,
    pub(super) known_leaders: Arc<KnownLeaders>,
    pub(super) reachability: Arc<Reachability>,
    pub(super) leaders: LeaderLookup,
    pub(super) led_groups: LedGroupsPublisher,
    pub(super) proposer: Arc<MetaProposer>,
    pub(super) groups: GroupStarter,
    pub(super) holdings: HoldingsReader,
    pub(super) seeds: Seeds,
    pub(super) registration: RegistrationFile,
    pub(super) intents: MetaIntentFile,
    pub(super) released: watch::Sender<bool>,
    pub(super) disk_state: watch::Sender<DiskState>,
    pub(super) foreign: watch::Sender<Option<ClusterId>>,
}

impl Shared {
    pub(super) fn new(parts: &ControlParts, view: MetaView) -> Self {
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
                epochs: parts.exchange.recoveries().clone(),
                known: parts.exchange.incarnations().clone(),
                view: view.clone(),
                released: released.subscribe(),
            },
            holdings: HoldingsReader {
                replicas: replicas.clone(),
                epochs: parts.exchange.recoveries().clone(),
                storage: parts.storage.clone(),
                fatal: Arc::clone(&parts.fatal),
            },
            seeds: Seeds::new(
                &parts.seeds,
                parts.discovery.membership.clone(),
                &parts.info,
            ),
            intents: MetaIntentFile::new(Arc::clone(&parts.fs), &parts.data_dir),
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

    pub(super) fn meta_handle(&self) -> MetaHandle {
        Arc::clone(&self.proposer) as MetaHandle
    }

    pub(super) fn node_judge(&self, exchange: &NodeExchange, clock: &Arc<dyn Clock>) -> NodeJudge {
        NodeJudge {
            member: self.member.clone(),
            reachability: Arc::clone(&self.reachability),
            exchange: exchange.clone(),
            clock: Arc::clone(clock),
        }
    }

    pub(super) fn set_aside(&self, parts: &ControlParts) -> SetAside {
        SetAside {
            storage: parts.storage.clone(),
            replicas: self.replicas.clone(),
            fatal: Arc::clone(&parts.fatal),
        }
    }
}
