//! A naive coordinator of consumer groups, which checks its callers: no partition has two owners,
//! and each commit is noted with its verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lograft_client::Reason;
use lograft_proto::log::v1 as wire;
use lograft_proto::log::v1::group_service_server::GroupService;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, Response, Status};

use super::service::{error, status};
use super::{ClusterState, TOPIC};

/// Time within which a cut call must be repeated.
const CUT_MAX: Duration = Duration::from_millis(1500);
/// Interval at which waiting calls look for members whose session has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A commit that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedCommit {
    pub(crate) member: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) is_accepted: bool,
}

/// A group that reads [`TOPIC`].
#[derive(Default)]
pub(crate) struct FakeGroup {
    pub(crate) generation: u64,
    pub(crate) members: BTreeMap<String, FakeMember>,
    pub(crate) committed: BTreeMap<u32, u64>,
    /// The numbers of the commits in effect, by partition. They are kept when the owner changes.
    pub(crate) sequences: BTreeMap<u32, u64>,
    pub(crate) commits: Vec<AskedCommit>,
    /// Whether nobody may join for now.
    pub(crate) refuses_joins: bool,
    /// The time that a commit takes.
    pub(crate) commit_delay: Duration,
    /// Members that were replaced by others with their instance ids.
    replaced: Vec<String>,
    /// Calls answered.
    pub(crate) heartbeats: usize,
}

pub(crate) struct FakeMember {
    instance: Option<String>,
    session: Duration,
    expires: Instant,
    /// Partitions and the generation since which the member has them.
    pub(crate) assigned: BTreeMap<u32, u64>,
    /// Partitions that the member gives up, since when it has them, and the generation that asks.
    revoking: BTreeMap<u32, (u64, u64)>,
    changed_at: u64,
}

impl FakeGroup {
    /// Removes a member, as if its session had ended.
    pub(crate) fn remove(&mut self, member: &str, partitions: u32) {
        self.members.remove(member).unwrap();
        self.divide(partitions);
    }

    fn expire(&mut self, partitions: u32) {
        let now = Instant::now();
        let before = self.members.len();
        self.members.retain(|_, member| member.expires > now);
        if self.members.len() < before {
            self.divide(partitions);
        }
    }

    /// The owner of a partition; a partition with two owners ends the test.
    fn owner(&self, partition: u32) -> Option<&str> {
        let has = |member: &FakeMember| {
            member.assigned.contains_key(&partition) || member.revoking.contains_key(&partition)
        };
        let mut owners = self.members.iter().filter(|(_, member)| has(member));
        let owner = owners.next().map(|(id, _)| id.as_str());
        assert!(owners.next().is_none(), "two owners of {partition}");
        owner
    }

    fn divide(&mut self, partitions: u32) {
        let next = self.generation + 1;
        let mut order: Vec<String> = self.members.keys().cloned().collect();
        order.sort_by_key(|id| std::cmp::Reverse(self.members[id].assigned.len()));
        let count = order.len().max(1);
        let quota =
            |at: usize| partitions as usize / count + usize::from(at < partitions as usize % count);
        let mut is_changed = false;
        for (at, id) in order.iter().enumerate() {
            let member = self.members.get_mut(id).unwrap();
            while member.assigned.len() > quota(at) {
                let (partition, since) = member.assigned.pop_last().unwrap();
                member.revoking.insert(partition, (since, next));
                member.changed_at = next;
                is_changed = true;
            }
        }
        for partition in 0..partitions {
            if self.owner(partition).is_some() {
                continue;
            }
            let open = order
                .iter()
                .enumerate()
                .find(|(at, id)| self.members[*id].assigned.len() < quota(*at));
            if let Some((_, id)) = open {
                let member = self.members.get_mut(id).unwrap();
                member.assigned.insert(partition, next);
                member.changed_at = next;
                is_changed = true;
            }
        }
        if is_changed {
            self.generation = next;
        }
    }

