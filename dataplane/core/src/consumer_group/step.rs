//! The next membership of a group: what its leader computes and the log records.

use std::collections::BTreeSet;

use super::assignors::{Candidate, Division};
use super::error::{GroupError, check_limit};
use super::group::ConsumerGroup;
use super::ids::{Generation, TopicPartition};
use super::member::{Member, MemberId, MemberSpec, Revoking};
use super::resolved::{Resolved, TopicLookup};
use crate::limits::{
    GROUP_MEMBERS_MAX_BYTES, GROUP_MEMBERS_MAX_COUNT, GROUP_PARTITIONS_MAX_COUNT,
    GROUP_TOPICS_MAX_COUNT,
};

/// A change that a group's leader has learned of. The leader MUST have checked that events of a
/// member are from its principal ([`ConsumerGroup::caller`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// A member joins, or changes its subscription.
    Join(MemberSpec),
    /// A member has stopped with all partitions that it does not have in a generation.
    Acknowledge {
        /// The member.
        member: MemberId,
        /// The generation.
        generation: Generation,
    },
    /// A member leaves, or is removed because its session ended or it took too long to give up
    /// partitions.
    Leave {
        /// The member.
        member: MemberId,
    },
    /// Topics were created, deleted or grew, or rights have changed. Fails if the group does not
    /// read all of its topics, since it would exceed a limit.
    TopicsChanged,
}

/// The result of [`ConsumerGroup::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// The next membership; `None` if nothing changes.
    pub group: Option<ConsumerGroup>,
    /// The result of each event, in order. The others take effect if one is refused.
    pub outcomes: Vec<Result<(), GroupError>>,
}

/// A step in progress.
struct Step<'a> {
    lookup: &'a dyn TopicLookup,
    next: ConsumerGroup,
    /// The generation that `next` will have if anything changes.
    generation: Generation,
    /// The topics of the members. Resolved when the first event needs them.
    resolved: Option<Resolved>,
    /// Whether the partitions have to be divided again.
    must_divide: bool,
}

impl ConsumerGroup {
    /// The membership after these events, taken in order. `now_ms` is only recorded.
    pub fn step(&self, events: &[GroupEvent], topics: &dyn TopicLookup, now_ms: i64) -> Stepped {
        let mut step = Step {
            lookup: topics,
            next: self.clone(),
            generation: self.generation.next(),
            resolved: None,
            must_divide: false,
        };
        let outcomes = events.iter().map(|event| step.take(event)).collect();
        Stepped {
            group: step.finish(self, now_ms),
            outcomes,
        }
    }
}

