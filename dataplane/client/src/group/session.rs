//! The task that keeps a member in its group: heartbeats, joining again, leaving.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::GROUP_CONSUMER_CLOSE_MAX;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::calls::{Failure, GroupCalls};
use super::config::GroupConfig;
use super::membership::Assignment;
use super::shared::{Shared, Stop};
use crate::error::ClientError;

/// Keeps a member in its group until it stops.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) calls: Arc<GroupCalls>,
    /// Heartbeats or joins that failed since the last reply, and the time of the first of them.
    pub(super) failures: u32,
    pub(super) failing_since: Option<Instant>,
}

/// The end of a wait.
enum Beat {
    Replied(Result<Assignment, ClientError>),
    /// A commit has found that the member is not in the group.
    Unknown,
    /// The application does not ask for records.
    Unused,
    Stopping(Stop),
}

impl Session {
    /// Sends heartbeats until the member stops, and beside the last commit, which is refused if the
    /// session ends before. Then leaves the group unless its session shall go on. Returns the
    /// outcome of the last commit.
    pub(super) async fn run(
        mut self,
        commits: JoinHandle<Result<(), ClientError>>,
    ) -> Result<(), ClientError> {
        let how = self.beat_until_stopped().await;
        let last = tokio::select! {
            last = timeout(GROUP_CONSUMER_CLOSE_MAX, commits) => last,
            never = self.stay_alive() => match never {},
        };
        let committed = match last {
            Ok(Ok(committed)) => committed,
            // The task has panicked or was ended with its runtime.
            Ok(Err(_)) => Err(ClientError::GroupClosed),
            Err(_) => Err(ClientError::Timeout {
                action: "commit offsets",
                after: GROUP_CONSUMER_CLOSE_MAX,
                last: None,
            }),
        };
        if how == Stop::Leave
            && self.shared.ended().is_none()
            && let Err(error) = self.calls.leave(GROUP_CONSUMER_CLOSE_MAX).await
        {
            tracing::warn!(group = %self.calls.config.group, %error, "cannot leave group");
        }
        committed
    }

    /// Sends heartbeats. The replies change nothing: the member gives up all partitions soon.
    async fn stay_alive(&self) -> Infallible {
        let mut failures = 0;
        loop {
            let generation = self.shared.with(|membership| membership.generation());
            // No long poll: to cut one would end the session early.
            match self.calls.heartbeat(generation, Duration::ZERO).await {
                Ok(_) => {
                    failures = 0;
                    sleep(GroupConfig::heartbeat_wait(self.calls.session())).await;
                }
                Err(error) if Failure::of(&error) == Failure::Retryable => {
                    failures += 1;
                    sleep(self.calls.pool.backoff(failures, Some(&error))).await;
                }
                // There is no session to keep.
                Err(_) => return std::future::pending().await,
            }
        }
    }

    async fn beat_until_stopped(&mut self) -> Stop {
        loop {
            let sent = Instant::now();
            let (generation, is_settled) = self
                .shared
                .with(|membership| (membership.generation(), membership.is_settled()));
            // Without acknowledgement the coordinator answers at once.
            let wait = if is_settled {
                GroupConfig::heartbeat_wait(self.calls.session())
            } else {
                Duration::ZERO
            };
            self.shared.alive_for(wait + self.calls.session());
            match self.beat(generation, wait).await {
                Beat::Stopping(how) => return how,
                Beat::Unused => {
                    if let Some(how) = self.go_away().await {
                        return how;
                    }
                }
                Beat::Unknown => {
                    if let Some(how) = self.rejoin().await {
                        return how;
                    }
                }
                Beat::Replied(Ok(assignment)) => {
                    self.note_success();
                    self.shared.alive_for(self.calls.session());
                    let is_old = assignment.generation <= generation;
                    self.shared.accept(assignment);
                    let is_early = is_old && sent.elapsed() < wait / 2;
                    if let Some(how) = self.pause(is_early).await {
                        return how;
                    }
                }
                Beat::Replied(Err(error)) => {
                    if let Some(how) = self.on_failure(error).await {
                        return how;
                    }
                }
            }
        }
    }

