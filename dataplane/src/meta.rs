//! The cluster's metadata as this node sees it, and the way to change it.

pub(crate) mod propose;

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use lograft_core::metadata::{Command, MetaError, Metadata, Outcome};
use lograft_core::{GroupId, LogIndex, NodeId, Reason, Term};
use tokio::sync::watch;

/// The applied metadata. Reading takes no lock. Cheap to clone.
#[derive(Clone)]
pub struct MetaView {
    metadata: Arc<ArcSwap<Metadata>>,
    version: Arc<watch::Sender<LogIndex>>,
}

impl MetaView {
    /// From the metadata that the node starts with.
    pub fn new(metadata: Metadata) -> Self {
        let version = Arc::new(watch::Sender::new(metadata.version()));
        Self {
            metadata: Arc::new(ArcSwap::from_pointee(metadata)),
            version,
        }
    }

    /// The metadata as of now.
    pub fn load(&self) -> Arc<Metadata> {
        self.metadata.load_full()
    }

    /// Takes the place of the metadata. For the meta group's machine.
    pub fn store(&self, metadata: Metadata) {
        let version = metadata.version();
        self.metadata.store(Arc::new(metadata));
        self.version.send_replace(version);
    }

    /// Follows the metadata's version.
    pub fn watch(&self) -> watch::Receiver<LogIndex> {
        self.version.subscribe()
    }
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ProposeMetaError {
    /// The meta group refused it; nothing changed.
    #[error("the command was refused")]
    Refused(#[source] MetaError),
    /// It did not get through, or its answer did not.
    #[error("{text}")]
    Unavailable {
        /// What a client is told.
        reason: Reason,
        /// A sentence for people.
        text: String,
    },
}

/// Puts commands before the meta group, wherever its leader is.
pub trait ProposeMeta: Send + Sync + 'static {
    /// Carries out a command; returns once this node has applied it too.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, ProposeMetaError>>;
}

/// Puts commands before the meta group. Cheap to clone.
pub type MetaHandle = Arc<dyn ProposeMeta>;

/// Who leads the groups that have no replica on this node, as far as it has heard.
pub trait LeaderHints: Send + Sync + 'static {
    /// The leader of a group and the term that it leads in.
    fn leader(&self, group: GroupId) -> Option<(NodeId, Term)>;
}
