//! Unary calls that bring plain records share entries: those that come while a few entries are on
//! their way wait, and go together in the next. Nobody waits for company.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::limits::{
    BATCH_RECORDS_MAX_COUNT, PRODUCE_COALESCED_IN_FLIGHT_MAX_COUNT, PRODUCE_COALESCED_MAX_BYTES,
};
use lograft_core::{BatchBuilder, Compression};
use lograft_proto::log::v1 as proto;
use tokio::sync::oneshot;

use super::admission::{Acked, let_in, unknown};
use super::check::{self, Batch};
use crate::api::grpc::status::ApiError;
use crate::clock::Clock;
use crate::serving::replica::Replica;

/// What waits to be packed for one partition.
#[derive(Debug, Default)]
pub(crate) struct Packing(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Call>,
    /// Tasks that pack and wait for an entry.
    rounds: usize,
}

#[derive(Debug)]
struct Call {
    records: Vec<proto::Record>,
    bytes: usize,
    done: oneshot::Sender<Result<Acked, ApiError>>,
}

impl Packing {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls that go together in the next entry; at least one if any waits. None: the round is
    /// over, and counted off.
    fn next_round(&self) -> Vec<Call> {
        let mut waiting = self.lock();
        let mut round = Vec::new();
        let (mut bytes, mut records) = (0, 0);
        while let Some(call) = waiting.calls.pop_front_if(|call| {
            let fits = bytes + call.bytes <= PRODUCE_COALESCED_MAX_BYTES
                && records + call.records.len() <= BATCH_RECORDS_MAX_COUNT as usize;
            fits || bytes == 0
        }) {
            bytes += call.bytes;
            records += call.records.len();
            round.push(call);
        }
        if round.is_empty() {
            waiting.rounds -= 1;
        }
        round
    }
}

/// Writes plain records, checked before, to a partition that this node leads.
pub(crate) async fn write(
    replica: &Arc<Replica>,
    records: Vec<proto::Record>,
    clock: &Arc<dyn Clock>,
) -> Result<Acked, ApiError> {
    let (done, acked) = oneshot::channel();
    let bytes = check::plain_bytes(&records);
    let begins = {
        let mut waiting = replica.door.packing.lock();
        waiting.calls.push_back(Call {
            records,
            bytes,
            done,
        });
        let begins = waiting.rounds < PRODUCE_COALESCED_IN_FLIGHT_MAX_COUNT;
        waiting.rounds += usize::from(begins);
        begins
    };
    if begins {
        // A task of its own: a caller that goes away must not take the others with it.
        tokio::spawn(run(Arc::clone(replica), Arc::clone(clock)));
    }
    acked
        .await
        .unwrap_or_else(|_| Err(unknown("the node is stopping")))
}

async fn run(replica: Arc<Replica>, clock: Arc<dyn Clock>) {
    loop {
        let mut calls = replica.door.packing.next_round();
        if calls.is_empty() {
            return;
        }
        // Whoever has gone away by now has not been told that its records are in the log.
        calls.retain(|call| !call.done.is_closed());
        if calls.is_empty() {
            continue;
        }
        let acked = write_together(&replica, &calls, clock.now_ms()).await;
        answer(calls, acked);
    }
}

async fn write_together(
    replica: &Arc<Replica>,
    calls: &[Call],
    now_ms: i64,
) -> Result<Acked, ApiError> {
    let bytes = calls.iter().map(|call| call.bytes).sum();
    let mut builder = BatchBuilder::with_capacity(Compression::None, bytes);
    for call in calls {
        check::push_all(&mut builder, &call.records, now_ms)?;
    }
    let batch = Batch {
        encoded: builder.finish()?,
        stamp: None,
    };
    let_in(replica, batch, now_ms)
        .await?
        .acked(Arc::clone(replica))
        .await
}

/// Tells each call its share of the entry.
fn answer(calls: Vec<Call>, acked: Result<Acked, ApiError>) {
    let mut acked = acked;
    for Call { records, done, .. } in calls {
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let share = acked.as_ref().map(|whole| Acked {
            record_count: count,
            ..*whole
        });
        // Whoever has gone away does not want to know.
        done.send(share.map_err(Clone::clone)).ok();
        if let Ok(rest) = &mut acked {
            rest.base_offset = rest.base_offset.plus(count);
        }
    }
}
