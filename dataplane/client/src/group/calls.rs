//! The calls of a member to its coordinator. Any node takes them and forwards them once; the
//! coordinator's node is asked first if it is known.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lograft_core::consumer_group::CommitSequence;
use lograft_core::limits::{COMMIT_OFFSETS_MAX_COUNT, GROUP_CONSUMER_CALL_SLACK_MAX};
use lograft_core::{NodeId, Offset, PartitionId, Reason};
use lograft_proto::log::v1 as wire;
use tokio::time::Instant;

use super::config::GroupConfig;
use super::membership::{Assigned, Assignment, ToCommit};
use super::partition::GroupPartition;
use crate::cluster::node::Retry;
use crate::cluster::node_pool::{Deadline, NodePool};
use crate::error::ClientError;

/// The calls of one member.
pub(super) struct GroupCalls {
    pub(super) pool: Arc<NodePool>,
    pub(super) config: GroupConfig,
    pub(super) member_id: String,
    /// The node that coordinates the group; 0 while it is not known.
    coordinator: AtomicU64,
    /// The session in use.
    session: Mutex<Duration>,
    /// The number of the last commit.
    sequence: AtomicU64,
}

/// The meaning of a failed call for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The member is not in the group: it loses its partitions, and joins again.
    Unknown,
    /// The call may succeed later.
    Retryable,
    /// The member cannot go on.
    Final,
}

impl Failure {
    pub(super) fn of(error: &ClientError) -> Self {
        match error.reason() {
            Some(Reason::UnknownMember | Reason::UnknownGroup) => Self::Unknown,
            Some(Reason::MemberReplaced) => Self::Final,
            _ if error.is_retryable() => Self::Retryable,
            _ => Self::Final,
        }
    }
}

