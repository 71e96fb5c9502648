//! Which LogCluster gets a changed template next. A change that the operator itself causes, by its
//! own upgrade or its settings, reaches all clusters in the same second; if it is bad, all of them
//! are lost at once. So it goes to one cluster first, the canary; once that one has stayed healthy
//! for a time, the others follow by wave, a few at a time; and the first one that gets stuck stops
//! the rest.
//!
//! A change of a cluster's own spec is its owner's decision: it waits only for a free slot, and for
//! no change of an image on which another cluster is stuck.
//!
//! Everything here is a function of the members: nothing is lost at a restart of the operator.

use std::collections::BTreeMap;

/// Pace of rollouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Number of clusters whose pods are replaced at the same time.
    pub concurrent_max_count: usize,
    /// Time for which the canary has to stay healthy.
    pub soak_seconds: i64,
    /// Whether changes that the operator causes wait.
    pub is_paused: bool,
}

/// Cause of a changed template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The operator: an upgrade of it, or its settings.
    Operator,
    /// The spec of the LogCluster.
    Spec,
    /// A person who asked for a restart of the pods.
    Restart,
}

impl Cause {
    const ALL: [Self; 3] = [Self::Operator, Self::Spec, Self::Restart];

    /// The name in status.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Operator => "Operator",
            Self::Spec => "Spec",
            Self::Restart => "Restart",
        }
    }

    /// The cause with this name in status.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// How far the rollout is that was started last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This operator has not looked at the cluster yet.
    Unknown,
    /// All pods have the template; since when, seconds since 1970, if a rollout has ended.
    Settled(Option<i64>),
    /// Pods are being replaced.
    Rolling,
    /// It makes no progress until a person changes something.
    Stuck,
}

/// A changed template that has not been granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its cause.
    pub cause: Cause,
    /// The new image, if the change includes it.
    pub new_image: Option<String>,
    /// Whether the cluster itself lets it start now: it is neither paused nor outside of its
    /// maintenance windows.
    pub may_start: bool,
    /// Whether it was paused by a person: clusters of later waves do not wait for it.
    pub is_paused: bool,
}

/// A cluster of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its wave.
    pub wave: i32,
    /// Whether it waits for no other cluster.
    pub is_urgent: bool,
    /// Whether all its partitions accept writes and all its nodes are ready.
    pub is_healthy: bool,
    /// The last rollout.
    pub progress: Progress,
    /// Revision of the operator that started it.
    pub revision: Option<String>,
    /// Its cause.
    pub cause: Option<Cause>,
    /// Image of the template that the pods may have.
    pub image: String,
    /// The changed template that waits.
    pub request: Option<Request>,
}

impl Member {
    /// A cluster that has not been looked at.
    pub fn unknown(wave: i32) -> Self {
        Self {
            wave,
            is_urgent: false,
            is_healthy: false,
            progress: Progress::Unknown,
            revision: None,
            cause: None,
            image: String::new(),
            request: None,
        }
    }
}

/// Why a changed template has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Changes that the operator causes are paused.
    FleetPaused,
    /// It is outside of its maintenance windows; the next one opens at this time, seconds since
    /// 1970.
    Window(i64),
    /// The cluster is not healthy: a change that it has not asked for could make it worse.
    NotHealthy,
    /// Not all clusters have been looked at since the start of the operator.
    Survey,
    /// This cluster is stuck with the same change.
    Stuck(String),
    /// This cluster gets the change first.
    Canary(String),
    /// This cluster has got the change first, and has to stay healthy until this time, seconds
    /// since 1970.
    Soak(String, i64),
    /// This cluster is not healthy since it has got the change.
    Sick(String),
    /// This cluster is of an earlier wave.
    Wave(String),
    /// This many rollouts are under way, as many as may be.
    Slots(usize),
    /// This cluster is the next one.
    Turn(String),
}

