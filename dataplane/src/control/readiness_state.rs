//! The readiness that the node publishes.

use std::sync::Arc;

use tokio::sync::watch;

use crate::health::Readiness;

/// Whether the node can serve. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ReadinessState(Arc<watch::Sender<Readiness>>);

impl Default for ReadinessState {
    fn default() -> Self {
        let starting = Readiness::Waiting("the node is starting".to_owned());
        Self(Arc::new(watch::Sender::new(starting)))
    }
}

impl ReadinessState {
    /// Publishes the readiness; receivers are notified only of changes.
    pub(crate) fn set(&self, readiness: Readiness) {
        self.0.send_if_modified(|known| {
            let is_new = *known != readiness;
            *known = readiness;
            is_new
        });
    }

    /// Publishes that the node cannot serve, with the sentence that says why.
    pub(crate) fn set_waiting(&self, why: impl Into<String>) {
        self.set(Readiness::Waiting(why.into()));
    }

    /// Why the node cannot serve yet; empty if it is ready.
    pub(crate) fn waits_for(&self) -> String {
        match &*self.0.borrow() {
            Readiness::Ready => String::new(),
            Readiness::Waiting(why) => why.clone(),
        }
    }

    /// Receives changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Readiness> {
        self.0.subscribe()
    }
}
