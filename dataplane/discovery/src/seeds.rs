//! The configured seed addresses as a source: host names are looked up again and again.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::{
    DNS_LOOKUP_MAX, SEED_LOOKUP_INTERVAL, SEED_LOOKUP_SPACING, SEED_LOOKUPS_MAX_COUNT,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

use crate::net::Resolver;
use crate::source::{Sighting, Sightings, Source, SourceKind};

/// Looks up `host:port` addresses periodically.
pub struct SeedLookup {
    addresses: Vec<Arc<str>>,
    resolver: Arc<dyn Resolver>,
    found: watch::Sender<Arc<Sightings>>,
}

/// The result of a lookup, as other parts of the node read it.
#[derive(Clone, Debug)]
pub struct Seeds(watch::Receiver<Arc<Sightings>>);

impl Source for Seeds {
    fn kind(&self) -> SourceKind {
        SourceKind::Seeds
    }

    fn sightings(&self) -> watch::Receiver<Arc<Sightings>> {
        self.0.clone()
    }
}

impl SeedLookup {
    /// Nothing is looked up before [`Self::run`]; addresses without a host name are there at once.
    pub fn new(addresses: Vec<Arc<str>>, resolver: Arc<dyn Resolver>) -> (Self, Seeds) {
        let literal = addresses.iter().filter_map(|address| address.parse().ok());
        let known = sightings(literal.collect());
        let (found, receiver) = watch::channel(Arc::new(Sightings {
            items: known,
            error: None,
        }));
        let lookup = Self {
            addresses,
            resolver,
            found,
        };
        (lookup, Seeds(receiver))
    }

    /// Looks all names up, each in its own time, until dropped.
    pub async fn run(self) {
        let mut last: BTreeMap<Arc<str>, Vec<SocketAddr>> = BTreeMap::new();
        let mut reported: Option<String> = None;
        if self.addresses.iter().all(|address| is_literal(address)) {
            return std::future::pending().await;
        }
        loop {
            let error = self.look_up(&mut last).await;
            if let Some(error) = error
                .clone()
                .filter(|error| reported.as_ref() != Some(error))
            {
                warn!(error, "cannot look up a seed, keeping its last addresses");
            }
            reported.clone_from(&error);
            let items = sightings(last.values().flatten().copied().collect());
            let found = Arc::new(Sightings { items, error });
            self.found.send_if_modified(|current| {
                let is_new = *current != found;
                *current = found;
                is_new
            });
            tokio::time::sleep(self.interval()).await;
        }
    }

    fn interval(&self) -> Duration {
        let count = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        SEED_LOOKUP_INTERVAL.max(SEED_LOOKUP_SPACING.saturating_mul(count))
    }

    /// Looks each name up, and returns an error if one could not be.
    async fn look_up(&self, last: &mut BTreeMap<Arc<str>, Vec<SocketAddr>>) -> Option<String> {
        let mut waiting = self.addresses.iter();
        let mut lookups = JoinSet::new();
        let mut failed = None;
        loop {
            while lookups.len() < SEED_LOOKUPS_MAX_COUNT
                && let Some(address) = waiting.next()
            {
                let lookup = look_up(Arc::clone(address), Arc::clone(&self.resolver));
                lookups.spawn(lookup);
            }
            match lookups.join_next().await {
                None => return failed,
                Some(Ok((address, Ok(found)))) => {
                    last.insert(address, found);
                }
                Some(Ok((address, Err(error)))) => {
                    failed = Some(format!("cannot look up {address}: {error}"));
                }
                Some(Err(_)) => {}
            }
        }
    }
}

type LookedUp = (Arc<str>, io::Result<Vec<SocketAddr>>);

async fn look_up(address: Arc<str>, resolver: Arc<dyn Resolver>) -> LookedUp {
    // A resolver without a bound of its own must not hold the others up either.
    let found = tokio::time::timeout(DNS_LOOKUP_MAX * 2, resolver.resolve(&address)).await;
    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    (address, found)
}

fn is_literal(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok()
}

fn sightings(mut addresses: Vec<SocketAddr>) -> Vec<Sighting> {
    addresses.sort_unstable();
    addresses.dedup();
    let sighting = |address: SocketAddr| Sighting {
        name: None,
        addresses: vec![address.to_string().into()],
        gossip: None,
    };
    addresses.into_iter().map(sighting).collect()
}
