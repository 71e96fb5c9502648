//! The reads of a poll: the partitions of a member, several at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lograft_core::acl::Principal;
use lograft_core::limits::{
    POLL_FAILED_WAIT_MAX, POLL_GATHER_MAX, POLL_PARTITION_MIN_BYTES, POLL_PARTITIONS_MAX_COUNT,
    POLL_TURN_MAX,
};
use lograft_core::{Offset, Reason};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{PollRequest, PollStart};
use crate::error::ApiError;
use crate::serving::consumer_groups::engine::GroupEngine;
use crate::serving::consumer_groups::request::AnsweredPartition;
use crate::serving::consumer_groups::subscriptions::ReadRights;
use crate::serving::engine::LogEngine;
use crate::serving::fetch::fetch;
use crate::serving::reply_memory::ReplyMemory;
use crate::serving::request::{
    FetchRequest, Fetched, FetchedData, FetchedRecord, Format, Position, ReadTerms, Target,
};

/// What a poll has read of a partition.
#[derive(Debug)]
pub(crate) struct PartitionRead {
    pub(crate) partition: AnsweredPartition,
    pub(crate) records: Vec<FetchedRecord>,
    /// The offset to commit once the records are processed.
    pub(crate) next_offset: Offset,
}

/// A partition that could not be read.
#[derive(Debug)]
pub(crate) struct FailedRead {
    pub(crate) partition: AnsweredPartition,
    pub(crate) error: ApiError,
}

/// What a poll has read so far.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) reads: Vec<PartitionRead>,
    pub(super) failed: Vec<FailedRead>,
    pub(super) memory: Option<ReplyMemory>,
    left_records: usize,
    left_bytes: usize,
}

impl Found {
    pub(super) fn new(max_records: usize, max_bytes: u32) -> Self {
        Self {
            reads: Vec::new(),
            failed: Vec::new(),
            memory: None,
            left_records: max_records,
            left_bytes: max_bytes as usize,
        }
    }

    const fn is_full(&self) -> bool {
        self.left_records == 0 || self.left_bytes == 0
    }

    /// Adds what was read, up to the limits. A start is kept even without records: found again
    /// later, the end of the log would be another one.
    fn add(&mut self, partition: &AnsweredPartition, outcome: ReadOutcome) {
        let partition = partition.clone();
        let HeldRead {
            fetched,
            memory,
            is_start,
        } = match outcome {
            Ok(read) => read,
            Err(error) => return self.failed.push(FailedRead { partition, error }),
        };
        let mut next_offset = fetched.next_offset;
        let FetchedData::Records(mut records) = fetched.data else {
            return;
        };
        if let Some(beyond) = records.get(self.left_records) {
            next_offset = beyond.offset;
            records.truncate(self.left_records);
        }
        if records.is_empty() && !is_start {
            return;
        }
        let bytes = records.iter().map(|r| r.record.decoded_bytes()).sum();
        self.left_records -= records.len();
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        if let Some(more) = memory {
            match &mut self.memory {
                Some(held) => held.absorb(more),
                none => *none = Some(more),
            }
        }
        self.reads.push(PartitionRead {
            partition,
            records,
            next_offset,
        });
    }

    /// Keeps what is of these partitions: the member may have lost some meanwhile.
    pub(super) fn keep(&mut self, partitions: &[AnsweredPartition]) {
        let has = partitions.iter().map(|held| (held.at, held.since));
        let has: BTreeSet<_> = has.collect();
        let is_kept = |of: &AnsweredPartition| has.contains(&(of.at, of.since));
        self.reads.retain(|read| is_kept(&read.partition));
        self.failed.retain(|failed| is_kept(&failed.partition));
    }
}

/// A read with its memory.
struct HeldRead {
    fetched: Fetched,
    memory: Option<ReplyMemory>,
    /// Whether the read found the offset at which the partition starts for the group.
    is_start: bool,
}

type ReadOutcome = Result<HeldRead, ApiError>;

/// Reads for one member.
pub(super) struct Reads<'a> {
    log: &'a LogEngine,
    rights: &'a dyn ReadRights,
    principal: &'a Arc<Principal>,
    start: PollStart,
    max_bytes: u32,
}

