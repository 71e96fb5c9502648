//! Batches as they come in: checked once, before anything else is done with them.

use bytes::Bytes;
use lograft_core::limits::{
    BATCH_MAX_BYTES, BATCH_RECORDS_MAX_COUNT, CHECK_INLINE_MAX_BYTES, PLAIN_BATCH_MAX_BYTES,
};
use lograft_core::record_batch::verify_crc;
use lograft_core::{
    BatchBuilder, BatchError, BatchLimits, BatchView, Compression, EncodedBatch, EntryKind,
    ProducerEpoch, ProducerId, ProducerStamp, Proposal, Reason, Sequence,
};
use lograft_proto::log::v1 as proto;

use crate::api::grpc::status::ApiError;

/// What a record takes in a batch besides its key, value and headers, bytes, at most.
const RECORD_OVERHEAD_BYTES: usize = 24;
/// What a header takes besides its name and value, bytes, at most.
const HEADER_OVERHEAD_BYTES: usize = 8;

/// A batch that may go into the log.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) encoded: EncodedBatch,
    pub(crate) stamp: Option<ProducerStamp>,
}

impl Batch {
    /// As it is put before raft.
    pub(crate) fn into_proposal(self, now_ms: i64) -> Proposal {
        let EncodedBatch {
            bytes,
            crc32c,
            record_count,
            max_time_ms,
        } = self.encoded;
        Proposal {
            kind: EntryKind::Records,
            record_count,
            append_time_ms: now_ms,
            max_time_ms,
            producer: self.stamp,
            payload_crc32c: crc32c,
            payload: bytes,
        }
    }
}

/// What a request brings, before it is looked into.
pub(crate) enum Content {
    /// A batch of the client's.
    Encoded(proto::EncodedBatch),
    /// Records to be encoded here.
    Plain(Vec<proto::Record>),
}

/// Takes a request's content out of it.
pub(crate) fn content(request: &mut proto::ProduceRequest) -> Result<Content, ApiError> {
    match (request.batch.take(), std::mem::take(&mut request.records)) {
        (Some(batch), records) if records.is_empty() => Ok(Content::Encoded(batch)),
        (None, records) if !records.is_empty() => Ok(Content::Plain(records)),
        _ => Err(ApiError::invalid(
            "records",
            "given, or else batch; one of the two",
        )),
    }
}

/// About how many bytes a request brings: what it counts for in flight.
pub(crate) fn request_bytes(request: &proto::ProduceRequest) -> usize {
    request.batch.as_ref().map_or(0, |batch| batch.data.len()) + plain_bytes(&request.records)
}

/// The most bytes that the records take when encoded.
pub(crate) fn plain_bytes(records: &[proto::Record]) -> usize {
    records.iter().map(record_bytes).sum()
}

fn record_bytes(record: &proto::Record) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|h| h.key.len() + h.value.len() + HEADER_OVERHEAD_BYTES)
        .sum();
    let parts = [&record.key, &record.value]
        .into_iter()
        .flatten()
        .map(Bytes::len)
        .sum::<usize>();
    RECORD_OVERHEAD_BYTES + parts + headers
}

/// Checks a content and encodes what is plain. Large compressed batches are checked on a thread
/// for blocking work.
pub(crate) async fn check(
    content: Content,
    stamp: Option<proto::ProducerStamp>,
    now_ms: i64,
) -> Result<Batch, ApiError> {
    let encoded = match content {
        Content::Plain(records) => encode(&records, now_ms)?,
        Content::Encoded(batch) => check_encoded(batch).await?,
    };
    Ok(Batch {
        encoded,
        stamp: stamp.map(read_stamp),
    })
}

fn read_stamp(stamp: proto::ProducerStamp) -> ProducerStamp {
    ProducerStamp {
        id: ProducerId(stamp.producer_id),
        epoch: ProducerEpoch(stamp.producer_epoch),
        base_sequence: Sequence(stamp.base_sequence),
    }
}

async fn check_encoded(batch: proto::EncodedBatch) -> Result<EncodedBatch, ApiError> {
    let proto::EncodedBatch {
        data,
        crc32c,
        record_count,
    } = batch;
    if data.len() > BATCH_MAX_BYTES {
        let (found, bound) = (data.len(), BATCH_MAX_BYTES);
        return Err(BatchError::TooLarge {
            field: "batch bytes",
            found,
            bound,
        }
        .into());
    }
    verify_crc(&data, crc32c)?;
    let view = BatchView::parse(data)?;
    if view.record_count() != record_count {
        let text = format!(
            "record_count is {record_count}, the batch's own header says {}",
            view.record_count()
        );
        return Err(ApiError::new(Reason::BatchMalformed, text));
    }
    let is_packed = view.compression() != Compression::None;
    let view = if is_packed && view.uncompressed_len() > CHECK_INLINE_MAX_BYTES {
        let check = move || view.validate(&BatchLimits::default()).map(|()| view);
        tokio::task::spawn_blocking(check)
            .await
            .map_err(|error| ApiError::internal("checking a batch", &error))??
    } else {
        view.validate(&BatchLimits::default())?;
        view
    };
    Ok(EncodedBatch {
        bytes: view.bytes().clone(),
        crc32c,
        record_count,
        max_time_ms: view.max_time_ms(),
    })
}

/// Encodes plain records; one without a timestamp gets `now_ms`.
fn encode(records: &[proto::Record], now_ms: i64) -> Result<EncodedBatch, ApiError> {
    let mut builder = BatchBuilder::with_capacity(Compression::None, plain_bytes(records));
    push_all(&mut builder, records, now_ms)?;
    Ok(builder.finish()?)
}

/// Adds plain records to a batch.
pub(crate) fn push_all(
    builder: &mut BatchBuilder,
    records: &[proto::Record],
    now_ms: i64,
) -> Result<(), BatchError> {
    records.iter().try_for_each(|record| {
        let headers = record
            .headers
            .iter()
            .map(|h| (h.key.as_str(), h.value.as_ref()));
        let time_ms = record.timestamp_ms.unwrap_or(now_ms);
        builder.push_parts(
            time_ms,
            record.key.as_deref(),
            record.value.as_deref(),
            headers,
        )
    })
}

/// Checks that plain records fit into a batch, also behind others up to the packing limit.
pub(crate) fn check_plain(records: &[proto::Record]) -> Result<(), ApiError> {
    let limits = BatchLimits::default();
    let too_large = |field, found, bound| {
        Err(BatchError::TooLarge {
            field,
            found,
            bound,
        }
        .into())
    };
    let count_bound = BATCH_RECORDS_MAX_COUNT as usize;
    if records.len() > count_bound {
        return too_large("batch records", records.len(), count_bound);
    }
    for record in records {
        let headers: usize = record
            .headers
            .iter()
            .map(|h| h.key.len() + h.value.len())
            .sum();
        let found = [&record.key, &record.value]
            .into_iter()
            .flatten()
            .map(Bytes::len)
            .sum::<usize>()
            + headers;
        if found > limits.record_max_bytes {
            return too_large("record bytes", found, limits.record_max_bytes);
        }
        if record.headers.len() > limits.headers_max_count {
            return too_large(
                "record headers",
                record.headers.len(),
                limits.headers_max_count,
            );
        }
    }
    let found = plain_bytes(records);
    if found > PLAIN_BATCH_MAX_BYTES {
        too_large("batch bytes", found, PLAIN_BATCH_MAX_BYTES)
    } else {
        Ok(())
    }
}
