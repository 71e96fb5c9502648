//! The seeds over a name server of their own.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lograft_core::limits::{DNS_LOOKUP_MAX, SEED_LOOKUP_INTERVAL};

use super::Harness;
use crate::net::{BoxFuture, Resolver};
use crate::seeds::{SeedLookup, Seeds};
use crate::source::Source as _;

#[derive(Default)]
struct NameServer {
    addresses: BTreeMap<String, SocketAddr>,
    is_down: bool,
}

#[derive(Clone, Default)]
struct Names(Arc<Mutex<NameServer>>);

impl Resolver for Names {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let server = self.0.lock().unwrap();
            if server.is_down {
                return Err(io::Error::other("the name server is down"));
            }
            Ok(server.addresses.values().copied().collect())
        })
    }
}

struct SeedHarness {
    names: Names,
    seeds: Seeds,
}

fn harness() -> SeedHarness {
    let names = Names::default();
    let address = vec!["lograft.prod.svc:9401".into()];
    let (lookup, seeds) = SeedLookup::new(address, Arc::new(names.clone()));
    tokio::spawn(lookup.run());
    SeedHarness { names, seeds }
}

impl Harness for SeedHarness {
    type Source = Seeds;

    fn source(&self) -> &Seeds {
        &self.seeds
    }

    async fn appear(&mut self, name: &str, at: SocketAddr) {
        let mut server = self.names.0.lock().unwrap();
        server.addresses.insert(name.to_owned(), at);
    }

    async fn vanish(&mut self, name: &str) {
        self.names.0.lock().unwrap().addresses.remove(name);
    }

    async fn set_readable(&mut self, readable: bool) {
        self.names.0.lock().unwrap().is_down = !readable;
    }

    fn vanish_max(&self) -> Duration {
        SEED_LOOKUP_INTERVAL + DNS_LOOKUP_MAX
    }
}

#[tokio::test(start_paused = true)]
async fn seeds_conform() {
    super::run(harness()).await;
}

/// A name server that never answers.
struct BlackHole;

impl Resolver for BlackHole {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            match address.parse() {
                Ok(address) => Ok(vec![address]),
                Err(_) => std::future::pending().await,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_never_answered_does_not_delay_an_address() {
    let addresses = vec!["name:1".into(), "10.0.0.1:1".into()];
    let (lookup, seeds) = SeedLookup::new(addresses, Arc::new(BlackHole));
    let mut seen = seeds.sightings();
    assert_eq!(seen.borrow().items.len(), 1, "known without any lookup");
    tokio::spawn(lookup.run());
    let error = seen.wait_for(|now| now.error.is_some());
    let now = tokio::time::timeout(DNS_LOOKUP_MAX * 3, error)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(now.items.len(), 1);
    assert!(
        now.error
            .as_deref()
            .unwrap()
            .contains("cannot look up name:1")
    );
}
