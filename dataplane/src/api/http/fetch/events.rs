//! Records as server-sent events. The id of an event is the offset of its record, in a stream of a
//! whole topic those of all partitions, so that a browser resumes behind the last one it has got.

use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use futures_util::{Stream, stream};
use lograft_core::limits::{HTTP_EVENT_KEEPALIVE_INTERVAL, HTTP_EVENT_RETRY_MS};
use serde::Serialize;
use utoipa::ToSchema;

use super::page::records;
use super::tail::Tail;
use crate::api::http::problem::Problem;
use crate::api::http::record::{Forms, ReturnedRecord};
use crate::error::ApiError;

/// The data of the event `open`, the first one of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpenEvent {
    /// `Last-Event-ID` that starts where this stream starts.
    resume: String,
}

/// The data of the event `end`, the last one of a stream that is not asked for more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndEvent {
    /// Why the stream ends; null if it has returned `max_records`. Connect again if `retryable` is
    /// set.
    error: Option<Problem>,
    /// `Last-Event-ID` that continues behind this stream.
    resume: String,
}

/// The state of a stream.
enum State {
    Opening(Tail),
    Running(Tail),
}

pub(super) fn encode(
    tail: Tail,
    forms: Forms,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    stream::unfold(Some(State::Opening(tail)), move |state| async move {
        let mut tail = match state? {
            State::Opening(tail) => {
                let opened = open(&tail);
                return Some((Ok(opened), Some(State::Running(tail))));
            }
            State::Running(tail) => tail,
        };
        let next = tokio::time::timeout(HTTP_EVENT_KEEPALIVE_INTERVAL, tail.next()).await;
        Some(match next {
            Err(_) => {
                let comment = Bytes::from_static(b": keep-alive\n\n");
                (Ok(comment), Some(State::Running(tail)))
            }
            Ok(Some(Ok((partition, fetched)))) => {
                let mut events = Vec::new();
                for fetched in &records(fetched.data) {
                    if tail.left == 0 {
                        break;
                    }
                    tail.on_sent(partition, fetched.offset);
                    let record = ReturnedRecord {
                        partition,
                        fetched,
                        forms,
                    };
                    add_event(&mut events, (None, &tail.event_id()), &record);
                }
                (Ok(events.into()), Some(State::Running(tail)))
            }
            Ok(Some(Err(error))) => (Ok(end(&tail, Some(error))), None),
            Ok(None) => (Ok(end(&tail, None)), None),
        })
    })
}

fn open(tail: &Tail) -> Bytes {
    let resume = tail.event_id();
    let mut event = format!("retry: {HTTP_EVENT_RETRY_MS}\n").into_bytes();
    let data = OpenEvent {
        resume: resume.clone(),
    };
    add_event(&mut event, (Some("open"), &resume), &data);
    event.into()
}

fn end(tail: &Tail, error: Option<ApiError>) -> Bytes {
    let resume = tail.event_id();
    let data = EndEvent {
        error: error.map(|error| Problem::of(&error.into())),
        resume: resume.clone(),
    };
    let mut event = Vec::new();
    add_event(&mut event, (Some("end"), &resume), &data);
    event.into()
}

fn add_event<T: Serialize>(events: &mut Vec<u8>, (name, id): (Option<&str>, &str), data: &T) {
    // Writing to memory does not fail. JSON has no line breaks.
    if let Some(name) = name {
        let _ = writeln!(events, "event: {name}");
    }
    let _ = write!(events, "id: {id}\ndata: ");
    let _ = serde_json::to_writer(&mut *events, data);
    events.extend_from_slice(b"\n\n");
}
