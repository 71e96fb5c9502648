//! Commits of offsets. Those of many members share entries: while one entry is in flight, new
//! commits wait and go together into the next one, in their order. There is no linger time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::Reason;
use lograft_core::consumer_group::{Applied, CommitResult, GroupCommand, OffsetCommit};
use lograft_core::limits::{COMMITS_ENTRY_MAX_BYTES, COMMITS_WAITING_MAX_BYTES};
use tokio::sync::oneshot;

use super::leading::{Leading, unexpected};
use crate::error::ApiError;

/// The outcome of each offset of a call.
type Outcomes = Vec<CommitResult>;

/// Writes the committed offsets of a coordinator's groups.
pub(super) struct Commits {
    leading: Arc<Leading>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Call>,
    /// Of all calls, encoded.
    bytes: usize,
    has_writer: bool,
}

#[derive(Debug)]
struct Call {
    commits: Vec<OffsetCommit>,
    bytes: usize,
    done: oneshot::Sender<Result<Outcomes, ApiError>>,
}

impl Commits {
    pub(super) fn new(leading: Arc<Leading>) -> Self {
        Self {
            leading,
            waiting: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits offsets of a group. Returns the outcome of each once they are applied here. Fails
    /// with INVALID_ARGUMENT if they do not fit into a log entry.
    pub(super) async fn commit(
        self: &Arc<Self>,
        commits: Vec<OffsetCommit>,
    ) -> Result<Outcomes, ApiError> {
        let (done, outcomes) = oneshot::channel();
        let bytes = commits.iter().map(OffsetCommit::encoded_max_bytes).sum();
        if bytes > COMMITS_ENTRY_MAX_BYTES {
            let bound = format_args!(
                "at most {COMMITS_ENTRY_MAX_BYTES} bytes with their metadata, got {bytes}: send them \
                 in several calls"
            );
            return Err(ApiError::invalid("offsets", bound));
        }
        let call = Call {
            commits,
            bytes,
            done,
        };
        if self.push(call)? {
            // A task of its own, as for memberships.
            tokio::spawn(Arc::clone(self).write_all());
        }
        outcomes
            .await
            .unwrap_or_else(|_| Err(ApiError::replica_closing()))
    }

    /// Adds a call. Returns whether a writer is needed.
    fn push(&self, call: Call) -> Result<bool, ApiError> {
        let mut waiting = self.lock();
        let total = waiting.bytes + call.bytes;
        if total > COMMITS_WAITING_MAX_BYTES {
            let text = format!(
                "offsets that wait to be committed have reached their limit of \
                 {COMMITS_WAITING_MAX_BYTES} bytes"
            );
            return Err(ApiError::new(Reason::NotReady, text));
        }
        waiting.bytes = total;
        waiting.calls.push_back(call);
        Ok(!std::mem::replace(&mut waiting.has_writer, true))
    }

    /// The calls of the next entry; at least one if any waits. If there is none, the writer must
    /// end: it does not count any more.
    fn next_calls(&self) -> Vec<Call> {
        let mut waiting = self.lock();
        let mut next = Vec::new();
        let mut bytes = 0;
        while let Some(call) = waiting
            .calls
            .pop_front_if(|call| bytes == 0 || bytes + call.bytes <= COMMITS_ENTRY_MAX_BYTES)
        {
            bytes += call.bytes;
            next.push(call);
        }
        waiting.bytes -= bytes;
        waiting.has_writer = !next.is_empty();
        next
    }

    /// Writes entries one after the other until no call waits.
    async fn write_all(self: Arc<Self>) {
        loop {
            let mut calls = self.next_calls();
            if calls.is_empty() {
                return;
            }
            // Cancelled calls were not acknowledged: their offsets may be left out.
            calls.retain(|call| !call.done.is_closed());
            if !calls.is_empty() {
                self.write(calls).await;
            }
        }
    }

    async fn write(&self, calls: Vec<Call>) {
        let (mut commits, mut parts) = (Vec::new(), Vec::new());
        for call in calls {
            parts.push((call.commits.len(), call.done));
            commits.extend(call.commits);
        }
        let total = commits.len();
        let committed = match self.leading.term() {
            Ok(term) => {
                let command = GroupCommand::Commit { commits };
                self.leading.propose(&command, term).await
            }
            Err(error) => Err(error),
        };
        let outcomes = committed.and_then(|outcome| match outcome {
            Ok(Applied::Committed(outcomes)) if outcomes.len() == total => {
                let metrics = &self.leading.deps.metrics.groups;
                let committed = outcomes.iter().filter(|outcome| outcome.is_ok());
                metrics.commits.inc_by(committed.count() as u64);
                metrics.commit_entries.inc();
                Ok(outcomes)
            }
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error.into()),
        });
        let mut outcomes = outcomes.map(Vec::into_iter);
        for (count, done) in parts {
            let part = match &mut outcomes {
                Ok(outcomes) => Ok(outcomes.take(count).collect()),
                Err(error) => Err(error.clone()),
            };
            // A cancelled call has no receiver.
            done.send(part).ok();
        }
    }
}
