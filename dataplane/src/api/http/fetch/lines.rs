//! Records as JSON lines.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::page::records;
use super::tail::Tail;
use crate::api::http::number::Int;
use crate::api::http::problem::Problem;
use crate::api::http::record::{Forms, ReturnedRecord};
use crate::error::ApiError;

/// The last line of a stream that ends early.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LastLine {
    error: Problem,
    /// Where to continue, by partition.
    #[schema(value_type = BTreeMap<String, String>)]
    next_offsets: BTreeMap<u32, Int<u64>>,
}

impl LastLine {
    fn of(tail: &Tail, error: ApiError) -> Self {
        let next = tail.next_offsets().iter();
        Self {
            error: Problem::of(&error.into()),
            next_offsets: next.map(|(at, offset)| (*at, Int(offset.get()))).collect(),
        }
    }
}

pub(super) fn encode(
    tail: Tail,
    forms: Forms,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    stream::unfold(Some(tail), move |tail| async move {
        let mut tail = tail?;
        Some(match tail.next().await? {
            Ok((partition, fetched)) => {
                let mut lines = Vec::new();
                for fetched in &records(fetched.data) {
                    if tail.left == 0 {
                        break;
                    }
                    let record = ReturnedRecord {
                        partition,
                        fetched,
                        forms,
                    };
                    add_line(&mut lines, &record);
                    tail.on_sent(partition, fetched.offset);
                }
                (Ok(lines.into()), Some(tail))
            }
            Err(error) => {
                let mut lines = Vec::new();
                add_line(&mut lines, &LastLine::of(&tail, error));
                (Ok(lines.into()), None)
            }
        })
    })
}

fn add_line<T: Serialize>(lines: &mut Vec<u8>, value: &T) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(&mut *lines, value);
    lines.push(b'\n');
}
