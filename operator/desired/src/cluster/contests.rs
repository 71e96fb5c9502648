//! The contests of a cluster in the course of a plan: which objects may be written now.

use std::collections::BTreeMap;

use crate::ObjectKey;
use crate::cluster::contest::{Contest, Difference};
use crate::cluster::observed::Observed;
use crate::cluster::wait::{Intervention, Wait};

/// The contests of a cluster in the course of a plan.
pub(crate) struct Contests<'a> {
    observed: &'a Observed,
    next: BTreeMap<ObjectKey, Contest>,
}

impl<'a> Contests<'a> {
    pub(crate) fn new(observed: &'a Observed) -> Self {
        let now = observed.now_unix_seconds;
        let former = observed.contests.iter();
        let lasting = former.filter(|(_, contest)| contest.lasts_at(now));
        Self {
            observed,
            next: lasting.map(|(k, c)| (k.clone(), c.clone())).collect(),
        }
    }

    /// Whether the object may be written now. Its difference is counted.
    pub(crate) fn may_write(&mut self, key: &ObjectKey, difference: Difference) -> bool {
        let now = self.observed.now_unix_seconds;
        let Difference {
            desired,
            fields,
            managers,
        } = difference;
        let former = self.next.remove(key);
        let former = former.filter(|contest| !contest.fields.is_disjoint(&fields));
        let Some(mut contest) = former else {
            let contest = Contest {
                desired,
                fields,
                managers,
                written_unix_seconds: now,
                ..Contest::default()
            };
            self.next.insert(key.clone(), contest);
            return true;
        };
        // A new desired state is no edit of somebody else, and is written without a pause.
        let is_new = contest.desired != desired;
        if !contest.is_undone && !is_new {
            contest.rounds = contest.rounds.saturating_add(1);
            contest.is_undone = true;
        }
        contest.desired = desired;
        contest.fields.extend(fields);
        contest.managers.extend(managers);
        let waited = now - contest.written_unix_seconds;
        let may_write = is_new || waited >= contest.pause_seconds();
        if may_write {
            contest.written_unix_seconds = now;
            contest.is_undone = false;
        }
        self.next.insert(key.clone(), contest);
        may_write
    }

    /// When a reported contest changes by itself, seconds since 1970.
    pub(crate) fn next_check(&self) -> Option<i64> {
        let reported = self.next.values().filter(|contest| contest.is_reported());
        reported.map(Contest::next_check).min()
    }

    /// The contests to keep for the next plan, and the waits for their end.
    pub(crate) fn finish(self) -> (BTreeMap<ObjectKey, Contest>, Vec<Wait>) {
        let reported = self
            .next
            .iter()
            .filter(|(_, contest)| contest.is_reported());
        let waits = reported.map(|(key, contest)| {
            let contested = Intervention::Contested {
                key: key.clone(),
                fields: contest.fields.iter().cloned().collect(),
                managers: contest.managers.iter().cloned().collect(),
            };
            contested.into()
        });
        let waits = waits.collect();
        (self.next, waits)
    }
}
