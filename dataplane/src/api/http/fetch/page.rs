//! One read, answered with JSON.

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use lograft_core::limits::HTTP_FETCH_RECORDS_MAX_COUNT;
use serde::Serialize;
use utoipa::ToSchema;

use super::consistency::Consistency;
use super::position::Start;
use super::tail::TailCall;
use crate::api::held_reply::hold;
use crate::api::http::answer::{JSON, json_bytes, with_body};
use crate::api::http::error::HttpError;
use crate::api::http::number::Int;
use crate::api::http::record::{Forms, RecordFields, ReturnedRecord};
use crate::error::ApiError;
use crate::serving::fetch::fetch as fetch_once;
use crate::serving::request::{FetchRequest, Fetched, FetchedData, FetchedRecord, Format};

/// Records of a partition, and its bounds at that time.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of Page")]
pub(crate) struct FetchedPage {
    records: Vec<RecordFields>,
    /// Where the next read continues.
    #[schema(pattern = "^[0-9]+$")]
    next_offset: String,
    /// End of the committed records, exclusive.
    #[schema(pattern = "^[0-9]+$")]
    high_watermark: String,
    #[schema(pattern = "^[0-9]+$")]
    log_start_offset: String,
    #[schema(pattern = "^[0-9]+$")]
    leader_epoch: String,
    /// Guarantee of the answer; null if a node before 0.3.0 has read.
    #[schema(inline)]
    consistency: Option<Consistency>,
    /// Id of the node whose replica was read; null if it is one before 0.3.0.
    #[schema(pattern = "^[0-9]+$")]
    read_by: Option<String>,
}

#[derive(Serialize)]
struct Page<'a> {
    records: Vec<ReturnedRecord<'a>>,
    next_offset: Int<u64>,
    high_watermark: Int<u64>,
    log_start_offset: Int<u64>,
    leader_epoch: Int<u64>,
    consistency: Option<Consistency>,
    read_by: Option<Int<u64>>,
}

pub(super) async fn fetch(call: &TailCall, partition: u32) -> Result<Response, HttpError> {
    let query = &call.query;
    if query.follow.is_some() {
        let bound = "set with Accept: application/x-ndjson only";
        return Err(ApiError::invalid("follow", bound).into());
    }
    let most = query.max_records.unwrap_or(HTTP_FETCH_RECORDS_MAX_COUNT);
    if most > HTTP_FETCH_RECORDS_MAX_COUNT {
        let bound = format_args!("at most {HTTP_FETCH_RECORDS_MAX_COUNT}, got {most}");
        return Err(ApiError::invalid("max_records", bound).into());
    }
    let Start::At(position) = query.start()? else {
        return Err(ApiError::invalid("offset", "set").into());
    };
    let request = FetchRequest {
        target: call.target(partition),
        terms: query.terms(),
        position,
        format: Format::Records,
        max_bytes: query.max_bytes.unwrap_or(0),
        min_bytes: 1,
        max_wait: Duration::from_millis(u64::from(query.wait_ms.unwrap_or(0))),
    };
    let account = call.engine.replies.account(&request.target);
    let (fetched, mut memory) = fetch_once(&call.engine, request).await?;
    let page = encode(partition, fetched, (most, query.forms()));
    if let Some(memory) = &mut memory {
        // JSON may take a multiple of what the records do.
        memory.resize(page.len())?;
    }
    let mut response = with_body(StatusCode::OK, JSON, page.into());
    hold(response.extensions_mut(), account, memory);
    Ok(response)
}

fn encode(partition: u32, fetched: Fetched, (most, forms): (u32, Forms)) -> Bytes {
    let Fetched {
        data,
        high_watermark,
        log_start_offset,
        mut next_offset,
        term,
        origin,
        // Single records start where the read does.
        start_offset: _,
    } = fetched;
    let mut records = records(data);
    if let Some(beyond) = records.get(most as usize) {
        next_offset = beyond.offset;
        records.truncate(most as usize);
    }
    let returned = records.iter().map(|fetched| ReturnedRecord {
        partition,
        fetched,
        forms,
    });
    let page = Page {
        records: returned.collect(),
        next_offset: Int(next_offset.get()),
        high_watermark: Int(high_watermark.get()),
        log_start_offset: Int(log_start_offset.get()),
        leader_epoch: Int(term.get()),
        consistency: origin.consistency.map(Consistency::from),
        read_by: origin.node.map(|node| Int(node.get())),
    };
    json_bytes(&page)
}

/// The records of a read that asked for records.
pub(super) fn records(data: FetchedData) -> Vec<FetchedRecord> {
    match data {
        FetchedData::Records(records) => records,
        FetchedData::Batches(_) => Vec::new(),
    }
}
