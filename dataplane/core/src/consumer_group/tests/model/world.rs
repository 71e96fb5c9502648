//! The coordinator, its log, and the processes of the members.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::reference::{Reference, assert_needed};

const GROUP: &str = "g";
const NAMES: [&str; 3] = ["ta", "tb", "u"];
const PROCESSES_MAX: usize = 6;
const HANGING_MAX: usize = 16;

/// Something that happens. Most of them happen to one process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// A process starts and joins.
    Start,
    /// A process with an instance id is replaced by one with the same instance id.
    Restart,
    /// A process ends without a word.
    Kill,
    /// A process hangs.
    Suspend,
    /// It goes on where it was.
    Resume,
    /// A process leaves.
    Leave,
    /// A process changes its subscription.
    Subscribe,
    /// A call of a process and its answer, without a disturbance.
    Beat,
    /// The leader proposes the next membership, and it is applied.
    Decide,
    /// The leader proposes the next membership.
    Propose,
    /// A proposal is applied.
    Apply,
    /// A process sends a heartbeat, or joins.
    Call,
    /// A heartbeat arrives. It may arrive again.
    DeliverCall,
    /// The leader answers a process.
    Reply,
    /// The answer arrives.
    DeliverReply,
    /// A process reads.
    Read,
    /// A process commits.
    Commit,
    /// Commits arrive.
    DeliverCommits,
    /// Commits are lost.
    LoseCommits,
    /// Commits that have arrived arrive once more: their calls hung in a node while the member
    /// repeated them.
    DeliverDuplicate,
    /// Time passes.
    Wait,
    /// A topic grows, is deleted, or is created again.
    ChangeTopics,
    /// Another node leads the coordinator.
    ChangeLeader,
    /// The group is deleted or expires, if it has no members.
    DeleteGroup,
    /// Offsets are set from outside, if the group has no members.
    Reset,
    /// A replica is restored from a snapshot.
    Restore,
}

/// What has happened, as counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) accepted_commits: usize,
    pub(super) fenced_commits: usize,
    pub(super) late_duplicates: usize,
    pub(super) commits_of_strangers: usize,
    pub(super) moves_after_acknowledgement: usize,
    pub(super) moves_from_removed: usize,
    pub(super) take_overs: usize,
    pub(super) replaced: usize,
    pub(super) stale_proposals: usize,
    pub(super) rejoined: usize,
}

/// A partition that a process reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    since: Generation,
    position: u64,
}

/// A commit on its way.
#[derive(Clone, Debug)]
struct SentCommit {
    generation: Generation,
    sequence: CommitSequence,
    partition: TopicPartition,
    held: Held,
}

/// An answer on its way, with the committed offsets at that time.
#[derive(Clone, Debug)]
struct SentReply {
    assignment: MemberAssignment,
    offsets: BTreeMap<TopicPartition, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Suspended,
    Ended,
}

/// A process that is or was a member.
#[derive(Clone, Debug)]
struct Process {
    spec: MemberSpec,
    life: Life,
    is_joining: bool,
    /// Of the latest answer.
    generation: Generation,
    /// The generation that it acknowledges: it follows when commits of lost partitions are through.
    acknowledged: Generation,
    held: BTreeMap<TopicPartition, Held>,
    calls: VecDeque<Generation>,
    waiting: Option<Call>,
    reply: Option<SentReply>,
    commits: VecDeque<SentCommit>,
    /// The number of its last commit.
    sequence: CommitSequence,
    /// Commits that have arrived, and of which a duplicate may still arrive.
    hanging: VecDeque<SentCommit>,
}

/// A proposal on its way through the log.
#[derive(Clone, Debug)]
struct InFlight {
    command: GroupCommand,
    may_divide: bool,
    /// Members that the step removes, even if they join again in the same step.
    removed: BTreeSet<MemberId>,
}

