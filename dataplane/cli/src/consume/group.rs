//! `lograft consume --group`: reads a topic as a member of a consumer group.

use std::pin::Pin;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::poll;
use lograft_client::{
    Client, ClientError, GroupBatch, GroupConfig, GroupConsumer, GroupEvent, GroupPartition,
    GroupStart, StartAt,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{ConsumeArgs, ConsumeRun};
use crate::call_error::cannot;
use crate::error::{CliError, CommandError};

/// Interval between two commits.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Options of a member of a group.
#[derive(Clone, Debug, Args)]
pub(super) struct GroupArgs {
    /// Read as a member of this consumer group: only partitions that no other member reads, from
    /// the committed offsets on; commit offsets of printed records; wait for new records at the end
    #[arg(
        long,
        short,
        value_name = "GROUP",
        conflicts_with_all = ["to", "partitions", "follow"]
    )]
    pub(super) group: Option<String>,
    /// Keep the partitions over a restart of this command with the same ID
    #[arg(long, value_name = "ID", requires = "group")]
    instance_id: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum GroupRunError {
    #[error("--from must be earliest or latest with --group, which starts at committed offsets")]
    Start,
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
}

impl CommandError for GroupRunError {
    fn hint(&self) -> Option<String> {
        let text = "use `lograft group reset` to start elsewhere";
        matches!(self, Self::Start).then(|| text.into())
    }
}

/// The configuration of the member.
pub(super) fn config(args: &ConsumeArgs, group: &str) -> Result<GroupConfig, GroupRunError> {
    let start = match args.from {
        StartAt::Earliest => GroupStart::Earliest,
        StartAt::Latest => GroupStart::Latest,
        StartAt::Offset(_) | StartAt::Timestamp(_) => return Err(GroupRunError::Start),
    };
    Ok(GroupConfig {
        instance_id: args.group.instance_id.clone(),
        client_id: concat!("lograft ", env!("CARGO_PKG_VERSION")).to_owned(),
        // Offsets are committed here, after the records were written to standard output.
        auto_commit: None,
        start,
        replica: args.replica.replica(),
        ..GroupConfig::new(group, [args.topic.as_str()])
    })
}

/// Prints the records of a member until the maximum count or a signal. Then it commits what was
/// printed, and leaves the group.
pub(super) async fn print_records(
    run: &mut ConsumeRun,
    client: &Client,
    config: GroupConfig,
) -> Result<(), CliError> {
    let starts_at_end = config.start == GroupStart::Latest;
    let mut stopped = stop_signal()?;
    let joined = tokio::select! {
        joined = client.group_consumer(config) => joined,
        () = &mut stopped => return Ok(()),
    };
    let mut member = Member {
        consumer: joined.map_err(cannot(run.action.clone()))?,
        committed_at: Instant::now(),
        has_uncommitted: false,
        starts_at_end,
    };
    let printed = member.print_until(run, stopped).await;
    // Records that could not be written are not committed.
    let committed = match &printed {
        Ok(()) => member.commit(run).await,
        Err(_) => Ok(()),
    };
    let closed = member.consumer.close().await;
    printed?;
    committed?;
    closed.map_err(cannot(run.action.clone()))?;
    Ok(())
}

type StopSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// SIGINT or SIGTERM.
fn stop_signal() -> Result<StopSignal, GroupRunError> {
    let on = |kind| signal(kind).map_err(GroupRunError::Signals);
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }))
}

struct Member {
    consumer: GroupConsumer,
    committed_at: Instant,
    has_uncommitted: bool,
    /// Partitions without a committed offset start at the end of the log. That is committed, else
    /// the next member starts at a later end.
    starts_at_end: bool,
}

impl Member {
    async fn print_until(
        &mut self,
        run: &mut ConsumeRun,
        mut stopped: StopSignal,
    ) -> Result<(), CliError> {
        while run.remaining > 0 {
            if self.has_uncommitted && self.committed_at.elapsed() >= COMMIT_INTERVAL {
                self.commit_or_retry(run).await?;
            }
            if poll!(&mut stopped).is_ready() {
                return Ok(());
            }
            let event = {
                let mut next = std::pin::pin!(self.consumer.next_event());
                match poll!(&mut next) {
                    std::task::Poll::Ready(event) => Some(event),
                    std::task::Poll::Pending => {
                        run.flush()?;
                        // Records that were printed are committed also if no others follow.
                        let interval = tokio::time::sleep(COMMIT_INTERVAL);
                        tokio::select! {
                            event = next => Some(event),
                            () = interval, if self.has_uncommitted => None,
                            () = &mut stopped => return Ok(()),
                        }
                    }
                }
            };
            match event {
                None => self.commit_or_retry(run).await?,
                Some(Ok(event)) => self.handle(run, event).await?,
                // The client reads on.
                Some(Err(error)) if error.is_retryable() => note_retry(run, &error)?,
                Some(Err(error)) => return Err(cannot(run.action.clone())(error).into()),
            }
        }
        Ok(())
    }

