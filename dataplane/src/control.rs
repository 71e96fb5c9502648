//! What keeps a node and its cluster in shape: it belongs to a cluster or looks for one, holds the
//! replicas that the metadata gives it, and, where it leads, carries out what the metadata asks
//! for. All is done by looking again and again at what is and what should be; nothing here
//! remembers what only it knows.
//!
//! Architecture invariant: memberships change by the metadata's word alone. That a node is silent
//! is no reason for anything but a line in the cluster's status.

pub mod bootstrap;
mod control_loop;
mod decommission;
pub mod describe;
pub mod join;
mod leader_handover;
mod leader_watch;
mod meta_voters;
mod peer_calls;
mod preferred_leaders;
pub(crate) mod propose;
mod readiness;
mod reassignment;
mod reconcile;
mod registration;
mod repair;
pub mod report;
mod retention;
pub mod stop_check;
mod task_registry;
#[cfg(test)]
pub(crate) mod test_metadata;
#[cfg(test)]
pub(crate) mod test_status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lograft_core::{GroupId, NodeId, Term};
use lograft_raft::{PeerTransport, RaftTiming};
use lograft_storage::{Fs, Storage};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::config::TopicDefaultsSource;
use crate::convert::Route;
use crate::fatal::FatalSink;
use crate::health::Readiness;
use crate::identity::Member;
use crate::net::AddressBook;
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;
use crate::tls::LoadedCertificates;

pub(crate) use decommission::replicas_left;
pub use leader_watch::Hints;
pub(crate) use leader_watch::changes as leader_changes;
pub use peer_calls::{Answer, HintStream, PeerCalls};
pub use task_registry::Busy;

/// Makes the raft transport, once the node's place in a cluster is known.
pub type MakeTransport = Box<dyn Fn(Member) -> Arc<dyn PeerTransport> + Send + Sync>;

/// Tells which certificates the node has loaded.
pub type TellCertificates = Box<dyn Fn() -> LoadedCertificates + Send + Sync>;

/// What a node says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its failure domain; empty if none.
    pub zone: String,
    /// host:port at which clients reach it.
    pub client_address: String,
    /// host:port at which peers reach it.
    pub peer_address: String,
}

/// What control is built from: everything that touches the world.
pub struct ControlParts {
    /// What the node says of itself.
    pub about: About,
    /// Peer addresses of nodes that may know a cluster to join.
    pub seeds: Vec<Arc<str>>,
    /// The directory of `storage`.
    pub data_dir: PathBuf,
    /// The file system under `storage`; random numbers come from it too.
    pub fs: Arc<dyn Fs>,
    /// What topics take that say nothing themselves.
    pub(crate) topic_defaults: TopicDefaultsSource,
    /// The logs.
    pub storage: Storage,
    /// Makes the raft transport.
    pub transport: MakeTransport,
    /// The other nodes.
    pub peers: Arc<dyn PeerCalls>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Raft's timing.
    pub timing: RaftTiming,
    /// Where the transport reads addresses; control writes them.
    pub addresses: watch::Sender<AddressBook>,
    /// Tells which certificates are in use.
    pub certificates: TellCertificates,
    /// Takes what the node cannot live on after.
    pub fatal: Arc<dyn FatalSink>,
}

/// Control of one node.
pub struct Control {
    parts: ControlParts,
    replicas: ReplicaMap,
    view: MetaView,
    hints: Hints,
    member: watch::Sender<Option<Member>>,
    readiness: watch::Sender<Readiness>,
    /// The groups led and ready to serve, with their terms.
    led: watch::Sender<Arc<BTreeMap<GroupId, Term>>>,
    /// Ends the wait for the next look.
    wake: Arc<Notify>,
    /// One bootstrap or join at a time.
    entering: tokio::sync::Mutex<()>,
    busy: Busy,
    /// Whether the disk says that the node is a member for good.
    is_settled: AtomicBool,
    /// Whether the view shows at least all that this node had applied in its last life.
    is_view_current: Arc<AtomicBool>,
}

impl Control {
    /// Control over these parts; nothing happens before [`Control::run`].
    pub fn new(parts: ControlParts, view: MetaView) -> Arc<Self> {
        Arc::new(Self {
            parts,
            replicas: ReplicaMap::default(),
            view,
            hints: Hints::default(),
            member: watch::Sender::new(None),
            readiness: watch::Sender::new(Readiness::Waiting("the node starts".to_owned())),
            led: watch::Sender::new(Arc::default()),
            wake: Arc::default(),
            entering: tokio::sync::Mutex::new(()),
            busy: Busy::default(),
            is_settled: AtomicBool::new(false),
            is_view_current: Arc::default(),
        })
    }

    /// Runs until dropped: enters a cluster, then keeps looking.
    pub async fn run(self: Arc<Self>) {
        self.enter().await;
        tokio::join!(
            Arc::clone(&self).run_reconcile(),
            Arc::clone(&self).run_looks(),
            Arc::clone(&self).run_hints(),
            Arc::clone(&self).run_addresses(),
        );
    }

    /// The replicas on this node.
    pub fn replicas(&self) -> &ReplicaMap {
        &self.replicas
    }

    /// The metadata as applied here.
    pub fn view(&self) -> &MetaView {
        &self.view
    }

    /// The node's place in a cluster, once it has one.
    pub fn watch_member(&self) -> watch::Receiver<Option<Member>> {
        self.member.subscribe()
    }

    /// Whether the node can serve.
    pub fn watch_readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// The groups led here and ready to serve, with their terms.
    pub fn watch_led(&self) -> watch::Receiver<Arc<BTreeMap<GroupId, Term>>> {
        self.led.subscribe()
    }

    /// What other nodes say that they lead.
    pub fn hints(&self) -> &Hints {
        &self.hints
    }

    pub(crate) fn parts(&self) -> &ControlParts {
        &self.parts
    }

    pub(crate) fn member(&self) -> Option<Member> {
        *self.member.borrow()
    }

    pub(crate) fn route(&self, to: NodeId, group: GroupId) -> Option<Route> {
        let Member { cluster, node } = self.member()?;
        Some(Route {
            cluster,
            from: node,
            to,
            group,
        })
    }

    pub(crate) fn is_view_current(&self) -> bool {
        self.is_view_current.load(Ordering::Acquire)
    }

    pub(crate) fn transport(&self, member: Member) -> Arc<dyn PeerTransport> {
        (self.parts.transport)(member)
    }

    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        self.readiness.send_if_modified(|known| {
            let is_new = *known != readiness;
            *known = readiness;
            is_new
        });
    }

    /// Who leads a group, as far as this node knows: by its own replica, or by hearsay.
    pub fn leader_of(&self, group: GroupId) -> Option<(NodeId, Term)> {
        let own = self.replicas.raft(group).and_then(|raft| {
            let status = raft.watch();
            let status = status.borrow();
            status.leader.map(|leader| (leader, status.term))
        });
        let heard = self.hints.get(group);
        match (own, heard) {
            (Some(own), Some(heard)) if heard.1 > own.1 => Some(heard),
            (own, heard) => own.or(heard),
        }
    }
}

impl crate::serving::meta_group::LeaderHints for Control {
    fn leader(&self, group: GroupId) -> Option<(NodeId, Term)> {
        self.leader_of(group)
    }
}