pub(super) struct World {
    range: bool,
    topics: Topics,
    last_topic: u64,
    last_member: u32,
    state: CoordinatorState,
    /// Applies what `state` applies, from encoded commands.
    replica: CoordinatorState,
    reference: Reference,
    processes: Vec<Process>,
    events: Vec<GroupEvent>,
    in_flight: Option<InFlight>,
    /// A proposal of a former leader, or a repeated one, that is applied late.
    late: Option<InFlight>,
    sessions: Sessions,
    now: Duration,
    seen: Seen,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.accepted_commits += other.accepted_commits;
        self.fenced_commits += other.fenced_commits;
        self.late_duplicates += other.late_duplicates;
        self.commits_of_strangers += other.commits_of_strangers;
        self.moves_after_acknowledgement += other.moves_after_acknowledgement;
        self.moves_from_removed += other.moves_from_removed;
        self.take_overs += other.take_overs;
        self.replaced += other.replaced;
        self.stale_proposals += other.stale_proposals;
        self.rejoined += other.rejoined;
    }
}

impl Process {
    fn is_running(&self) -> bool {
        self.life == Life::Running
    }

    fn id(&self) -> &MemberId {
        &self.spec.id
    }

    fn commit(&mut self, partition: TopicPartition, held: Held) {
        self.sequence = CommitSequence(self.sequence.get() + 1);
        self.commits.push_back(SentCommit {
            generation: self.generation,
            sequence: self.sequence,
            partition,
            held,
        });
    }

    /// Follows an answer: stops with what it lost and commits it, starts with what it got.
    fn follow(&mut self, reply: SentReply) {
        let SentReply {
            assignment,
            offsets,
        } = reply;
        if assignment.generation < self.generation {
            return;
        }
        let partitions = &assignment.partitions;
        let is_lost = |p: &TopicPartition, held: &mut Held| partitions.get(p) != Some(&held.since);
        let lost: Vec<_> = self.held.extract_if(.., is_lost).collect();
        for (partition, held) in lost {
            self.commit(partition, held);
        }
        self.generation = assignment.generation;
        for (partition, since) in assignment.partitions {
            let position = offsets.get(&partition).copied().unwrap_or(0);
            self.held
                .entry(partition)
                .or_insert(Held { since, position });
        }
        self.is_joining = false;
    }

    fn end(&mut self) {
        self.life = Life::Ended;
        self.held.clear();
        self.reply = None;
    }
}

impl World {
    pub(super) fn new(range: bool) -> Self {
        Self {
            range,
            topics: Topics::new(&[("ta", 4), ("tb", 3), ("u", 2)]),
            last_topic: 3,
            last_member: 0,
            state: CoordinatorState::default(),
            replica: CoordinatorState::default(),
            reference: Reference::default(),
            processes: Vec::new(),
            events: Vec::new(),
            in_flight: None,
            late: None,
            sessions: Sessions::default(),
            now: Duration::ZERO,
            seen: Seen::default(),
        }
    }

    pub(super) const fn seen(&self) -> Seen {
        self.seen
    }

    pub(super) fn run(&mut self, op: Op, chance: u16) {
        match op {
            Op::Start => self.start(chance, None),
            Op::Restart => self.restart(chance),
            Op::Kill => self.kill(chance),
            Op::Suspend => self.change_life(chance, Life::Running, Life::Suspended),
            Op::Resume => self.change_life(chance, Life::Suspended, Life::Running),
            Op::Leave => self.leave(chance),
            Op::Subscribe => self.subscribe(chance),
            Op::Beat => self.beat(chance),
            Op::Decide => {
                self.propose();
                self.apply_in_flight();
            }
            Op::Propose => self.propose(),
            Op::Apply => {
                // A leader repeats a proposal of which it does not know what became.
                let repeated = self.in_flight.clone().filter(|_| chance.is_multiple_of(4));
                self.apply_in_flight();
                self.late = repeated;
            }
            Op::Call | Op::Reply | Op::DeliverReply => {
                if let Some(at) = self.running(chance) {
                    match op {
                        Op::Call => self.call(at),
                        Op::Reply => self.reply(at),
                        _ => self.deliver_reply(at),
                    }
                }
            }
            Op::DeliverCall => {
                if let Some(at) = self.position(chance) {
                    self.deliver_call(at, chance.is_multiple_of(8));
                }
            }
            Op::Read => self.read(chance),
            Op::Commit => self.commit(chance),
            Op::DeliverCommits => self.deliver_commits(chance),
            Op::LoseCommits => self.lose_commits(chance),
            Op::DeliverDuplicate => self.deliver_duplicate(chance),
            Op::Wait => self.wait(Duration::from_millis(u64::from(chance) % 16_000)),
            Op::ChangeTopics => self.change_topics(chance),
            Op::ChangeLeader => self.change_leader(chance),
            Op::DeleteGroup => self.delete_group(chance),
            Op::Reset => self.reset(chance),
            Op::Restore => {
                let bytes = self.replica.encode().unwrap();
                self.replica = CoordinatorState::decode(&bytes).unwrap();
                assert_eq!(self.replica, self.state);
            }
        }
    }

