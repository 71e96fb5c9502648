//! A coordinator that this node leads: carries out the calls for its groups.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::consumer_group::{
    Applied, ConsumerGroup, Group, GroupCommand, GroupEvent, GroupOutcome, MemberId, MemberSpec,
    OffsetCommit,
};
use lograft_core::{NodeId, Reason, Term};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::commits::{self, CommitQueue};
use super::membership::{EventQueues, submit};
use super::request::{
    CommitRequest, DeleteOffsets, GroupAnswer, GroupCall, GroupRequest, GroupTarget, Heartbeat,
    MemberAnswer, MemberRef,
};
use super::subscriptions::{ReadRights, compile};
use super::timers::Timers;
use super::upkeep::Upkeep;
use super::{described, offsets, proposals};
use crate::clock::Clock;
use crate::error::ApiError;
use crate::serving::leadership::Leadership;
use crate::serving::replica::Replica;
use crate::state_machine::{MetaView, SharedGroups};

/// What all coordinators of a node use.
pub(super) struct CoordinatorDeps {
    pub(super) node: NodeId,
    pub(super) view: MetaView,
    pub(super) rights: Arc<dyn ReadRights>,
    pub(super) clock: Arc<dyn Clock>,
}

/// A coordinator whose replica is on this node.
pub(super) struct Coordinator {
    pub(super) deps: Arc<CoordinatorDeps>,
    pub(super) replica: Arc<Replica>,
    pub(super) groups: SharedGroups,
    pub(super) events: EventQueues,
    pub(super) commits: CommitQueue,
    pub(super) timers: Timers,
    /// The term that this node leads in, by the latest look. Ends the calls that wait.
    pub(super) led: watch::Sender<Option<Term>>,
    /// Whether it is being looked after.
    pub(super) upkeep: Upkeep,
}

impl Coordinator {
    pub(super) fn new(
        deps: Arc<CoordinatorDeps>,
        replica: Arc<Replica>,
        groups: SharedGroups,
    ) -> Self {
        Self {
            deps,
            replica,
            groups,
            events: EventQueues::default(),
            commits: CommitQueue::default(),
            timers: Timers::default(),
            led: watch::Sender::new(None),
            upkeep: Upkeep::default(),
        }
    }

    /// The term that this node leads in. Fails with NOT_LEADER if it does not, or may not serve.
    ///
    /// In a new term all members get a whole session: what the former leader had counted is gone.
    pub(super) fn term(&self) -> Result<Term, ApiError> {
        let found = match Leadership::of(&self.replica.raft) {
            Leadership::Ready(term) => Some(term),
            Leadership::NotReady(_) | Leadership::Other(..) | Leadership::Unknown(_) => None,
        };
        let is_new = self
            .led
            .send_if_modified(|led| std::mem::replace(led, found) != found);
        if is_new && found.is_some() {
            self.timers.restart(&self.groups.lock());
        }
        found.ok_or_else(|| ApiError::not_leader(None))
    }

    /// The membership of a group, as applied.
    pub(super) fn membership(&self, group: &str) -> Arc<ConsumerGroup> {
        self.groups.lock().membership(group)
    }

    /// Commits a command in a term.
    pub(super) async fn propose(
        &self,
        command: &GroupCommand,
        term: Term,
    ) -> Result<GroupOutcome, ApiError> {
        let now_ms = self.deps.clock.now_ms();
        proposals::propose(&self.replica.raft, (command, term), now_ms).await
    }

    /// Carries out a call for one of the groups.
    pub(super) async fn call(
        self: &Arc<Self>,
        request: &GroupRequest,
    ) -> Result<GroupAnswer, ApiError> {
        self.term()?;
        let GroupRequest { target, call } = request;
        let group = &target.group;
        match call {
            GroupCall::Join(spec) => self.join(group, spec).await.map(GroupAnswer::Member),
            GroupCall::Heartbeat(heartbeat) => {
                let answer = self.heartbeat(target, heartbeat).await;
                answer.map(GroupAnswer::Member)
            }
            GroupCall::Leave(member) => self.leave(target, member).await,
            GroupCall::Commit(request) => self.commit(target, request).await,
            GroupCall::Offsets(topics) => {
                let metadata = self.deps.view.load();
                let state = self.groups.lock();
                let found = state.group(group).into_iter();
                let found = found.flat_map(Group::offsets);
                Ok(GroupAnswer::Offsets(offsets::stored(
                    &metadata, topics, found,
                )))
            }
            GroupCall::DeleteOffsets(request) => self.delete_offsets(group, request).await,
            GroupCall::Describe => {
                let metadata = self.deps.view.load();
                let described =
                    described::describe(&self.groups, group, (&metadata, self.deps.node));
                described.map(GroupAnswer::Described)
            }
            GroupCall::Delete => self.delete(group).await,
        }
    }

    async fn join(
        self: &Arc<Self>,
        group: &str,
        spec: &MemberSpec,
    ) -> Result<MemberAnswer, ApiError> {
        if let Some(pattern) = &spec.subscription.pattern {
            compile(pattern)?;
        }
        submit(self, group, GroupEvent::Join(spec.clone())).await?;
        let call = self.timers.call(group, &spec.id);
        let answer = self.answer(group, &spec.id);
        call.answered();
        answer
    }

