//! Records in one JSON object.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use lograft_core::limits::CHECK_INLINE_MAX_BYTES;
use lograft_core::{ProducerStamp, Reason};

use super::ProduceCall;
use super::batch::StampFields;
use super::schema::{Durability, PartitionResult, ProduceBody, Produced, RecordResult};
use crate::api::http::answer::json;
use crate::api::http::body::read_whole;
use crate::api::http::error::HttpError;
use crate::api::http::number::Int;
use crate::api::http::parts::HttpApi;
use crate::api::http::problem::Problem;
use crate::api::http::record::NewRecord;
use crate::blocking::run_blocking;
use crate::error::ApiError;
use crate::serving::append::append;
use crate::serving::request::{Appended, PlainRecord};

pub(super) async fn produce(
    api: &HttpApi,
    call: ProduceCall,
    request: Request,
) -> Result<Response, HttpError> {
    let (body, held) = read_whole(&api.bodies, request).await?;
    let ProduceBody {
        records,
        producer_id,
        epoch,
        sequence,
    } = read(body).await?;
    let stamp = StampFields {
        producer_id,
        epoch,
        sequence,
    };
    let outcome = append_all(&call, records.0, stamp.stamp()?).await;
    drop(held);
    outcome
}

/// Reads a body, a large one on a thread for blocking work.
async fn read(body: Bytes) -> Result<ProduceBody, HttpError> {
    let read = if body.len() > CHECK_INLINE_MAX_BYTES {
        let read = run_blocking(move || serde_json::from_slice(&body)).await;
        let text = "the node is stopping";
        read.ok_or_else(|| ApiError::new(Reason::NotReady, text))?
    } else {
        serde_json::from_slice(&body)
    };
    read.map_err(|error| HttpError::json("body", &error))
}

/// Appends records, those of each partition as one batch.
pub(super) async fn append_all(
    call: &ProduceCall,
    records: Vec<NewRecord>,
    stamp: Option<ProducerStamp>,
) -> Result<Response, HttpError> {
    if records.is_empty() {
        return Err(ApiError::invalid("records", "at least one record").into());
    }
    let (places, batches) = by_partition(call, records)?;
    if stamp.is_some() && batches.len() > 1 {
        let bound = "the same for all records of a request with producer_id";
        return Err(ApiError::invalid("partition", bound).into());
    }
    let appends = batches.into_iter().map(async |(partition, records)| {
        let request = call.append_request(partition, records, stamp);
        (partition, append(&call.engine, request).await)
    });
    let outcomes: BTreeMap<u32, Outcome> = join_all(appends).await.into_iter().collect();
    answer(&places, &outcomes)
}

type Outcome = Result<Appended, ApiError>;

/// A record's partition, and its place among the records of that.
struct Place {
    partition: u32,
    index: u32,
}

type Batches = BTreeMap<u32, Vec<PlainRecord>>;

fn by_partition(
    call: &ProduceCall,
    records: Vec<NewRecord>,
) -> Result<(Vec<Place>, Batches), ApiError> {
    let mut places = Vec::with_capacity(records.len());
    let mut batches = Batches::new();
    for record in records {
        let given = record.partition.or(call.query.partition);
        let key = record.key().map(|key| &**key);
        let partition = call.partitions.select(&call.topic, (given, key))?;
        let batch = batches.entry(partition).or_default();
        let index = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        batch.push(record.into_plain());
        places.push(Place { partition, index });
    }
    Ok((places, batches))
}

/// The answer: a problem if nothing was appended.
fn answer(places: &[Place], outcomes: &BTreeMap<u32, Outcome>) -> Result<Response, HttpError> {
    let failed = outcomes.values().find_map(|outcome| outcome.as_ref().err());
    let partitions: Vec<PartitionResult> = outcomes
        .iter()
        .filter_map(|(partition, outcome)| {
            Some(partition_result(*partition, outcome.as_ref().ok()?))
        })
        .collect();
    let status = match failed {
        Some(error) if partitions.is_empty() => return Err(error.clone().into()),
        Some(_) => StatusCode::MULTI_STATUS,
        None => StatusCode::OK,
    };
    let records = places.iter().filter_map(|place| {
        let outcome = outcomes.get(&place.partition)?;
        Some(record_result(place, outcome))
    });
    let produced = Produced {
        durability: Durability::MajorityFsync,
        partitions,
        records: records.collect(),
    };
    Ok(json(status, &produced))
}

fn partition_result(partition: u32, appended: &Appended) -> PartitionResult {
    let Appended {
        base_offset,
        record_count,
        term,
        append_time_ms,
        is_duplicate,
    } = *appended;
    PartitionResult {
        partition,
        base_offset: base_offset.map(|offset| Int(offset.get())),
        record_count,
        leader_epoch: Int(term.get()),
        append_time_ms: Int(append_time_ms),
        duplicate: is_duplicate,
    }
}

fn record_result(place: &Place, outcome: &Outcome) -> RecordResult {
    let Place { partition, index } = *place;
    let base_offset = outcome
        .as_ref()
        .ok()
        .and_then(|appended| appended.base_offset);
    RecordResult {
        partition,
        offset: base_offset.map(|base| Int(base.plus(index).get())),
        error: outcome
            .as_ref()
            .err()
            .map(|error| Problem::of(&error.clone().into())),
    }
}