/// The outcome of a commit.
pub(super) struct Committed {
    pub(super) commit: ToCommit,
    /// The reason why it was refused.
    pub(super) error: Option<ClientError>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GroupCalls {
    pub(super) fn new(pool: Arc<NodePool>, config: GroupConfig) -> Self {
        Self {
            pool,
            member_id: config.member_id(),
            session: Mutex::new(config.session_timeout),
            coordinator: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            config,
        }
    }

    /// The session in use, as the coordinator has named it.
    pub(super) fn session(&self) -> Duration {
        *locked(&self.session)
    }

    /// The coordinator, if it is known, and until when it has to reply: one that hangs leaves time
    /// for the next one.
    fn coordinator(&self) -> (Option<NodeId>, Instant) {
        let known = Some(self.coordinator.load(Ordering::Relaxed)).filter(|node| *node != 0);
        let until = Instant::now() + GROUP_CONSUMER_CALL_SLACK_MAX;
        (known.map(NodeId), until)
    }

    /// After a failure another node may coordinate the group.
    fn note<T>(&self, outcome: Result<T, ClientError>) -> Result<T, ClientError> {
        if outcome.is_err() {
            self.coordinator.store(0, Ordering::Relaxed);
        }
        outcome
    }

    fn member_reply(&self, reply: wire::MemberReply) -> Assignment {
        self.coordinator
            .store(reply.coordinator_node, Ordering::Relaxed);
        if reply.session_timeout_ms > 0 {
            *locked(&self.session) = Duration::from_millis(reply.session_timeout_ms.into());
        }
        assignment(reply)
    }

    /// Joins the group, with retries until the request timeout.
    pub(super) async fn join(&self) -> Result<Assignment, ClientError> {
        let request = self.config.join_request(&self.member_id);
        let named = ("join group", self.pool.deadline());
        let joined = self
            .pool
            .call_at(self.coordinator(), named, Retry::Always, |node| {
                let request = request.clone();
                async move { node.groups().join_group(request).await }
            })
            .await;
        self.note(joined).map(|reply| self.member_reply(reply))
    }

    /// Sends a heartbeat that acknowledges `generation` and waits for a change.
    pub(super) async fn heartbeat(
        &self,
        generation: u64,
        wait: Duration,
    ) -> Result<Assignment, ClientError> {
        let request = wire::HeartbeatRequest {
            group: self.config.group.clone(),
            member_id: self.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
            generation,
            max_wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            ..wire::HeartbeatRequest::default()
        };
        let slack = (self.session() / 3).min(GROUP_CONSUMER_CALL_SLACK_MAX);
        let deadline = Deadline::after(wait + slack);
        let named = ("send heartbeat", deadline);
        let (coordinator, _) = self.coordinator();
        let first = (coordinator, deadline.until);
        let beaten = self
            .pool
            .call_at(first, named, Retry::Always, |node| {
                let request = request.clone();
                async move { node.groups().heartbeat(request).await }
            })
            .await;
        self.note(beaten).map(|reply| self.member_reply(reply))
    }

    /// Leaves the group.
    pub(super) async fn leave(&self, within: Duration) -> Result<(), ClientError> {
        let request = wire::LeaveGroupRequest {
            group: self.config.group.clone(),
            member_id: self.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
            ..wire::LeaveGroupRequest::default()
        };
        let named = ("leave group", Deadline::after(within));
        let left = self
            .pool
            .call_at(self.coordinator(), named, Retry::Always, |node| {
                let request = request.clone();
                async move { node.groups().leave_group(request).await }
            })
            .await;
        self.note(left).map(|wire::LeaveGroupReply {}| ())
    }

    /// Commits offsets under `generation`. Returns the outcome of each. MUST NOT be called again
    /// before it has ended: the number of a commit shows which one is later.
    pub(super) async fn commit(
        &self,
        generation: u64,
        commits: Vec<ToCommit>,
    ) -> Result<Vec<Committed>, ClientError> {
        let deadline = self.pool.deadline();
        let mut outcomes = Vec::new();
        for chunk in commits.chunks(COMMIT_OFFSETS_MAX_COUNT) {
            let mut results = self.commit_chunk(generation, chunk, deadline).await?;
            // A former process with this member id had a clock that was ahead.
            if self.skip_superseded(&results) {
                results = self.commit_chunk(generation, chunk, deadline).await?;
            }
            let chunk_outcomes = chunk.iter().zip(results).map(|(commit, result)| Committed {
                commit: commit.clone(),
                error: result.error.map(|error| ClientError::from_wire("", error)),
            });
            outcomes.extend(chunk_outcomes);
        }
        Ok(outcomes)
    }

    /// One call, which has its number also when it is repeated.
    async fn commit_chunk(
        &self,
        generation: u64,
        chunk: &[ToCommit],
        deadline: Deadline,
    ) -> Result<Vec<wire::PartitionResult>, ClientError> {
        let request = wire::CommitOffsetsRequest {
            group: self.config.group.clone(),
            member_id: self.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
            generation,
            sequence: self.next_sequence(SystemTime::now()),
            offsets: chunk.iter().map(wire_offset).collect(),
            ..wire::CommitOffsetsRequest::default()
        };
        let named = ("commit offsets", deadline);
        let stored = self
            .pool
            .call_at(self.coordinator(), named, Retry::Always, |node| {
                let request = request.clone();
                async move { node.groups().commit_offsets(request).await }
            })
            .await;
        let results = self.note(stored)?.results;
        if results.len() != chunk.len() {
            return Err(ClientError::Protocol {
                endpoint: self.pool.last_replied(),
                what: "not one result for each committed offset",
            });
        }
        Ok(results)
    }

    /// The number of the next commit: the time, so that it is above those of a former process with
    /// the same member id, and always above the last one.
    fn next_sequence(&self, now: SystemTime) -> u64 {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_us = u64::try_from(since_epoch.as_micros()).unwrap_or(0);
        let last = self.sequence.load(Ordering::Relaxed);
        let next = now_us.max(last.saturating_add(1));
        let next = next.min(CommitSequence::MAX.get());
        self.sequence.store(next, Ordering::Relaxed);
        next
    }

    /// Lets the next commit have a greater number than those that refused this one. Returns whether
    /// there are any.
    fn skip_superseded(&self, results: &[wire::PartitionResult]) -> bool {
        let errors = results.iter().filter_map(|result| result.error.as_ref());
        let superseded = errors.filter(|error| error.reason == Reason::CommitSuperseded.as_str());
        let sequences = superseded.filter_map(|error| error.metadata.get("sequence"));
        let greatest = sequences.filter_map(|sequence| sequence.parse().ok()).max();
        if let Some(greatest) = greatest {
            self.sequence.fetch_max(greatest, Ordering::Relaxed);
        }
        greatest.is_some()
    }
}

fn wire_offset(commit: &ToCommit) -> wire::PartitionOffset {
    wire::PartitionOffset {
        topic: commit.partition.topic.as_ref().to_owned(),
        topic_id: Some(commit.partition.topic_id),
        partition: commit.partition.partition.get(),
        offset: commit.offset.get(),
        metadata: commit.metadata.clone(),
        committed_at_ms: 0,
    }
}

fn assignment(reply: wire::MemberReply) -> Assignment {
    let mut topics: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let mut partitions = BTreeMap::new();
    for assigned in reply.partitions {
        let name = assigned.topic;
        let topic = topics
            .entry(name)
            .or_insert_with_key(|name| name.as_str().into());
        let partition = GroupPartition {
            topic: Arc::clone(topic),
            partition: PartitionId(assigned.partition),
            topic_id: assigned.topic_id,
        };
        let assigned = Assigned {
            since: assigned.since_generation,
            committed: assigned.committed_offset.map(Offset),
        };
        partitions.insert(partition, assigned);
    }
    Assignment {
        generation: reply.generation,
        partitions,
    }
}
