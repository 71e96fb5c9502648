//! The consumer of a group: the records of the partitions that it is assigned.

mod hand_over;
mod positions;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use lograft_core::limits::{GROUP_CONSUMER_CLOSE_MAX, GROUP_CONSUMER_COMMITS_WAITING_MAX_COUNT};
use lograft_core::record_batch::Records;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::calls::GroupCalls;
use super::commits::{Commits, GroupHandle, Offsets};
use super::config::GroupConfig;
use super::membership::{Cursor, Membership, Progress, Step};
use super::partition::{GroupPartition, GroupStatus};
use super::readers::Readers;
use super::record::{GroupBatch, GroupRecord};
use super::session::Session;
use super::shared::{Shared, Stop};
use crate::cluster::node_pool::NodePool;
use crate::consumer::AssignedReaders;
use crate::error::ClientError;
use hand_over::{hand_over, handed_over};

/// Reads the partitions that its group assigns to it, each in order. Other members of the group
/// read the other partitions; when members join, leave or fail, partitions move between them, and
/// those that do not move are read on.
///
/// **Delivery is at least once.** A record is processed again if its member ends, or loses the
/// partition, between the record's processing and its commit. It is never skipped, provided that
///
/// - the application asks for the next record only after it has processed the former one, or, if it
///   commits by itself, commits only what it has processed,
/// - the start position is [`Earliest`](super::GroupStart::Earliest) or the group has committed
///   offsets, and the committed offset is still in the log.
///
/// With automatic commits, the interval commits records that were handed out before the
/// application last asked for more; [`close`](Self::close) and the hand-over of a partition commit
/// the same. [`commit`](Self::commit) commits all that was handed out, whether commits are
/// automatic or not.
///
/// Committed offsets are fenced: the commit of a member that was removed from the group (because
/// its process was stopped, for example), or that has lost the partition, is refused. The member
/// drops what it has read, and joins again by itself.
///
/// A partition that shall move is given up when the application asks for the next record: it has
/// finished then. The application has the rebalance timeout for that, and the poll interval at any
/// time. [`next_event`](Self::next_event) says which partitions were assigned and revoked;
/// [`next`](Self::next) and [`next_batch`](Self::next_batch) do not.
///
/// ```no_run
/// # async fn tour(client: lograft_client::Client) -> Result<(), lograft_client::ClientError> {
/// use lograft_client::GroupConfig;
/// let mut consumer = client.group_consumer(GroupConfig::new("billing", ["orders"])).await?;
/// for _ in 0..1000 {
///     let record = consumer.next().await?;
///     println!("{} {}: {:?}", record.partition, record.consumed.offset, record.consumed.record);
/// }
/// consumer.close().await
/// # }
/// ```
///
/// Dropping the consumer leaves the group too, in the background, if its runtime goes on.
pub struct GroupConsumer {
    handle: GroupHandle,
    readers: Readers,
    /// The batch whose records [`Self::next`] returns.
    current: Option<(GroupBatch, Records)>,
    /// The cursor of what was handed out last.
    handed_out: Option<Arc<Cursor>>,
    /// Errors of partitions, to report.
    errors: VecDeque<ClientError>,
    /// The hand-over under way. Returns the partitions that the member has got back meanwhile.
    handing_over: Option<JoinHandle<Vec<GroupPartition>>>,
    session: Option<JoinHandle<Result<(), ClientError>>>,
}

/// Something that happened to a group consumer.
#[derive(Debug)]
pub enum GroupEvent {
    /// These partitions are read from now on.
    Assigned(Vec<GroupPartition>),
    /// These partitions shall be given up, and are not read any more. The application finishes and
    /// commits. When it asks for the next event, the consumer commits too, if commits are
    /// automatic, and another member gets the partitions. Without that within the rebalance
    /// timeout the member is removed from its group.
    Revoked(Vec<GroupPartition>),
    /// These partitions are lost: another member may have them already. Commits are refused.
    Lost(Vec<GroupPartition>),
    /// Records.
    Batch(GroupBatch),
}

