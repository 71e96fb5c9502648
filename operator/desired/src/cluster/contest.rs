//! Fields that somebody else changes again after each write: an admission webhook, a policy, or
//! another controller. To write them again and again helps nobody, so after some rounds the
//! operator says who does it and writes seldom, until it stops.
//!
//! The caller keeps the rounds in memory: a restart of the operator counts from zero.

use std::collections::BTreeSet;

use lograft_crds::limits::{
    CONTEST_PAUSE_MAX_SECONDS, CONTEST_PAUSE_MIN_SECONDS, CONTEST_ROUNDS_COUNT,
    CONTEST_WINDOW_SECONDS,
};

/// Fields of an object that differed from their desired values after they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contest {
    /// Paths of the fields.
    pub fields: BTreeSet<String>,
    /// Field managers that own them, beside the operator. None if it was an admission webhook.
    pub managers: BTreeSet<String>,
    /// Hash of the desired state that was written last.
    pub desired: String,
    /// Number of writes that somebody undid.
    pub rounds: u32,
    /// Whether the last write is one of them.
    pub is_undone: bool,
    /// Time of the last write, seconds since 1970.
    pub written_unix_seconds: i64,
}

impl Contest {
    /// Whether it has lasted long enough to be reported.
    pub(crate) fn is_reported(&self) -> bool {
        self.rounds >= CONTEST_ROUNDS_COUNT
    }

    /// Time from the last write to the next, while it lasts; it doubles with each round.
    pub(crate) fn pause_seconds(&self) -> i64 {
        if !self.is_reported() {
            return 0;
        }
        let doublings = (self.rounds - CONTEST_ROUNDS_COUNT).min(16);
        (CONTEST_PAUSE_MIN_SECONDS << doublings).min(CONTEST_PAUSE_MAX_SECONDS)
    }

    /// When something changes by itself, seconds since 1970: it may be written, or it is over.
    pub(crate) fn next_check(&self) -> i64 {
        let end = self.written_unix_seconds + self.pause_seconds();
        if self.is_undone {
            end
        } else {
            end + CONTEST_WINDOW_SECONDS + 1
        }
    }

    /// Whether a difference at this time belongs to it: otherwise it is a new one.
    pub(crate) fn lasts_at(&self, now: i64) -> bool {
        now - self.written_unix_seconds <= self.pause_seconds() + CONTEST_WINDOW_SECONDS
    }
}

/// A difference of an object from its desired state.
pub(crate) struct Difference {
    /// Hash of the desired state.
    pub(crate) desired: String,
    pub(crate) fields: BTreeSet<String>,
    pub(crate) managers: BTreeSet<String>,
}
