//! A coordinator that this node leads: carries out the calls for its groups.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::consumer_group::{
    CommitSequence, ConsumerGroup, GroupCommand, GroupEvent, MemberId, MemberSpec, OffsetCommit,
    TopicPartition,
};
use lograft_core::limits::METADATA_LAG_MAX;
use lograft_core::metadata::Metadata;
use lograft_core::{Reason, Term};
use tokio::time::{Instant, timeout_at};

use super::commits::Commits;
use super::leading::Leading;
use super::membership::Memberships;
use super::request::{
    CommitRequest, Committer, DeleteOffsets, GroupAnswer, GroupCall, GroupRequest, GroupTarget,
    Heartbeat, MemberAnswer, MemberRef, OffsetToCommit, OffsetsPage, OffsetsRequest,
};
use super::subscriptions::compile;
use super::upkeep::Upkeep;
use super::{described, offsets};
use crate::error::ApiError;
use crate::serving::fetch::position::catch_up;

/// A coordinator whose replica is on this node.
pub(super) struct Coordinator {
    pub(super) leading: Arc<Leading>,
    memberships: Arc<Memberships>,
    commits: Arc<Commits>,
    pub(super) upkeep: Arc<Upkeep>,
}

impl Coordinator {
    pub(super) fn new(leading: Leading) -> Self {
        let leading = Arc::new(leading);
        let memberships = Arc::new(Memberships::new(Arc::clone(&leading)));
        Self {
            commits: Arc::new(Commits::new(Arc::clone(&leading))),
            upkeep: Arc::new(Upkeep::new(Arc::clone(&leading), Arc::clone(&memberships))),
            memberships,
            leading,
        }
    }

    /// Carries out a call for one of the groups.
    pub(super) async fn call(&self, request: &GroupRequest) -> Result<GroupAnswer, ApiError> {
        let answer = self.carry_out(request).await;
        let result = answer.as_ref().err().map_or("OK", ApiError::label);
        let calls = &self.leading.deps.metrics.groups.calls;
        calls
            .with_label_values(&[request.call.name(), result])
            .inc();
        answer
    }

