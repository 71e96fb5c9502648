//! The cluster's metadata as this node has applied it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use lograft_core::LogIndex;
use lograft_core::metadata::Metadata;
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
