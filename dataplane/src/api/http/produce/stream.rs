//! A stream of records, one JSON object a line. Lines are gathered into batches, many of which are
//! in flight. There is one answer, at the end: a client that sends first and reads later cannot
//! block itself, and the status says whether everything was appended.

use std::collections::BTreeMap;
use std::pin::pin;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::StatusCode;
use lograft_core::limits::{
    HTTP_STREAM_BATCH_BYTES, HTTP_STREAM_BATCH_MAX_COUNT, HTTP_STREAM_WAITING_MAX_BYTES,
    PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES, PRODUCE_STREAM_IN_FLIGHT_MAX_COUNT,
};
use lograft_core::record::decoded_bytes;
use lograft_proto::Method;
use tokio::time::Instant;

use super::ProduceCall;
use super::done::Done;
use super::lines::{Line, Lines};
use crate::access::Grant;
use crate::api::call_rules::rule_of;
use crate::api::caller::connection_closing;
use crate::api::http::answer::json;
use crate::api::http::body::{BodyBudget, HeldBody};
use crate::api::http::error::HttpError;
use crate::api::http::parts::HttpApi;
use crate::api::http::problem::Problem;
use crate::api::http::record::NewRecord;
use crate::error::ApiError;
use crate::serving::append::{AppendPipeline, memory_bytes, too_late};
use crate::serving::request::{Appended, PlainRecord};

pub(super) async fn produce(
    api: &HttpApi,
    call: ProduceCall,
    request: Request,
) -> Result<Response, HttpError> {
    let mut lines = Lines::new(request)?;
    let mut sender = Sender::new(&call);
    let sent = send_all(&mut lines, &mut sender, &api.bodies).await;
    sender.settle().await;
    let failed = sent.err().or(sender.failed.take());
    let Some(error) = failed else {
        return Ok(json(StatusCode::OK, &sender.done.streamed()));
    };
    let unacknowledged = sender.done.first_failed_line;
    let unacknowledged = unacknowledged.unwrap_or(lines.next_number());
    let problem = Problem::of(&error).with([
        ("first_unacknowledged_line", unacknowledged.to_string()),
        (
            "acknowledged_records",
            sender.done.record_count().to_string(),
        ),
    ]);
    Ok(problem.into_response())
}

/// Sends the records of all lines. Fails at the first one that cannot be sent.
async fn send_all(
    lines: &mut Lines,
    sender: &mut Sender<'_>,
    budget: &BodyBudget,
) -> Result<(), HttpError> {
    let mut held = HeldBody::default();
    let mut closing = pin!(sender.call.closing.clone().started());
    loop {
        while let Some(line) = lines.take()? {
            sender.add(line).await?;
        }
        // While batches are in flight the next ones fill up; when none is, nothing waits here.
        if sender.in_flight.is_empty() && !lines.has_more() {
            sender.flush().await?;
        }
        tokio::select! {
            biased;
            () = &mut closing => return Err(connection_closing().into()),
            Some(acked) = sender.in_flight.next() => sender.on_acked(acked),
            more = lines.fill() => if !more? {
                return sender.flush().await;
            },
        }
        if let Some(error) = sender.failed.take() {
            return Err(error);
        }
        budget.resize(&mut held, lines.buffered_bytes() + sender.waiting_bytes)?;
    }
}

/// Records of a partition that are not sent yet.
#[derive(Default)]
struct Batch {
    records: Vec<PlainRecord>,
    bytes: usize,
    first_line: u64,
}

/// The outcome of a batch.
struct Acked {
    partition: u32,
    first_line: u64,
    bytes: usize,
    outcome: Result<Appended, ApiError>,
}

type InFlight = futures_util::future::BoxFuture<'static, Acked>;

/// Sends the batches of a stream.
struct Sender<'a> {
    call: &'a ProduceCall,
    grant: Grant,
    pipeline: AppendPipeline,
    batches: BTreeMap<u32, Batch>,
    /// Those of all batches.
    waiting_bytes: usize,
    in_flight: FuturesUnordered<InFlight>,
    in_flight_bytes: usize,
    done: Done,
    failed: Option<HttpError>,
}

impl<'a> Sender<'a> {
    fn new(call: &'a ProduceCall) -> Self {
        Self {
            call,
            grant: Grant::new(call.access.clone(), rule_of(Method::LogProduceStream)),
            pipeline: AppendPipeline::new(call.engine.clone()),
            batches: BTreeMap::new(),
            waiting_bytes: 0,
            in_flight: FuturesUnordered::new(),
            in_flight_bytes: 0,
            done: Done::default(),
            failed: None,
        }
    }