    async fn heartbeat(
        self: &Arc<Self>,
        target: &GroupTarget,
        heartbeat: &Heartbeat,
    ) -> Result<MemberAnswer, ApiError> {
        let Heartbeat {
            member,
            acknowledged,
            max_wait,
        } = heartbeat;
        let group = &*target.group;
        let (session, needs) = {
            let membership = self.membership_of(target, member)?;
            let spec = membership.members.get(&member.id).map(|found| &found.spec);
            let session_ms = spec.map_or(0, |spec| spec.session_timeout_ms);
            let session = Duration::from_millis(session_ms.into());
            (session, membership.needs(&member.id, *acknowledged))
        };
        let call = self.timers.call(group, &member.id);
        if needs {
            let (member, generation) = (member.id.clone(), *acknowledged);
            let event = GroupEvent::Acknowledge { member, generation };
            submit(self, group, event).await?;
        }
        let deadline = Instant::now() + (*max_wait).min(session * 2 / 3);
        let mut led = self.led.subscribe();
        let term = self.term()?;
        let news = async {
            let changes = self.groups.changes(group);
            loop {
                let mut change = std::pin::pin!(changes.next());
                change.as_mut().enable();
                if self.membership(group).has_news(&member.id, *acknowledged) {
                    return;
                }
                change.await;
            }
        };
        let answer = tokio::select! {
            // A member that was replaced while it waited must not join again.
            _ = timeout_at(deadline, news) => match self.membership_of(target, member) {
                Ok(_) => self.answer(group, &member.id),
                Err(error) => Err(error),
            },
            _ = led.wait_for(|led| *led != Some(term)) => Err(ApiError::not_leader(None)),
        };
        call.answered();
        answer
    }

    fn answer(&self, group: &str, member: &MemberId) -> Result<MemberAnswer, ApiError> {
        let answer = described::answer(&self.groups, group, (member, self.deps.node));
        answer.ok_or_else(|| described::unknown_member(member))
    }

    /// The membership of the group. Fails if the member is not in it, or is another principal's.
    fn membership_of(
        &self,
        target: &GroupTarget,
        member: &MemberRef,
    ) -> Result<Arc<ConsumerGroup>, ApiError> {
        let membership = self.membership(&target.group);
        let principal = target.principal.to_string();
        membership.caller(&member.id, member.instance_id.as_deref(), &principal)?;
        Ok(membership)
    }

    async fn leave(
        self: &Arc<Self>,
        target: &GroupTarget,
        member: &MemberRef,
    ) -> Result<GroupAnswer, ApiError> {
        match self.membership_of(target, member) {
            Ok(_) => {}
            // It has left, as it wants.
            Err(error)
                if matches!(
                    error.reason(),
                    Some(Reason::UnknownMember | Reason::MemberReplaced)
                ) =>
            {
                return Ok(GroupAnswer::Done);
            }
            Err(error) => return Err(error),
        }
        let event = GroupEvent::Leave {
            member: member.id.clone(),
        };
        submit(self, &target.group, event).await?;
        Ok(GroupAnswer::Done)
    }

    async fn commit(
        self: &Arc<Self>,
        target: &GroupTarget,
        request: &CommitRequest,
    ) -> Result<GroupAnswer, ApiError> {
        let member = match &request.by {
            None => None,
            Some((member, generation)) => {
                self.membership_of(target, member)?;
                Some((member.id.clone(), *generation))
            }
        };
        let metadata = self.deps.view.load();
        let now_ms = self.deps.clock.now_ms();
        let mut outcomes = Vec::with_capacity(request.offsets.len());
        let mut commits = Vec::new();
        for offset in &request.offsets {
            let place = offsets::place(&metadata, offset);
            if let Ok(partition) = &place {
                commits.push(OffsetCommit {
                    group: target.group.clone(),
                    member: member.clone(),
                    partition: *partition,
                    offset: offset.offset,
                    metadata: offset.metadata.clone(),
                    committed_at_ms: now_ms,
                });
            }
            outcomes.push(place.map(|_| ()));
        }
        if !commits.is_empty() {
            let mut committed = commits::commit(self, commits).await?.into_iter();
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                if let Some(Err(error)) = committed.next() {
                    *outcome = Err(error.into());
                }
            }
        }
        Ok(GroupAnswer::Committed(outcomes))
    }

    async fn delete_offsets(
        &self,
        group: &str,
        request: &DeleteOffsets,
    ) -> Result<GroupAnswer, ApiError> {
        let metadata = self.deps.view.load();
        let topic = metadata.topic_with_id(&request.topic, None)?.id;
        let term = self.term()?;
        let is_asked =
            |number: u32| request.partitions.is_empty() || request.partitions.contains(&number);
        let partitions: Vec<_> = {
            let state = self.groups.lock();
            let found = state.group(group);
            let found = found.ok_or_else(|| described::unknown_group(group))?;
            let stored = found.offsets().keys().copied();
            stored
                .filter(|at| at.topic == topic && is_asked(at.partition.get()))
                .collect()
        };
        let deleted_count = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
        let command = GroupCommand::DeleteOffsets {
            group: group.to_owned(),
            partitions,
        };
        self.carry_out(&command, term).await?;
        Ok(GroupAnswer::Deleted(deleted_count))
    }

    async fn delete(&self, group: &str) -> Result<GroupAnswer, ApiError> {
        let term = self.term()?;
        let command = GroupCommand::Delete {
            group: group.to_owned(),
        };
        self.carry_out(&command, term).await?;
        Ok(GroupAnswer::Done)
    }

    /// Commits a command that is done or refused.
    pub(super) async fn carry_out(
        &self,
        command: &GroupCommand,
        term: Term,
    ) -> Result<(), ApiError> {
        match self.propose(command, term).await? {
            Ok(Applied::Done | Applied::Deleted { .. }) => Ok(()),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error.into()),
        }
    }
}

/// An outcome of another kind than that of its command. It would be a defect.
pub(super) fn unexpected(outcome: &Applied) -> ApiError {
    let text = format!("a group's command had the outcome of another: {outcome:?}");
    ApiError::new(Reason::Internal, text)
}
