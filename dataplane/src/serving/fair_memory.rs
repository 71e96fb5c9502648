//! A memory that users share, so that none of them can take all of it.
//!
//! A user may hold as much as is free: alone a half of the memory, one of two a third each. There
//! is always something left for the next user, and nobody has to say how many there will be. From
//! Choudhury and Hahne, "Dynamic queue length thresholds for multiple priority and shared-memory
//! switches" (1998), with a factor of 1.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::acl::Principal;
use lograft_core::limits::REPLIES_WAITING_MAX_COUNT;
use prometheus::IntGauge;
use tokio::sync::Notify;

/// The memory.
#[derive(Debug)]
pub(super) struct FairMemory {
    state: Mutex<State>,
    max_bytes: usize,
    /// The bytes that are held, over all memories of a kind.
    held_bytes: IntGauge,
}

#[derive(Debug)]
struct State {
    /// Below 0 while somebody holds more than was free.
    free: i64,
    /// The bytes of the users that hold some.
    held: HashMap<Arc<Principal>, i64>,
    /// The users with requests that wait.
    waiting: HashMap<Arc<Principal>, WaitingUser>,
}

#[derive(Debug, Default)]
struct WaitingUser {
    count: usize,
    /// The requests by the bytes that they wait for.
    sizes: BTreeMap<i64, Waiters>,
}

/// Requests of a user that wait for as many bytes.
#[derive(Debug, Default)]
struct Waiters {
    count: usize,
    room: Arc<Notify>,
}

/// Memory that is held until this is dropped.
#[derive(Debug)]
pub(super) struct HeldMemory {
    from: Arc<FairMemory>,
    user: Arc<Principal>,
    bytes: usize,
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl State {
    fn held_by(&self, user: &Principal) -> i64 {
        self.held.get(user).copied().unwrap_or_default()
    }

    /// Whether a user may take so many bytes more. One that holds nothing may take whatever is
    /// free.
    fn admits(&self, user: &Principal, bytes: i64) -> bool {
        let held = self.held_by(user);
        let left = self.free - bytes;
        left >= 0 && (held == 0 || held + bytes <= left)
    }

    fn charge(&mut self, user: &Arc<Principal>, bytes: i64) {
        self.free -= bytes;
        match self.held_by(user) + bytes {
            0 => self.held.remove(user),
            held => self.held.insert(Arc::clone(user), held),
        };
    }

    /// Wakes one request of each size that a user may have. Each that gets its memory wakes the
    /// next.
    fn wake(&self) {
        for (user, waiting) in &self.waiting {
            for (bytes, waiters) in &waiting.sizes {
                if !self.admits(user, *bytes) {
                    break;
                }
                waiters.room.notify_one();
            }
        }
    }
}

impl FairMemory {
    pub(super) fn new(max_bytes: usize, held_bytes: IntGauge) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: signed(max_bytes),
                held: HashMap::new(),
                waiting: HashMap::new(),
            }),
            max_bytes,
            held_bytes,
        })
    }

    pub(super) const fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self, state: &mut State, user: &Arc<Principal>, bytes: i64) {
        state.charge(user, bytes);
        self.held_bytes.add(bytes);
    }

    /// Takes memory if the user may have it now.
    pub(super) fn try_take(
        self: &Arc<Self>,
        user: &Arc<Principal>,
        bytes: usize,
    ) -> Option<HeldMemory> {
        let mut state = self.state();
        if !state.admits(user, signed(bytes)) {
            return None;
        }
        self.charge(&mut state, user, signed(bytes));
        drop(state);
        Some(self.held(user, bytes))
    }

    /// Takes memory that is in use already, whether or not it is free.
    pub(super) fn take_used(self: &Arc<Self>, user: &Arc<Principal>, bytes: usize) -> HeldMemory {
        self.charge(&mut self.state(), user, signed(bytes));
        self.held(user, bytes)
    }

    /// Takes memory once the user may have it; none if too many requests of the user wait. The
    /// caller MUST bound the wait, and MUST hold nothing of this memory: those who wait would wait
    /// for each other.
    pub(super) async fn take(
        self: &Arc<Self>,
        user: &Arc<Principal>,
        bytes: usize,
    ) -> Option<HeldMemory> {
        let bytes = bytes.min(self.max_bytes);
        if let Some(taken) = self.try_take(user, bytes) {
            return Some(taken);
        }
        let waiting = Waiting::start(self, user, signed(bytes))?;
        loop {
            // Made before the memory is looked at: what is given back from here on is not missed.
            let room = waiting.room.notified();
            if let Some(taken) = self.try_take(user, bytes) {
                drop(room);
                drop(waiting);
                self.state().wake();
                return Some(taken);
            }
            room.await;
        }
    }

    /// Whether a user has more than half of what it may have.
    pub(super) fn is_scarce(&self, user: &Principal) -> bool {
        let state = self.state();
        let held = state.held_by(user);
        held > 0 && held >= state.free / 2
    }

    fn held(self: &Arc<Self>, user: &Arc<Principal>, bytes: usize) -> HeldMemory {
        HeldMemory {
            from: Arc::clone(self),
            user: Arc::clone(user),
            bytes,
        }
    }
}

