//! Plain records of concurrent unary calls share entries: while a few entries are in flight, new
//! calls wait and go together into the next one. There is no linger time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::limits::{
    BATCH_RECORDS_MAX_COUNT, PRODUCE_COALESCED_IN_FLIGHT_MAX_COUNT, PRODUCE_COALESCED_MAX_BYTES,
};
use lograft_core::{BatchBuilder, Compression};
use tokio::sync::oneshot;

use super::admission::PartitionAppender;
use super::check::{self, CheckedBatch};
use crate::clock::Clock;
use crate::error::ApiError;
use crate::serving::append_budget::Reserved;
use crate::serving::request::{Appended, PlainRecord};

/// Coalesces the unary appends of one partition.
pub(crate) struct Coalescer {
    appender: Arc<PartitionAppender>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Call>,
    /// Tasks that each write one entry at a time.
    writers_count: usize,
}

/// Records that wait for their entry.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) records: Vec<PlainRecord>,
    /// Held until the outcome of their entry is known: the records are in memory until then.
    pub(super) reserved: Reserved,
}

/// A call without an outcome. If it is cancelled, it leaves the queue: while a majority is lost no
/// entry ends and no writer takes calls out of the queue, so the calls of clients that retry would
/// accumulate there.
struct Unanswered<'a> {
    coalescer: &'a Coalescer,
    is_open: bool,
}

impl Unanswered<'_> {
    fn close(mut self) {
        self.is_open = false;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.is_open {
            let mut waiting = self.coalescer.lock();
            waiting.calls.retain(|call| !call.done.is_closed());
        }
    }
}

#[derive(Debug)]
struct Call {
    records: Vec<PlainRecord>,
    _reserved: Reserved,
    bytes: usize,
    /// Most bytes of an entry with these records: the limit of the topic when they were checked.
    entry_max_bytes: usize,
    done: oneshot::Sender<Result<Appended, ApiError>>,
}

impl Coalescer {
    pub(crate) fn new(appender: Arc<PartitionAppender>) -> Self {
        Self {
            appender,
            waiting: Mutex::default(),
        }
    }

    /// Appends plain records, already checked, to a partition that this node leads. An entry is at
    /// most `max_bytes` long, the limit of the topic.
    pub(super) async fn append(
        self: &Arc<Self>,
        Unsent { records, reserved }: Unsent,
        max_bytes: usize,
        clock: &Arc<dyn Clock>,
    ) -> Result<Appended, ApiError> {
        let (done, appended) = oneshot::channel();
        let bytes = check::plain_bytes(&records);
        let needs_writer = {
            let mut waiting = self.lock();
            waiting.calls.push_back(Call {
                records,
                _reserved: reserved,
                bytes,
                entry_max_bytes: check::plain_max_bytes(max_bytes),
                done,
            });
            let needs_writer = waiting.writers_count < PRODUCE_COALESCED_IN_FLIGHT_MAX_COUNT;
            waiting.writers_count += usize::from(needs_writer);
            needs_writer
        };
        if needs_writer {
            // A task of its own: if it ran in this call and the caller were cancelled, the other
            // calls of the entry would be cancelled too.
            tokio::spawn(write_all(Arc::clone(self), Arc::clone(clock)));
        }
        let unanswered = Unanswered {
            coalescer: self,
            is_open: true,
        };
        // A cancelled call drops the receiver first, which closes the sender in the queue.
        let outcome = { appended }.await;
        unanswered.close();
        outcome.unwrap_or_else(|_| Err(ApiError::outcome_unknown("the node is stopping")))
    }

    /// Number of calls without an entry.
    #[cfg(test)]
    pub(crate) fn waiting_count(&self) -> usize {
        self.lock().calls.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls of the next entry; at least one if any waits. If there is none, the writer must
    /// end: it is no longer counted.
    fn next_calls(&self) -> Vec<Call> {
        let mut waiting = self.lock();
        let mut next = Vec::new();
        let (mut bytes, mut records) = (0, 0);
        let mut max_bytes = PRODUCE_COALESCED_MAX_BYTES;
        while let Some(call) = waiting.calls.pop_front_if(|call| {
            let fits = bytes + call.bytes <= max_bytes.min(call.entry_max_bytes)
                && records + call.records.len() <= BATCH_RECORDS_MAX_COUNT as usize;
            fits || bytes == 0
        }) {
            max_bytes = max_bytes.min(call.entry_max_bytes);
            bytes += call.bytes;
            records += call.records.len();
            next.push(call);
        }
        if next.is_empty() {
            waiting.writers_count -= 1;
        }
        next
    }

    async fn write(&self, calls: &[Call], now_ms: i64) -> Result<Appended, ApiError> {
        let bytes = calls.iter().map(|call| call.bytes).sum();
        let mut builder = BatchBuilder::with_capacity(Compression::None, bytes);
        for call in calls {
            check::push_all(&mut builder, &call.records, now_ms)?;
        }
        let batch = CheckedBatch {
            encoded: builder.finish()?,
            stamp: None,
        };
        // The calls hold the memory, and this task waits for the outcome.
        let pending = self.appender.append(batch, now_ms, None).await?;
        pending.applied().await
    }
}

/// Writes entries one after the other until no call waits.
async fn write_all(coalescer: Arc<Coalescer>, clock: Arc<dyn Clock>) {
    loop {
        let mut calls = coalescer.next_calls();
        if calls.is_empty() {
            return;
        }
        // Cancelled calls were not acknowledged: their records may be left out.
        calls.retain(|call| !call.done.is_closed());
        if calls.is_empty() {
            continue;
        }
        let now_ms = coalescer.appender.append_time(clock.now_ms());
        let appended = coalescer.write(&calls, now_ms).await;
        acknowledge(calls, appended);
    }
}

/// Gives each call its part of the entry. An entry of another size is not the one that was written:
/// no call may take its success.
fn acknowledge(calls: Vec<Call>, mut appended: Result<Appended, ApiError>) {
    let written: usize = calls.iter().map(|call| call.records.len()).sum();
    if let Ok(whole) = &appended
        && whole.record_count as usize != written
    {
        appended = Err(ApiError::outcome_unknown(
            "the entry does not have the size of its requests",
        ));
    }
    for Call { records, done, .. } in calls {
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let part = appended.as_ref().map(|whole| Appended {
            record_count: count,
            ..*whole
        });
        // A cancelled call has no receiver.
        done.send(part.map_err(Clone::clone)).ok();
        if let Ok(rest) = &mut appended {
            rest.base_offset = rest.base_offset.map(|offset| offset.plus(count));
        }
    }
}
