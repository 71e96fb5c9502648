//! Forwarded requests as messages of the log service, and its replies as results. Payloads move.

use lograft_core::record::Header;
use lograft_core::{LogIndex, NodeId, Offset, ProducerStamp, Record, Term};
use lograft_proto::log::UNKNOWN_OFFSET;
use lograft_proto::log::v1 as proto;

use super::status::error_from_wire;
use crate::error::ApiError;
use crate::serving::forward::{NumberedAppend, NumberedReply};
use crate::serving::request::{
    AppendRequest, Appended, Consistency, ConsumeRequest, Content, DeleteBefore,
    DeleteRecordsRequest, DeletedRecords, FetchRequest, Fetched, FetchedBatch, FetchedData,
    FetchedRecord, Format, ListOffsetsRequest, OffsetBounds, PlainRecord, Position, ReadOrigin,
    ReadPoint, ReadTerms, UncheckedBatch,
};

pub(super) fn append(request: AppendRequest) -> proto::ProduceRequest {
    let AppendRequest {
        target,
        content,
        stamp,
        timeout,
    } = request;
    let (batch, records) = match content {
        Content::Encoded(batch) => (Some(encoded(batch)), Vec::new()),
        Content::Plain(records) => (None, records.into_iter().map(plain).collect()),
    };
    proto::ProduceRequest {
        topic: target.topic,
        partition: target.partition,
        records,
        batch,
        producer: stamp.map(producer),
        timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        request_id: 0,
        forwarded: true,
        topic_id: target.topic_id.map(|id| id.0),
        principal: target.principal.to_string(),
    }
}

/// The number is the request id, which nodes of all versions copy into the reply.
pub(super) fn numbered_append(
    NumberedAppend { number, request }: NumberedAppend,
) -> proto::ProduceRequest {
    proto::ProduceRequest {
        request_id: number,
        ..append(request)
    }
}

fn encoded(batch: UncheckedBatch) -> proto::EncodedBatch {
    let UncheckedBatch {
        data,
        crc32c,
        record_count,
    } = batch;
    proto::EncodedBatch {
        data,
        crc32c,
        record_count,
    }
}

fn plain(record: PlainRecord) -> proto::Record {
    let PlainRecord {
        key,
        value,
        headers,
        timestamp_ms,
    } = record;
    let header = |Header { key, value }| proto::Header { key, value };
    proto::Record {
        key,
        value,
        headers: headers.into_iter().map(header).collect(),
        timestamp_ms,
    }
}

const fn producer(stamp: ProducerStamp) -> proto::ProducerStamp {
    proto::ProducerStamp {
        producer_id: stamp.id.get(),
        producer_epoch: stamp.epoch.get(),
        base_sequence: stamp.base_sequence.get(),
    }
}

pub(super) fn numbered_reply(reply: proto::ProduceReply) -> NumberedReply {
    NumberedReply {
        number: reply.request_id,
        partition: reply.partition,
        outcome: appended(reply),
    }
}

pub(super) fn appended(reply: proto::ProduceReply) -> Result<Appended, ApiError> {
    if let Some(error) = reply.error {
        return Err(error_from_wire(error));
    }
    let is_known = !reply.duplicate || reply.base_offset != UNKNOWN_OFFSET;
    Ok(Appended {
        base_offset: is_known.then_some(Offset(reply.base_offset)),
        record_count: reply.record_count,
        term: Term(reply.leader_epoch),
        append_time_ms: reply.append_time_ms,
        is_duplicate: reply.duplicate,
    })
}

pub(super) fn fetch(request: FetchRequest) -> proto::FetchRequest {
    let FetchRequest {
        target,
        terms,
        position: at,
        format: records_or_batches,
        max_bytes,
        min_bytes,
        max_wait,
    } = request;
    let ReadTerms {
        consistency,
        seen,
        refuses_to_forward,
        zone,
    } = terms.for_leader();
    proto::FetchRequest {
        topic: target.topic,
        partition: target.partition,
        position: Some(position(at)),
        max_bytes,
        max_wait_ms: u32::try_from(max_wait.as_millis()).unwrap_or(u32::MAX),
        min_bytes,
        format: format(records_or_batches),
        forwarded: true,
        topic_id: target.topic_id.map(|id| id.0),
        principal: target.principal.to_string(),
        consistency: asked(consistency).into(),
        seen: Some(read_point(seen)),
        no_forward: refuses_to_forward,
        zone,
    }
}

pub(super) fn consume(request: ConsumeRequest) -> proto::ConsumeRequest {
    let ConsumeRequest {
        target,
        terms,
        position: at,
        format: records_or_batches,
        max_bytes,
        max_records,
        follow,
    } = request;
    let ReadTerms {
        consistency,
        seen,
        refuses_to_forward,
        zone,
    } = terms.for_leader();
    proto::ConsumeRequest {
        topic: target.topic,
        partition: target.partition,
        position: Some(position(at)),
        max_bytes,
        format: format(records_or_batches),
        follow,
        max_records: max_records.unwrap_or(0),
        forwarded: true,
        topic_id: target.topic_id.map(|id| id.0),
        principal: target.principal.to_string(),
        consistency: asked(consistency).into(),
        seen: Some(read_point(seen)),
        no_forward: refuses_to_forward,
        zone,
    }
}

