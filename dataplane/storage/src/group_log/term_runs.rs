//! The term of each log index: one run per term instead of one number per entry.

use std::collections::VecDeque;

use lograft_core::{LogId, LogIndex, Term};

/// The first id of each run: entries from its index up to the next run have its term.
#[derive(Clone, Debug, Default)]
pub(crate) struct TermRuns(VecDeque<LogId>);

impl TermRuns {
    /// Adds the id of the next entry.
    pub(crate) fn push(&mut self, id: LogId) {
        if self.0.back().is_none_or(|run| run.term != id.term) {
            self.0.push_back(id);
        }
    }

    /// The term at `index`; `None` below the first run.
    pub(crate) fn at(&self, index: LogIndex) -> Option<Term> {
        let after = self.0.partition_point(|run| run.index <= index);
        Some(self.0.get(after.checked_sub(1)?)?.term)
    }

    /// Removes the terms from `index` (inclusive) to the end.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        let keep = self.0.partition_point(|run| run.index < index);
        self.0.truncate(keep);
    }

    /// Removes the runs that end below `index`.
    pub(crate) fn drop_below(&mut self, index: LogIndex) {
        let after = self.0.partition_point(|run| run.index <= index);
        self.0.drain(..after.saturating_sub(1));
    }

    /// The runs that overlap `first..=last`, the first one clipped to `first`.
    pub(crate) fn within(&self, first: LogIndex, last: LogIndex) -> Vec<LogId> {
        let after = self.0.partition_point(|run| run.index <= first);
        let mut runs: Vec<LogId> = self
            .0
            .iter()
            .skip(after.saturating_sub(1))
            .take_while(|run| run.index <= last)
            .copied()
            .collect();
        if let Some(run) = runs.first_mut() {
            run.index = run.index.max(first);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            term: Term(term),
            index: LogIndex(index),
        }
    }

    #[test]
    fn runs_give_the_term_of_every_index_and_shrink_at_both_ends() {
        let mut runs = TermRuns::default();
        for (term, index) in [(1, 5), (1, 6), (2, 7), (4, 8), (4, 9)] {
            runs.push(id(term, index));
        }
        assert_eq!(runs.at(LogIndex(4)), None);
        assert_eq!(runs.at(LogIndex(6)), Some(Term(1)));
        assert_eq!(runs.at(LogIndex(9)), Some(Term(4)));
        assert_eq!(
            runs.within(LogIndex(6), LogIndex(8)),
            [id(1, 6), id(2, 7), id(4, 8)]
        );
        runs.truncate_from(LogIndex(8));
        assert_eq!(runs.at(LogIndex(8)), Some(Term(2)));
        runs.drop_below(LogIndex(7));
        assert_eq!(runs.at(LogIndex(6)), None);
        assert_eq!(runs.at(LogIndex(7)), Some(Term(2)));
    }
}