impl Held {
    /// The other cluster that it names.
    pub fn other(&self) -> Option<String> {
        self.clone().other_mut().cloned()
    }

    /// The other cluster that it names.
    pub(crate) fn other_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Stuck(other)
            | Self::Canary(other)
            | Self::Soak(other, _)
            | Self::Sick(other)
            | Self::Wave(other)
            | Self::Turn(other) => Some(other),
            Self::FleetPaused
            | Self::Window(_)
            | Self::NotHealthy
            | Self::Survey
            | Self::Slots(_) => None,
        }
    }
}

/// The fleet, as one of its members asks for its turn.
struct Fleet<'a> {
    members: &'a BTreeMap<String, Member>,
    own: &'a str,
    revision: &'a str,
    policy: &'a Policy,
    now_unix_seconds: i64,
}

/// Whether the cluster with the key `own` may get its changed template now. `revision` is that of
/// the operator.
///
/// # Errors
///
/// Why it has to wait; it asks again later.
pub fn admit(
    members: &BTreeMap<String, Member>,
    own: &str,
    revision: &str,
    policy: &Policy,
    now_unix_seconds: i64,
) -> Result<(), Held> {
    let Some(member) = members.get(own) else {
        return Ok(());
    };
    let Some(request) = &member.request else {
        return Ok(());
    };
    let fleet = Fleet {
        members,
        own,
        revision,
        policy,
        now_unix_seconds,
    };
    match request.cause {
        _ if member.is_urgent => Ok(()),
        Cause::Restart => Ok(()),
        Cause::Spec => fleet.admit_spec(member, request),
        Cause::Operator => fleet.admit_operator(member, request),
    }
}

impl<'a> Fleet<'a> {
    fn others(&self) -> impl Iterator<Item = (&'a String, &'a Member)> {
        let own = self.own;
        self.members.iter().filter(move |(key, _)| *key != own)
    }

    /// A spec that changes while the cluster is not healthy is probably the repair.
    fn admit_spec(&self, member: &Member, request: &Request) -> Result<(), Held> {
        self.stop_at_stuck(request)?;
        if !member.is_healthy || member.progress == Progress::Stuck {
            return Ok(());
        }
        match self.rolling_count() {
            count if count >= self.policy.concurrent_max_count => Err(Held::Slots(count)),
            _ => Ok(()),
        }
    }

    fn admit_operator(&self, member: &Member, request: &Request) -> Result<(), Held> {
        if self.policy.is_paused {
            return Err(Held::FleetPaused);
        }
        self.stop_at_stuck(request)?;
        if !may_be_changed(member) {
            return Err(Held::NotHealthy);
        }
        if self
            .others()
            .any(|(_, other)| other.progress == Progress::Unknown)
        {
            return Err(Held::Survey);
        }
        self.watch_first_ones()?;
        if !self.is_proven() {
            return self.admit_canary();
        }
        let earlier = |(_, other): &(&String, &Member)| {
            other.wave < member.wave && (self.is_rolling_this(other) || is_in_line(other))
        };
        if let Some((key, _)) = self.others().find(earlier) {
            return Err(Held::Wave(key.clone()));
        }
        let rolling = self.rolling_count();
        let free = self.policy.concurrent_max_count.saturating_sub(rolling);
        if free == 0 {
            return Err(Held::Slots(rolling));
        }
        self.wait_in_line(free)
    }

    /// The first cluster that gets stuck with a change stops all others that would get it.
    fn stop_at_stuck(&self, request: &Request) -> Result<(), Held> {
        let has_same_change = |other: &Member| match request.cause {
            Cause::Operator if other.cause == Some(Cause::Operator) => self.has_revision(other),
            _ => request.new_image.as_ref() == Some(&other.image),
        };
        let is_stuck = |(_, other): &(&String, &Member)| {
            other.progress == Progress::Stuck && has_same_change(other)
        };
        match self.others().find(is_stuck) {
            Some((key, _)) => Err(Held::Stuck(key.clone())),
            None => Ok(()),
        }
    }

