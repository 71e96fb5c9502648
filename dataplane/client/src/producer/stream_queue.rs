//! The work of one produce stream: partitions with something to send, and requests in flight.
//!
//! gRPC polls the requests of a stream when the connection can take more, and batches are then
//! taken directly from the partition queues. So there is no task and no channel between a full
//! batch and the connection, and an open batch grows until the moment when it is sent.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use lograft_core::NodeId;
use lograft_core::limits::PRODUCER_PARTIAL_BATCHES_MAX_COUNT;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The work of the produce stream to one leader. `P` is a handle of a partition.
pub(super) struct StreamQueue<P> {
    pub(super) node: NodeId,
    pub(super) address: Arc<str>,
    work: Mutex<Work<P>>,
    killed: Notify,
}

enum Work<P> {
    Open(OpenWork<P>),
    /// The stream has ended.
    Closed,
}

struct OpenWork<P> {
    /// Partitions with something to send.
    ready: VecDeque<P>,
    /// Partitions with a partial batch, until fewer of those are in flight.
    throttled: VecDeque<P>,
    in_flight: VecDeque<InFlightRequest<P>>,
    in_flight_bytes: usize,
    partial_count: usize,
    /// Since when the first of `ready` waits to be sent.
    ready_since: Option<Instant>,
    /// Time of the last reply.
    replied_at: Option<Instant>,
    /// Waker of gRPC, while there is nothing to send.
    waker: Option<Waker>,
}

/// A request that is not answered.
pub(super) struct InFlightRequest<P> {
    pub(super) request_id: u64,
    pub(super) partition: P,
    pub(super) record_count: u32,
    pub(super) bytes: usize,
    pub(super) partial: bool,
    pub(super) sent_at: Instant,
}

impl<P> Default for OpenWork<P> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            throttled: VecDeque::new(),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            partial_count: 0,
            ready_since: None,
            replied_at: None,
            waker: None,
        }
    }
}

impl<P> OpenWork<P> {
    const fn may_send_partial(&self) -> bool {
        self.partial_count < PRODUCER_PARTIAL_BATCHES_MAX_COUNT
    }
}

impl<P> fmt::Debug for StreamQueue<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamQueue")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl<P> StreamQueue<P> {
    pub(super) fn new(node: NodeId, address: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            node,
            address,
            work: Mutex::new(Work::Open(OpenWork::default())),
            killed: Notify::new(),
        })
    }

    fn work(&self) -> MutexGuard<'_, Work<P>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a partition with something to send.
    pub(super) fn enqueue(&self, partition: P) {
        let mut guard = self.work();
        let Work::Open(work) = &mut *guard else {
            return;
        };
        work.ready.push_back(partition);
        work.ready_since.get_or_insert_with(Instant::now);
        let waker = work.waker.take();
        drop(guard);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Keeps back a partition with a partial batch, until another partial batch is answered.
    pub(super) fn throttle(&self, partition: P) {
        let mut guard = self.work();
        let Work::Open(work) = &mut *guard else {
            return;
        };
        // One may have been answered since the partition was asked for its batch.
        if work.may_send_partial() {
            work.ready.push_back(partition);
        } else {
            work.throttled.push_back(partition);
        }
    }

    /// The next partition with something to send, and whether it may send a partial batch. Ready
    /// with none once the stream is closed.
    pub(super) fn poll_ready(
        &self,
        cx: &Context<'_>,
        in_flight_max_bytes: usize,
    ) -> Poll<Option<(P, bool)>> {
        let mut guard = self.work();
        let Work::Open(work) = &mut *guard else {
            return Poll::Ready(None);
        };
        if work.in_flight_bytes < in_flight_max_bytes
            && let Some(partition) = work.ready.pop_front()
        {
            work.ready_since = (!work.ready.is_empty()).then(Instant::now);
            return Poll::Ready(Some((partition, work.may_send_partial())));
        }
        match &mut work.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Registers a request that is being sent, and its partition again if it has more to send.
    pub(super) fn push_in_flight(&self, request: InFlightRequest<P>, more: Option<P>) {
        // If the stream was closed in between, the batch is found in its partition queue.
        if let Work::Open(work) = &mut *self.work() {
            work.in_flight_bytes += request.bytes;
            work.partial_count += usize::from(request.partial);
            work.in_flight.push_back(request);
            work.ready.extend(more);
        }
    }

    /// Removes an answered request and returns it, if it was in flight.
    pub(super) fn remove_in_flight(&self, request_id: u64) -> Option<InFlightRequest<P>> {
        let mut guard = self.work();
        let Work::Open(work) = &mut *guard else {
            return None;
        };
        let index = work
            .in_flight
            .iter()
            .position(|r| r.request_id == request_id)?;
        let request = work.in_flight.remove(index)?;
        work.in_flight_bytes -= request.bytes;
        work.replied_at = Some(Instant::now());
        if request.partial {
            work.partial_count -= 1;
            work.ready.extend(work.throttled.pop_front());
        }
        Some(request)
    }

    /// Wakes gRPC, if there is something to send.
    pub(super) fn wake(&self) {
        let waker = match &mut *self.work() {
            Work::Open(work) if !work.ready.is_empty() => work.waker.take(),
            Work::Open(_) | Work::Closed => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The time at which the oldest request in flight was sent.
    pub(super) fn oldest_sent_at(&self) -> Option<Instant> {
        match &*self.work() {
            Work::Open(work) => work.in_flight.front().map(|r| r.sent_at),
            Work::Closed => None,
        }
    }

    /// Since when the node owes a reply and has sent none; `None` if it owes none. A request that
    /// cannot even be sent, because the connection does not open, counts too.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        let Work::Open(work) = &*self.work() else {
            return None;
        };
        let sent = work.in_flight.front().map(|request| request.sent_at);
        let owed = sent.or(work.ready_since)?;
        Some(work.replied_at.map_or(owed, |replied| replied.max(owed)))
    }

    /// Requests the end of the stream.
    pub(super) fn kill(&self) {
        self.killed.notify_one();
    }

    /// Waits until the end of the stream is requested.
    pub(super) async fn killed(&self) {
        self.killed.notified().await;
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(&*self.work(), Work::Closed)
    }

    /// Drops all work. Returns whether the stream was open.
    pub(super) fn close(&self) -> bool {
        let Work::Open(work) = std::mem::replace(&mut *self.work(), Work::Closed) else {
            return false;
        };
        if let Some(waker) = work.waker {
            waker.wake();
        }
        true
    }
}

#[cfg(test)]
mod tests;
