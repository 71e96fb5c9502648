//! Requests of the log service from their messages. Fields that every request of a kind must have
//! are checked here, bounds in `serving`.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::acl::Principal;
use lograft_core::metadata::TopicId;
use lograft_core::record::Header;
use lograft_core::{Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, Term};
use lograft_proto::log::v1 as proto;

use crate::error::ApiError;
use crate::serving::append::append_timeout;
use crate::serving::request::{
    AppendRequest, Consistency, ConsumeRequest, Content, DeleteBefore, DeleteRecordsRequest,
    FetchRequest, Format, ListOffsetsRequest, PlainRecord, Position, ReadPoint, ReadTerms, Target,
    UncheckedBatch,
};

/// The partition that a request is for; moves the topic out of its message.
macro_rules! target {
    ($request:ident, $principal:ident) => {
        Target {
            topic: $request.topic,
            topic_id: $request.topic_id.map(TopicId),
            partition: $request.partition,
            is_forwarded: $request.forwarded,
            principal: $principal,
        }
    };
}

/// How a read is answered; moves the zone out of its message.
macro_rules! read_terms {
    ($request:ident) => {
        ReadTerms {
            consistency: consistency($request.consistency)?,
            seen: read_point($request.seen),
            refuses_to_forward: $request.no_forward,
            zone: $request.zone,
        }
    };
}

/// An append of a principal.
pub(crate) fn append(
    request: proto::ProduceRequest,
    principal: Arc<Principal>,
) -> Result<AppendRequest, ApiError> {
    let proto::ProduceRequest {
        topic,
        partition,
        records,
        batch,
        producer,
        timeout_ms,
        request_id: _,
        forwarded,
        topic_id,
        principal: _,
    } = request;
    let content = match (batch, records) {
        (Some(batch), records) if records.is_empty() => Content::Encoded(UncheckedBatch {
            data: batch.data,
            crc32c: batch.crc32c,
            record_count: batch.record_count,
        }),
        (None, records) if !records.is_empty() => {
            Content::Plain(records.into_iter().map(plain_record).collect())
        }
        _ => {
            return Err(ApiError::invalid(
                "records",
                "set, or batch instead, but not both",
            ));
        }
    };
    Ok(AppendRequest {
        target: Target {
            topic,
            topic_id: topic_id.map(TopicId),
            partition,
            is_forwarded: forwarded,
            principal,
        },
        content,
        stamp: producer.map(stamp),
        timeout: append_timeout(timeout_ms),
    })
}

fn plain_record(record: proto::Record) -> PlainRecord {
    let proto::Record {
        key,
        value,
        headers,
        timestamp_ms,
    } = record;
    let header = |proto::Header { key, value }| Header { key, value };
    PlainRecord {
        key,
        value,
        headers: headers.into_iter().map(header).collect(),
        timestamp_ms,
    }
}

const fn stamp(stamp: proto::ProducerStamp) -> ProducerStamp {
    ProducerStamp {
        id: ProducerId(stamp.producer_id),
        epoch: ProducerEpoch(stamp.producer_epoch),
        base_sequence: Sequence(stamp.base_sequence),
    }
}

pub(crate) fn fetch(
    request: proto::FetchRequest,
    principal: Arc<Principal>,
) -> Result<FetchRequest, ApiError> {
    Ok(FetchRequest {
        terms: read_terms!(request),
        position: position(request.position)?,
        format: format(request.format)?,
        max_bytes: request.max_bytes,
        min_bytes: request.min_bytes,
        max_wait: Duration::from_millis(u64::from(request.max_wait_ms)),
        target: target!(request, principal),
    })
}

pub(crate) fn consume(
    request: proto::ConsumeRequest,
    principal: Arc<Principal>,
) -> Result<ConsumeRequest, ApiError> {
    Ok(ConsumeRequest {
        terms: read_terms!(request),
        position: position(request.position)?,
        format: format(request.format)?,
        max_bytes: request.max_bytes,
        max_records: Some(request.max_records).filter(|count| *count > 0),
        follow: request.follow,
        target: target!(request, principal),
    })
}

pub(crate) fn list_offsets(
    request: proto::ListOffsetsRequest,
    principal: Arc<Principal>,
) -> ListOffsetsRequest {
    let proto::ListOffsetsRequest {
        topic,
        partitions,
        timestamp_ms,
        forwarded,
        topic_id,
        principal: _,
    } = request;
    ListOffsetsRequest {
        topic,
        topic_id: topic_id.map(TopicId),
        partitions,
        timestamp_ms,
        is_forwarded: forwarded,
        principal,
    }
}

pub(crate) fn delete_records(
    request: proto::DeleteRecordsRequest,
    principal: Arc<Principal>,
) -> Result<DeleteRecordsRequest, ApiError> {
    use proto::delete_records_request::Before;
    let before = request.before;
    Ok(DeleteRecordsRequest {
        before: match before.ok_or_else(|| ApiError::invalid("before", "set"))? {
            Before::Offset(offset) => DeleteBefore::Offset(Offset(offset)),
            Before::HighWatermark(_) => DeleteBefore::HighWatermark,
        },
        target: target!(request, principal),
    })
}

fn position(position: Option<proto::Position>) -> Result<Position, ApiError> {
    use proto::position::At;
    let at = position.and_then(|position| position.at);
    Ok(
        match at.ok_or_else(|| ApiError::invalid("position", "set"))? {
            At::Offset(offset) => Position::Offset(Offset(offset)),
            At::Earliest(_) => Position::Earliest,
            At::Latest(_) => Position::Latest,
            At::TimestampMs(time_ms) => Position::Timestamp(time_ms),
        },
    )
}

fn consistency(consistency: i32) -> Result<Consistency, ApiError> {
    use proto::ReadConsistency as Wire;
    match Wire::try_from(consistency) {
        Ok(Wire::Unspecified | Wire::Leader) => Ok(Consistency::Leader),
        Ok(Wire::Session) => Ok(Consistency::Session),
        Ok(Wire::Linearizable) => Ok(Consistency::Linearizable),
        Err(_) => {
            let bound = "one of ReadConsistency";
            Err(ApiError::invalid("consistency", bound))
        }
    }
}

fn read_point(seen: Option<proto::ReadPoint>) -> ReadPoint {
    let proto::ReadPoint {
        leader_epoch,
        high_watermark,
    } = seen.unwrap_or_default();
    ReadPoint {
        term: Term(leader_epoch),
        high_watermark: Offset(high_watermark),
    }
}

fn format(format: i32) -> Result<Format, ApiError> {
    match proto::FetchFormat::try_from(format) {
        Ok(proto::FetchFormat::Unspecified | proto::FetchFormat::Records) => Ok(Format::Records),
        Ok(proto::FetchFormat::Batches) => Ok(Format::Batches),
        Err(_) => Err(ApiError::invalid("format", "one of FetchFormat")),
    }
}