    fn join(&mut self, request: &wire::JoinGroupRequest, partitions: u32) {
        let session = Duration::from_millis(request.session_timeout_ms.into());
        let expires = Instant::now() + session;
        if let Some(member) = self.members.get_mut(&request.member_id) {
            member.expires = expires;
            return;
        }
        let has_instance = |member: &FakeMember| {
            member.instance.is_some() && member.instance == request.instance_id
        };
        let former = self.members.iter().find(|(_, member)| has_instance(member));
        let former = former.map(|(id, _)| id.clone());
        let mut member = FakeMember {
            instance: request.instance_id.clone(),
            session,
            expires,
            assigned: BTreeMap::new(),
            revoking: BTreeMap::new(),
            changed_at: self.generation,
        };
        if let Some(former) = former {
            let taken = self.members.remove(&former).unwrap();
            self.replaced.push(former);
            self.generation += 1;
            let all = taken.assigned.into_keys();
            member.assigned = all.map(|partition| (partition, self.generation)).collect();
            member.changed_at = self.generation;
        }
        self.members.insert(request.member_id.clone(), member);
        self.divide(partitions);
    }

    fn acknowledge(&mut self, member: &str, generation: u64, partitions: u32) {
        let member = self.members.get_mut(member).unwrap();
        let before = member.revoking.len();
        member.revoking.retain(|_, (_, at)| *at > generation);
        if member.revoking.len() < before {
            self.divide(partitions);
        }
    }

    fn unknown(&self, member: &str) -> Reason {
        if self.replaced.iter().any(|id| id == member) {
            Reason::MemberReplaced
        } else {
            Reason::UnknownMember
        }
    }

    fn reply(&self, member: &str) -> wire::MemberReply {
        let member = &self.members[member];
        let assigned = |(partition, since): (&u32, &u64)| wire::AssignedPartition {
            topic: TOPIC.to_owned(),
            topic_id: 1,
            partition: *partition,
            committed_offset: self.committed.get(partition).copied(),
            since_generation: *since,
        };
        wire::MemberReply {
            generation: self.generation,
            partitions: member.assigned.iter().map(assigned).collect(),
            session_timeout_ms: u32::try_from(member.session.as_millis()).unwrap(),
            ..wire::MemberReply::default()
        }
    }

    fn commit(&mut self, request: &wire::CommitOffsetsRequest) -> wire::CommitOffsetsReply {
        let mut reply = wire::CommitOffsetsReply::default();
        let generation = request.generation;
        for offset in &request.offsets {
            let member = &self.members[&request.member_id];
            let assigned = member.assigned.get(&offset.partition).copied();
            let revoking = member
                .revoking
                .get(&offset.partition)
                .map(|(since, _)| *since);
            let since = assigned.or(revoking);
            let is_accepted = since.is_some_and(|since| since <= generation);
            let last = self.sequences.entry(offset.partition).or_default();
            let is_superseded = is_accepted && request.sequence < *last;
            if is_superseded {
                let metadata = [("sequence", last.to_string())];
                reply.results.push(wire::PartitionResult {
                    topic: offset.topic.clone(),
                    partition: offset.partition,
                    error: Some(error(Reason::CommitSuperseded, &metadata)),
                });
                continue;
            }
            if is_accepted {
                assert!(request.sequence > 0, "not numbered");
                *last = request.sequence;
                self.committed.insert(offset.partition, offset.offset);
            }
            self.commits.push(AskedCommit {
                member: request.member_id.clone(),
                partition: offset.partition,
                offset: offset.offset,
                is_accepted,
            });
            reply.results.push(wire::PartitionResult {
                topic: offset.topic.clone(),
                partition: offset.partition,
                error: (!is_accepted).then(|| error(Reason::NotAssigned, &[])),
            });
        }
        reply
    }
}

pub(crate) struct FakeGroups {
    pub(crate) shared: Arc<ClusterState>,
}

impl FakeGroups {
    /// Works on a group, after the end of sessions.
    fn with<T>(&self, group: &str, work: impl FnOnce(&mut FakeGroup, u32) -> T) -> T {
        let mut state = self.shared.state();
        let partitions = u32::try_from(state.topics[TOPIC].len()).unwrap();
        let group = state.groups.entry(group.to_owned()).or_default();
        group.expire(partitions);
        let before = group.generation;
        let done = work(group, partitions);
        if group.generation > before {
            self.shared.changed.notify_waiters();
        }
        done
    }
}

