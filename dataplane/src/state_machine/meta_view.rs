//! The cluster's metadata as this node has applied it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use lograft_core::LogIndex;
use lograft_core::acl::RevocationTable;
use lograft_core::metadata::Metadata;
use tokio::sync::watch;

/// The applied metadata. Reading takes no lock. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MetaView {
    metadata: Arc<ArcSwap<Metadata>>,
    version: Arc<watch::Sender<LogIndex>>,
    /// Apart, so that the many connections that follow it are not woken by other changes.
    revocations: Arc<watch::Sender<Arc<RevocationTable>>>,
}

impl MetaView {
    /// A view of the metadata that the node starts with.
    pub(crate) fn new(metadata: Metadata) -> Self {
        Self {
            version: Arc::new(watch::Sender::new(metadata.version())),
            revocations: Arc::new(watch::Sender::new(Arc::clone(metadata.revocations()))),
            metadata: Arc::new(ArcSwap::from_pointee(metadata)),
        }
    }

    /// The current metadata.
    pub(crate) fn load(&self) -> Arc<Metadata> {
        self.metadata.load_full()
    }

    /// Replaces the metadata. Called by the state machine of the meta group only.
    pub(crate) fn store(&self, metadata: Metadata) {
        let version = metadata.version();
        let revocations = Arc::clone(metadata.revocations());
        self.metadata.store(Arc::new(metadata));
        self.version.send_replace(version);
        self.revocations.send_if_modified(|known| {
            let is_new = **known != *revocations;
            *known = revocations;
            is_new
        });
    }

    /// Follows the revoked certificates.
    pub(crate) fn watch_revocations(&self) -> watch::Receiver<Arc<RevocationTable>> {
        self.revocations.subscribe()
    }

    /// Follows the metadata's version.
    pub(crate) fn watch(&self) -> watch::Receiver<LogIndex> {
        self.version.subscribe()
    }
}