    /// One heartbeat.
    async fn beat(&self, generation: u64, wait: Duration) -> Beat {
        tokio::select! {
            biased;
            how = self.shared.stopping() => Beat::Stopping(how),
            () = self.shared.outside() => Beat::Unknown,
            () = self.shared.unused_for(self.calls.config.poll_interval) => Beat::Unused,
            reply = self.calls.heartbeat(generation, wait) => Beat::Replied(reply),
        }
    }

    /// Waits before the next heartbeat: for the application, if it has to give up partitions, and
    /// for a moment after a reply that was earlier than asked for.
    async fn pause(&mut self, is_early: bool) -> Option<Stop> {
        let is_settled = self.shared.with(|membership| membership.is_settled());
        let wait = match (is_settled, is_early) {
            (false, _) => GroupConfig::heartbeat_wait(self.calls.session()),
            (true, true) => self.calls.pool.backoff(1, None),
            (true, false) => return None,
        };
        tokio::select! {
            how = self.shared.stopping() => Some(how),
            () = self.shared.acknowledged(), if !is_settled => None,
            () = self.shared.unused_for(self.calls.config.poll_interval) => None,
            () = sleep(wait) => None,
        }
    }

    const fn note_success(&mut self) {
        self.failures = 0;
        self.failing_since = None;
    }

    async fn on_failure(&mut self, error: ClientError) -> Option<Stop> {
        match Failure::of(&error) {
            Failure::Unknown => {
                tracing::warn!(
                    group = %self.calls.config.group,
                    member = %self.calls.member_id,
                    %error,
                    "group has removed this member, which joins again"
                );
                self.rejoin().await
            }
            Failure::Final => Some(self.end(error).await),
            Failure::Retryable => self.back_off(error).await,
        }
    }

    /// Waits after a failure; reports it if it lasts for longer than the retry timeout. Records are
    /// read on: the coordinator may be unavailable for a while, and commits are fenced.
    async fn back_off(&mut self, error: ClientError) -> Option<Stop> {
        tracing::debug!(group = %self.calls.config.group, %error, "group call failed, will retry");
        self.failures += 1;
        self.shared.call_failed();
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let wait = self.calls.pool.backoff(self.failures, Some(&error));
        if since.elapsed() >= self.calls.config.retry_timeout {
            self.failing_since = None;
            self.shared.report(error);
        }
        tokio::select! {
            how = self.shared.stopping() => Some(how),
            () = sleep(wait) => None,
        }
    }

    /// The member ends. Waits until it is closed.
    async fn end(&self, error: ClientError) -> Stop {
        self.shared.end(error);
        self.shared.stopping().await
    }

    /// Leaves the group because the application does not ask for records, and joins it again when
    /// it does.
    async fn go_away(&mut self) -> Option<Stop> {
        let config = &self.calls.config;
        let error = ClientError::PollIntervalExceeded {
            group: config.group.clone(),
            after: config.poll_interval,
        };
        tracing::warn!(group = %config.group, %error, "left group");
        self.shared.go_away(error);
        // Without success the session ends by itself.
        if let Err(error) = self.calls.leave(GROUP_CONSUMER_CLOSE_MAX).await {
            tracing::warn!(group = %config.group, %error, "cannot leave group");
        }
        tokio::select! {
            how = self.shared.stopping() => return Some(how),
            () = self.shared.back() => {}
        }
        self.rejoin().await
    }

    /// Drops everything and joins the group again.
    async fn rejoin(&mut self) -> Option<Stop> {
        self.shared.lose_all();
        loop {
            let joined = tokio::select! {
                biased;
                how = self.shared.stopping() => return Some(how),
                joined = self.calls.join() => joined,
            };
            let error = match joined {
                Ok(assignment) => {
                    self.note_success();
                    self.shared.accept(assignment);
                    return None;
                }
                Err(error) => error,
            };
            if Failure::of(&error) == Failure::Final {
                return Some(self.end(error).await);
            }
            if let Some(how) = self.back_off(error).await {
                return Some(how);
            }
        }
    }
}