    async fn handle(&mut self, run: &mut ConsumeRun, event: GroupEvent) -> Result<(), CliError> {
        match event {
            GroupEvent::Batch(batch) => {
                run.write(&batch.batch)?;
                self.has_uncommitted = true;
                self.keep_unread(run, &batch);
                Ok(())
            }
            GroupEvent::Assigned(partitions) => {
                self.has_uncommitted |= self.starts_at_end;
                note(run, "reads", &partitions)
            }
            GroupEvent::Revoked(partitions) => {
                self.commit_or_retry(run).await?;
                note(run, "gives up", &partitions)
            }
            GroupEvent::Lost(partitions) => note(run, "has lost", &partitions),
        }
    }

    /// With a maximum count, the rest of the last batch is left to the next member.
    fn keep_unread(&mut self, run: &ConsumeRun, batch: &GroupBatch) {
        if let Some(offset) = run.unread_from {
            let GroupPartition {
                topic, partition, ..
            } = &batch.partition;
            self.consumer
                .seek(topic, *partition, StartAt::Offset(offset));
        }
    }

    /// Writes the records to standard output and commits them. Fails if they are not committed.
    async fn commit(&mut self, run: &mut ConsumeRun) -> Result<(), CliError> {
        let committed = self.try_commit(run).await?;
        committed.map_err(|error| cannot(run.action.clone())(error).into())
    }

    /// The same while records are read: a commit that may succeed later is made again.
    async fn commit_or_retry(&mut self, run: &mut ConsumeRun) -> Result<(), CliError> {
        match self.try_commit(run).await? {
            Err(error) if error.is_retryable() => {
                self.has_uncommitted = true;
                note_retry(run, &error)
            }
            committed => committed.map_err(|error| cannot(run.action.clone())(error).into()),
        }
    }

    async fn try_commit(
        &mut self,
        run: &mut ConsumeRun,
    ) -> Result<Result<(), ClientError>, CliError> {
        run.flush()?;
        self.committed_at = Instant::now();
        if !std::mem::take(&mut self.has_uncommitted) {
            return Ok(Ok(()));
        }
        // The end of a partition is not known while it has no leader.
        self.has_uncommitted = self.starts_at_end && self.has_unknown_start();
        Ok(match self.consumer.commit().await {
            // Another member prints the records of partitions that were lost again.
            Err(error) if is_lost(&error) => Ok(()),
            committed => committed,
        })
    }

    fn has_unknown_start(&self) -> bool {
        let partitions = self.consumer.status().partitions;
        partitions.iter().any(|status| status.position.is_none())
    }
}

fn is_lost(error: &ClientError) -> bool {
    use lograft_client::Reason;
    matches!(
        error.reason(),
        Some(
            Reason::NotAssigned
                | Reason::UnknownMember
                // The coordinator takes the partitions of a deleted topic away in a moment.
                | Reason::TopicRecreated
                | Reason::UnknownTopic
        )
    )
}

/// Notes a failure that may pass on standard error, unless `--quiet` is set.
fn note_retry(run: &mut ConsumeRun, error: &ClientError) -> Result<(), CliError> {
    run.flush()?;
    run.note(&format!("{error}; trying again"));
    Ok(())
}

/// Notes a change of the assignment on standard error, unless `--quiet` is set.
fn note(run: &mut ConsumeRun, verb: &str, partitions: &[GroupPartition]) -> Result<(), CliError> {
    run.flush()?;
    let numbers: Vec<String> = partitions.iter().map(|p| p.partition.to_string()).collect();
    let list = numbers.join(",");
    run.note(&format!("this member {verb} partitions {list}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use lograft_client::{Reason, Rejection};

    use super::*;

    fn refused(reason: Reason) -> ClientError {
        ClientError::Rejected(Arc::new(Rejection {
            endpoint: "n1:9400".into(),
            code: (reason.status() as i32).into(),
            reason: Some(reason.into()),
            retryable: reason.is_retryable(),
            text: reason.to_string(),
            metadata: BTreeMap::new(),
            retry_delay: None,
        }))
    }

    #[test]
    fn a_commit_in_a_topic_that_is_gone_does_not_end_the_member() {
        for lost in [
            Reason::NotAssigned,
            Reason::UnknownMember,
            Reason::TopicRecreated,
            Reason::UnknownTopic,
        ] {
            assert!(is_lost(&refused(lost)), "{lost}");
        }
        for end in [Reason::MemberReplaced, Reason::PermissionDenied] {
            assert!(!is_lost(&refused(end)), "{end}");
        }
    }
}