impl Step<'_> {
    fn take(&mut self, event: &GroupEvent) -> Result<(), GroupError> {
        match event {
            GroupEvent::Join(spec) => self.join(spec),
            GroupEvent::Acknowledge { member, generation } => self.acknowledge(member, *generation),
            GroupEvent::Leave { member } => self.leave(member),
            GroupEvent::TopicsChanged => self.topics_changed(),
        }
    }

    fn join(&mut self, spec: &MemberSpec) -> Result<(), GroupError> {
        spec.validate()?;
        let replaced = self.replaced_by(spec)?;
        if replaced.as_ref() == Some(&spec.id) {
            return self.join_again(spec);
        }
        self.resolved();
        let former = replaced.and_then(|id| self.next.members.remove(&id));
        if let Err(error) = self.check_limits(spec, former.as_ref()) {
            let former = former.map(|member| (member.spec.id.clone(), member));
            self.next.members.extend(former);
            return Err(error);
        }
        let mut member = Member::new(spec.clone(), self.generation);
        if let Some(former) = former {
            // The former member is fenced from this generation on: it is not a member any more, and
            // its partitions have another `since`. It may still read until it learns of that, but
            // it can commit nothing.
            let assigned = former.assigned.into_keys();
            member.assigned = assigned.map(|p| (p, self.generation)).collect();
            member.target = former.target;
        }
        self.next.members.insert(spec.id.clone(), member);
        self.must_divide = true;
        Ok(())
    }

    /// The member whose place a joining member takes: itself, or the one with its instance id.
    fn replaced_by(&self, spec: &MemberSpec) -> Result<Option<MemberId>, GroupError> {
        if let Some(known) = self.next.members.get(&spec.id) {
            if known.spec.principal != spec.principal {
                let member = spec.id.to_string();
                return Err(GroupError::UnknownMember { member });
            }
            if known.spec.instance_id != spec.instance_id {
                let member = spec.id.to_string();
                return Err(GroupError::OtherInstance { member });
            }
            return Ok(Some(spec.id.clone()));
        }
        let Some(instance_id) = &spec.instance_id else {
            return Ok(None);
        };
        match self.next.instance(instance_id) {
            Some(holder) if holder.spec.principal != spec.principal => {
                let instance_id = instance_id.clone();
                Err(GroupError::InstanceTaken { instance_id })
            }
            holder => Ok(holder.map(|member| member.spec.id.clone())),
        }
    }

    /// A member joins that is in the group: it keeps its partitions.
    fn join_again(&mut self, spec: &MemberSpec) -> Result<(), GroupError> {
        self.resolved();
        let Some(known) = self.next.members.remove(&spec.id) else {
            return Ok(());
        };
        let is_same_division =
            known.spec.subscription == spec.subscription && known.spec.assignor == spec.assignor;
        let checked = if known.spec == *spec {
            Ok(())
        } else {
            self.check_limits(spec, Some(&known))
        };
        let spec = if checked.is_ok() {
            spec.clone()
        } else {
            known.spec
        };
        self.must_divide |= checked.is_ok() && !is_same_division;
        let member = Member { spec, ..known };
        self.next.members.insert(member.spec.id.clone(), member);
        checked
    }

    /// Checks the limits of the group with another member, in place of `former` if there is one,
    /// and resolves its topics. Above a limit, a member may only join if that makes it no worse.
    fn check_limits(
        &mut self,
        spec: &MemberSpec,
        former: Option<&Member>,
    ) -> Result<(), GroupError> {
        let members = &self.next.members;
        check_limit(
            "members of the group",
            members.len() + 1,
            GROUP_MEMBERS_MAX_COUNT,
        )?;
        let texts = members.values().map(|member| member.spec.text_bytes());
        let bytes = texts.sum::<usize>() + spec.text_bytes();
        check_limit("member bytes of the group", bytes, GROUP_MEMBERS_MAX_BYTES)?;
        let lookup = self.lookup;
        let resolved = self.resolved();
        let (topics, partitions) = (resolved.topic_count(), resolved.partition_count());
        if let Some(former) = former {
            resolved.remove(&former.spec.id);
        }
        resolved.insert(spec, lookup);
        let topics_now = resolved.topic_count();
        let partitions_now = resolved.partition_count();
        let (topics_max, partitions_max) = (
            GROUP_TOPICS_MAX_COUNT.max(topics),
            GROUP_PARTITIONS_MAX_COUNT.max(partitions),
        );
        let checked = check_limit("topics of the group", topics_now, topics_max)
            .and_then(|()| check_limit("partitions of the group", partitions_now, partitions_max));
        if checked.is_err() {
            resolved.remove(&spec.id);
            if let Some(former) = former {
                resolved.insert(&former.spec, lookup);
            }
        }
        checked
    }

    fn resolved(&mut self) -> &mut Resolved {
        let specs = self.next.members.values().map(|member| &member.spec);
        let lookup = self.lookup;
        self.resolved
            .get_or_insert_with(|| Resolved::of(specs, lookup))
    }

    fn acknowledge(&mut self, id: &MemberId, generation: Generation) -> Result<(), GroupError> {
        let current = self.next.generation;
        let Some(member) = self.next.members.get_mut(id) else {
            return Err(GroupError::UnknownMember {
                member: id.to_string(),
            });
        };
        let revoking = &mut member.revoking;
        revoking.retain(|_, r| !r.is_given_up(generation, current));
        Ok(())
    }

    fn leave(&mut self, id: &MemberId) -> Result<(), GroupError> {
        // Its partitions are free at once: commits of one that is not a member are refused.
        if self.next.members.remove(id).is_none() {
            return Err(GroupError::UnknownMember {
                member: id.to_string(),
            });
        }
        if let Some(resolved) = &mut self.resolved {
            resolved.remove(id);
        }
        self.must_divide = true;
        Ok(())
    }

    fn topics_changed(&mut self) -> Result<(), GroupError> {
        self.must_divide = true;
        let resolved = self.resolved();
        let (topics, partitions) = (resolved.topic_count(), resolved.partition_count());
        check_limit("topics of the group", topics, GROUP_TOPICS_MAX_COUNT)?;
        check_limit(
            "partitions of the group",
            partitions,
            GROUP_PARTITIONS_MAX_COUNT,
        )
    }

    fn finish(mut self, before: &ConsumerGroup, now_ms: i64) -> Option<ConsumerGroup> {
        if self.must_divide {
            self.forget_deleted();
            self.divide();
        }
        self.settle();
        let next = &mut self.next;
        next.empty_since_ms = match before.empty_since_ms {
            _ if !next.members.is_empty() => None,
            None => Some(now_ms),
            since => since,
        };
        let is_without_members = before.members.is_empty() && next.members.is_empty();
        if is_without_members || *next == *before {
            return None;
        }
        for (id, member) in &mut next.members {
            let former = before.members.get(id);
            if former.is_none_or(|former| former.assigned != member.assigned) {
                member.changed_at = self.generation;
            }
        }
        next.generation = self.generation;
        Some(self.next)
    }

    /// Takes partitions of deleted topics away. Nobody can get them any more, so that no
    /// acknowledgement is needed.
    fn forget_deleted(&mut self) {
        let deleted: BTreeSet<_> = self.next.deleted_topics(self.lookup).collect();
        if deleted.is_empty() {
            return;
        }
        for member in self.next.members.values_mut() {
            member.assigned.retain(|p, _| !deleted.contains(&p.topic));
            member.revoking.retain(|p, _| !deleted.contains(&p.topic));
        }
    }

    /// Computes the targets of all members.
    fn divide(&mut self) {
        let resolved = std::mem::take(self.resolved());
        let next = &mut self.next;
        next.topics = resolved.within_limits(&next.topics);
        let candidates = next.members.iter().map(|(id, member)| Candidate {
            member,
            topics: resolved
                .topics_of(id)
                .filter(|topic| next.topics.contains_key(topic))
                .collect(),
        });
        let division = Division::new(candidates.collect(), &next.topics);
        let targets = division.divide(next.assignor());
        for ((id, member), target) in next.members.iter_mut().zip(targets) {
            member.topics_hash = resolved.topics_hash(id);
            member.target = target;
        }
    }

    /// Moves the assignments towards the targets as far as they may move: a partition that a member
    /// has is only given to its new member once the former one has given it up.
    ///
    /// That holds for a partition that its own member gets back, too. The member may be about to
    /// commit it for the last time. If it got the partition back before that, it would start at an
    /// older offset, and its next commit would set the group back.
    fn settle(&mut self) {
        let generation = self.generation;
        let mut held: BTreeSet<TopicPartition> = BTreeSet::new();
        for member in self.next.members.values_mut() {
            let Member {
                assigned,
                revoking,
                target,
                ..
            } = member;
            let lost = assigned.extract_if(.., |partition, _| !target.contains(partition));
            revoking.extend(lost.map(|(partition, since)| {
                let revoked_at = generation;
                (partition, Revoking { since, revoked_at })
            }));
            held.extend(assigned.keys().chain(revoking.keys()));
        }
        for member in self.next.members.values_mut() {
            let free = member.target.difference(&held);
            let gained = free.map(|partition| (*partition, generation));
            member.assigned.extend(gained);
        }
    }
}
