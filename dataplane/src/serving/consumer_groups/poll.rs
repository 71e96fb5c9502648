//! Polls: one call in which a member commits, acknowledges its assignment and reads. Nothing is
//! kept between two polls of a member, so that any node serves the next one.

mod reads;

use std::pin::pin;
use std::time::Duration;

use lograft_core::Reason;
use lograft_core::consumer_group::{CommitSequence, Generation};
use lograft_core::limits::{HEARTBEAT_WAIT_MAX, POLL_FAILED_WAIT_MAX};
use tokio::time::{Instant, timeout_at};

use super::engine::GroupEngine;
use super::request::{
    CommitRequest, Committer, GroupAnswer, GroupCall, GroupRequest, GroupTarget, Heartbeat,
    MemberAnswer, MemberRef, OffsetToCommit,
};
use crate::error::{ApiError, SUPERSEDED_BY};
use crate::serving::reply_memory::ReplyMemory;
use reads::{Found, Reads};

pub(crate) use reads::{FailedRead, PartitionRead};

/// Where a partition is read from if its committed offset is missing, or not in the log any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollStart {
    /// At the oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// Nowhere: it is an error.
    Error,
}

/// A poll of a member.
#[derive(Clone, Debug)]
pub(crate) struct PollRequest {
    pub(crate) target: GroupTarget,
    pub(crate) member: MemberRef,
    /// The generation of the last answer, which the member acknowledges.
    pub(crate) generation: Generation,
    /// What the member has processed.
    pub(crate) commit: Vec<OffsetToCommit>,
    /// The number of that commit.
    pub(crate) sequence: CommitSequence,
    pub(crate) start: PollStart,
    pub(crate) max_records: usize,
    /// Most bytes to return, about; a larger record is returned alone.
    pub(crate) max_bytes: u32,
    /// How long to wait for records or for another assignment.
    pub(crate) max_wait: Duration,
}

/// The answer to a [`PollRequest`].
#[derive(Debug)]
pub(crate) struct Polled {
    pub(crate) member: MemberAnswer,
    /// The outcome for each offset to commit, in their order.
    pub(crate) committed: Vec<Result<(), ApiError>>,
    /// The number of the next commit.
    pub(crate) next_sequence: CommitSequence,
    /// Partitions that have records, or whose start was found.
    pub(crate) reads: Vec<PartitionRead>,
    /// Partitions that could not be read.
    pub(crate) failed: Vec<FailedRead>,
    /// The memory of the records, if there are any.
    pub(crate) memory: Option<ReplyMemory>,
}

impl GroupEngine {
    /// Commits what a member has processed, acknowledges its generation, and reads its partitions
    /// from their committed offsets on. Dropped while it waits, it is a cut call of the member.
    ///
    /// Fails if the member is not in the group, or if the coordinator cannot be reached: then
    /// nothing is lost, and the same poll may be repeated.
    pub(crate) async fn poll(&self, mut request: PollRequest) -> Result<Polled, ApiError> {
        let commit = std::mem::take(&mut request.commit);
        let committed = self.commit_of(&request, commit).await?;
        let first = self.heartbeat_of(&request, Duration::ZERO).await?;
        let session = Duration::from_millis(first.session_timeout_ms.into());
        // Another assignment is not waited for: this is one.
        let max_wait = if first.generation == request.generation {
            request
                .max_wait
                .min(HEARTBEAT_WAIT_MAX)
                .min(session * 2 / 3)
        } else {
            Duration::ZERO
        };
        let mut found = Found::new(request.max_records, request.max_bytes);
        let member = if max_wait.is_zero() {
            let reads = Reads::new(self, &request);
            reads
                .run(&first.partitions, Instant::now(), &mut found)
                .await;
            first
        } else {
            self.read_until_news(&request, (first, max_wait), &mut found)
                .await?
        };
        found.keep(&member.partitions);
        let Found {
            reads,
            failed,
            memory,
            ..
        } = found;
        let now_ms = self.deps.clock.now_ms();
        Ok(Polled {
            member,
            next_sequence: next_sequence(request.sequence, &committed, now_ms),
            committed,
            reads,
            failed,
            memory,
        })
    }