    /// The process that something happens to.
    fn pick(&mut self, chance: u16) -> Option<&mut Process> {
        self.position(chance).map(|at| &mut self.processes[at])
    }

    fn position(&self, chance: u16) -> Option<usize> {
        usize::from(chance).checked_rem(self.processes.len())
    }

    fn pick_running(&mut self, chance: u16) -> Option<&mut Process> {
        self.running(chance).map(|at| &mut self.processes[at])
    }

    fn subscription(chance: u16) -> Subscription {
        if chance.is_multiple_of(5) {
            return Subscription {
                topics: BTreeSet::new(),
                pattern: Some("t".to_owned()),
            };
        }
        let some = [&NAMES[..], &NAMES[..2], &NAMES[1..]][usize::from(chance / 7) % 3];
        Subscription {
            topics: some.iter().map(|name| (*name).to_owned()).collect(),
            pattern: None,
        }
    }

    fn start(&mut self, chance: u16, instance_id: Option<String>) {
        let running = self
            .processes
            .iter()
            .filter(|p| p.life != Life::Ended)
            .count();
        if running >= PROCESSES_MAX {
            return;
        }
        self.last_member += 1;
        let new_instance = || chance.is_multiple_of(3).then(|| format!("i{}", chance % 2));
        // Most members of a group read the same topics.
        let subscription = if chance.is_multiple_of(4) {
            Self::subscription(chance / 16)
        } else {
            Self::subscription(1)
        };
        let spec = MemberSpec {
            instance_id: instance_id.or_else(new_instance),
            subscription,
            assignor: if self.range {
                Assignor::Range
            } else {
                Assignor::Sticky
            },
            ..spec(&format!("m{}", self.last_member), &[])
        };
        self.events.push(GroupEvent::Join(spec.clone()));
        self.processes.push(Process {
            spec,
            life: Life::Running,
            is_joining: true,
            generation: Generation::NONE,
            acknowledged: Generation::NONE,
            held: BTreeMap::new(),
            calls: VecDeque::new(),
            waiting: None,
            reply: None,
            commits: VecDeque::new(),
            sequence: CommitSequence::NONE,
            hanging: VecDeque::new(),
        });
        let is_forgotten = |p: &Process| p.life == Life::Ended && p.commits.is_empty();
        if let Some(at) = self.processes.iter().position(is_forgotten) {
            self.processes.remove(at);
        }
    }

    fn restart(&mut self, chance: u16) {
        let is_static = |p: &&Process| p.life != Life::Ended && p.spec.instance_id.is_some();
        let Some(former) = self.processes.iter().find(is_static) else {
            return;
        };
        let (id, instance_id) = (former.id().clone(), former.spec.instance_id.clone());
        // The former process may have ended, or may go on without knowing that it is replaced.
        if chance.is_multiple_of(2) {
            let at = self.processes.iter().position(|p| *p.id() == id).unwrap();
            self.end(at);
        }
        self.start(chance, instance_id);
    }

    fn kill(&mut self, chance: u16) {
        let count = self.processes.len();
        if count > 0 && self.processes[usize::from(chance) % count].life != Life::Ended {
            self.end(usize::from(chance) % count);
        }
    }

    fn end(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.end();
        if let Some(call) = process.waiting.take() {
            let id = process.id().clone();
            self.sessions.cut(GROUP, &id, call, self.now);
        }
    }

    fn change_life(&mut self, chance: u16, from: Life, to: Life) {
        if let Some(process) = self.pick(chance).filter(|process| process.life == from) {
            process.life = to;
        }
    }

    fn leave(&mut self, chance: u16) {
        let Some(process) = self.pick_running(chance) else {
            return;
        };
        for (partition, held) in process.held.clone() {
            process.commit(partition, held);
        }
        let member = process.id().clone();
        process.end();
        self.flush_commits(&member);
        self.events.push(GroupEvent::Leave { member });
    }

