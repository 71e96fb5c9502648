//! The deadlines of members, in the memory of the leader of their coordinator: which members have
//! to be removed from their groups, and when.
//!
//! Time is a duration since any fixed moment, the same for all calls. A new leader starts without
//! sessions, so that each member gets a fresh one from [`Sessions::observe`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::group::ConsumerGroup;
use super::ids::Generation;
use super::member::{Member, MemberId};
use crate::limits::{GROUP_CUT_CALL_MAX, GROUP_DUE_AGAIN_INTERVAL};

/// The deadlines of the members of all groups of a coordinator.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    groups: BTreeMap<Arc<str>, BTreeMap<MemberId, Session>>,
    /// The next deadline of each member that has one.
    deadlines: BTreeSet<(Duration, Arc<str>, MemberId)>,
    last_call: u64,
}

/// A call of a member. A later call of the same member takes its place, and what becomes of the
/// former one does not matter any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call(u64);

/// Why a member has to be removed from its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueReason {
    /// It has made no call for its session timeout.
    SessionEnded,
    /// Its call was cut off, and it has not repeated it.
    CallCut,
    /// It has not given up partitions within its rebalance timeout.
    RebalanceTimeout,
}

/// A member that has to be removed from its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueMember {
    /// The group.
    pub group: Arc<str>,
    /// The member.
    pub member: MemberId,
    /// The reason.
    pub reason: DueReason,
}

/// The deadlines of a member.
#[derive(Clone, Debug)]
struct Session {
    timeout: Duration,
    is_static: bool,
    presence: Presence,
    /// The oldest unacknowledged revocation, and until when it has to be acknowledged.
    revocation: Option<(Generation, Duration)>,
    /// The member is not due before this time, because it was reported already.
    reported_until: Duration,
    /// Its element of `Sessions::deadlines`.
    deadline: Option<Duration>,
}

/// Whether a member is known to be alive.
#[derive(Clone, Copy, Debug)]
enum Presence {
    /// Its call waits for a reply: the connection shows that it is alive.
    Calling(Call),
    /// Its last call was answered. It has until then to make the next one.
    Away(Duration),
    /// Its last call was cut off. It has until then to repeat it.
    Cut(Duration),
}

impl Session {
    fn new(member: &Member, now: Duration) -> Self {
        let timeout = session_timeout(member);
        Self {
            timeout,
            is_static: false,
            presence: Presence::Away(now + timeout),
            revocation: None,
            reported_until: Duration::ZERO,
            deadline: None,
        }
    }

    /// Takes over the timeouts and revocations of the member.
    fn observe(&mut self, member: &Member, now: Duration) {
        self.timeout = session_timeout(member);
        self.is_static = member.spec.instance_id.is_some();
        let oldest = member.revoking.values().map(|r| r.revoked_at).min();
        if self.revocation.map(|(generation, _)| generation) != oldest {
            let timeout = Duration::from_millis(member.spec.rebalance_timeout_ms.into());
            self.revocation = oldest.map(|generation| (generation, now + timeout));
        }
    }

    /// When the member is due, and why.
    fn due(&self) -> Option<(Duration, DueReason)> {
        let presence = match self.presence {
            Presence::Calling(_) => None,
            Presence::Away(until) => Some((until, DueReason::SessionEnded)),
            Presence::Cut(until) => Some((until, DueReason::CallCut)),
        };
        let revocation = self
            .revocation
            .map(|(_, until)| (until, DueReason::RebalanceTimeout));
        let first = presence
            .into_iter()
            .chain(revocation)
            .min_by_key(|(at, _)| *at);
        first.map(|(at, reason)| (at.max(self.reported_until), reason))
    }
}

impl Sessions {
    /// Forgets all members, for a new leadership. Calls from before end without effect.
    pub fn restart(&mut self) {
        *self = Self {
            last_call: self.last_call,
            ..Self::default()
        };
    }

