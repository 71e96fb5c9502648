//! Places for connections of a listening port, and who must give up one when all are taken.
//!
//! Anybody can open a connection and stay silent, without a certificate. If the newest were refused
//! when all places are taken, a few dozen silent connections would lock out everybody else, and
//! kubelet would restart a process whose probes are refused. So the newest gets a place, and the
//! oldest silent one of the network that holds most of them gives it up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The part of an address that counts as one origin: an IPv4 address, or the /64 of an IPv6
/// address, of which one host may use any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(u128);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            // As in an IPv4-mapped IPv6 address, whose /64 is no origin.
            IpAddr::V4(v4) => Self(0xffff_0000_0000 | u128::from(u32::from(v4))),
            IpAddr::V6(v6) => Self(u128::from(v6) >> 64 << 64),
        }
    }
}

/// Identifies a taken place. Greater ones were taken later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PlaceId(u64);

/// The places of one port. `T` ends the connection that has a place; what that is, and the time,
/// is up to the caller.
#[derive(Debug)]
struct Places<T> {
    max_count: usize,
    per_origin_max_count: usize,
    taken: BTreeMap<PlaceId, Place<T>>,
    next: u64,
}

#[derive(Debug)]
struct Place<T> {
    origin: Origin,
    has_spoken: bool,
    connection: T,
}

impl<T> Places<T> {
    /// Up to `max_count` places, of which one origin gets at most `per_origin_max_count`. Both are
    /// at least 1.
    fn new(max_count: usize, per_origin_max_count: usize) -> Self {
        Self {
            max_count: max_count.max(1),
            per_origin_max_count: per_origin_max_count.max(1),
            taken: BTreeMap::new(),
            next: 0,
        }
    }

    /// Gives a place to a new connection. Returns the connection that lost its own for it, if any:
    /// the caller MUST end that one.
    ///
    /// An origin with all its places loses one of them. Otherwise, with all places taken, the
    /// origin that has most loses one: the oldest that is silent, else its oldest.
    fn take(&mut self, remote: IpAddr, connection: T) -> (PlaceId, Option<T>) {
        let origin = Origin::from(remote);
        let lost = if self.count(origin) >= self.per_origin_max_count {
            self.first_to_go(origin)
        } else if self.taken.len() >= self.max_count {
            self.largest_origin()
                .and_then(|largest| self.first_to_go(largest))
        } else {
            None
        };
        let lost = lost.and_then(|id| self.taken.remove(&id));
        let id = PlaceId(self.next);
        self.next += 1;
        let place = Place {
            origin,
            has_spoken: false,
            connection,
        };
        self.taken.insert(id, place);
        (id, lost.map(|place| place.connection))
    }

    /// Notes that a connection is not silent any more.
    fn on_spoken(&mut self, id: PlaceId) {
        if let Some(place) = self.taken.get_mut(&id) {
            place.has_spoken = true;
        }
    }

    /// Frees the place of a connection that has ended. Does nothing if it had lost its place.
    fn free(&mut self, id: PlaceId) {
        self.taken.remove(&id);
    }

    fn count(&self, origin: Origin) -> usize {
        let all = self.taken.values();
        all.filter(|place| place.origin == origin).count()
    }