    fn subscribe(&mut self, chance: u16) {
        if let Some(process) = self.pick_running(chance) {
            process.spec.subscription = Self::subscription(chance / 8);
            let spec = process.spec.clone();
            self.events.push(GroupEvent::Join(spec));
        }
    }

    fn membership(&self) -> Arc<ConsumerGroup> {
        self.state.membership(GROUP)
    }

    fn propose(&mut self) {
        let before = self.membership();
        if before.topics_differ(&self.topics) {
            self.events.push(GroupEvent::TopicsChanged);
        }
        if self.in_flight.is_some() || self.events.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.events);
        let is_acknowledgement = |e: &GroupEvent| matches!(e, GroupEvent::Acknowledge { .. });
        let may_divide = !events.iter().all(is_acknowledgement);
        let removed = removed_by(&events, &before);
        let now_ms = i64::try_from(self.now.as_millis()).unwrap();
        let stepped = before.step(&events, &self.topics, now_ms);
        self.in_flight = stepped.group.map(|membership| InFlight {
            command: GroupCommand::PutMembership {
                group: GROUP.to_owned(),
                expected: before.generation,
                membership,
            },
            may_divide,
            removed,
        });
    }

    /// Applies a command to both replicas.
    fn apply(&mut self, command: &GroupCommand) -> GroupOutcome {
        let outcome = self.state.apply(command);
        let bytes = command.encode().unwrap();
        let decoded = GroupCommand::decode(&bytes).unwrap();
        assert_eq!(self.replica.apply(&decoded), outcome);
        outcome
    }

    fn apply_in_flight(&mut self) {
        // Entries of a former leader are before those of the present one.
        let entries = [self.late.take(), self.in_flight.take()];
        for in_flight in entries.into_iter().flatten() {
            self.apply_membership(&in_flight);
        }
    }

    fn apply_membership(&mut self, in_flight: &InFlight) {
        let before = self.membership();
        if self.apply(&in_flight.command).is_err() {
            self.seen.stale_proposals += 1;
            assert_eq!(self.membership(), before);
            return;
        }
        let after = self.membership();
        let gone = in_flight
            .removed
            .iter()
            .filter_map(|id| before.members.get(id));
        self.seen.take_overs += gone
            .filter_map(|member| member.spec.instance_id.as_deref())
            .filter(|instance_id| after.instance(instance_id).is_some())
            .count();
        let mut before = (*before).clone();
        before
            .members
            .retain(|id, _| !in_flight.removed.contains(id));
        let lost = self.reference.apply(&before, &after);
        assert_needed(&before, &after, in_flight.may_divide);
        for (partition, owner) in lost {
            let has_stayed = before.members.contains_key(&owner.member);
            if !has_stayed || !after.members.contains_key(&owner.member) {
                self.seen.moves_from_removed += 1;
                continue;
            }
            self.seen.moves_after_acknowledgement += 1;
            let holder = self.processes.iter().find(|p| *p.id() == owner.member);
            let holds = holder.is_some_and(|process| process.held.contains_key(&partition));
            let is_deleted = self.topics.deleted.contains(&partition.topic.0);
            assert!(
                !holds || is_deleted,
                "{partition:?} was taken from {}",
                owner.member
            );
        }
        self.sessions.observe(GROUP, &after, self.now);
    }

    /// The position of a running process.
    fn running(&self, chance: u16) -> Option<usize> {
        let positions = 0..self.processes.len();
        let running: Vec<_> = positions
            .filter(|at| self.processes[*at].is_running())
            .collect();
        running
            .get(usize::from(chance) % running.len().max(1))
            .copied()
    }

    fn beat(&mut self, chance: u16) {
        if let Some(at) = self.running(chance) {
            self.beat_at(at);
        }
    }

    /// All that is on its way to or from a process arrives, then it makes a call.
    fn beat_at(&mut self, at: usize) {
        self.deliver_reply(at);
        let id = self.processes[at].id().clone();
        self.flush_commits(&id);
        self.call(at);
        while !self.processes[at].calls.is_empty() {
            self.deliver_call(at, false);
        }
        self.reply(at);
        self.deliver_reply(at);
    }

    fn call(&mut self, at: usize) {
        let group = self.membership();
        let process = &mut self.processes[at];
        if !process.is_running() {
            return;
        }
        // A join without an answer is repeated: the leader may have changed before it took effect.
        let known = group.members.get(process.id());
        if process.is_joining || known.is_some_and(|known| known.spec != process.spec) {
            let spec = process.spec.clone();
            self.events.push(GroupEvent::Join(spec));
            return;
        }
        if process.commits.is_empty() {
            process.acknowledged = process.generation;
        }
        process.calls.push_back(process.acknowledged);
    }

    fn deliver_call(&mut self, at: usize, is_repeated: bool) {
        let process = &mut self.processes[at];
        let Some(generation) = process.calls.pop_front() else {
            return;
        };
        if is_repeated {
            process.calls.push_back(generation);
        }
        let (spec, is_running) = (process.spec.clone(), process.is_running());
        let group = self.membership();
        let caller = group.caller(&spec.id, spec.instance_id.as_deref(), &spec.principal);
        match caller {
            Ok(_) => {
                let call = self.sessions.called(GROUP, &spec.id);
                if group.needs(&spec.id, generation) {
                    let member = spec.id.clone();
                    self.events
                        .push(GroupEvent::Acknowledge { member, generation });
                }
                if is_running {
                    self.processes[at].waiting = Some(call);
                } else {
                    self.sessions.cut(GROUP, &spec.id, call, self.now);
                }
            }
            Err(error) if is_running => self.refuse(at, &error),
            Err(_) => {}
        }
    }

    /// A process learns that it is no member any more.
    fn refuse(&mut self, at: usize, error: &GroupError) {
        let process = &mut self.processes[at];
        if matches!(error, GroupError::MemberReplaced { .. }) {
            process.end();
            self.seen.replaced += 1;
        } else if !process.is_joining {
            process.held.clear();
            process.reply = None;
            process.generation = Generation::NONE;
            process.acknowledged = Generation::NONE;
            process.is_joining = true;
            self.seen.rejoined += 1;
        }
    }

    fn reply(&mut self, at: usize) {
        let group = self.membership();
        let offsets = self.state.group(GROUP).map(|group| {
            let offsets = group.offsets().iter();
            offsets
                .map(|(partition, committed)| (*partition, committed.offset))
                .collect()
        });
        let now = self.now;
        let process = &mut self.processes[at];
        if !process.is_running() {
            return;
        }
        if process.reply.is_some() || (process.waiting.is_none() && !process.is_joining) {
            return;
        }
        let Some(assignment) = group.reply(process.id()) else {
            return;
        };
        process.reply = Some(SentReply {
            assignment,
            offsets: offsets.unwrap_or_default(),
        });
        if let Some(call) = process.waiting.take() {
            let id = process.id().clone();
            self.sessions.answered(GROUP, &id, call, now);
        }
    }

    fn deliver_reply(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if process.is_running()
            && let Some(reply) = process.reply.take()
        {
            process.follow(reply);
        }
    }

    fn read(&mut self, chance: u16) {
        if let Some(process) = self.pick_running(chance) {
            for (at, held) in process.held.values_mut().enumerate() {
                held.position += u64::from(chance >> 3).wrapping_add(at as u64) % 5;
            }
        }
    }

    fn commit(&mut self, chance: u16) {
        if let Some(process) = self.pick_running(chance) {
            for (partition, held) in process.held.clone() {
                process.commit(partition, held);
            }
        }
    }

    /// Some commits of a process arrive in one entry, in order.
    fn deliver_commits(&mut self, chance: u16) {
        if let Some(process) = self.pick(chance) {
            let count = usize::from(chance >> 8) % 4 + 1;
            let count = count.min(process.commits.len());
            let sent: Vec<_> = process.commits.drain(..count).collect();
            let id = process.id().clone();
            self.apply_commits(&id, &sent);
        }
    }

    /// Duplicates arrive in any order.
    fn deliver_duplicate(&mut self, chance: u16) {
        if let Some(process) = self.pick_running(chance)
            && !process.hanging.is_empty()
        {
            let first = usize::from(chance >> 8) % process.hanging.len();
            process.hanging.rotate_left(first);
            let sent = Vec::from(std::mem::take(&mut process.hanging));
            let id = process.id().clone();
            self.apply_commits(&id, &sent);
        }
    }

    fn flush_commits(&mut self, member: &MemberId) {
        let process = self.processes.iter_mut().find(|p| p.id() == member);
        let sent = process.map(|process| std::mem::take(&mut process.commits));
        self.apply_commits(member, &Vec::from(sent.unwrap_or_default()));
    }

    fn apply_commits(&mut self, member: &MemberId, sent: &[SentCommit]) {
        if let Some(process) = self.processes.iter_mut().find(|p| p.id() == member) {
            process.hanging.extend(sent.iter().cloned());
            let surplus = process.hanging.len().saturating_sub(HANGING_MAX);
            process.hanging.drain(..surplus);
        }
        let commits = sent.iter().map(|commit| OffsetCommit {
            group: GROUP.to_owned(),
            member: Some((member.clone(), commit.generation)),
            sequence: commit.sequence,
            partition: commit.partition,
            offset: commit.held.position,
            metadata: String::new(),
            committed_at_ms: i64::try_from(self.now.as_millis()).unwrap(),
        });
        let commits = commits.collect();
        let outcome = self.apply(&GroupCommand::Commit { commits });
        let Ok(Applied::Committed(results)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(results.len(), sent.len());
        for (commit, result) in sent.iter().zip(results) {
            let SentCommit {
                generation,
                sequence,
                partition,
                held,
            } = commit;
            let may = self.reference.may_commit(member, *generation, *partition);
            let is_late = self
                .reference
                .has_later(*partition, (held.since, *sequence));
            let is_taken = may && !is_late;
            assert_eq!(
                result.is_ok(),
                is_taken,
                "{commit:?} of {member}: {result:?}"
            );
            match result {
                Ok(()) => {
                    let owner = &self.reference.owners[partition];
                    assert_eq!(owner.since, held.since, "{commit:?} is of an earlier time");
                    let commit = (held.since, *sequence, held.position);
                    self.reference.committed(*partition, commit);
                    self.seen.accepted_commits += 1;
                }
                Err(CommitError::UnknownMember) => self.seen.commits_of_strangers += 1,
                Err(CommitError::Superseded { .. }) => self.seen.late_duplicates += 1,
                Err(_) => self.seen.fenced_commits += 1,
            }
        }
    }

    fn lose_commits(&mut self, chance: u16) {
        if let Some(process) = self.pick(chance) {
            process.commits.clear();
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for due in self.sessions.due(self.now) {
            let member = due.member;
            self.events.push(GroupEvent::Leave { member });
        }
    }

    fn change_topics(&mut self, chance: u16) {
        let name = NAMES[usize::from(chance) % NAMES.len()];
        let found = self.topics.existing.iter().find(|(_, (n, _))| n == name);
        let found = found.map(|(id, _)| *id);
        match (found, chance / 8 % 3) {
            (Some(id), 0) => {
                self.topics.delete(id);
                if chance.is_multiple_of(2) {
                    let topics = vec![TopicId(id)];
                    self.apply(&GroupCommand::ForgetTopics { topics }).unwrap();
                    self.reference.forget(|p| p.topic.0 == id);
                }
            }
            (Some(id), _) => {
                let (_, count) = self.topics.existing.get_mut(&id).unwrap();
                *count = (*count + 1).min(8);
            }
            (None, _) => {
                self.last_topic += 1;
                let topic = (name.to_owned(), u32::from(chance / 32 % 4) + 1);
                self.topics.existing.insert(self.last_topic, topic);
            }
        }
    }

    fn change_leader(&mut self, chance: u16) {
        // The last entry of the former leader is applied, lost, or applied late: after entries
        // that other nodes had already, and so before anything that the new leader computes.
        match chance % 3 {
            0 => self.apply_in_flight(),
            1 => drop(self.in_flight.take()),
            _ => self.late = self.in_flight.take().or_else(|| self.late.take()),
        }
        self.events.clear();
        self.sessions = Sessions::default();
        let group = self.membership();
        self.sessions.observe(GROUP, &group, self.now);
        for process in &mut self.processes {
            process.waiting = None;
        }
    }

    fn delete_group(&mut self, chance: u16) {
        let group = GROUP.to_owned();
        let is_empty = self.membership().members.is_empty();
        let command = if chance.is_multiple_of(2) {
            GroupCommand::Delete { group }
        } else {
            let now_ms = i64::try_from(self.now.as_millis()).unwrap();
            let Some(expire) = self.state.expired(now_ms, Duration::ZERO) else {
                return;
            };
            expire
        };
        let existed = self.state.group(GROUP).is_some();
        let outcome = self.apply(&command);
        assert_eq!(outcome.is_ok(), is_empty && existed, "{outcome:?}");
        if outcome.is_ok() {
            assert!(self.state.group(GROUP).is_none());
            self.reference.delete();
        }
    }

    fn reset(&mut self, chance: u16) {
        let partition = at(1, u32::from(chance % 4));
        let is_empty = self.membership().members.is_empty();
        let commit = OffsetCommit {
            group: GROUP.to_owned(),
            member: None,
            sequence: CommitSequence::NONE,
            partition,
            offset: u64::from(chance % 16),
            metadata: "reset".to_owned(),
            committed_at_ms: i64::try_from(self.now.as_millis()).unwrap(),
        };
        let commits = vec![commit];
        let outcome = self.apply(&GroupCommand::Commit { commits });
        let refusal = Err(CommitError::GroupNotEmpty);
        let expected = if is_empty { Ok(()) } else { refusal };
        assert_eq!(outcome, Ok(Applied::Committed(vec![expected])));
        if is_empty {
            self.reference.forget(|p| *p == partition);
        }
    }

    /// Lets everything happen that is still to happen, and checks what the group has become.
    pub(super) fn quiet(&mut self) {
        for at in 0..self.processes.len() {
            if self.processes[at].life == Life::Suspended {
                self.end(at);
            }
        }
        // A process follows an answer and then makes its next call, so nothing happens only after two
        // rounds in which nothing has happened.
        let mut quiet_rounds = 0;
        for _ in 0..40 {
            self.apply_in_flight();
            for at in 0..self.processes.len() {
                self.beat_at(at);
            }
            self.propose();
            let is_quiet = self.in_flight.is_none() && self.has_only_running();
            quiet_rounds = if is_quiet { quiet_rounds + 1 } else { 0 };
            if quiet_rounds == 3 {
                break;
            }
            self.wait(Duration::from_secs(8));
        }
        self.assert_quiet();
    }

    fn has_only_running(&self) -> bool {
        let group = self.membership();
        let running = self.processes.iter().filter(|p| p.is_running());
        let ids: BTreeSet<_> = running.map(Process::id).collect();
        group.members.keys().eq(ids)
    }

    fn assert_quiet(&self) {
        let group = self.membership();
        assert_ne!(group.state(), GroupState::Rebalancing, "{group:?}");
        let running: Vec<_> = self.processes.iter().filter(|p| p.is_running()).collect();
        assert!(self.has_only_running(), "{group:?}");
        let mut wanted = BTreeSet::new();
        for process in running {
            let read = self.topics.subscribed(&process.spec);
            wanted.extend(read.iter().flat_map(GroupTopic::partitions));
            let held = process.held.iter().map(|(p, held)| (*p, held.since));
            let assigned = &group.members[process.id()].assigned;
            assert_eq!(
                &held.collect::<BTreeMap<_, _>>(),
                assigned,
                "{}",
                process.id()
            );
        }
        assert!(
            self.reference.owners.keys().eq(&wanted),
            "not all partitions are read"
        );
        if !self.range {
            division::assert_even(&group, &self.topics);
        }
        assert_eq!(self.replica, self.state);
    }
}

/// The members of a group that events remove, even if they join again in the same step.
fn removed_by(events: &[GroupEvent], before: &ConsumerGroup) -> BTreeSet<MemberId> {
    let is_removed = |member: &Member| {
        let MemberSpec {
            id, instance_id, ..
        } = &member.spec;
        events.iter().any(|event| match event {
            GroupEvent::Leave { member } => member == id,
            GroupEvent::Join(joined) => {
                instance_id.is_some() && joined.instance_id == *instance_id && joined.id != *id
            }
            GroupEvent::Acknowledge { .. } | GroupEvent::TopicsChanged => false,
        })
    };
    let members = before.members.values();
    let removed = members.filter(|member| is_removed(member));
    removed.map(|member| member.spec.id.clone()).collect()
}
