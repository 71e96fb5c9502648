//! Checks of incoming batches, done once, before anything else reads them.

use bytes::Bytes;
use lograft_core::limits::{
    BATCH_DECODED_MAX_BYTES, BATCH_RECORDS_MAX_COUNT, HEADER_DECODED_BYTES, PLAIN_BATCH_MAX_BYTES,
    PLAIN_RESERVED_BYTES, RECORD_DECODED_BYTES,
};
use lograft_core::record::decoded_bytes;
use lograft_core::record_batch::verify_crc;
use lograft_core::record_time::{TimestampBounds, TimestampRange};
use lograft_core::{
    BatchBuilder, BatchError, BatchLimits, BatchView, Compression, EncodedBatch, EntryKind,
    ProducerStamp, Proposal, Reason, SizeLimits,
};

use crate::error::ApiError;
use crate::serving::decompression::{Decompression, is_large};
use crate::serving::request::{Content, PlainRecord, UncheckedBatch};

/// Most bytes that a record takes in a batch besides its key, value and headers.
const RECORD_OVERHEAD_BYTES: usize = 24;
/// Most bytes that a header takes besides its name and value.
const HEADER_OVERHEAD_BYTES: usize = 8;

// So plain records of unary calls are within `BATCH_DECODED_MAX_BYTES` by their estimate.
const _: () = assert!(
    RECORD_DECODED_BYTES / RECORD_OVERHEAD_BYTES * PLAIN_BATCH_MAX_BYTES <= BATCH_DECODED_MAX_BYTES
        && HEADER_DECODED_BYTES / HEADER_OVERHEAD_BYTES * PLAIN_BATCH_MAX_BYTES
            <= BATCH_DECODED_MAX_BYTES
);

/// The limits that a topic sets for its batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRules {
    /// Maximum sizes of batches and records.
    pub(crate) sizes: SizeLimits,
    /// Bounds of the records' timestamps; `None` until their feature level is finalized.
    pub(crate) timestamps: Option<TimestampBounds>,
}

impl BatchRules {
    fn check_times(&self, range: TimestampRange, now_ms: i64) -> Result<(), ApiError> {
        match self.timestamps {
            Some(bounds) => Ok(bounds.check(range, now_ms)?),
            None => Ok(()),
        }
    }
}

/// A batch that may go into the log.
#[derive(Clone, Debug)]
pub(super) struct CheckedBatch {
    pub(super) encoded: EncodedBatch,
    pub(super) stamp: Option<ProducerStamp>,
}

impl CheckedBatch {
    /// The batch as a proposal to raft.
    pub(super) fn into_proposal(self, now_ms: i64) -> Proposal {
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

/// The bytes of a batch, or about how many plain records take as one.
pub(super) fn content_bytes(content: &Content) -> usize {
    match content {
        Content::Encoded(batch) => batch.data.len(),
        Content::Plain(records) => plain_bytes(records),
    }
}

/// About how many bytes of memory a content holds.
pub(super) fn memory_bytes(content: &Content) -> usize {
    match content {
        Content::Encoded(batch) => batch.data.len(),
        Content::Plain(records) => {
            let bytes = |record| decoded_bytes(payload_bytes(record), record.headers.len());
            records.iter().map(bytes).sum()
        }
    }
}

/// Most bytes that the records take when encoded.
pub(super) fn plain_bytes(records: &[PlainRecord]) -> usize {
    records
        .iter()
        .map(|record| {
            let headers = record.headers.len() * HEADER_OVERHEAD_BYTES;
            RECORD_OVERHEAD_BYTES + headers + payload_bytes(record)
        })
        .sum()
}

/// Key, value and headers together.
fn payload_bytes(record: &PlainRecord) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|h| h.key.len() + h.value.len())
        .sum();
    let parts = [&record.key, &record.value].into_iter().flatten();
    parts.map(Bytes::len).sum::<usize>() + headers
}

/// Checks a content and encodes plain records; those without a timestamp get `now_ms`. The batch
/// must follow the rules of its topic. Large compressed batches are checked on a thread for
/// blocking work, and wait for their memory: the caller MUST bound the wait.
pub(super) async fn check(
    content: Content,
    stamp: Option<ProducerStamp>,
    now_ms: i64,
    (rules, decompression): (BatchRules, &Decompression),
) -> Result<CheckedBatch, ApiError> {
    let encoded = match content {
        Content::Plain(records) => {
            check_plain_times(&records, now_ms, rules)?;
            check_plain_sizes(&records, &rules.sizes)?;
            encode(&records, now_ms, &rules.sizes)?
        }
        Content::Encoded(batch) => check_encoded(batch, now_ms, rules, decompression).await?,
    };
    Ok(CheckedBatch { encoded, stamp })
}

