//! The cluster's metadata as this node has applied it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use lograft_core::LogIndex;
use lograft_core::acl::RevocationTable;
use lograft_core::metadata::Metadata;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

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

    /// Finds something in the metadata, which may reach this node in a moment: tries again with
    /// each newer version, until `deadline`. Fails with the last error then.
    pub(crate) async fn find<T, E>(
        &self,
        deadline: Instant,
        mut find: impl FnMut(&Metadata) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut version = self.version.subscribe();
        loop {
            // Before the metadata are read: a newer version that is stored meanwhile is seen next.
            version.mark_unchanged();
            let error = match find(&self.load()) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            if !matches!(timeout_at(deadline, version.changed()).await, Ok(Ok(()))) {
                return Err(error);
            }
        }
    }

    /// Follows the metadata's version.
    pub(crate) fn watch(&self) -> watch::Receiver<LogIndex> {
        self.version.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lograft_core::metadata::Command;
    use lograft_core::{FeatureLevel, LogIndex};

    use super::*;
    use crate::control::test_metadata;

    fn level(metadata: &Metadata) -> Result<FeatureLevel, FeatureLevel> {
        let level = metadata.finalized_level();
        if level == FeatureLevel(2) {
            Ok(level)
        } else {
            Err(level)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_within_the_time_is_found() {
        let first = test_metadata::cluster(1);
        let mut next = first.clone();
        let finalize = Command::FinalizeLevel {
            level: FeatureLevel(2),
        };
        next.apply(&finalize, LogIndex(100)).unwrap();
        let view = MetaView::new(first.clone());
        let soon = || Instant::now() + Duration::from_secs(5);
        let never = view.find(soon(), level).await;
        assert_eq!(never, Err(first.finalized_level()));
        let storing = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Another version without it, first.
            view.store(first.clone());
            tokio::time::sleep(Duration::from_secs(1)).await;
            view.store(next);
        };
        let (found, ()) = tokio::join!(view.find(soon(), level), storing);
        assert_eq!(found, Ok(FeatureLevel(2)));
        assert_eq!(view.find(Instant::now(), level).await, Ok(FeatureLevel(2)));
    }
}