    /// Adds the record of a line to its batch, and sends that if it is full.
    async fn add(&mut self, line: Line) -> Result<(), HttpError> {
        let number = line.number;
        let added = self.try_add(line).await;
        added.inspect_err(|_| self.done.fail(number))
    }

    async fn try_add(&mut self, line: Line) -> Result<(), HttpError> {
        let Line { number, text } = line;
        let at = |error: serde_json::Error| HttpError::json(format!("line {number}"), &error);
        let record: NewRecord = serde_json::from_slice(&text).map_err(at)?;
        let given = record.partition.or(self.call.query.partition);
        let key = record.key().map(|key| &**key);
        let partition = self
            .call
            .partitions
            .select(&self.call.topic, (given, key))?;
        let record = record.into_plain();
        let bytes = record_bytes(&record);
        let max_bytes = HTTP_STREAM_BATCH_BYTES.min(self.call.partitions.batch_max_bytes);
        if self
            .batches
            .get(&partition)
            .is_some_and(|batch| batch.is_full(bytes, max_bytes))
        {
            self.send(partition).await?;
        }
        let batch = self.batches.entry(partition).or_default();
        if batch.records.is_empty() {
            batch.first_line = number;
        }
        batch.bytes += bytes;
        batch.records.push(record);
        self.waiting_bytes += bytes;
        if self.waiting_bytes > HTTP_STREAM_WAITING_MAX_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends all batches as they are.
    async fn flush(&mut self) -> Result<(), HttpError> {
        while let Some(partition) = self.batches.keys().next().copied() {
            self.send(partition).await?;
        }
        Ok(())
    }

    async fn send(&mut self, partition: u32) -> Result<(), HttpError> {
        while self.in_flight_bytes >= PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES
            || self.in_flight.len() >= PRODUCE_STREAM_IN_FLIGHT_MAX_COUNT
        {
            let Some(acked) = self.in_flight.next().await else {
                break;
            };
            self.on_acked(acked);
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(batch) = self.batches.remove(&partition) else {
            return Ok(());
        };
        self.waiting_bytes -= batch.bytes;
        let first_line = batch.first_line;
        let sent = self.try_send(partition, batch).await;
        sent.inspect_err(|_| self.done.fail(first_line))
    }

    async fn try_send(&mut self, partition: u32, batch: Batch) -> Result<(), HttpError> {
        let started = Instant::now();
        let call = self.call;
        self.grant.check(&call.principal, &call.topic, started)?;
        let Batch {
            records,
            bytes: record_bytes,
            first_line,
        } = batch;
        let request = call.append_request(partition, records, None);
        let (timeout, bytes) = (request.timeout, memory_bytes(&request.content));
        let deadline = started + timeout;
        let admitted = self.pipeline.append(request, deadline);
        let admitted = tokio::time::timeout_at(deadline, admitted);
        let reply = admitted.await.map_err(|_| too_late(timeout))??;
        let engine = call.engine.clone();
        self.in_flight_bytes += bytes;
        self.in_flight.push(
            async move {
                let outcome = tokio::time::timeout_at(deadline, reply).await;
                let outcome = outcome.unwrap_or_else(|_| Err(too_late(timeout)));
                engine.count_append(&outcome, record_bytes, started);
                Acked {
                    partition,
                    first_line,
                    bytes,
                    outcome,
                }
            }
            .boxed(),
        );
        Ok(())
    }

    fn on_acked(&mut self, acked: Acked) {
        self.in_flight_bytes -= acked.bytes;
        match acked.outcome {
            Ok(appended) => self.done.add(acked.partition, &appended),
            Err(error) => {
                self.done.fail(acked.first_line);
                self.failed.get_or_insert(error.into());
            }
        }
    }

    /// Waits for the outcome of everything that was sent.
    async fn settle(&mut self) {
        while let Some(acked) = self.in_flight.next().await {
            self.on_acked(acked);
        }
        // What was not sent has failed too.
        let unsent = self.batches.values().map(|batch| batch.first_line).min();
        if let Some(line) = unsent {
            self.done.fail(line);
        }
    }
}

impl Batch {
    /// Whether a record of this size is for the next batch.
    fn is_full(&self, record_bytes: usize, max_bytes: usize) -> bool {
        !self.records.is_empty()
            && (self.bytes + record_bytes > max_bytes
                || self.records.len() >= HTTP_STREAM_BATCH_MAX_COUNT)
    }
}

/// About how many bytes a record takes.
fn record_bytes(record: &PlainRecord) -> usize {
    let headers = record.headers.iter();
    let headers: usize = headers.map(|h| h.key.len() + h.value.len()).sum();
    let parts = [&record.key, &record.value].into_iter().flatten();
    let payload = parts.map(bytes::Bytes::len).sum::<usize>() + headers;
    decoded_bytes(payload, record.headers.len())
}
