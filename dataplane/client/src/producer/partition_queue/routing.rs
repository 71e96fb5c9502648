//! Attaching a partition queue to streams.

use tokio::time::Instant;

use super::PartitionQueue;
use super::route::Route;
use crate::error::ClientError;

impl<S> PartitionQueue<S> {
    /// The stream to the leader, if there is one.
    pub(crate) const fn stream(&self) -> Option<&S> {
        match &self.route {
            Route::Flowing { stream, .. } | Route::Draining { stream } => Some(stream),
            Route::Idle | Route::Seeking => None,
        }
    }

    /// Sends over `stream` from now on.
    pub(crate) fn attach(&mut self, stream: S) {
        self.route = Route::Flowing {
            stream,
            queued: false,
        };
    }

    /// Whether the queue has batches and no stream.
    pub(crate) fn needs_leader(&self) -> bool {
        !self.route.has_stream() && !self.is_empty()
    }

    /// Starts the search for the leader. Returns whether the caller has to hand the queue to the
    /// supervisor, which happens once per search.
    pub(crate) fn claim_leader_search(&mut self) -> bool {
        let is_claimed = matches!(self.route, Route::Idle) && !self.is_empty();
        if is_claimed {
            self.route = Route::Seeking;
        }
        is_claimed
    }

    /// Ends the search for the leader.
    pub(crate) fn end_leader_search(&mut self) {
        if matches!(self.route, Route::Seeking) {
            self.route = Route::Idle;
        }
    }

    /// No leader was found.
    pub(crate) fn on_no_leader(&mut self, error: ClientError) {
        self.failures += 1;
        self.last_error = Some(error);
    }
}

impl<S: Clone> PartitionQueue<S> {
    /// The stream on which the caller has to enqueue this queue: there is something to send, and
    /// the queue is not in the stream's list.
    pub(crate) fn claim_enqueue(&mut self, now: Instant) -> Option<S> {
        if !self.has_sendable(now) {
            return None;
        }
        match &mut self.route {
            Route::Flowing { stream, queued } if !*queued => {
                *queued = true;
                Some(stream.clone())
            }
            _ => None,
        }
    }
}
