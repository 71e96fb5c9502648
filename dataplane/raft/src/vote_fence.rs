//! The fence of a replica whose disk is older than what the replica has promised, and of one that
//! joins a group.
//!
//! A replica promises two things: it votes once in a term, and it keeps what it has acknowledged.
//! A disk that was restored from a copy has forgotten some of these promises. If such a replica
//! voted, it could vote twice in a term (two leaders), or elect a leader without committed entries.
//! So it is fenced: it grants no vote, does not campaign and does not lead, until a leader that a
//! majority *without it* has confirmed has replicated its log to it again.
//!
//! ```text
//! Lifted --fence--> Asking --a confirmed leader names the end of its log--> CatchingUp(target)
//!                     ^                                                        |
//!                     +---------------- no progress, ask again ----------------+
//!                                                                              |
//! Lifted <---------------------- log on disk has reached the target -----------+
//! ```
//!
//! Why that is enough. While it asks, the replica acknowledges nothing, so the majority that
//! confirms the leader is one without it, and confirms after the fence. Each leader that the
//! forgotten votes can have elected, or the forgotten acknowledgements can have helped to commit,
//! is this leader or one of an earlier term: the two majorities share a voter other than this
//! replica, and that voter accepts no leader of a term below its own. So the log of the confirmed
//! leader contains everything that was committed with the help of this replica, and the replica has
//! it all when its log has reached the target.
//!
//! # A replica that joins
//!
//! A new replica of a group gets the log from its first entry on, and with it all memberships that
//! the group has ever had. In some of them this node can be a voter: its former replica left the
//! group and was deleted. Until it has the entry that added it, the replica would take an old
//! membership for the current one. One that was the only voter then would elect itself and lead a
//! prefix of the log; the records behind it would be lost, although all disks are intact. The
//! group cannot prevent that: no voter of the old membership has to be asked.
//!
//! So it starts fenced too. A confirmed leader names the entry of the membership that added it as
//! a learner. In that membership and in the one before it, it is no voter, and in all later ones
//! it is a voter only with its own log as a part of the majority. So the fence is lifted as soon
//! as the log on disk has reached that entry. The leader makes no replica a voter before that (see
//! `GroupStatus::has_joined`), so a voter that joined is never fenced for long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::{LogId, Term};

use crate::error::RaftError;

/// The rights of a replica in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FenceStage {
    /// Everything: its disk is not older than its promises.
    #[default]
    Lifted,
    /// Nothing: it waits for a leader that a majority without it confirms.
    Asking,
    /// It takes entries, and neither votes nor leads until its log on disk has reached this entry.
    CatchingUp(LogId),
    /// It joins the group. It takes entries once a confirmed leader has named the entry that added
    /// it, and votes and leads once its log on disk has reached that entry.
    Joining(Option<LogId>),
}

impl FenceStage {
    /// Whether the replica may vote, campaign and lead.
    pub const fn is_lifted(self) -> bool {
        matches!(self, Self::Lifted)
    }

    /// Whether the replica may take and acknowledge entries.
    pub const fn takes_entries(self) -> bool {
        !matches!(self, Self::Asking | Self::Joining(None))
    }

    /// Whether the replica may take and acknowledge the entries of a leader of this term.
    // A former leader that was cut off before the node's former replica left the group would count
    // the new one as the voter that the former one was. Its term is below that of the entry that
    // added the new replica.
    pub fn takes_from(self, leader: Term) -> bool {
        match self {
            Self::Joining(Some(target)) => leader >= target.term,
            _ => self.takes_entries(),
        }
    }

    /// Whether the disk is older than the promises of the replica.
    pub const fn is_disk_older(self) -> bool {
        matches!(self, Self::Asking | Self::CatchingUp(_))
    }

