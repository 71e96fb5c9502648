//! The states that a log may have after a crash: the last one known to be on disk, or any state
//! that a later call has led to.

use std::collections::BTreeMap;
use std::rc::Rc;

use lograft_core::{Entry, LogId, LogIndex, Offset, Vote};
use lograft_storage::{Checkpoint, GroupLog};

use crate::setup::Flush;

/// An expected log.
#[derive(Clone, Default)]
pub(crate) struct Log {
    /// The index of the first of `entries`.
    pub(crate) start: u64,
    pub(crate) entries: Rc<Vec<Entry>>,
    pub(crate) before: Option<LogId>,
    pub(crate) start_offset: Offset,
}

impl Log {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    pub(crate) fn next_offset(&self) -> Offset {
        self.entries
            .last()
            .map_or(self.start_offset, Entry::next_offset)
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.id).or(self.before)
    }

    pub(crate) fn get(&self, index: u64) -> Option<&Entry> {
        self.entries
            .get(usize::try_from(index.checked_sub(self.start)?).unwrap())
    }

    fn cut(&self, end: u64) -> Self {
        let mut cut = self.clone();
        Rc::make_mut(&mut cut.entries).truncate(usize::try_from(end - self.start).unwrap());
        cut
    }
}

/// A call that changed the log, and the log after it.
struct Change {
    after: Log,
    /// The lowest end that the log may have while the call is executed.
    least_end: u64,
    flush: Option<Flush>,
}

/// The expected state of a group over crashes.
#[derive(Default)]
pub(crate) struct Model {
    /// The last log that is known to be on disk.
    durable: Log,
    /// The calls after `durable`, in their order.
    changes: Vec<Change>,
    votes: Vec<(Option<Vote>, Flush)>,
    /// The last vote that is known to be on disk.
    durable_vote: Option<Vote>,
    pub(crate) checkpoints: BTreeMap<LogIndex, Checkpoint>,
    /// The newest checkpoint that is known to be on disk.
    pub(crate) durable_checkpoint: Option<LogIndex>,
    /// The last id passed to `purge_to`.
    pub(crate) purged: Option<LogId>,
    /// The end of the log on disk before the last flush. Later writes prove that the entries below
    /// it were durable.
    pub(crate) proven_end: u64,
}

impl Model {
    /// The log as callers see it.
    pub(crate) fn now(&self) -> &Log {
        self.changes
            .last()
            .map_or(&self.durable, |change| &change.after)
    }

    /// The last log that is known to be on disk.
    pub(crate) fn durable(&self) -> &Log {
        &self.durable
    }

    pub(crate) fn append(&mut self, entries: &[Entry], flush: Flush) {
        let mut after = self.now().clone();
        let least_end = after.end();
        for entry in entries {
            let mut entry = entry.clone();
            entry.base_offset = after.next_offset();
            Rc::make_mut(&mut after.entries).push(entry);
        }
        self.changes.push(Change {
            after,
            least_end,
            flush: Some(flush),
        });
    }

    pub(crate) fn truncate(&mut self, end: u64) {
        let after = self.now().cut(end);
        self.changes.push(Change {
            after,
            least_end: end,
            flush: None,
        });
    }

    pub(crate) fn reset(&mut self, checkpoint: &Checkpoint, flush: Flush) {
        let after = Log {
            start: checkpoint.last.index.0 + 1,
            entries: Rc::default(),
            before: Some(checkpoint.last),
            start_offset: checkpoint.next_offset,
        };
        self.changes.push(Change {
            after,
            least_end: 0,
            flush: Some(flush),
        });
        self.checkpoints
            .insert(checkpoint.last.index, checkpoint.clone());
        self.purged = Some(checkpoint.last);
    }

    pub(crate) fn vote(&mut self, vote: Vote, flush: Flush) {
        self.votes.push((Some(vote), flush));
    }