    /// Reads until there are records or a start, another assignment, or `max_wait` is over. A
    /// heartbeat waits all the time: it shows that the member is there, and notices news.
    async fn read_until_news(
        &self,
        request: &PollRequest,
        (first, max_wait): (MemberAnswer, Duration),
        found: &mut Found,
    ) -> Result<MemberAnswer, ApiError> {
        let deadline = Instant::now() + max_wait;
        let mut news = pin!(self.heartbeat_of(request, max_wait));
        let reads = Reads::new(self, request);
        let mut ended = tokio::select! {
            news = &mut news => Some(news),
            () = reads.run(&first.partitions, deadline, found) => None,
        };
        if ended.is_none() && found.reads.is_empty() {
            let until = if found.failed.is_empty() {
                deadline
            } else {
                deadline.min(Instant::now() + POLL_FAILED_WAIT_MAX)
            };
            ended = timeout_at(until, &mut news).await.ok();
        }
        match ended {
            Some(news) => news,
            // This is the member's latest call from now on: when the one that waits is dropped, it
            // does not count as cut off.
            None => self.heartbeat_of(request, Duration::ZERO).await,
        }
    }

    async fn heartbeat_of(
        &self,
        request: &PollRequest,
        max_wait: Duration,
    ) -> Result<MemberAnswer, ApiError> {
        let call = GroupCall::Heartbeat(Heartbeat {
            member: request.member.clone(),
            acknowledged: request.generation,
            max_wait,
        });
        let target = request.target.clone();
        match self.call(GroupRequest { target, call }).await? {
            GroupAnswer::Member(answer) => Ok(answer),
            other => Err(other_answer(&other)),
        }
    }

    async fn commit_of(
        &self,
        request: &PollRequest,
        offsets: Vec<OffsetToCommit>,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        let call = GroupCall::Commit(CommitRequest {
            by: Some(Committer {
                member: request.member.clone(),
                generation: request.generation,
                sequence: request.sequence,
            }),
            offsets,
        });
        let target = request.target.clone();
        match self.call(GroupRequest { target, call }).await? {
            GroupAnswer::Committed(outcomes) => Ok(outcomes),
            other => Err(other_answer(&other)),
        }
    }
}

/// The number of a member's next commit: one more than that of this one, or than a greater one
/// that is in effect. A member that has none yet starts at the time in microseconds, above the
/// numbers of a former process with the same member id.
fn next_sequence(
    sequence: CommitSequence,
    committed: &[Result<(), ApiError>],
    now_ms: i64,
) -> CommitSequence {
    if sequence == CommitSequence::NONE {
        let now_ms = u64::try_from(now_ms).unwrap_or(0);
        let now = CommitSequence(now_ms.saturating_mul(1000).max(1));
        return now.min(CommitSequence::MAX);
    }
    let in_effect = |error: &ApiError| {
        let details = error.details();
        let last = details.filter(|(key, _)| *key == SUPERSEDED_BY).last();
        last.and_then(|(_, value)| value.parse().ok())
    };
    let refused = committed
        .iter()
        .filter_map(|outcome| outcome.as_ref().err());
    let superseded = refused.filter(|error| error.reason() == Some(Reason::CommitSuperseded));
    let last = superseded.filter_map(in_effect).max();
    let last = last.map_or(sequence, |last| sequence.max(CommitSequence(last)));
    CommitSequence(last.get().saturating_add(1)).min(CommitSequence::MAX)
}

/// An answer of another kind than that of its call. It would be a defect of this node or of
/// another.
pub(crate) fn other_answer(answer: &GroupAnswer) -> ApiError {
    let text = format!("a coordinator has answered another call: {answer:?}");
    ApiError::new(Reason::Internal, text)
}

#[cfg(test)]
mod tests {
    use lograft_core::consumer_group::CommitError;

    use super::*;

    #[test]
    fn the_next_commit_has_a_greater_number_than_all_that_are_in_effect() {
        let next = |sequence, committed: &[Result<(), ApiError>]| {
            next_sequence(CommitSequence(sequence), committed, 1_790_000_000_000).get()
        };
        assert_eq!(next(0, &[]), 1_790_000_000_000_000);
        assert_eq!(next(7, &[Ok(())]), 8);
        // The clock of another node was ahead when the member started.
        let superseded = CommitError::Superseded {
            last: CommitSequence(100),
        };
        let refused = [
            Ok(()),
            Err(superseded.into()),
            Err(CommitError::NotAssigned.into()),
        ];
        assert_eq!(next(7, &refused), 101);
        let greatest = CommitSequence::MAX.get();
        assert_eq!(next(greatest, &[]), greatest);
        assert_eq!(next_sequence(CommitSequence::NONE, &[], -1).get(), 1);
    }
}
