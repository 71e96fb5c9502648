//! The delivery timeout, and the end of a queue.

use std::mem;
use std::sync::Arc;

use tokio::time::Instant;

use super::PartitionQueue;
use super::batch::{Batch, Settled};
use super::route::Route;
use crate::error::ClientError;

impl<S> PartitionQueue<S> {
    /// The time at which the oldest batch exceeds the delivery timeout.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        let sent = self.in_flight.front().map(|b| b.batch.opened_at);
        let closed = self.waiting.front().map(|b| b.batch.opened_at);
        let open = self.open.as_ref().map(|o| o.opened_at);
        sent.into_iter()
            .chain(closed)
            .chain(open)
            .min()
            .map(|at| at + self.config.delivery_timeout)
    }

    /// Fails the batches that exceeded the delivery timeout.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Settled> {
        let Some(deadline) = now.checked_sub(self.config.delivery_timeout) else {
            return Vec::new();
        };
        let mut settled = Vec::new();
        let is_late = |batch: &Batch| batch.opened_at <= deadline;
        let stamped_in_flight = self.in_flight.iter().filter(|b| b.sent.stamp.is_some());
        let stamped_waiting = self.waiting.iter().filter(|b| b.stamp().is_some());
        let mut stamped = stamped_in_flight
            .map(|b| &b.batch)
            .chain(stamped_waiting.map(|b| &b.batch));
        if stamped.any(is_late) {
            self.expire_stamped(is_late, &mut settled);
        }
        // The remaining batches have no stamp, so none depends on another one.
        while let Some(late) = self.in_flight.pop_front_if(|b| is_late(&b.batch)) {
            let in_doubt = late.is_in_doubt();
            settled.push(self.undelivered(late.batch, in_doubt));
        }
        while let Some(late) = self.waiting.pop_front_if(|b| is_late(&b.batch)) {
            let in_doubt = late.is_in_doubt();
            settled.push(self.undelivered(late.batch, in_doubt));
        }
        let is_open_late = self
            .open
            .as_ref()
            .is_some_and(|open| open.opened_at <= deadline);
        if is_open_late
            && self.close().is_ok()
            && let Some(late) = self.waiting.pop_back()
        {
            settled.push(self.undelivered(late.batch, false));
        }
        self.finish_drain();
        settled
    }

    /// Fails the late batches that have a stamp, and every batch in doubt. The others continue
    /// under the next epoch.
    ///
    /// The sequences of the batches behind a given up one count its records, so leaders would never
    /// accept them. A batch in doubt cannot be sent under a new stamp either, because its records
    /// could then be stored twice. So it fails together with the late one.
    fn expire_stamped(&mut self, is_late: impl Fn(&Batch) -> bool, settled: &mut Vec<Settled>) {
        let sent = mem::take(&mut self.in_flight).into_iter();
        let sent = sent.map(|b| (b.is_in_doubt(), b.into_waiting()));
        let waiting = mem::take(&mut self.waiting).into_iter();
        let waiting = waiting.map(|b| (b.is_in_doubt(), b));
        for (in_doubt, mut kept) in sent.chain(waiting) {
            if kept.stamp().is_some() && (is_late(&kept.batch) || in_doubt) {
                settled.push(self.undelivered(kept.batch, in_doubt));
            } else {
                // Certainly not in the log.
                kept.sent = None;
                self.waiting.push_back(kept);
            }
        }
        self.begin_epoch(0, false);
        self.route.finish_draining();
    }

    fn undelivered(&self, batch: Batch, maybe_appended: bool) -> Settled {
        let last = batch.last_error.as_ref().or(self.last_error.as_ref());
        let error = ClientError::Undelivered {
            topic: Arc::clone(&self.config.topic),
            partition: self.config.partition,
            after: self.config.delivery_timeout,
            maybe_appended,
            last: last.cloned().map(Box::new),
        };
        batch.settle(Err(error))
    }

    /// Fails all batches with `error`: the topic does not exist any more, or the producer is
    /// closed.
    pub(crate) fn fail_all(&mut self, error: &ClientError) -> Vec<Settled> {
        // If closing fails there is no batch to settle.
        let _closed = self.close();
        let sent = mem::take(&mut self.in_flight);
        let waiting = mem::take(&mut self.waiting);
        self.begin_epoch(0, false);
        self.route = Route::Idle;
        let config = &self.config;
        let sent = sent.into_iter().map(|b| {
            let in_doubt = b.is_in_doubt();
            b.batch.fail(config, error.clone(), in_doubt)
        });
        let waiting = waiting.into_iter().map(|b| {
            let in_doubt = b.is_in_doubt();
            b.batch.fail(config, error.clone(), in_doubt)
        });
        sent.chain(waiting).collect()
    }
}
