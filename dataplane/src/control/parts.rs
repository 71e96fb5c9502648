//! The parts of the node that control needs.

use std::path::PathBuf;
use std::sync::Arc;

use lograft_core::FeatureLevel;
use lograft_discovery::DiscoveryReader;
use lograft_raft::RaftTiming;
use lograft_storage::{Fs, Storage};
use tokio::sync::watch;

use super::group_starter::TransportFactory;
use super::node_info::NodeInfo;
use super::node_reporter::CertificateReader;
use super::peer_calls::PeerCalls;
use crate::clock::Clock;
use crate::config::{CurrentRecovery, TopicDefaultsSource};
use crate::exchange::NodeExchange;
use crate::fatal::FatalSink;
use crate::incarnation::IncarnationFiles;
use crate::incarnation::group_marks::GroupMarks;
use crate::net::AddressBook;
use crate::recovery_epochs::RecoveryEpochFile;

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
    /// When nodes count as lost.
    pub(crate) recovery: CurrentRecovery,
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
    /// The recovery epochs of the groups on the disk.
    pub(crate) epochs: RecoveryEpochFile,
}
