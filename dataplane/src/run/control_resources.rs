//! The parts of a node that its control gets.

use std::sync::{Arc, OnceLock};

use lograft_core::metadata::Metadata;
use lograft_discovery::DiscoveryReader;
use lograft_storage::Storage;
use tokio::sync::watch;

use super::disk::DiskHistory;
use super::node_env::NodeEnv;
use crate::config::{CurrentRecovery, NodeConfig, TopicDefaultsSource};
use crate::control::{Control, ControlLoops, ControlParts, NodeInfo};
use crate::fatal::FatalCell;
use crate::net::AddressBook;
use crate::state_machine::MetaView;
use crate::tls::Tls;
use crate::transport::{PeerPool, RaftPeers};

/// The parts of a node that control is built from.
pub(super) struct ControlResources {
    pub(super) pool: PeerPool,
    pub(super) storage: Storage,
    pub(super) tls: Arc<Tls>,
    pub(super) fatal: Arc<FatalCell>,
    pub(super) discovery: DiscoveryReader,
    pub(super) history: DiskHistory,
    pub(super) recovery: CurrentRecovery,
}

impl ControlResources {
    pub(super) fn control(
        self,
        (config, info): (&NodeConfig, NodeInfo),
        env: NodeEnv,
        book: watch::Sender<AddressBook>,
    ) -> (Control, ControlLoops) {
        let Self {
            pool,
            storage,
            tls,
            fatal,
            discovery,
            history,
            recovery,
        } = self;
        let NodeEnv {
            net: _,
            datagrams: _,
            resolver: _,
            fs,
            clock,
            level,
            host: _,
            end_process: _,
        } = env;
        let peers = Arc::new(pool.clone());
        let peers_of_node = OnceLock::new();
        let exchange = pool.exchange().clone();
        let parts = ControlParts {
            exchange,
            incarnations: history.files,
            marks: history.marks,
            epochs: history.epochs,
            info,
            discovery,
            recovery,
            topic_defaults: TopicDefaultsSource::new(config),
            seeds: config
                .seeds
                .iter()
                .map(|seed| Arc::from(seed.as_str()))
                .collect(),
            data_dir: config.data_dir.clone(),
            fs,
            storage,
            transport: Arc::new(move |member, epoch| {
                // One for all groups: their heartbeats share calls. A process is the same member
                // of the same cluster from the time it knows it until it ends.
                let node = peers_of_node.get_or_init(|| RaftPeers::new(pool.clone(), member));
                Arc::new(node.in_epoch(epoch))
            }),
            peers,
            clock,
            timing: config.raft.timing(),
            addresses: book,
            certificates: Arc::new(move || tls.loaded()),
            fatal,
            level,
        };
        Control::new(parts, MetaView::new(Metadata::default()))
    }
}