impl GroupConsumer {
    /// Joins the group.
    pub(crate) async fn open(
        pool: Arc<NodePool>,
        config: GroupConfig,
    ) -> Result<Self, ClientError> {
        config.validate()?;
        let calls = Arc::new(GroupCalls::new(Arc::clone(&pool), config.clone()));
        let assignment = calls.join().await?;
        let shared = Arc::new(Shared::new(assignment));
        let (requests, to_commit) = mpsc::channel(GROUP_CONSUMER_COMMITS_WAITING_MAX_COUNT);
        let commits = Commits {
            shared: Arc::clone(&shared),
            calls: Arc::clone(&calls),
            requests: to_commit,
        };
        let session = Session {
            shared: Arc::clone(&shared),
            calls: Arc::clone(&calls),
            failures: 0,
            failing_since: None,
        };
        let commits = tokio::spawn(commits.run());
        Ok(Self {
            session: Some(tokio::spawn(session.run(commits))),
            handle: GroupHandle {
                shared,
                calls,
                requests,
            },
            readers: Readers::new(config, AssignedReaders::new(pool)),
            current: None,
            handed_out: None,
            errors: VecDeque::new(),
            handing_over: None,
        })
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.handle.shared)
    }

    /// The next record of any partition, in order within each partition. Waits for one. Cancel
    /// safe: dropping the future loses no record.
    ///
    /// Fails if a partition cannot be read; the others are read on, and so is this one: by itself
    /// after a failure that may pass ([`ClientError::is_retryable`]), else after [`Self::seek`].
    /// Fails with [`ClientError::PollIntervalExceeded`] if this call is too late after the former
    /// one; the next call goes on. Fails for good with the reason `MEMBER_REPLACED` if another
    /// member has joined with the same instance id, or if the group refuses the member.
    pub async fn next(&mut self) -> Result<GroupRecord, ClientError> {
        self.settle();
        if !self.handle.shared.has_news()
            && !self.handle.shared.is_overdue()
            && self.errors.is_empty()
            && let Some(record) = self.take_record()?
        {
            self.handle.shared.polled();
            return Ok(record);
        }
        let shared = self.shared();
        let _polling = shared.polling();
        loop {
            if let GroupEvent::Batch(batch) = self.advance().await? {
                let records = batch.batch.records();
                self.current = Some((batch, records));
                if let Some(record) = self.take_record()? {
                    return Ok(record);
                }
            }
        }
    }

    /// The next batch of any partition, which is faster than single records. Otherwise the same as
    /// [`Self::next`].
    pub async fn next_batch(&mut self) -> Result<GroupBatch, ClientError> {
        loop {
            if let GroupEvent::Batch(batch) = self.next_event().await? {
                return Ok(batch);
            }
        }
    }

    /// The next batch, or a change of the assignment. Otherwise the same as [`Self::next`].
    pub async fn next_event(&mut self) -> Result<GroupEvent, ClientError> {
        self.settle();
        let shared = self.shared();
        let _polling = shared.polling();
        let event = self.advance().await?;
        if let GroupEvent::Batch(batch) = &event {
            batch.cursor.hand_out(batch.batch.next_offset());
            self.handed_out = Some(Arc::clone(&batch.cursor));
        }
        Ok(event)
    }

    /// The application has processed all that was handed out.
    fn settle(&mut self) {
        if let Some(cursor) = self.handed_out.take() {
            cursor.settle();
        }
    }

    /// The next record of the current batch.
    fn take_record(&mut self) -> Result<Option<GroupRecord>, ClientError> {
        let Some((batch, records)) = &mut self.current else {
            return Ok(None);
        };
        let Some(record) = records.next() else {
            self.current = None;
            return Ok(None);
        };
        let record = GroupRecord {
            partition: batch.partition.clone(),
            consumed: batch.batch.take_next(record?),
            cursor: Arc::clone(&batch.cursor),
        };
        record.cursor.hand_out(record.consumed.offset.next());
        self.handed_out = Some(Arc::clone(&record.cursor));
        Ok(Some(record))
    }

    /// Follows the assignment, and returns the next event. A batch is not handed out yet. Cancel
    /// safe: a hand-over goes on without it.
    async fn advance(&mut self) -> Result<GroupEvent, ClientError> {
        let shared = self.shared();
        loop {
            self.check()?;
            self.hand_over();
            if let Some(event) = self.follow() {
                return Ok(event);
            }
            if let Some(error) = self.errors.pop_front() {
                return Err(error);
            }
            if shared.is_overdue() {
                shared.changed().await;
                continue;
            }
            if let Some((batch, _)) = self.current.take()
                && batch.batch.record_count() > 0
            {
                return Ok(GroupEvent::Batch(batch));
            }
            let read = tokio::select! {
                biased;
                () = shared.changed() => continue,
                kept = handed_over(&mut self.handing_over) => {
                    self.handing_over = None;
                    self.start_reading(&kept);
                    continue;
                }
                read = self.readers.next() => read?,
            };
            // The process may have been stopped while it waited.
            self.current = read.map(|batch| {
                let records = batch.batch.records();
                (batch, records)
            });
        }
    }

    fn check(&mut self) -> Result<(), ClientError> {
        let checked = self.handle.shared.check();
        if checked.is_err() && self.handle.shared.ended().is_some() {
            self.readers.stop_all();
            self.current = None;
        }
        checked
    }

    /// Does the next step of the membership. Returns the event of it.
    fn follow(&mut self) -> Option<GroupEvent> {
        let shared = self.shared();
        shared.take_news();
        let step = shared.with(Membership::next_step);
        if step != Step::None {
            shared.keep_news();
        }
        match step {
            Step::None => None,
            Step::Lose(lost) => {
                self.stop_reading(&lost);
                Some(GroupEvent::Lost(lost))
            }
            Step::Revoke(revoked) => {
                self.stop_reading(&revoked);
                Some(GroupEvent::Revoked(revoked))
            }
            Step::Start(started) => {
                self.start_reading(&started);
                Some(GroupEvent::Assigned(started))
            }
        }
    }

    fn stop_reading(&mut self, partitions: &[GroupPartition]) {
        for partition in partitions {
            self.readers.stop(partition);
        }
        let is_stopped = |(batch, _): &(GroupBatch, Records)| partitions.contains(&batch.partition);
        if self.current.as_ref().is_some_and(is_stopped) {
            self.current = None;
        }
    }

    /// Reads partitions from their positions, unless they are paused.
    fn start_reading(&mut self, partitions: &[GroupPartition]) {
        let shared = self.shared();
        for partition in partitions {
            let held = shared.with(|membership| {
                let is_given_up = membership.is_given_up(partition);
                membership.held(partition).filter(|_| !is_given_up).cloned()
            });
            let Some(held) = held.filter(|held| !held.is_paused) else {
                continue;
            };
            if let Err(error) = self.readers.start(partition, &held) {
                self.errors.push_back(error);
            }
        }
    }

    /// Gives up the revoked partitions, in the background: the others are read on although the
    /// last commit of these may take a while.
    fn hand_over(&mut self) {
        let is_under_way = self.handing_over.is_some();
        let revocation = self
            .handle
            .shared
            .with(|membership| membership.revocation());
        if let (false, Some(revocation)) = (is_under_way, revocation) {
            let handing_over = hand_over(self.handle.clone(), revocation);
            self.handing_over = Some(tokio::spawn(handing_over));
        }
    }

    /// Commits all records that were handed out. Returns once they are stored. Fails with the
    /// reason `NOT_ASSIGNED` if a partition was lost: its records are processed again by another
    /// member. Cancel safe: the commit is made nevertheless.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let lost = self
            .handle
            .shared
            .with(|membership| membership.first_lost());
        self.handle
            .request(Offsets::All(Progress::HandedOut))
            .await?;
        match lost {
            None => Ok(()),
            Some(lost) => Err(ClientError::NotAssigned {
                group: self.handle.calls.config.group.clone(),
                topic: lost.topic,
                partition: lost.partition,
            }),
        }
    }

    /// Commits that all records of a partition up to this one (inclusive) are processed; see
    /// [`GroupHandle::commit_record`].
    pub async fn commit_record(&mut self, record: &GroupRecord) -> Result<(), ClientError> {
        self.handle.commit_record(record).await
    }

    /// The same for all records of a batch.
    pub async fn commit_batch(&mut self, batch: &GroupBatch) -> Result<(), ClientError> {
        self.handle.commit_batch(batch).await
    }

    /// A handle that commits and shows progress from other tasks.
    pub fn handle(&self) -> GroupHandle {
        self.handle.clone()
    }

    /// The partitions of the member, with positions and lags.
    pub fn status(&self) -> GroupStatus {
        self.handle.status()
    }

    /// Ends the consumer: commits all records that were handed out if commits are automatic, then
    /// leaves the group, so that other members get its partitions at once. A member with an
    /// instance id does not leave. Fails if the commit does: the records are processed again.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.settle();
        let how = match self.handle.calls.config.instance_id {
            Some(_) => Stop::Stay,
            None => Stop::Leave,
        };
        self.end(how).await
    }

    /// The same, and leaves the group also with an instance id.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        self.settle();
        self.end(Stop::Leave).await
    }

    async fn end(&mut self, how: Stop) -> Result<(), ClientError> {
        self.handle.shared.stop(how);
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        // The commit and the call to leave have a limit each.
        let ended = timeout(2 * GROUP_CONSUMER_CLOSE_MAX, session).await;
        match ended {
            Ok(Ok(committed)) => committed,
            Ok(Err(_)) | Err(_) => Err(ClientError::GroupClosed),
        }
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        if self.session.is_some() {
            let how = match self.handle.calls.config.instance_id {
                Some(_) => Stop::Stay,
                None => Stop::Leave,
            };
            self.handle.shared.stop(how);
        }
    }
}

impl fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConsumer")
            .field("config", &self.handle.calls.config)
            .field("member_id", &self.handle.calls.member_id)
            .finish_non_exhaustive()
    }
}
