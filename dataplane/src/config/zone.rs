//! The failure zone of the node. In Kubernetes the operator writes it into the file once the pod
//! has a host, which may be after the node has started: so the file is read again.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

use super::NodeConfig;
use crate::blocking::run_blocking;
use crate::reload;

/// Logged once for each different error of the file.
const REFUSAL: &str = "cannot reload the configuration, keeping the zone";

/// The zone as it is now; empty if there are none. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Zone(watch::Receiver<Arc<str>>);

impl Zone {
    /// The zone of this configuration, and what follows its file.
    pub(crate) fn new(config: &NodeConfig) -> (Self, ZoneFile) {
        let (zone, reader) = watch::channel(config.zone.as_str().into());
        // A zone from the environment holds until the end of the process.
        let file = config.file.clone().filter(|_| !config.is_zone_fixed);
        (Self(reader), ZoneFile { file, zone })
    }

    pub(crate) fn get(&self) -> Arc<str> {
        Arc::clone(&self.0.borrow())
    }
}

/// Follows the zone in the file.
pub(crate) struct ZoneFile {
    file: Option<PathBuf>,
    zone: watch::Sender<Arc<str>>,
}

impl ZoneFile {
    /// Runs until dropped.
    pub(crate) async fn watch(self) {
        let Self { file, zone } = &self;
        let Some(file) = file else {
            // Kept: a reader of the zone may wait for a change that never comes.
            return std::future::pending().await;
        };
        reload::watch(REFUSAL, || {
            let path = file.clone();
            async move {
                let loaded = run_blocking(move || NodeConfig::load(&path)).await?;
                Some(loaded.map(|config| follow(zone, &config.zone)))
            }
        })
        .await;
    }
}

/// A zone that is no longer in the file is kept until the next start: the operator does not know
/// the zone of a pod that is just being replaced.
fn follow(zone: &watch::Sender<Arc<str>>, new: &str) {
    if new.is_empty() {
        return;
    }
    zone.send_if_modified(|zone| {
        let is_new = **zone != *new;
        if is_new {
            info!(from = %zone, to = new, "zone of the node changed");
            *zone = new.into();
        }
        is_new
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_that_becomes_known_is_followed_and_none_is_not() {
        let (sender, reader) = watch::channel(Arc::from(""));
        let zone = Zone(reader);
        follow(&sender, "zone-a");
        assert_eq!(&*zone.get(), "zone-a");
        follow(&sender, "");
        assert_eq!(&*zone.get(), "zone-a");
        follow(&sender, "zone-b");
        assert_eq!(&*zone.get(), "zone-b");
    }
}