impl<'a> Reads<'a> {
    pub(super) fn new(engine: &'a GroupEngine, request: &'a PollRequest) -> Self {
        Self {
            log: &engine.log,
            rights: &*engine.deps.rights,
            principal: &request.target.principal,
            start: request.start,
            max_bytes: request.max_bytes,
        }
    }

    /// Reads until there is something, an error included, or until `deadline`; each partition at
    /// least once.
    pub(super) async fn run(
        &self,
        partitions: &[AnsweredPartition],
        deadline: Instant,
        found: &mut Found,
    ) {
        // From another one each time: the first ones could have enough records for all polls.
        let mut order: Vec<&AnsweredPartition> = partitions.iter().collect();
        if !order.is_empty() {
            let random = Uuid::new_v4().as_u64_pair().0 >> 1;
            let first = usize::try_from(random).unwrap_or(0) % order.len();
            order.rotate_left(first);
        }
        loop {
            for part in order.chunks(POLL_PARTITIONS_MAX_COUNT) {
                let mut wait = deadline.saturating_duration_since(Instant::now());
                if part.len() < order.len() {
                    wait = wait.min(POLL_TURN_MAX);
                }
                self.run_together(part, wait, found).await;
                if !found.reads.is_empty() {
                    return;
                }
            }
            if order.is_empty() || !found.failed.is_empty() || Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Reads partitions at the same time. Those without records wait for some; once there are
    /// records, the others have no more than a moment.
    async fn run_together(
        &self,
        partitions: &[&AnsweredPartition],
        max_wait: Duration,
        found: &mut Found,
    ) {
        let count = u32::try_from(partitions.len().max(1)).unwrap_or(u32::MAX);
        let min_bytes = POLL_PARTITION_MIN_BYTES.min(self.max_bytes);
        let max_bytes = (self.max_bytes / count).max(min_bytes);
        let reads = partitions.iter().map(async |partition| {
            let outcome = self.read(partition, (max_bytes, max_wait)).await;
            (*partition, outcome)
        });
        let mut reads: FuturesUnordered<_> = reads.collect();
        let mut until: Option<Instant> = None;
        while !found.is_full() {
            let next = reads.next();
            let next = match until {
                Some(until) => timeout_at(until, next).await.ok().flatten(),
                None => next.await,
            };
            let Some((partition, outcome)) = next else {
                return;
            };
            let (before, is_failed) = (found.reads.len(), outcome.is_err());
            found.add(partition, outcome);
            let limit = match (before, found.reads.len()) {
                (0, 1) => POLL_GATHER_MAX,
                _ if is_failed => POLL_FAILED_WAIT_MAX,
                _ => continue,
            };
            let limit = Instant::now() + limit;
            until = Some(until.map_or(limit, |until| until.min(limit)));
        }
    }

    async fn read(&self, partition: &AnsweredPartition, size: (u32, Duration)) -> ReadOutcome {
        let AnsweredPartition {
            topic, committed, ..
        } = partition;
        if !self.rights.may_read(self.principal, topic) {
            let text = format!("{} is not allowed to read topic {topic:?}", self.principal);
            return Err(ApiError::new(Reason::PermissionDenied, text));
        }
        let Some(offset) = committed else {
            return self.read_start(partition, size, no_offset(partition)).await;
        };
        let position = Position::Offset(Offset(*offset));
        match self.fetch(partition, position, size).await {
            Err(error) if error.reason() == Some(Reason::OffsetOutOfRange) => {
                self.read_start(partition, size, error).await
            }
            outcome => outcome,
        }
    }

    /// Reads from the start that the client wants where no committed offset can be read: `error`
    /// says why.
    async fn read_start(
        &self,
        partition: &AnsweredPartition,
        (max_bytes, max_wait): (u32, Duration),
        error: ApiError,
    ) -> ReadOutcome {
        match self.start {
            PollStart::Error => Err(error),
            PollStart::Earliest => {
                let size = (max_bytes, max_wait);
                self.fetch(partition, Position::Earliest, size).await
            }
            // Without a wait: the client has to commit this end of the log before the next record.
            PollStart::Latest => {
                let size = (max_bytes, Duration::ZERO);
                let read = self.fetch(partition, Position::Latest, size).await?;
                Ok(HeldRead {
                    is_start: true,
                    ..read
                })
            }
        }
    }

    async fn fetch(
        &self,
        partition: &AnsweredPartition,
        position: Position,
        (max_bytes, max_wait): (u32, Duration),
    ) -> ReadOutcome {
        let request = FetchRequest {
            target: Target {
                topic: partition.topic.clone(),
                topic_id: Some(partition.at.topic),
                partition: partition.at.partition.get(),
                is_forwarded: false,
                principal: Arc::clone(self.principal),
            },
            terms: ReadTerms::default(),
            position,
            format: Format::Records,
            max_bytes,
            min_bytes: 1,
            max_wait,
        };
        let (fetched, memory) = fetch(self.log, request).await?;
        Ok(HeldRead {
            fetched,
            memory,
            is_start: false,
        })
    }
}

fn no_offset(partition: &AnsweredPartition) -> ApiError {
    let AnsweredPartition { topic, at, .. } = partition;
    let text = format!(
        "the group has no committed offset in partition {} of topic {topic:?}, and start is error: \
         commit one",
        at.partition
    );
    ApiError::new(Reason::OffsetOutOfRange, text)
}

#[cfg(test)]
mod tests {
    use lograft_core::consumer_group::{Generation, TopicPartition};
    use lograft_core::metadata::TopicId;
    use lograft_core::{PartitionId, Record, Term};

    use super::*;
    use crate::serving::request::ReadOrigin;

    fn partition(number: u32, since: u64) -> AnsweredPartition {
        AnsweredPartition {
            topic: "t".to_owned(),
            at: TopicPartition {
                topic: TopicId(1),
                partition: PartitionId(number),
            },
            committed: None,
            since: Generation(since),
        }
    }

    fn read(offsets: std::ops::Range<u64>, is_start: bool) -> HeldRead {
        let next_offset = Offset(offsets.end);
        let record = |offset| FetchedRecord {
            offset: Offset(offset),
            record: Record::default(),
            append_time_ms: 0,
        };
        HeldRead {
            fetched: Fetched {
                data: FetchedData::Records(offsets.map(record).collect()),
                high_watermark: Offset(100),
                log_start_offset: Offset(0),
                start_offset: None,
                next_offset,
                term: Term(1),
                origin: ReadOrigin::default(),
            },
            memory: None,
            is_start,
        }
    }

    fn next_offsets(found: &Found) -> Vec<(u32, u64, usize)> {
        let reads = found.reads.iter().map(|read| {
            let number = read.partition.at.partition.get();
            (number, read.next_offset.get(), read.records.len())
        });
        reads.collect()
    }

    #[test]
    fn no_offset_is_committed_beyond_the_records_that_are_returned() {
        let mut found = Found::new(5, u32::MAX);
        found.add(&partition(0, 1), Ok(read(10..13, false)));
        found.add(&partition(1, 1), Ok(read(7..7, false)));
        found.add(&partition(2, 1), Ok(read(20..29, false)));
        found.add(&partition(3, 1), Ok(read(30..31, false)));
        assert_eq!(next_offsets(&found), [(0, 13, 3), (2, 22, 2)]);
        assert!(found.is_full());
    }

    #[test]
    fn a_start_is_returned_without_records() {
        let mut found = Found::new(5, u32::MAX);
        found.add(&partition(0, 1), Ok(read(42..42, true)));
        assert_eq!(next_offsets(&found), [(0, 42, 0)]);
    }

    #[test]
    fn what_the_member_has_lost_is_left_out() {
        let mut found = Found::new(5, u32::MAX);
        for number in 0..3 {
            found.add(&partition(number, 1), Ok(read(0..1, false)));
        }
        let error = no_offset(&partition(3, 1));
        found.add(&partition(3, 1), Err(error));
        // The second one was away in between.
        found.keep(&[partition(0, 1), partition(1, 2)]);
        assert_eq!(next_offsets(&found), [(0, 1, 1)]);
        assert!(found.failed.is_empty());
    }
}