    /// Takes over the members of a group: new ones get a fresh session, those that are gone lose
    /// theirs. MUST be called for each group when leadership starts, and after each change of a
    /// group's membership, its deletion included.
    pub fn observe(&mut self, group: &str, membership: &ConsumerGroup, now: Duration) {
        let gone: Vec<MemberId> = self
            .groups
            .get(group)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .filter(|id| !membership.members.contains_key(*id))
            .cloned()
            .collect();
        for member in gone {
            self.left(group, &member);
        }
        if membership.members.is_empty() {
            return;
        }
        let name = match self.groups.get_key_value(group) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(group),
        };
        let sessions = self.groups.entry(Arc::clone(&name)).or_default();
        for (id, member) in &membership.members {
            let session = sessions
                .entry(id.clone())
                .or_insert_with(|| Session::new(member, now));
            session.observe(member, now);
            schedule(&mut self.deadlines, &name, id, session);
        }
    }

    /// A call of the member waits for a reply from now on. No effect for a member that is in no
    /// observed group.
    pub fn called(&mut self, group: &str, member: &MemberId) -> Call {
        self.last_call += 1;
        let call = Call(self.last_call);
        self.change(group, member, |session| {
            session.presence = Presence::Calling(call);
        });
        call
    }

    /// The call was answered: the session starts.
    pub fn answered(&mut self, group: &str, member: &MemberId, call: Call, now: Duration) {
        self.change(group, member, |session| {
            if matches!(session.presence, Presence::Calling(latest) if latest == call) {
                session.presence = Presence::Away(now + session.timeout);
            }
        });
    }

    /// The call was cut off before it was answered. A member with an instance id still has its
    /// session to return, another one just the time for a retry.
    pub fn cut(&mut self, group: &str, member: &MemberId, call: Call, now: Duration) {
        self.change(group, member, |session| {
            if !matches!(session.presence, Presence::Calling(latest) if latest == call) {
                return;
            }
            session.presence = if session.is_static {
                Presence::Away(now + session.timeout)
            } else {
                Presence::Cut(now + GROUP_CUT_CALL_MAX.min(session.timeout))
            };
        });
    }

    /// The member has left its group.
    pub fn left(&mut self, group: &str, member: &MemberId) {
        let Some((name, sessions)) = self.groups.get_key_value(group) else {
            return;
        };
        let name = Arc::clone(name);
        let deadline = sessions.get(member).and_then(|session| session.deadline);
        if let Some(deadline) = deadline {
            let element = (deadline, Arc::clone(&name), member.clone());
            self.deadlines.remove(&element);
        }
        if let Some(sessions) = self.groups.get_mut(group) {
            sessions.remove(member);
            if sessions.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// The members whose deadline has passed. A member that is not removed from its group is due
    /// again after `GROUP_DUE_AGAIN_INTERVAL`, unless it has made a call.
    pub fn due(&mut self, now: Duration) -> Vec<DueMember> {
        let mut due = Vec::new();
        while let Some((deadline, _, _)) = self.deadlines.first()
            && *deadline <= now
            && let Some((_, group, member)) = self.deadlines.pop_first()
        {
            let sessions = self.groups.get_mut(&group);
            let Some(session) = sessions.and_then(|sessions| sessions.get_mut(&member)) else {
                continue;
            };
            session.deadline = None;
            let reason = session.due().map(|(_, reason)| reason);
            session.reported_until = now + GROUP_DUE_AGAIN_INTERVAL;
            schedule(&mut self.deadlines, &group, &member, session);
            due.extend(reason.map(|reason| DueMember {
                group,
                member,
                reason,
            }));
        }
        due
    }

    /// When the next member is due, unless something changes before.
    pub fn next(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _, _)| *deadline)
    }

    /// The number of members.
    pub fn member_count(&self) -> usize {
        self.groups.values().map(BTreeMap::len).sum()
    }

    fn change(&mut self, group: &str, member: &MemberId, change: impl FnOnce(&mut Session)) {
        let Some((name, _)) = self.groups.get_key_value(group) else {
            return;
        };
        let name = Arc::clone(name);
        let sessions = self.groups.get_mut(group);
        if let Some(session) = sessions.and_then(|sessions| sessions.get_mut(member)) {
            change(session);
            schedule(&mut self.deadlines, &name, member, session);
        }
    }
}

/// Puts the deadline of a session in its place.
fn schedule(
    deadlines: &mut BTreeSet<(Duration, Arc<str>, MemberId)>,
    group: &Arc<str>,
    member: &MemberId,
    session: &mut Session,
) {
    let deadline = session.due().map(|(at, _)| at);
    if session.deadline == deadline {
        return;
    }
    let element = |at| (at, Arc::clone(group), member.clone());
    if let Some(former) = session.deadline {
        deadlines.remove(&element(former));
    }
    deadlines.extend(deadline.map(element));
    session.deadline = deadline;
}

fn session_timeout(member: &Member) -> Duration {
    Duration::from_millis(member.spec.session_timeout_ms.into())
}
