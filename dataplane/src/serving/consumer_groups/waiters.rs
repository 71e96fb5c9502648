//! Calls of members in progress. A member whose call is cut off is missed sooner than one that is
//! merely silent; a call that the member has repeated meanwhile is not missed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::consumer_group::MemberId;

/// The latest call of each member that has one in progress.
#[derive(Debug, Default)]
pub(super) struct PendingCalls(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    next: u64,
    latest: HashMap<(Arc<str>, MemberId), u64>,
}

/// A call in progress.
#[derive(Debug)]
pub(super) struct PendingCall {
    pub(super) group: Arc<str>,
    pub(super) member: MemberId,
    number: u64,
}

impl PendingCalls {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new call of a member; an earlier one does not count any more.
    pub(super) fn begin(&self, group: &str, member: &MemberId) -> PendingCall {
        let mut pending = self.lock();
        pending.next += 1;
        let call = PendingCall {
            group: group.into(),
            member: member.clone(),
            number: pending.next,
        };
        let key = (Arc::clone(&call.group), member.clone());
        pending.latest.insert(key, call.number);
        call
    }

    /// Ends a call. Returns whether it was the latest of its member.
    pub(super) fn end(&self, call: &PendingCall) -> bool {
        let mut pending = self.lock();
        let key = (Arc::clone(&call.group), call.member.clone());
        let is_latest = pending.latest.get(&key) == Some(&call.number);
        if is_latest {
            pending.latest.remove(&key);
        }
        is_latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_repeated_is_not_missed() {
        let calls = PendingCalls::default();
        let member = MemberId::new("m").unwrap();
        let first = calls.begin("g", &member);
        let second = calls.begin("g", &member);
        let of_another_group = calls.begin("h", &member);
        assert!(!calls.end(&first));
        assert!(calls.end(&second));
        assert!(!calls.end(&second), "once");
        assert!(calls.end(&of_another_group));
    }
}