/// A request that waits.
struct Waiting<'a> {
    memory: &'a FairMemory,
    user: &'a Arc<Principal>,
    bytes: i64,
    room: Arc<Notify>,
}

impl<'a> Waiting<'a> {
    fn start(memory: &'a FairMemory, user: &'a Arc<Principal>, bytes: i64) -> Option<Self> {
        let mut state = memory.state();
        let waiting = state.waiting.entry(Arc::clone(user)).or_default();
        if waiting.count >= REPLIES_WAITING_MAX_COUNT {
            return None;
        }
        waiting.count += 1;
        let waiters = waiting.sizes.entry(bytes).or_default();
        waiters.count += 1;
        Some(Self {
            memory,
            user,
            bytes,
            room: Arc::clone(&waiters.room),
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        let Some(waiting) = state.waiting.get_mut(self.user) else {
            return;
        };
        waiting.count -= 1;
        if let Some(waiters) = waiting.sizes.get_mut(&self.bytes) {
            waiters.count -= 1;
            if waiters.count == 0 {
                waiting.sizes.remove(&self.bytes);
            }
        }
        if waiting.count == 0 {
            state.waiting.remove(self.user);
        }
    }
}

impl HeldMemory {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whose it is, and the size of the whole memory.
    pub(super) fn bounds(&self) -> (&Principal, usize) {
        (&self.user, self.from.max_bytes)
    }

    /// Holds another number of bytes from now on; not if the user may not have more of them.
    pub(super) fn try_resize(&mut self, bytes: usize) -> bool {
        let more = signed(bytes) - signed(self.bytes);
        let mut state = self.from.state();
        if more > 0 && !state.admits(&self.user, more) {
            return false;
        }
        self.from.charge(&mut state, &self.user, more);
        if more < 0 {
            state.wake();
        }
        self.bytes = bytes;
        true
    }

    /// Holds also what another one of the same memory and user holds.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.try_resize(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use lograft_core::acl::Principal;
    use tokio::time::timeout;

    use super::*;

    fn memory(max_bytes: usize) -> Arc<FairMemory> {
        FairMemory::new(max_bytes, IntGauge::new("held", "held").unwrap())
    }

    fn user(name: &str) -> Arc<Principal> {
        Arc::new(format!("user/{name}").parse().unwrap())
    }

    /// Takes pieces of 10 bytes until there are no more.
    fn take_all(memory: &Arc<FairMemory>, user: &Arc<Principal>) -> Vec<HeldMemory> {
        std::iter::from_fn(|| memory.try_take(user, 10)).collect()
    }

    #[test]
    fn users_who_take_all_they_can_leave_something_for_the_next_one() {
        let memory = memory(1200);
        let mut held = Vec::new();
        let counts = ["a", "b", "c", "d", "e"].map(|name| {
            held.push(take_all(&memory, &user(name)));
            held.last().unwrap().len()
        });
        assert_eq!(counts, [60, 30, 15, 7, 4]);
        assert_eq!(memory.held_bytes.get(), 1160);
        held.remove(0);
        assert_eq!(take_all(&memory, &user("e")).len(), 30);
        drop(held);
        assert_eq!(memory.held_bytes.get(), 0);
        assert!(memory.state().held.is_empty());
    }

    #[test]
    fn a_user_who_holds_nothing_may_take_whatever_is_free() {
        let memory = memory(100);
        let (a, b) = (user("a"), user("b"));
        let most = memory.try_take(&a, 90).unwrap();
        assert!(memory.try_take(&a, 1).is_none());
        assert!(memory.try_take(&b, 11).is_none());
        let _rest = memory.try_take(&b, 10).unwrap();
        drop(most);
        assert!(memory.try_take(&b, 40).is_some());
    }

    #[test]
    fn more_than_is_free_is_counted_only_if_it_is_in_use_already() {
        let memory = memory(100);
        let a = user("a");
        let mut used = memory.take_used(&a, 150);
        assert!(memory.try_take(&user("b"), 1).is_none());
        assert!(!used.try_resize(151));
        assert!(used.try_resize(20));
        assert!(used.try_resize(50));
        assert!(!used.try_resize(51));
        let mut other = memory.try_take(&user("b"), 10).unwrap();
        other.absorb(memory.try_take(&user("b"), 10).unwrap());
        assert_eq!(other.bytes(), 20);
        drop((used, other));
        assert_eq!(memory.state().free, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_what_is_given_back_and_nobody_is_forgotten() {
        let memory = memory(100);
        let a = user("a");
        let held = take_all(&memory, &a);
        let takes: Vec<_> = (0..40)
            .map(|n| {
                let (memory, a) = (Arc::clone(&memory), Arc::clone(&a));
                tokio::spawn(async move {
                    let taken = memory.take(&a, 1 + n % 10).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    drop(taken);
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let given_up = memory.take(&a, 10).now_or_never();
        assert!(given_up.is_none());
        drop(held);
        for take in takes {
            timeout(Duration::from_secs(1), take)
                .await
                .unwrap()
                .unwrap();
        }
        assert_eq!(memory.state().free, 100);
        assert!(memory.state().held.is_empty());
        assert!(memory.state().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_request_that_waits_for_more_does_not_keep_others_waiting() {
        let memory = memory(100);
        let a = user("a");
        let mut held = take_all(&memory, &a);
        let mut large = Box::pin(memory.take(&a, 90));
        assert!((&mut large).now_or_never().is_none());
        let mut small = Box::pin(memory.take(&a, 10));
        assert!((&mut small).now_or_never().is_none());
        held.pop();
        let taken = timeout(Duration::from_secs(1), small).await.unwrap();
        assert_eq!(taken.unwrap().bytes(), 10);
    }

    #[tokio::test]
    async fn so_many_requests_of_a_user_may_wait() {
        let memory = memory(100);
        let (a, b) = (user("a"), user("b"));
        let _held = take_all(&memory, &a);
        let mut waiting: Vec<_> = (0..REPLIES_WAITING_MAX_COUNT)
            .map(|_| Box::pin(memory.take(&a, 10)))
            .collect();
        for take in &mut waiting {
            assert!(take.now_or_never().is_none());
        }
        assert!(memory.take(&a, 10).await.is_none());
        assert!(memory.take(&b, 10).await.is_some());
        waiting.pop();
        assert!(memory.take(&a, 10).now_or_never().is_none());
    }
}