    /// Updates which calls are known to be on disk.
    pub(crate) fn take_flushes(&mut self) {
        let is_done = |flush: &Flush| matches!(flush.outcome(), Some(Ok(())));
        let done = self
            .changes
            .iter()
            .rposition(|it| it.flush.as_ref().is_some_and(is_done));
        self.done_up_to(done.map_or(0, |done| done + 1));
        if let Some(done) = self.votes.iter().rposition(|(_, flush)| is_done(flush)) {
            self.durable_vote = self.votes.drain(..=done).next_back().unwrap().0;
        }
    }

    fn done_up_to(&mut self, count: usize) {
        let ends = self
            .changes
            .iter()
            .take(count)
            .map(|change| change.least_end);
        if let Some(least) = ends.min() {
            self.proven_end = self.durable.end().min(least);
        }
        if let Some(change) = self.changes.drain(..count).next_back() {
            self.durable = change.after;
        }
    }

    /// Records that all calls are on disk.
    pub(crate) fn all_done(&mut self) {
        self.done_up_to(self.changes.len());
        self.durable_checkpoint = self.checkpoints.keys().next_back().copied();
    }

    /// Finds the state of the log after a crash among the possible ones, continues from it, and
    /// returns it. With `lost`, entries without a proof of durability may be missing. Panics if
    /// the log is in none of the possible states.
    pub(crate) fn recover(&mut self, log: &GroupLog, lost: bool) -> Log {
        let durable_end = self.durable.end();
        let least = if lost {
            self.proven_end.min(durable_end)
        } else {
            durable_end
        };
        let mut candidates = vec![(self.durable.clone(), least)];
        for change in self.changes.drain(..) {
            let before = candidates.last().unwrap().0.clone();
            if change.least_end < before.end() {
                candidates.push((before, change.least_end.min(least)));
            }
            candidates.push((
                change.after,
                change.least_end.min(least.max(change.least_end)),
            ));
        }
        let end = log.last_id().map_or(0, |last| last.index.0 + 1);
        let mut why = Vec::new();
        for (state, least) in candidates.into_iter().rev() {
            if end < least.max(state.start) || end > state.end() {
                why.push(format!(
                    "end {end} is not in {}..={}",
                    least.max(state.start),
                    state.end()
                ));
                continue;
            }
            let state = state.cut(end);
            match matches(log, &state) {
                Ok(()) => {
                    self.durable = state.clone();
                    self.proven_end = self.proven_end.min(end);
                    return state;
                }
                Err(difference) => why.push(difference),
            }
        }
        panic!("the log is in no possible state: {why:#?}");
    }

    /// Checks the vote after a crash, and continues with it.
    pub(crate) fn recover_vote(&mut self, found: Option<Vote>) {
        let possible = self
            .votes
            .drain(..)
            .map(|(vote, _)| vote)
            .chain([self.durable_vote]);
        assert!(
            possible.collect::<Vec<_>>().contains(&found),
            "vote {found:?} was lost or made up"
        );
        self.durable_vote = found;
    }
}

/// Compares all entries of the log with the model; a read that reports corruption is accepted.
pub(crate) fn matches(log: &GroupLog, state: &Log) -> Result<(), String> {
    if log.last_id() != state.last() || log.log_end_offset() != state.next_offset() {
        return Err(format!(
            "ends at {:?} {}, not {:?} {}",
            log.last_id(),
            log.log_end_offset(),
            state.last(),
            state.next_offset()
        ));
    }
    let mut next = log.first_id().map_or(state.end(), |first| first.index.0);
    while next < state.end() {
        let Ok(entries) = log.read(LogIndex(next)..LogIndex(state.end()), 4000) else {
            return Ok(()); // corruption was reported
        };
        if entries.is_empty() {
            return Err(format!("nothing to read at {next}"));
        }
        for entry in entries {
            if state.get(next).is_some_and(|expected| *expected != entry) {
                return Err(format!("entry {next} is {:?}, not as written", entry.id));
            }
            next += 1;
        }
    }
    Ok(())
}
