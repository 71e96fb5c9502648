//! Breaking the append stream of a follower whose next entries are to be purged: raft purges
//! nothing that a stream is still to send.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Context;

use futures_util::task::AtomicWaker;
use lograft_core::NodeId;

/// The open append streams of one replica, by the node that they go to.
#[derive(Clone, Default)]
pub(crate) struct Breakers(Arc<Mutex<BTreeMap<NodeId, Weak<Breaker>>>>);

/// One stream's.
#[derive(Default)]
pub(crate) struct Breaker {
    broken: AtomicBool,
    waker: AtomicWaker,
}

impl Breakers {
    /// For a stream that is opened now; a node has one at a time.
    pub(crate) fn add(&self, to: NodeId) -> Arc<Breaker> {
        let breaker = Arc::new(Breaker::default());
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(to, Arc::downgrade(&breaker));
        breaker
    }

    /// Breaks the stream to a node, if there is one.
    pub(crate) fn break_stream(&self, to: NodeId) {
        let open = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&to);
        if let Some(breaker) = open.and_then(|open| open.upgrade()) {
            breaker.broken.store(true, Ordering::Release);
            breaker.waker.wake();
        }
    }
}

impl Breaker {
    /// Whether the stream is to end; if not, the task is woken when it is.
    pub(crate) fn poll_broken(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.broken.load(Ordering::Acquire)
    }
}
