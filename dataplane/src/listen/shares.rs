//! The connections of each user, bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::PeerIdentity;

/// Number of connections by identity. Only identities with a connection are in it.
type Counts = Mutex<HashMap<Arc<PeerIdentity>, usize>>;

/// The connections of a port.
pub(super) struct UserConnections {
    max_count: usize,
    counts: Arc<Counts>,
}

/// A connection of a user; not counted any more when this is dropped.
pub(super) struct UserConnection {
    user: Arc<PeerIdentity>,
    counts: Arc<Counts>,
}

impl UserConnections {
    pub(super) fn new(max_count: usize) -> Self {
        Self {
            max_count,
            counts: Arc::default(),
        }
    }

    /// Counts a connection; `None` if the user has as many as allowed.
    pub(super) fn add(&self, user: &Arc<PeerIdentity>) -> Option<UserConnection> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(Arc::clone(user)).or_default();
        if *count >= self.max_count {
            return None;
        }
        *count += 1;
        Some(UserConnection {
            user: Arc::clone(user),
            counts: Arc::clone(&self.counts),
        })
    }
}

impl Drop for UserConnection {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_the_places_of_others() {
        let user = |name: &str| {
            let uri = format!("spiffe://lograft.io/ns/n/cluster/c/user/{name}");
            Arc::new(uri.parse::<PeerIdentity>().unwrap())
        };
        let users = UserConnections::new(2);
        let first = users.add(&user("a")).unwrap();
        let _second = users.add(&user("a")).unwrap();
        assert!(users.add(&user("a")).is_none());
        let other = users.add(&user("b")).unwrap();
        drop(first);
        let _third = users.add(&user("a")).unwrap();
        drop(other);
        assert_eq!(users.counts.lock().unwrap().len(), 1);
    }
}