/// Ends the session of a member early if its call is cut.
struct Call<'a> {
    groups: &'a FakeGroups,
    group: &'a str,
    member: &'a str,
    is_answered: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        self.groups.with(self.group, |group, _| {
            let member = group.members.get_mut(self.member);
            if let Some(member) = member.filter(|member| member.instance.is_none()) {
                member.expires = Instant::now() + CUT_MAX;
            }
        });
    }
}

#[tonic::async_trait]
impl GroupService for FakeGroups {
    async fn join_group(
        &self,
        request: Request<wire::JoinGroupRequest>,
    ) -> Result<Response<wire::MemberReply>, Status> {
        let request = request.into_inner();
        self.with(&request.group, |group, partitions| {
            if group.refuses_joins {
                return Err(status(error(Reason::NotReady, &[])));
            }
            group.join(&request, partitions);
            Ok(Response::new(group.reply(&request.member_id)))
        })
    }

    async fn heartbeat(
        &self,
        request: Request<wire::HeartbeatRequest>,
    ) -> Result<Response<wire::MemberReply>, Status> {
        let request = request.into_inner();
        let until = Instant::now() + Duration::from_millis(request.max_wait_ms.into());
        let mut call = Call {
            groups: self,
            group: &request.group,
            member: &request.member_id,
            is_answered: false,
        };
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let answer = self.with(&request.group, |group, partitions| {
                let Some(member) = group.members.get_mut(&request.member_id) else {
                    return Some(Err(status(error(group.unknown(&request.member_id), &[]))));
                };
                member.expires = Instant::now() + member.session;
                group.acknowledge(&request.member_id, request.generation, partitions);
                let member = &group.members[&request.member_id];
                let is_due = member.changed_at > request.generation || Instant::now() >= until;
                is_due.then(|| {
                    group.heartbeats += 1;
                    Ok(Response::new(group.reply(&request.member_id)))
                })
            });
            if let Some(answer) = answer {
                call.is_answered = true;
                return answer;
            }
            let _is_time_to_check = timeout(CHECK_INTERVAL, changed).await;
        }
    }

    async fn leave_group(
        &self,
        request: Request<wire::LeaveGroupRequest>,
    ) -> Result<Response<wire::LeaveGroupReply>, Status> {
        let request = request.into_inner();
        self.with(&request.group, |group, partitions| {
            if group.members.contains_key(&request.member_id) {
                group.remove(&request.member_id, partitions);
            }
        });
        Ok(Response::new(wire::LeaveGroupReply {}))
    }

    async fn commit_offsets(
        &self,
        request: Request<wire::CommitOffsetsRequest>,
    ) -> Result<Response<wire::CommitOffsetsReply>, Status> {
        let request = request.into_inner();
        let delay = self.with(&request.group, |group, _| group.commit_delay);
        sleep(delay).await;
        self.with(&request.group, |group, _| {
            if !group.members.contains_key(&request.member_id) {
                return Err(status(error(group.unknown(&request.member_id), &[])));
            }
            Ok(Response::new(group.commit(&request)))
        })
    }

    async fn fetch_offsets(
        &self,
        _: Request<wire::FetchOffsetsRequest>,
    ) -> Result<Response<wire::FetchOffsetsReply>, Status> {
        Err(Status::unimplemented("members do not call it"))
    }

    async fn delete_offsets(
        &self,
        _: Request<wire::DeleteOffsetsRequest>,
    ) -> Result<Response<wire::DeleteOffsetsReply>, Status> {
        Err(Status::unimplemented("members do not call it"))
    }

    async fn list_groups(
        &self,
        _: Request<wire::ListGroupsRequest>,
    ) -> Result<Response<wire::ListGroupsReply>, Status> {
        Err(Status::unimplemented("members do not call it"))
    }

    async fn describe_group(
        &self,
        _: Request<wire::DescribeGroupRequest>,
    ) -> Result<Response<wire::DescribeGroupReply>, Status> {
        Err(Status::unimplemented("members do not call it"))
    }

    async fn delete_group(
        &self,
        _: Request<wire::DeleteGroupRequest>,
    ) -> Result<Response<wire::DeleteGroupReply>, Status> {
        Err(Status::unimplemented("members do not call it"))
    }
}