    /// A cluster that has just got the change has to stay healthy, also when it is not the first.
    fn watch_first_ones(&self) -> Result<(), Held> {
        let is_sick = |(_, other): &(&String, &Member)| {
            let end = self.soak_end(other);
            !other.is_healthy && end.is_some_and(|end| self.now_unix_seconds < end)
        };
        match self.others().find(is_sick) {
            Some((key, _)) => Err(Held::Sick(key.clone())),
            None => Ok(()),
        }
    }

    /// Whether a cluster has had the change for long enough and is healthy.
    fn is_proven(&self) -> bool {
        self.members.values().any(|member| {
            let end = self.soak_end(member);
            member.is_healthy && end.is_some_and(|end| self.now_unix_seconds >= end)
        })
    }

    fn admit_canary(&self) -> Result<(), Held> {
        if let Some((key, _)) = self.others().find(|(_, other)| self.is_rolling_this(other)) {
            return Err(Held::Canary(key.clone()));
        }
        for (key, other) in self.others() {
            match self.soak_end(other) {
                Some(end) if self.now_unix_seconds < end => {
                    return Err(Held::Soak(key.clone(), end));
                }
                // It was healthy, and is not any more.
                Some(_) => return Err(Held::Sick(key.clone())),
                None => {}
            }
        }
        match self.wait_in_line(1) {
            Err(Held::Turn(first)) => Err(Held::Canary(first)),
            result => result,
        }
    }

    /// Only as many as `free` go, the first ones of those that may: clusters that are stuck with
    /// an earlier change, then by wave, then by name.
    fn wait_in_line(&self, free: usize) -> Result<(), Held> {
        let may_go = |member: &Member| {
            let request = member.request.as_ref();
            let is_next = request.is_some_and(|it| it.cause == Cause::Operator && it.may_start);
            is_next && may_be_changed(member)
        };
        let mut line: Vec<_> = self.members.iter().filter(|(_, it)| may_go(it)).collect();
        line.sort_by_key(|(key, it)| (it.progress != Progress::Stuck, it.wave, (*key).clone()));
        let own = line.iter().position(|(key, _)| *key == self.own);
        match (own, line.first()) {
            (Some(position), Some((first, _))) if position >= free => {
                Err(Held::Turn((*first).clone()))
            }
            _ => Ok(()),
        }
    }

    /// When the soak of a cluster that has got the change of this operator ends, seconds since
    /// 1970; none if it has not got it.
    fn soak_end(&self, member: &Member) -> Option<i64> {
        let Progress::Settled(Some(since)) = member.progress else {
            return None;
        };
        let end = since.saturating_add(self.policy.soak_seconds);
        self.has_revision(member).then_some(end)
    }

    fn has_revision(&self, member: &Member) -> bool {
        member.revision.as_deref() == Some(self.revision)
    }

    fn is_rolling_this(&self, member: &Member) -> bool {
        member.progress == Progress::Rolling && self.has_revision(member)
    }

    /// Clusters whose pods are being replaced. A stuck one replaces none, so it takes no slot.
    fn rolling_count(&self) -> usize {
        let rolling = |(_, other): &(&String, &Member)| other.progress == Progress::Rolling;
        self.others().filter(rolling).count()
    }
}

/// A change that a cluster has not asked for is kept from one that is not healthy, unless it may be
/// the repair of an earlier change.
fn may_be_changed(member: &Member) -> bool {
    member.is_healthy || member.progress == Progress::Stuck
}

/// Whether a cluster will get a change of the operator: those of later waves wait for it. One that
/// is paused or not healthy could hold them up without end.
fn is_in_line(member: &Member) -> bool {
    let request = member.request.as_ref();
    let waits = request.is_some_and(|it| it.cause == Cause::Operator && !it.is_paused);
    waits && may_be_changed(member)
}