fn position(position: Position) -> proto::Position {
    use proto::position::At;
    let at = match position {
        Position::Offset(offset) => At::Offset(offset.get()),
        Position::Earliest => At::Earliest(true),
        Position::Latest => At::Latest(true),
        Position::Timestamp(time_ms) => At::TimestampMs(time_ms),
    };
    proto::Position { at: Some(at) }
}

/// The leader's answer is what nodes before 0.3.0 give.
const fn asked(consistency: Consistency) -> proto::ReadConsistency {
    match consistency {
        Consistency::Leader => proto::ReadConsistency::Unspecified,
        Consistency::Session => proto::ReadConsistency::Session,
        Consistency::Linearizable => proto::ReadConsistency::Linearizable,
    }
}

fn given(consistency: i32) -> Option<Consistency> {
    use proto::ReadConsistency as Wire;
    match Wire::try_from(consistency) {
        Ok(Wire::Leader) => Some(Consistency::Leader),
        Ok(Wire::Session) => Some(Consistency::Session),
        Ok(Wire::Linearizable) => Some(Consistency::Linearizable),
        Ok(Wire::Unspecified) | Err(_) => None,
    }
}

const fn read_point(seen: ReadPoint) -> proto::ReadPoint {
    let ReadPoint {
        term,
        high_watermark,
    } = seen;
    proto::ReadPoint {
        leader_epoch: term.get(),
        high_watermark: high_watermark.get(),
    }
}

fn format(format: Format) -> i32 {
    match format {
        Format::Records => proto::FetchFormat::Records,
        Format::Batches => proto::FetchFormat::Batches,
    }
    .into()
}

/// A reply without records has no format; it is read as one without batches.
pub(super) fn fetched(reply: proto::FetchReply) -> Fetched {
    let proto::FetchReply {
        batches,
        records,
        high_watermark,
        log_start_offset,
        next_offset,
        leader_epoch,
        start_offset,
        consistency,
        read_by,
        commit_index,
    } = reply;
    let data = if records.is_empty() {
        FetchedData::Batches(batches.into_iter().map(batch).collect())
    } else {
        FetchedData::Records(records.into_iter().map(record).collect())
    };
    Fetched {
        data,
        high_watermark: Offset(high_watermark),
        log_start_offset: Offset(log_start_offset),
        start_offset: start_offset.map(Offset),
        next_offset: Offset(next_offset),
        term: Term(leader_epoch),
        origin: ReadOrigin {
            consistency: given(consistency),
            node: Some(NodeId(read_by)).filter(|node| node.get() > 0),
            commit_index: Some(LogIndex(commit_index)).filter(|index| index.get() > 0),
        },
    }
}

fn batch(batch: proto::FetchedBatch) -> FetchedBatch {
    FetchedBatch {
        base_offset: Offset(batch.base_offset),
        record_count: batch.record_count,
        append_time_ms: batch.append_time_ms,
        data: batch.data,
        crc32c: batch.crc32c,
        term: Term(batch.leader_epoch),
    }
}

fn record(fetched: proto::FetchedRecord) -> FetchedRecord {
    let proto::Record {
        key,
        value,
        headers,
        timestamp_ms,
    } = fetched.record.unwrap_or_default();
    let header = |proto::Header { key, value }| Header { key, value };
    FetchedRecord {
        offset: Offset(fetched.offset),
        record: Record {
            timestamp_ms,
            key,
            value,
            headers: headers.into_iter().map(header).collect(),
        },
        append_time_ms: fetched.append_time_ms,
    }
}

pub(super) fn list_offsets(request: ListOffsetsRequest) -> proto::ListOffsetsRequest {
    let ListOffsetsRequest {
        topic,
        topic_id,
        partitions,
        timestamp_ms,
        is_forwarded: _,
        principal,
    } = request;
    proto::ListOffsetsRequest {
        topic,
        partitions,
        timestamp_ms,
        forwarded: true,
        topic_id: topic_id.map(|id| id.0),
        principal: principal.to_string(),
    }
}

pub(super) fn offsets(
    reply: proto::ListOffsetsReply,
) -> Vec<(u32, Result<OffsetBounds, ApiError>)> {
    let bounds = |found: proto::PartitionOffsets| match found.error {
        Some(error) => (found.partition, Err(error_from_wire(error))),
        None => (
            found.partition,
            Ok(OffsetBounds {
                log_start_offset: Offset(found.log_start_offset),
                high_watermark: Offset(found.high_watermark),
                at_timestamp: found.offset_at_timestamp.map(Offset),
                term: Term(found.leader_epoch),
            }),
        ),
    };
    reply.partitions.into_iter().map(bounds).collect()
}

pub(super) fn delete_records(request: DeleteRecordsRequest) -> proto::DeleteRecordsRequest {
    use proto::delete_records_request::Before;
    let DeleteRecordsRequest { target, before } = request;
    proto::DeleteRecordsRequest {
        topic: target.topic,
        partition: target.partition,
        before: Some(match before {
            DeleteBefore::Offset(offset) => Before::Offset(offset.get()),
            DeleteBefore::HighWatermark => Before::HighWatermark(true),
        }),
        forwarded: true,
        topic_id: target.topic_id.map(|id| id.0),
        principal: target.principal.to_string(),
    }
}

pub(super) const fn deleted(reply: proto::DeleteRecordsReply) -> DeletedRecords {
    DeletedRecords {
        log_start_offset: Offset(reply.log_start_offset),
        high_watermark: Offset(reply.high_watermark),
        term: Term(reply.leader_epoch),
    }
}
