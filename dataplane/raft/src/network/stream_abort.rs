//! Aborting the append stream to a follower whose next entries are about to be purged.
//!
//! openraft purges no entry that an open append stream has not sent yet. A follower that hangs
//! without closing its connection would therefore keep the log of every leader from being purged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Context;

use futures_util::task::AtomicWaker;
use lograft_core::NodeId;

/// The open append streams of one replica, by target node. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct AppendStreams(Arc<Mutex<BTreeMap<NodeId, Weak<AbortSignal>>>>);

/// The abort signal of one append stream.
#[derive(Default)]
pub(crate) struct AbortSignal {
    is_aborted: AtomicBool,
    waker: AtomicWaker,
}

impl AppendStreams {
    /// Registers a new stream. It replaces the previous stream to the same node.
    pub(crate) fn register(&self, to: NodeId) -> Arc<AbortSignal> {
        let signal = Arc::new(AbortSignal::default());
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(to, Arc::downgrade(&signal));
        signal
    }

    /// Aborts the stream to a node, if one is open.
    pub(crate) fn abort(&self, to: NodeId) {
        let open = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&to);
        if let Some(signal) = open.and_then(|open| open.upgrade()) {
            signal.is_aborted.store(true, Ordering::Release);
            signal.waker.wake();
        }
    }
}

impl AbortSignal {
    /// Whether the stream is aborted. If not, the task is woken when it is.
    pub(crate) fn poll_aborted(&self, cx: &Context<'_>) -> bool {
        // Registered before the flag is read: an abort in between wakes the task.
        self.waker.register(cx.waker());
        self.is_aborted.load(Ordering::Acquire)
    }
}
