//! Zones of hosts, from the labels of their Node objects. Kubernetes copies two topology labels to
//! pods, from 1.35 on; a pod without the label of `topology.zoneKey` has its zone from here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use lograft_crds::limits::{HOST_ZONES_MAX_COUNT, HOST_ZONES_MAX_SECONDS};
use tokio::time::Instant;
use tracing::warn;

use crate::error_text::error_text;

/// Status code of a call that the API server does not permit.
const FORBIDDEN: u16 = 403;
/// Time for which an answer of the API server counts.
const KEPT: Duration = Duration::from_secs(HOST_ZONES_MAX_SECONDS);

/// A host, and the label that names its zone.
type Key = (String, String);

/// Zones of hosts, kept for some time: labels of hosts hardly ever change.
pub(crate) struct HostZones {
    hosts: Api<Node>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    zones: BTreeMap<Key, (Instant, Option<String>)>,
    /// Until when no host is read, because the operator may not.
    refused_until: Option<Instant>,
}

/// The memory of a host.
enum Memory {
    /// Its zone; none if it has none or may not be read.
    Recent(Option<String>),
    /// Nothing: it has to be read.
    Outdated,
}

impl HostZones {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            hosts: Api::all(client),
            known: Mutex::default(),
        }
    }

    /// The zone of a host; none if it has no such label, or cannot be read.
    pub(crate) async fn zone(&self, host: &str, zone_key: &str) -> Option<String> {
        let key = (host.to_owned(), zone_key.to_owned());
        if let Memory::Recent(zone) = self.recall(&key, Instant::now()) {
            return zone;
        }
        let read = self.hosts.get_metadata_opt(host).await;
        let now = Instant::now();
        match read {
            Ok(found) => {
                let labels = found.and_then(|host| host.metadata.labels);
                let zone = labels.and_then(|labels| labels.get(zone_key).cloned());
                let zone = zone.filter(|zone| !zone.is_empty());
                self.known().keep(key, zone.clone(), now);
                zone
            }
            Err(error) => {
                let is_refused =
                    matches!(&error, kube::Error::Api(status) if status.code == FORBIDDEN);
                if is_refused {
                    self.known().refused_until = Some(now + KEPT);
                }
                let error = error_text(&error);
                warn!(host, error, "cannot read the zone of a host");
                None
            }
        }
    }

    fn recall(&self, key: &Key, now: Instant) -> Memory {
        let known = self.known();
        let zone = known.zones.get(key).filter(|(until, _)| now < *until);
        let is_refused = known.refused_until.is_some_and(|until| now < until);
        match zone {
            Some((_, zone)) => Memory::Recent(zone.clone()),
            None if is_refused => Memory::Recent(None),
            None => Memory::Outdated,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Hosts come and go in a cloud: what is out of date makes room.
    fn keep(&mut self, key: Key, zone: Option<String>, now: Instant) {
        if self.zones.len() >= HOST_ZONES_MAX_COUNT {
            self.zones.retain(|_, (until, _)| now < *until);
        }
        if self.zones.len() < HOST_ZONES_MAX_COUNT || self.zones.contains_key(&key) {
            self.zones.insert(key, (now + KEPT, zone));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_kept_for_some_time_and_their_number_is_bounded() {
        let (mut known, now) = (Known::default(), Instant::now());
        let key = |n: usize| (format!("host-{n}"), "zone".to_owned());
        for n in 0..=HOST_ZONES_MAX_COUNT {
            known.keep(key(n), None, now);
        }
        assert_eq!(known.zones.len(), HOST_ZONES_MAX_COUNT);
        let last = key(HOST_ZONES_MAX_COUNT);
        assert!(!known.zones.contains_key(&last));
        known.keep(last.clone(), Some("a".to_owned()), now + KEPT);
        assert_eq!(known.zones.len(), 1);
        assert_eq!(known.zones[&last].1.as_deref(), Some("a"));
    }
}
