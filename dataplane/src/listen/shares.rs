//! The connections of each user and of each address, bounded: none of them can take the places of
//! all others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Number of connections by their key. Only keys with a connection are in it.
type Counts<K> = Mutex<HashMap<K, usize>>;

/// The connections of a port by key, each key with at most the same number.
pub(super) struct Shares<K> {
    max_count: usize,
    counts: Arc<Counts<K>>,
}

/// A connection of a key; not counted any more when this is dropped.
pub(super) struct Share<K: Eq + Hash> {
    key: K,
    counts: Arc<Counts<K>>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    pub(super) fn new(max_count: usize) -> Self {
        Self {
            max_count,
            counts: Arc::default(),
        }
    }

    /// Counts a connection; `None` if the key has as many as allowed.
    pub(super) fn add(&self, key: &K) -> Option<Share<K>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_default();
        if *count >= self.max_count {
            return None;
        }
        *count += 1;
        Some(Share {
            key: key.clone(),
            counts: Arc::clone(&self.counts),
        })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use lograft_proto::places::Origin;

    use super::*;

    #[test]
    fn one_key_cannot_take_the_places_of_others() {
        let users = Shares::new(2);
        let first = users.add(&"a").unwrap();
        let _second = users.add(&"a").unwrap();
        assert!(users.add(&"a").is_none());
        let other = users.add(&"b").unwrap();
        drop(first);
        let _third = users.add(&"a").unwrap();
        drop(other);
        assert_eq!(users.counts.lock().unwrap().len(), 1);
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_share_one_part() {
        let addresses = Shares::new(2);
        let add = |text: &str| {
            let ip: IpAddr = text.parse().unwrap();
            addresses.add(&Origin::from(ip))
        };
        let _first = add("2001:db8::1").unwrap();
        let _second = add("2001:db8::2").unwrap();
        assert!(add("2001:db8::3").is_none());
        assert!(add("2001:db8:0:1::1").is_some());
        let _v4 = (add("10.0.0.1").unwrap(), add("::ffff:10.0.0.1").unwrap());
        assert!(add("10.0.0.1").is_none());
        assert!(add("10.0.0.2").is_some());
    }
}