    async fn carry_out(&self, request: &GroupRequest) -> Result<GroupAnswer, ApiError> {
        self.leading.term()?;
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
            GroupCall::Offsets(request) => {
                catch_up(&self.leading.replica).await?;
                self.offsets(group, request).map(GroupAnswer::Offsets)
            }
            GroupCall::DeleteOffsets(request) => self.delete_offsets(group, request).await,
            GroupCall::Describe(page) => {
                catch_up(&self.leading.replica).await?;
                let metadata = self.leading.deps.view.load();
                let described = described::describe(
                    &self.leading.groups,
                    (group, page),
                    (&metadata, self.leading.deps.node),
                );
                described.map(GroupAnswer::Described)
            }
            GroupCall::Delete => self.delete(group).await,
        }
    }

    fn offsets(&self, group: &str, request: &OffsetsRequest) -> Result<OffsetsPage, ApiError> {
        let metadata = self.leading.deps.view.load();
        let topics = offsets::ids_of(&metadata, &request.topics);
        // Names are found outside of the lock, for which apply waits.
        let (rows, next) = {
            let state = self.leading.groups.lock();
            offsets::page(state.group(group), topics.as_ref(), &request.page)
        };
        let offsets = offsets::named(&metadata, rows)?;
        Ok(OffsetsPage { offsets, next })
    }

    async fn join(&self, group: &str, spec: &MemberSpec) -> Result<MemberAnswer, ApiError> {
        if let Some(pattern) = &spec.subscription.pattern {
            compile(pattern)?;
        }
        self.memberships
            .submit(group, GroupEvent::Join(spec.clone()))
            .await?;
        let call = self.leading.timers.call(group, &spec.id);
        let answer = self.answer(group, &spec.id);
        call.answered();
        answer
    }

    async fn heartbeat(
        &self,
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
        let call = self.leading.timers.call(group, &member.id);
        if needs {
            let (member, generation) = (member.id.clone(), *acknowledged);
            let event = GroupEvent::Acknowledge { member, generation };
            self.memberships.submit(group, event).await?;
        }
        let deadline = Instant::now() + (*max_wait).min(session * 2 / 3);
        let term = self.leading.term()?;
        let news = async {
            let changes = self.leading.groups.changes(group);
            loop {
                let mut change = std::pin::pin!(changes.next());
                change.as_mut().enable();
                if self
                    .leading
                    .membership(group)
                    .has_news(&member.id, *acknowledged)
                {
                    return;
                }
                change.await;
            }
        };
        let answer = tokio::select! {
            // A member that was replaced while it waited must not join again.
            _ = timeout_at(deadline, news) => self.answer_of(target, member, term),
            () = self.leading.end_of(term) => Err(ApiError::not_leader(None)),
            // Whoever waits for this answer has made another call.
            () = call.repeated() => self.answer_of(target, member, term),
        };
        call.answered();
        answer
    }

    /// The answer to a heartbeat of a member, in the term in which it came.
    fn answer_of(
        &self,
        target: &GroupTarget,
        member: &MemberRef,
        term: Term,
    ) -> Result<MemberAnswer, ApiError> {
        if self.leading.term()? != term {
            return Err(ApiError::not_leader(None));
        }
        self.membership_of(target, member)?;
        self.answer(&target.group, &member.id)
    }

    fn answer(&self, group: &str, member: &MemberId) -> Result<MemberAnswer, ApiError> {
        let node = self.leading.deps.node;
        let answer = described::answer(&self.leading.groups, group, (member, node));
        answer.ok_or_else(|| described::unknown_member(member))
    }

    /// The membership of the group. Fails if the member is not in it, or is another principal's.
    fn membership_of(
        &self,
        target: &GroupTarget,
        member: &MemberRef,
    ) -> Result<Arc<ConsumerGroup>, ApiError> {
        let membership = self.leading.membership(&target.group);
        let principal = target.principal.to_string();
        membership.caller(&member.id, member.instance_id.as_deref(), &principal)?;
        Ok(membership)
    }

    async fn leave(
        &self,
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
        self.memberships.submit(&target.group, event).await?;
        Ok(GroupAnswer::Done)
    }

    async fn commit(
        &self,
        target: &GroupTarget,
        request: &CommitRequest,
    ) -> Result<GroupAnswer, ApiError> {
        let (member, sequence) = match &request.by {
            None => (None, CommitSequence::NONE),
            Some(Committer {
                member,
                generation,
                sequence,
            }) => {
                self.membership_of(target, member)?;
                (Some((member.id.clone(), *generation)), *sequence)
            }
        };
        let places = self.places(&request.offsets).await;
        let now_ms = self.leading.deps.clock.now_ms();
        let commits: Vec<OffsetCommit> = request
            .offsets
            .iter()
            .zip(&places)
            .filter_map(|(offset, place)| {
                Some(OffsetCommit {
                    group: target.group.clone(),
                    member: member.clone(),
                    sequence,
                    partition: *place.as_ref().ok()?,
                    offset: offset.offset,
                    metadata: offset.metadata.clone(),
                    committed_at_ms: now_ms,
                })
            })
            .collect();
        let mut outcomes: Vec<_> = places.into_iter().map(|place| place.map(drop)).collect();
        if !commits.is_empty() {
            let mut committed = self.commits.commit(commits).await?.into_iter();
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                if let Some(Err(error)) = committed.next() {
                    *outcome = Err(error.into());
                }
            }
        }
        Ok(GroupAnswer::Committed(outcomes))
    }

    /// The partitions of offsets to commit. A topic that was just created may not have reached this
    /// node yet: waits a moment for it.
    async fn places(&self, wanted: &[OffsetToCommit]) -> Vec<Result<TopicPartition, ApiError>> {
        let is_missing = |place: &Result<_, ApiError>| {
            let reason = place.as_ref().err().and_then(ApiError::reason);
            matches!(
                reason,
                Some(Reason::UnknownTopic | Reason::UnknownPartition)
            )
        };
        let find = |metadata: &Metadata| {
            let places = wanted.iter().map(|offset| offsets::place(metadata, offset));
            let places: Vec<_> = places.collect();
            if places.iter().any(is_missing) {
                Err(places)
            } else {
                Ok(places)
            }
        };
        let deadline = Instant::now() + METADATA_LAG_MAX;
        let found = self.leading.deps.view.find(deadline, find).await;
        found.unwrap_or_else(|with_missing| with_missing)
    }

    async fn delete_offsets(
        &self,
        group: &str,
        request: &DeleteOffsets,
    ) -> Result<GroupAnswer, ApiError> {
        let metadata = self.leading.deps.view.load();
        let topic = metadata.topic_with_id(&request.topic, None)?.id;
        let term = self.leading.term()?;
        let is_asked =
            |number: u32| request.partitions.is_empty() || request.partitions.contains(&number);
        let partitions: Vec<_> = {
            let state = self.leading.groups.lock();
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
        self.leading.carry_out(&command, term).await?;
        Ok(GroupAnswer::Deleted(deleted_count))
    }

    async fn delete(&self, group: &str) -> Result<GroupAnswer, ApiError> {
        let term = self.leading.term()?;
        let command = GroupCommand::Delete {
            group: group.to_owned(),
        };
        self.leading.carry_out(&command, term).await?;
        Ok(GroupAnswer::Done)
    }
}
