//! The failure zone of the node. In Kubernetes the operator writes it into the file once the pod
//! has a host, which may be after the node has started: so the file is read again.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

use super::NodeConfig;

/// The zone as it is now; empty if there are none. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Zone(watch::Receiver<Arc<str>>);

impl Zone {
    pub(crate) fn get(&self) -> Arc<str> {
        Arc::clone(&self.0.borrow())
    }
}

/// The zone of this configuration, and what changes it.
pub(super) fn followed(config: &NodeConfig) -> (Zone, ZoneFollower) {
    let (zone, reader) = watch::channel(config.zone.as_str().into());
    let is_fixed = config.is_zone_fixed;
    (Zone(reader), ZoneFollower { zone, is_fixed })
}

/// Takes over the zone of a newer file.
pub(super) struct ZoneFollower {
    zone: watch::Sender<Arc<str>>,
    /// A zone from the environment holds until the end of the process.
    is_fixed: bool,
}

impl ZoneFollower {
    pub(super) fn follow(&self, new: &str) {
        if !self.is_fixed {
            follow(&self.zone, new);
        }
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