    /// The origin with most places; of several, that of the oldest place.
    fn largest_origin(&self) -> Option<Origin> {
        let mut counts: BTreeMap<Origin, usize> = BTreeMap::new();
        for place in self.taken.values() {
            *counts.entry(place.origin).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        let mut origins = self.taken.values().map(|place| place.origin);
        origins.find(|origin| counts.get(origin) == Some(&most))
    }

    fn first_to_go(&self, origin: Origin) -> Option<PlaceId> {
        let own = || {
            self.taken
                .iter()
                .filter(|(_, place)| place.origin == origin)
        };
        let silent = own().find(|(_, place)| !place.has_spoken);
        silent.or_else(|| own().next()).map(|(id, _)| *id)
    }
}

/// The places of one port, shared by its connections.
#[derive(Clone, Debug)]
pub struct SharedPlaces(Arc<Mutex<Places<oneshot::Sender<()>>>>);

/// The place of a connection; free again when this is dropped.
#[derive(Debug)]
pub struct TakenPlace {
    places: SharedPlaces,
    id: PlaceId,
}

/// Ready once the place is lost. The connection MUST end then.
pub type PlaceLost = oneshot::Receiver<()>;

impl SharedPlaces {
    /// Up to `max_count` places, of which one origin gets at most `per_origin_max_count`. Both are
    /// at least 1.
    #[must_use]
    pub fn new(max_count: usize, per_origin_max_count: usize) -> Self {
        let places = Places::new(max_count, per_origin_max_count);
        Self(Arc::new(Mutex::new(places)))
    }

    /// Gives a place to a new connection. Another one may lose its own.
    #[must_use]
    pub fn take(&self, remote: IpAddr) -> (TakenPlace, PlaceLost) {
        let (held, lost) = oneshot::channel();
        // Without its sender the connection that lost its place ends.
        let (id, _) = self.lock().take(remote, held);
        let place = TakenPlace {
            places: self.clone(),
            id,
        };
        (place, lost)
    }

    fn lock(&self) -> MutexGuard<'_, Places<oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TakenPlace {
    /// Notes that the connection is not silent any more.
    pub fn on_spoken(&self) {
        self.places.lock().on_spoken(self.id);
    }
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        self.places.lock().free(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_origin_is_an_ipv4_address_or_the_64_of_an_ipv6_address() {
        let same = |a, b| Origin::from(ip(a)) == Origin::from(ip(b));
        assert!(!same("10.0.0.1", "10.0.0.2"));
        assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(!same("::1", "0.0.0.1"));
    }

    #[test]
    fn the_newest_always_gets_a_place_and_all_stay_bounded() {
        let mut places = Places::new(16, 4);
        for n in 0..10_000_u32 {
            let (_, _lost) = places.take(ip(&format!("10.0.0.{}", n % 200)), n);
            assert!(places.taken.len() <= 16);
            assert!(places.taken.values().any(|place| place.connection == n));
        }
    }

    #[test]
    fn the_oldest_silent_one_of_the_same_origin_goes_first() {
        let mut places = Places::new(16, 3);
        let (first, _) = places.take(ip("10.0.0.1"), 1);
        places.take(ip("10.0.0.2"), 2);
        places.take(ip("10.0.0.1"), 3);
        places.take(ip("10.0.0.1"), 4);
        places.on_spoken(first);
        assert_eq!(places.take(ip("10.0.0.1"), 5).1, Some(3));
        assert_eq!(places.take(ip("10.0.0.1"), 6).1, Some(4));
        // Others are not affected, and a place that is free again is used first.
        assert_eq!(places.take(ip("10.0.0.2"), 7).1, None);
        places.free(first);
        assert_eq!(places.take(ip("10.0.0.1"), 8).1, None);
    }

    #[test]
    fn with_all_places_taken_the_origin_with_most_of_them_loses_one() {
        let mut places = Places::new(6, 4);
        places.take(ip("10.0.0.9"), 0);
        for n in 1..=4 {
            places.take(ip("10.0.0.1"), n);
        }
        places.take(ip("10.0.0.2"), 5);
        assert_eq!(places.take(ip("10.0.0.3"), 6).1, Some(1));
        assert_eq!(places.take(ip("10.0.0.3"), 7).1, Some(2));
        assert_eq!(places.taken.len(), 6);
    }

    #[test]
    fn connections_that_have_spoken_give_way_too() {
        let mut places = Places::new(2, 2);
        for n in 0..2 {
            let (id, _) = places.take(ip("10.0.0.1"), n);
            places.on_spoken(id);
        }
        assert_eq!(places.take(ip("10.0.0.2"), 2).1, Some(0));
    }
}
