//! One suite that all sources must pass, each over its own network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::source::{Sightings, Source};

mod endpoint_tests;
mod gossip_tests;
mod seed_tests;

/// A source and the world that it watches.
pub(crate) trait Harness {
    type Source: Source;

    fn source(&self) -> &Self::Source;

    /// A node is at an address from now on: a new one, or one that has moved there.
    async fn appear(&mut self, name: &str, at: SocketAddr);

    /// A node and all its traces are gone.
    async fn vanish(&mut self, name: &str);

    /// The source cannot be read from now on, or can be again.
    async fn set_readable(&mut self, readable: bool);

    /// The time within which a node that is gone is no longer seen.
    fn vanish_max(&self) -> Duration;
}

const SEEN_MAX: Duration = Duration::from_secs(10);

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 9401))
}

fn sees(sightings: &Sightings, at: SocketAddr) -> bool {
    let at = at.to_string();
    let mut addresses = sightings.items.iter().flat_map(|item| &item.addresses);
    addresses.any(|address| **address == *at)
}

fn assert_well_formed(sightings: &Sightings) {
    let mut keys: Vec<Arc<str>> = Vec::new();
    for item in &sightings.items {
        assert!(!item.addresses.is_empty(), "{item:?}");
        for address in &item.addresses {
            assert!(address.rsplit_once(':').is_some(), "{address}");
        }
        let key = item
            .name
            .clone()
            .unwrap_or_else(|| Arc::clone(&item.addresses[0]));
        assert!(!keys.contains(&key), "{key} twice");
        keys.push(key);
    }
}

async fn until(
    seen: &mut watch::Receiver<Arc<Sightings>>,
    longest: Duration,
    what: &str,
    mut done: impl FnMut(&Sightings) -> bool,
) {
    let waited = tokio::time::timeout(
        longest,
        seen.wait_for(|now| {
            assert_well_formed(now);
            done(now)
        }),
    );
    assert!(waited.await.is_ok(), "not within {longest:?}: {what}");
}

/// The contract of [`Source`]. The caller's runtime has paused time.
pub(crate) async fn run(mut harness: impl Harness) {
    let mut seen = harness.source().sightings();
    assert!(seen.borrow().items.is_empty(), "nobody is there yet");
    harness.appear("a", address(1)).await;
    harness.appear("b", address(2)).await;
    until(&mut seen, SEEN_MAX, "two nodes", |now| {
        sees(now, address(1)) && sees(now, address(2))
    })
    .await;
    harness.appear("a", address(11)).await;
    until(&mut seen, SEEN_MAX, "a node that moves", |now| {
        sees(now, address(11))
    })
    .await;
    harness.set_readable(false).await;
    tokio::time::sleep(SEEN_MAX).await;
    let held = Arc::clone(&seen.borrow_and_update());
    assert!(
        sees(&held, address(11)) && sees(&held, address(2)),
        "nobody leaves because the source cannot be read: {held:?}"
    );
    harness.set_readable(true).await;
    harness.vanish("b").await;
    until(
        &mut seen,
        harness.vanish_max(),
        "a node that is gone",
        |now| !sees(now, address(2)) && sees(now, address(11)) && now.error.is_none(),
    )
    .await;
}
