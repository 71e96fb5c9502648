//! The handshakes in progress on a port, bounded.
//!
//! Connections in excess wait in the kernel's backlog: many clients that return at once are served
//! in order, and none is turned away. But a client needs no certificate to open a connection and to
//! stay silent. So while the bound is reached, handshakes that make no progress give way.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::limits::{HANDSHAKE_SILENT_MAX, HANDSHAKE_STALLED_MAX};
use lograft_proto::places::Origin;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// The handshakes of one port.
#[derive(Debug)]
pub(super) struct Handshakes {
    running: Mutex<Running<oneshot::Sender<()>>>,
    /// Notified when one has ended.
    ended: Notify,
}

/// A handshake in progress; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct HandshakeGuard {
    all: Arc<Handshakes>,
    id: u64,
}

/// Ready once the handshake is evicted.
pub(super) type Evicted = oneshot::Receiver<()>;

/// The rules. `T` ends a handshake when it is dropped.
#[derive(Debug)]
struct Running<T> {
    max_count: usize,
    /// By age, the oldest first.
    handshakes: BTreeMap<u64, Handshake<T>>,
    next: u64,
}

#[derive(Debug)]
struct Handshake<T> {
    origin: Origin,
    since: Instant,
    has_spoken: bool,
    evict: T,
}

/// Whether another handshake may start.
#[derive(Debug, PartialEq, Eq)]
enum Room<T> {
    Free,
    /// After the eviction of this one.
    Evict(T),
    /// Not yet: one may be evicted then.
    NotBefore(Instant),
}

impl<T> Handshake<T> {
    /// When it may be evicted.
    fn evictable_at(&self) -> Instant {
        let max = if self.has_spoken {
            HANDSHAKE_STALLED_MAX
        } else {
            HANDSHAKE_SILENT_MAX
        };
        self.since + max
    }
}

impl<T> Running<T> {
    fn new(max_count: usize) -> Self {
        Self {
            max_count: max_count.max(1),
            handshakes: BTreeMap::new(),
            next: 0,
        }
    }

    /// Room for one more. If the bound is reached, the oldest evictable handshake goes, of the
    /// origin that has most of those.
    fn room(&mut self, now: Instant) -> Room<T> {
        if self.handshakes.len() < self.max_count {
            return Room::Free;
        }
        let is_evictable = |handshake: &Handshake<T>| handshake.evictable_at() <= now;
        let mut counts: BTreeMap<Origin, usize> = BTreeMap::new();
        for handshake in self.handshakes.values().filter(|h| is_evictable(h)) {
            *counts.entry(handshake.origin).or_default() += 1;
        }
        let most = counts.values().max();
        let victim = self.handshakes.iter().find(|(_, handshake)| {
            is_evictable(handshake) && counts.get(&handshake.origin) == most
        });
        if let Some(evicted) = victim
            .map(|(id, _)| *id)
            .and_then(|id| self.handshakes.remove(&id))
        {
            return Room::Evict(evicted.evict);
        }
        let next = self.handshakes.values().map(Handshake::evictable_at).min();
        Room::NotBefore(next.unwrap_or(now))
    }

    fn start(&mut self, remote: IpAddr, now: Instant, evict: T) -> u64 {
        let id = self.next;
        self.next += 1;
        let handshake = Handshake {
            origin: Origin::from(remote),
            since: now,
            has_spoken: false,
            evict,
        };
        self.handshakes.insert(id, handshake);
        id
    }
}

impl Handshakes {
    pub(super) fn new(max_count: usize) -> Arc<Self> {
        Arc::new(Self {
            running: Mutex::new(Running::new(max_count)),
            ended: Notify::new(),
        })
    }

    /// Waits until another handshake may start. Only one task may wait, and it must start the
    /// handshake before it asks again.
    pub(super) async fn room(&self) {
        loop {
            let room = self.lock().room(Instant::now());
            let at = match room {
                Room::Free => return,
                Room::Evict(evict) => {
                    drop(evict);
                    return;
                }
                Room::NotBefore(at) => at,
            };
            tokio::select! {
                () = self.ended.notified() => {}
                () = tokio::time::sleep_until(at) => {}
            }
        }
    }

    /// Registers a handshake that starts now.
    pub(super) fn start(self: &Arc<Self>, remote: SocketAddr) -> (HandshakeGuard, Evicted) {
        let (evict, evicted) = oneshot::channel();
        let id = self.lock().start(remote.ip(), Instant::now(), evict);
        let guard = HandshakeGuard {
            all: Arc::clone(self),
            id,
        };
        (guard, evicted)
    }

    fn lock(&self) -> MutexGuard<'_, Running<oneshot::Sender<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HandshakeGuard {
    /// Notes that the client has sent a first byte.
    pub(super) fn on_spoken(&self) {
        if let Some(handshake) = self.all.lock().handshakes.get_mut(&self.id) {
            handshake.has_spoken = true;
        }
    }
}

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        self.all.lock().handshakes.remove(&self.id);
        self.all.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn a_silent_handshake_gives_way_early_and_any_other_late() {
        let start = Instant::now();
        let mut running = Running::new(2);
        assert_eq!(running.room(start), Room::Free);
        let first = running.start(ip(1), start, "spoken");
        running.handshakes.get_mut(&first).unwrap().has_spoken = true;
        running.start(ip(2), start, "silent");
        let silent_at = start + HANDSHAKE_SILENT_MAX;
        assert_eq!(running.room(start), Room::NotBefore(silent_at));
        assert_eq!(running.room(silent_at), Room::Evict("silent"));
        let second = running.start(ip(2), silent_at, "also spoken");
        running.handshakes.get_mut(&second).unwrap().has_spoken = true;
        let stalled_at = start + HANDSHAKE_STALLED_MAX;
        assert_eq!(running.room(silent_at), Room::NotBefore(stalled_at));
        assert_eq!(running.room(stalled_at), Room::Evict("spoken"));
        assert_eq!(running.room(stalled_at), Room::Free);
    }

    #[test]
    fn the_origin_with_most_stalled_handshakes_loses_one() {
        let start = Instant::now();
        let mut running = Running::new(4);
        running.start(ip(1), start, 1);
        for n in 2..=4 {
            running.start(ip(2), start + Duration::from_millis(n), n);
        }
        let later = start + HANDSHAKE_SILENT_MAX * 2;
        assert_eq!(running.room(later), Room::Evict(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_one_waits_for_the_end_of_another() {
        let all = Handshakes::new(1);
        all.room().await;
        let (guard, evicted) = all.start((ip(1), 1).into());
        guard.on_spoken();
        let started = Instant::now();
        let ends = async {
            tokio::time::sleep(HANDSHAKE_STALLED_MAX / 4).await;
            drop(guard);
        };
        tokio::join!(all.room(), ends);
        assert_eq!(started.elapsed(), HANDSHAKE_STALLED_MAX / 4);
        let (silent, silent_evicted) = all.start((ip(1), 2).into());
        all.room().await;
        assert!(silent_evicted.await.is_err(), "it is evicted");
        drop((silent, evicted));
    }
}