    /// Whether a log whose last entry on disk is `flushed` has everything that the replica may have
    /// acknowledged before it was fenced.
    // Term and index both count. Entries of the target's term come from the confirmed leader alone,
    // and an entry of a later term comes from a leader that was elected without this replica, whose
    // log has all committed entries before it. An entry of an earlier term says nothing, however
    // high its index: it may be a leftover that no leader has checked yet.
    pub fn is_caught_up(self, flushed: Option<LogId>) -> bool {
        match (self, flushed) {
            (Self::CatchingUp(target) | Self::Joining(Some(target)), Some(flushed)) => {
                flushed.term >= target.term && flushed.index >= target.index
            }
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    stage: FenceStage,
    /// Whether the replica waits with its campaigns, see [`crate::RaftGroup::hold`].
    is_held: bool,
}

/// The fence of a replica, shared by its handle, its network clients and its streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct VoteFence(Arc<Mutex<State>>);

impl VoteFence {
    pub(crate) fn new(stage: FenceStage, is_held: bool) -> Self {
        Self(Arc::new(Mutex::new(State { stage, is_held })))
    }

    pub(crate) fn stage(&self) -> FenceStage {
        self.lock().stage
    }

    /// Fails with [`RaftError::Fenced`] unless the replica may vote, campaign and lead.
    pub(crate) fn check_lifted(&self) -> Result<(), RaftError> {
        let is_lifted = self.stage().is_lifted();
        is_lifted.then_some(()).ok_or(RaftError::Fenced)
    }

    /// Fails with [`RaftError::Fenced`] unless the replica may take and acknowledge entries.
    pub(crate) fn check_takes_entries(&self) -> Result<(), RaftError> {
        let takes_entries = self.stage().takes_entries();
        takes_entries.then_some(()).ok_or(RaftError::Fenced)
    }

    /// The same for the entries of a leader of this term.
    pub(crate) fn check_takes_from(&self, leader: Term) -> Result<(), RaftError> {
        let takes = self.stage().takes_from(leader);
        takes.then_some(()).ok_or(RaftError::Fenced)
    }

    pub(crate) fn set(&self, stage: FenceStage) {
        self.lock().stage = stage;
    }

    /// Names the target, if the replica is still asking for it.
    pub(crate) fn set_target(&self, target: LogId) {
        let mut state = self.lock();
        match state.stage {
            FenceStage::Asking => state.stage = FenceStage::CatchingUp(target),
            FenceStage::Joining(None) => state.stage = FenceStage::Joining(Some(target)),
            FenceStage::Lifted | FenceStage::CatchingUp(_) | FenceStage::Joining(Some(_)) => {}
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.lock().is_held
    }

    pub(crate) fn hold(&self, is_held: bool) {
        self.lock().is_held = is_held;
    }

    /// Whether the replica may start an election.
    pub(crate) fn may_campaign(&self) -> bool {
        let State { stage, is_held } = *self.lock();
        stage.is_lifted() && !is_held
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::LogIndex;
    use proptest::prelude::*;

    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            term: Term(term),
            index: LogIndex(index),
        }
    }

    #[test]
    fn a_fenced_replica_takes_entries_only_once_it_has_a_target() {
        let fence = VoteFence::default();
        assert!(fence.stage().is_lifted() && fence.may_campaign());
        fence.set(FenceStage::Asking);
        assert!(!fence.stage().is_lifted() && !fence.stage().takes_entries());
        assert!(!fence.stage().is_caught_up(Some(id(99, 99))), "no target");
        fence.set_target(id(4, 10));
        assert!(fence.stage().takes_entries() && !fence.may_campaign());
        fence.set_target(id(1, 1));
        assert_eq!(fence.stage(), FenceStage::CatchingUp(id(4, 10)));
        fence.set(FenceStage::Lifted);
        fence.set_target(id(1, 1));
        assert!(fence.stage().is_lifted(), "an answer that is late");
        fence.hold(true);
        assert!(!fence.may_campaign() && fence.stage().is_lifted());
    }

    #[test]
    fn a_replica_that_joins_waits_for_the_entry_that_added_it() {
        let fence = VoteFence::new(FenceStage::Joining(None), false);
        assert!(!fence.stage().takes_entries() && !fence.may_campaign());
        assert!(!fence.stage().is_caught_up(Some(id(99, 99))), "no target");
        fence.set_target(id(4, 10));
        assert!(fence.stage().takes_entries() && !fence.may_campaign());
        assert!(!fence.stage().is_disk_older());
        assert!(fence.check_takes_from(Term(4)).is_ok());
        assert!(
            fence.check_takes_from(Term(3)).is_err(),
            "a former leader that was cut off"
        );
        assert!(!fence.stage().is_caught_up(Some(id(4, 9))));
        assert!(fence.stage().is_caught_up(Some(id(4, 10))));
        fence.set_target(id(1, 1));
        assert_eq!(fence.stage(), FenceStage::Joining(Some(id(4, 10))));
    }

    /// A history of a group of three, as far as it concerns one replica: the entries of the
    /// confirmed leader, those that the replica had acknowledged, and the older copy of its log.
    fn history() -> impl Strategy<Value = (Vec<u64>, usize, usize)> {
        let terms = proptest::collection::vec(0u64..3, 1..30);
        let terms = terms.prop_map(|steps| {
            let mut term = 1;
            let terms: Vec<u64> = steps
                .into_iter()
                .map(|step| {
                    term += step / 2;
                    term
                })
                .collect();
            terms
        });
        terms.prop_flat_map(|terms| {
            let len = terms.len();
            (Just(terms), 0..len, 0..len)
        })
    }

    proptest! {
        /// The replica acknowledged entries up to `acked` of the leader's log; its disk was put
        /// back to `older`. Whatever prefix of the leader's log it has when the fence is lifted,
        /// all that it acknowledged is in it.
        #[test]
        fn no_acknowledged_entry_is_missing_once_it_is_caught_up(
            (terms, acked, older) in history(),
            leftover in 0u64..40,
        ) {
            let target = id(*terms.last().unwrap(), terms.len() as u64 - 1);
            let stage = FenceStage::CatchingUp(target);
            for (at, term) in terms.iter().enumerate().skip(older) {
                if stage.is_caught_up(Some(id(*term, at as u64))) {
                    prop_assert!(at >= acked);
                }
            }
            // The last one has all.
            prop_assert!(stage.is_caught_up(Some(target)));
            // A leftover of an earlier term, of any length, is not the leader's log.
            let earlier = id(target.term.get() - 1, leftover);
            prop_assert!(!stage.is_caught_up(Some(earlier)));
        }
    }
}
