//! A stream of the records of one partition, or of all partitions of a topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{StreamExt, stream};
use lograft_core::acl::Principal;
use lograft_core::limits::HTTP_TAIL_PARTITIONS_MAX_COUNT;
use lograft_core::{Offset, Reason};
use lograft_proto::Method;
use tokio::time::Instant;

use super::FetchQuery;
use super::position::{Start, event_id};
use crate::access::{Access, Grant};
use crate::api::call_rules::rule_of;
use crate::api::until_closing::until_closing;
use crate::closing::Closing;
use crate::error::ApiError;
use crate::serving::engine::LogEngine;
use crate::serving::fetch::consume;
use crate::serving::offsets::list_offsets;
use crate::serving::request::{
    ConsumeRequest, Fetched, Format, ListOffsetsRequest, OffsetBounds, Position, Target,
};

/// Most bytes of one read of a stream without an end, unless its client asks for others. There may
/// be thousands of them, each with two reads in memory.
const FOLLOW_BYTES: u32 = 64 * 1024;
/// The same of a stream that ends.
const READ_BYTES: u32 = 512 * 1024;
/// Bytes of one read of a partition among many, at least.
const SHARE_BYTES: u32 = 16 * 1024;

/// A read whose caller may make it.
pub(super) struct TailCall {
    pub(super) engine: Arc<LogEngine>,
    pub(super) access: Access,
    pub(super) principal: Arc<Principal>,
    pub(super) closing: Closing,
    pub(super) topic: String,
    /// None for all partitions.
    pub(super) partition: Option<u32>,
    pub(super) query: FetchQuery,
}

impl TailCall {
    pub(super) fn target(&self, partition: u32) -> Target {
        Target {
            topic: self.topic.clone(),
            topic_id: None,
            partition,
            is_forwarded: false,
            principal: Arc::clone(&self.principal),
        }
    }

    /// The bounds of the partitions that are read.
    async fn bounds(&self, start: &Start) -> Result<BTreeMap<u32, OffsetBounds>, ApiError> {
        let timestamp_ms = match start {
            Start::At(Position::Timestamp(time_ms)) => Some(*time_ms),
            Start::At(_) | Start::After(_) => None,
        };
        let request = ListOffsetsRequest {
            topic: self.topic.clone(),
            topic_id: None,
            partitions: self.partition.into_iter().collect(),
            timestamp_ms,
            is_forwarded: false,
            principal: Arc::clone(&self.principal),
        };
        let found = list_offsets(&self.engine, request).await?;
        let found = found.into_iter();
        found
            .map(|(partition, bounds)| Ok((partition, bounds?)))
            .collect()
    }

    /// Most bytes of one read of each of so many partitions: together they have as many as one.
    fn read_bytes(&self, partition_count: usize, follow: bool) -> u32 {
        let default = if follow { FOLLOW_BYTES } else { READ_BYTES };
        let given = self.query.max_bytes.filter(|bytes| *bytes > 0);
        let count = u32::try_from(partition_count.max(1)).unwrap_or(u32::MAX);
        let whole = given.unwrap_or(default);
        (whole / count).max(SHARE_BYTES.min(whole))
    }

    async fn chunks(
        &self,
        (partition, from): (u32, Position),
        (follow, max_bytes): (bool, u32),
    ) -> Result<PartitionChunks, ApiError> {
        let request = ConsumeRequest {
            target: self.target(partition),
            terms: self.query.terms(),
            position: from,
            format: Format::Records,
            max_bytes,
            max_records: self.query.max_records.map(u64::from),
            follow,
        };
        let chunks = consume(&self.engine, request).await?;
        let chunks = until_closing(chunks, &self.closing);
        Ok(chunks.map(move |chunk| (partition, chunk)).boxed())
    }
}

type PartitionChunks = BoxStream<'static, (u32, Result<Fetched, ApiError>)>;

/// The stream. It ends after an error.
pub(super) struct Tail {
    call: TailCall,
    grant: Grant,
    chunks: SelectAll<PartitionChunks>,
    /// Where each partition continues.
    next: BTreeMap<u32, Offset>,
    /// Records that may still be returned.
    pub(super) left: u64,
}

impl Tail {
    /// Opens the stream. The start is resolved first, so that a client that loses its connection
    /// before the first record can resume where it started.
    pub(super) async fn open(call: TailCall, start: Start, follow: bool) -> Result<Self, ApiError> {
        let bounds = call.bounds(&start).await?;
        if bounds.len() > HTTP_TAIL_PARTITIONS_MAX_COUNT {
            let (max, count) = (HTTP_TAIL_PARTITIONS_MAX_COUNT, bounds.len());
            let text = format!(
                "partitions of a topic that is read as a whole must be at most {max}, got {count}: \
                 read its partitions one by one"
            );
            return Err(ApiError::new(Reason::InvalidArgument, text)
                .with("field", "partitions")
                .with("bound", format!("at most {max}")));
        }
        let starts = bounds.iter().map(|(partition, bounds)| {
            let (from, offset) = resolved(start.of(*partition), bounds);
            (*partition, from, offset)
        });
        let starts: Vec<(u32, Position, Offset)> = starts.collect();
        let max_bytes = call.read_bytes(starts.len(), follow);
        let opened = starts
            .iter()
            .map(|(partition, from, _)| call.chunks((*partition, *from), (follow, max_bytes)));
        let chunks = stream::select_all(try_join_all(opened).await?);
        let starts = starts.iter();
        Ok(Self {
            next: starts
                .map(|(partition, _, offset)| (*partition, *offset))
                .collect(),
            grant: Grant::new(call.access.clone(), rule_of(Method::LogConsume)),
            left: call.query.max_records.map_or(u64::MAX, u64::from),
            call,
            chunks,
        })
    }

    /// The next records of a partition; none at the end.
    pub(super) async fn next(&mut self) -> Option<Result<(u32, Fetched), ApiError>> {
        if self.left == 0 {
            return None;
        }
        let (partition, chunk) = self.chunks.next().await?;
        // A right that is taken away ends the stream before its next records.
        let TailCall {
            principal, topic, ..
        } = &self.call;
        let granted = self.grant.check(principal, topic, Instant::now());
        Some(granted.and(chunk).map(|chunk| (partition, chunk)))
    }

    /// Notes that a client gets a record.
    pub(super) fn on_sent(&mut self, partition: u32, offset: Offset) {
        self.left = self.left.saturating_sub(1);
        self.next.insert(partition, offset.plus(1));
    }

    /// The id of an event: by it a client resumes behind what it has got.
    pub(super) fn event_id(&self) -> String {
        event_id(&self.next, self.call.partition)
    }

    /// Where each partition continues.
    pub(super) fn next_offsets(&self) -> &BTreeMap<u32, Offset> {
        &self.next
    }
}

/// A position that does not depend on the end of the log any more, and its offset.
fn resolved(position: Position, bounds: &OffsetBounds) -> (Position, Offset) {
    match position {
        // By its name: the log may be trimmed meanwhile.
        Position::Earliest => (Position::Earliest, bounds.log_start_offset),
        Position::Offset(offset) => (position, offset),
        Position::Latest => {
            let end = bounds.high_watermark;
            (Position::Offset(end), end)
        }
        Position::Timestamp(_) => {
            let found = bounds.at_timestamp.unwrap_or(bounds.high_watermark);
            (Position::Offset(found), found)
        }
    }
}
