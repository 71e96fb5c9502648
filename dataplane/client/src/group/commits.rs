//! The task that commits: one commit after the other, so that an older one never overtakes a newer
//! one, and a cancelled caller cancels none.

use std::fmt;
use std::sync::Arc;

use lograft_core::Reason;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::calls::{Committed, Failure, GroupCalls};
use super::membership::{Progress, ToCommit};
use super::partition::{GroupPartition, GroupStatus};
use super::record::{GroupBatch, GroupRecord, Processed};
use super::shared::Shared;
use crate::error::ClientError;

/// A commit to make.
pub(super) struct Commit {
    pub(super) offsets: Offsets,
    pub(super) done: oneshot::Sender<Result<(), ClientError>>,
}

/// The offsets of a commit.
#[derive(Debug)]
pub(super) enum Offsets {
    /// All of the member's partitions.
    All(Progress),
    /// The end of this, with this text.
    One(Processed, String),
}

/// Commits for one member.
pub(super) struct Commits {
    pub(super) shared: Arc<Shared>,
    pub(super) calls: Arc<GroupCalls>,
    pub(super) requests: mpsc::Receiver<Commit>,
}

impl Commits {
    /// Commits until the member stops. Returns the outcome of the last automatic commit.
    pub(super) async fn run(mut self) -> Result<(), ClientError> {
        let every = self.calls.config.auto_commit;
        let mut ticks = every.map(interval);
        if let Some(ticks) = &mut ticks {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let tick = async {
                match &mut ticks {
                    Some(ticks) => ticks.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // First, so that callers who commit on and on do not hold up a close.
                _ = self.shared.stopping() => break,
                Some(commit) = self.requests.recv() => self.serve(commit).await,
                _ = tick => self.commit_automatically().await,
            }
        }
        // Commits that were asked for before the stop. Later ones are refused.
        self.requests.close();
        while let Some(commit) = self.requests.recv().await {
            self.serve(commit).await;
        }
        if every.is_none() {
            return Ok(());
        }
        self.commit(&Offsets::All(Progress::Processed)).await
    }

    async fn serve(&self, commit: Commit) {
        // A hand-over that was cut is asked for again.
        let is_for_hand_over = matches!(commit.offsets, Offsets::All(Progress::Processed));
        if is_for_hand_over && commit.done.is_closed() {
            return;
        }
        let committed = self.commit(&commit.offsets).await;
        // The caller may have gone.
        drop(commit.done.send(committed));
    }

    async fn commit_automatically(&self) {
        if let Err(error) = self.commit(&Offsets::All(Progress::Processed)).await {
            tracing::warn!(
                group = %self.calls.config.group,
                %error,
                "automatic commit failed, will retry"
            );
        }
    }

    /// Commits. Fails with the first error; offsets without error are committed nevertheless.
    async fn commit(&self, offsets: &Offsets) -> Result<(), ClientError> {
        let (generation, to_commit) = self.to_commit(offsets)?;
        if to_commit.is_empty() {
            return Ok(());
        }
        let outcomes = match self.calls.commit(generation, to_commit).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                if Failure::of(&error) == Failure::Unknown {
                    self.shared.lose_all_of(generation);
                }
                return Err(error);
            }
        };
        let mut first = None;
        for Committed { commit, error } in outcomes {
            match error {
                None => self.shared.with(|membership| membership.committed(&commit)),
                Some(error) => {
                    match error.reason() {
                        Some(Reason::NotAssigned) => {
                            self.shared.refuse(&commit.partition, commit.since);
                        }
                        Some(Reason::UnknownMember) => self.shared.lose_all_of(generation),
                        _ => {}
                    }
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// The generation under which to commit, and the offsets. Both are read at once: the
    /// partitions are those of the generation.
    fn to_commit(&self, offsets: &Offsets) -> Result<(u64, Vec<ToCommit>), ClientError> {
        if let Some(error) = self.shared.ended() {
            return Err(error);
        }
        let group = &self.calls.config.group;
        self.shared.with(|membership| {
            let commits = match offsets {
                Offsets::All(progress) => membership.to_commit(*progress),
                Offsets::One(processed, metadata) => {
                    let Processed {
                        partition,
                        next,
                        cursor,
                    } = processed;
                    let commit = membership.commit_of(partition, cursor, *next);
                    let commit = commit.ok_or_else(|| not_assigned(group, partition))?;
                    vec![ToCommit {
                        metadata: metadata.clone(),
                        ..commit
                    }]
                }
            };
            Ok((membership.generation(), commits))
        })
    }
}

fn not_assigned(group: &str, partition: &GroupPartition) -> ClientError {
    ClientError::NotAssigned {
        group: group.to_owned(),
        topic: Arc::clone(&partition.topic),
        partition: partition.partition,
    }
}

/// Commits and shows the progress of a group consumer from another task. Clones are cheap. It does
/// not keep the consumer in its group.
#[derive(Clone)]
pub struct GroupHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) calls: Arc<GroupCalls>,
    pub(super) requests: mpsc::Sender<Commit>,
}

impl GroupHandle {
    pub(super) async fn request(&self, offsets: Offsets) -> Result<(), ClientError> {
        let (done, committed) = oneshot::channel();
        let sent = self.requests.send(Commit { offsets, done }).await;
        sent.map_err(|_| ClientError::GroupClosed)?;
        committed.await.map_err(|_| ClientError::GroupClosed)?
    }

    /// Commits that all records of a partition up to this one (inclusive) are processed. Fails with
    /// the reason `NOT_ASSIGNED` if the partition was taken away since the record was handed out,
    /// also if the member has got it back since: another member processes the record again. Cancel
    /// safe: the commit is made nevertheless.
    pub async fn commit_record(&self, record: &GroupRecord) -> Result<(), ClientError> {
        self.commit_record_with(record, "").await
    }

    /// The same with a text, which `lograft group describe` shows; at most 4,096 bytes.
    pub async fn commit_record_with(
        &self,
        record: &GroupRecord,
        metadata: &str,
    ) -> Result<(), ClientError> {
        let offsets = Offsets::One(record.into(), metadata.to_owned());
        self.request(offsets).await
    }

    /// The same for all records of a batch.
    pub async fn commit_batch(&self, batch: &GroupBatch) -> Result<(), ClientError> {
        let offsets = Offsets::One(batch.into(), String::new());
        self.request(offsets).await
    }

    /// The partitions of the member, with positions and lags.
    pub fn status(&self) -> GroupStatus {
        let (generation, partitions) = self
            .shared
            .with(|membership| (membership.generation(), membership.status()));
        GroupStatus {
            group: self.calls.config.group.clone(),
            member_id: self.calls.member_id.clone(),
            generation,
            partitions,
        }
    }
}

impl fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupHandle")
            .field("group", &self.calls.config.group)
            .field("member_id", &self.calls.member_id)
            .finish_non_exhaustive()
    }
}