async fn check_encoded(
    batch: UncheckedBatch,
    now_ms: i64,
    rules: BatchRules,
    decompression: &Decompression,
) -> Result<EncodedBatch, ApiError> {
    let UncheckedBatch {
        data,
        crc32c,
        record_count,
    } = batch;
    rules.sizes.check_batch(data.len())?;
    verify_crc(&data, crc32c)?;
    let view = BatchView::parse(data)?;
    if view.record_count() != record_count {
        let text = format!(
            "record_count must be {}, the count in the batch's header, got {record_count}",
            view.record_count()
        );
        return Err(ApiError::new(Reason::BatchMalformed, text));
    }
    let limits = rules.sizes.of_batches();
    let (view, times) = if is_large(&view) {
        let memory = decompression.reserve(&view).await;
        let check = move || {
            let times = view.validate(&limits)?;
            drop(memory);
            Ok::<_, BatchError>((view, times))
        };
        tokio::task::spawn_blocking(check)
            .await
            .map_err(|error| ApiError::internal("check a batch", &error))??
    } else {
        let times = view.validate(&limits)?;
        (view, times)
    };
    rules.check_times(times, now_ms)?;
    Ok(EncodedBatch {
        bytes: view.bytes().clone(),
        crc32c,
        record_count,
        max_time_ms: view.max_time_ms(),
    })
}

fn encode(
    records: &[PlainRecord],
    now_ms: i64,
    sizes: &SizeLimits,
) -> Result<EncodedBatch, ApiError> {
    let mut builder = BatchBuilder::with_capacity(Compression::None, plain_bytes(records));
    push_all(&mut builder, records, now_ms)?;
    sizes.check_batch(builder.encoded_len())?;
    Ok(builder.finish()?)
}

/// Most bytes of plain records, by their estimate, that certainly fit in a batch of `max_bytes`.
pub(super) const fn plain_max_bytes(max_bytes: usize) -> usize {
    max_bytes.saturating_sub(PLAIN_RESERVED_BYTES)
}

/// Checks the size of each plain record.
fn check_plain_sizes(records: &[PlainRecord], sizes: &SizeLimits) -> Result<(), BatchError> {
    let mut lengths = records.iter().map(payload_bytes);
    lengths.try_for_each(|bytes| sizes.check_record(bytes))
}

/// Checks the timestamps of plain records.
fn check_plain_times(
    records: &[PlainRecord],
    now_ms: i64,
    rules: BatchRules,
) -> Result<(), ApiError> {
    let mut times = records.iter().filter_map(|record| record.timestamp_ms);
    times.try_for_each(|ms| {
        let range = TimestampRange {
            min_ms: ms,
            max_ms: ms,
        };
        rules.check_times(range, now_ms)
    })
}

/// Adds plain records to a batch.
pub(super) fn push_all(
    builder: &mut BatchBuilder,
    records: &[PlainRecord],
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

/// Checks the sizes of plain records of a call. They share a batch with other calls, which must not
/// fail because of one record that breaks the rules of the topic.
pub(super) fn check_plain(
    records: &[PlainRecord],
    now_ms: i64,
    rules: BatchRules,
) -> Result<(), ApiError> {
    check_plain_times(records, now_ms, rules)?;
    check_plain_sizes(records, &rules.sizes)?;
    let headers_max_count = BatchLimits::default().headers_max_count;
    let count_max = BATCH_RECORDS_MAX_COUNT as usize;
    if records.len() > count_max {
        return Err(too_large("batch records", records.len(), count_max));
    }
    let mut counts = records.iter().map(|record| record.headers.len());
    if let Some(found) = counts.find(|found| *found > headers_max_count) {
        return Err(too_large("record headers", found, headers_max_count));
    }
    let found = plain_bytes(records);
    if found > PLAIN_BATCH_MAX_BYTES {
        return Err(too_large("batch bytes", found, PLAIN_BATCH_MAX_BYTES));
    }
    // Near the limit of the topic the estimate could refuse records that fit.
    if found > plain_max_bytes(rules.sizes.batch_max_bytes) {
        encode(records, now_ms, &rules.sizes)?;
    }
    Ok(())
}

fn too_large(field: &'static str, found: usize, bound: usize) -> ApiError {
    BatchError::TooLarge {
        field,
        found,
        bound,
    }
    .into()
}
