//! What is under way, so that no look begins it a second time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::GroupId;

/// A kind of work that a look begins and that outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Initializing a group, or noting that it is.
    Start(GroupId),
    /// Carrying out a move.
    Move(GroupId),
    /// Proposing a trim, or purging.
    Retention(GroupId),
    /// Setting a damaged replica aside, or asking for its repair.
    Repair(GroupId),
    /// Handing over a leadership to its preferred leader; one at a time.
    Prefer,
    /// The meta group's membership, drains.
    Meta,
    /// Telling the cluster of new addresses.
    Update,
}

/// The works under way.
#[derive(Clone, Debug, Default)]
pub struct Busy(Arc<Mutex<BTreeSet<Work>>>);

/// Holds a work's place until dropped.
#[derive(Debug)]
pub struct Place {
    busy: Busy,
    work: Work,
}

impl Busy {
    /// The place of `work`, unless it is under way.
    pub fn begin(&self, work: Work) -> Option<Place> {
        let is_new = self.works().insert(work);
        is_new.then(|| Place {
            busy: self.clone(),
            work,
        })
    }

    /// How many works under way are of this kind.
    pub fn count(&self, is_kind: impl Fn(&Work) -> bool) -> usize {
        self.works().iter().filter(|work| is_kind(work)).count()
    }

    fn works(&self) -> std::sync::MutexGuard<'_, BTreeSet<Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.busy.works().remove(&self.work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_is_begun_again_only_when_it_is_done() {
        let busy = Busy::default();
        let first = busy.begin(Work::Move(GroupId(1)));
        assert!(first.is_some() && busy.begin(Work::Move(GroupId(1))).is_none());
        assert!(
            busy.begin(Work::Move(GroupId(2))).is_some(),
            "its place was dropped at once"
        );
        assert_eq!(busy.count(|work| matches!(work, Work::Move(_))), 1);
        drop(first);
        assert!(busy.begin(Work::Move(GroupId(1))).is_some());
    }
}
