//! The stream over which a partition queue sends.

use std::mem;

/// The stream over which a queue sends, or the search for one.
#[derive(Debug)]
pub(super) enum Route<S> {
    /// No stream, and no search for the leader.
    Idle,
    /// The supervisor searches the leader.
    Seeking,
    /// Batches are sent over `stream`. `queued` if it has this queue in its list of those with
    /// something to send.
    Flowing { stream: S, queued: bool },
    /// A send over `stream` failed. Nothing is sent until all batches in flight are answered.
    Draining { stream: S },
}

impl<S> Route<S> {
    pub(super) const fn is_flowing(&self) -> bool {
        matches!(self, Self::Flowing { .. })
    }

    pub(super) const fn is_draining(&self) -> bool {
        matches!(self, Self::Draining { .. })
    }

    pub(super) const fn has_stream(&self) -> bool {
        self.is_flowing() || self.is_draining()
    }

    pub(super) const fn set_queued(&mut self, now_queued: bool) {
        if let Self::Flowing { queued, .. } = self {
            *queued = now_queued;
        }
    }

    /// Stops sending. Returns whether it was sending.
    pub(super) fn start_draining(&mut self) -> bool {
        match mem::replace(self, Self::Idle) {
            Self::Flowing { stream, .. } => {
                *self = Self::Draining { stream };
                true
            }
            other => {
                *self = other;
                false
            }
        }
    }

    /// Drops a stream over which nothing can be sent any more.
    pub(super) fn finish_draining(&mut self) {
        if self.is_draining() {
            *self = Self::Idle;
        }
    }
}
