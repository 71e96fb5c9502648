//! The node's service for consumer groups: finds the coordinator of a group, and carries out the
//! call there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, join_all};
use lograft_core::acl::Principal;
use lograft_core::limits::{
    COORDINATOR_CHECK_INTERVAL, COORDINATOR_IDLE_INTERVAL, COORDINATOR_START_MAX,
    GROUP_MEMORY_WAIT_MAX, METADATA_LAG_MAX,
};
use lograft_core::metadata::{COORDINATORS_NAME, MetaError, Metadata};
use lograft_core::{FeatureLevel, GroupId, PartitionId};
use prometheus::IntGauge;
use tokio::time::Instant;

use super::coordinator::Coordinator;
use super::described;
use super::forward::ForwardGroups;
use super::leading::{CoordinatorDeps, Leading};
use super::request::{GroupAnswer, GroupCall, GroupRequest, ListRequest, ListedGroup, OffsetsPage};
use super::subscriptions::{FollowedTopics, ReadRights};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::serving::append_budget::Reserved;
use crate::serving::engine::LogEngine;
use crate::serving::fetch::position::catch_up;
use crate::serving::locate::{Elsewhere, Safety};
use crate::serving::replica::Replica;
use crate::serving::reply_memory::ReplyAccount;
use crate::serving::request::Target;

/// The feature level from which on there are groups.
const LEVEL: FeatureLevel = FeatureLevel(2);

/// Creates the coordinators of the cluster.
pub(crate) trait CreateCoordinators: Send + Sync + 'static {
    /// Returns once this node knows them. Does nothing if there are any.
    fn create(&self) -> BoxFuture<'_, Result<(), ApiError>>;
}

/// The parts of a [`GroupEngine`].
pub(crate) struct GroupEngineParts {
    /// The way to the nodes that lead.
    pub(crate) log: Arc<LogEngine>,
    /// Makes calls of other nodes.
    pub(crate) forward: Arc<dyn ForwardGroups>,
    /// Who may read which topic.
    pub(crate) rights: Arc<dyn ReadRights>,
    /// Creates the coordinators at their first use.
    pub(crate) creator: Arc<dyn CreateCoordinators>,
    /// Counters of calls.
    pub(crate) metrics: Arc<Metrics>,
}

/// Serves consumer groups to clients of any protocol.
pub(crate) struct GroupEngine {
    pub(super) log: Arc<LogEngine>,
    forward: Arc<dyn ForwardGroups>,
    creator: Arc<dyn CreateCoordinators>,
    pub(super) deps: Arc<CoordinatorDeps>,
    /// Those whose replicas are on this node.
    coordinators: Mutex<BTreeMap<GroupId, Arc<Coordinator>>>,
}

impl GroupEngine {
    pub(crate) fn new(parts: GroupEngineParts) -> Self {
        let GroupEngineParts {
            log,
            forward,
            rights,
            creator,
            metrics,
        } = parts;
        let deps = Arc::new(CoordinatorDeps {
            node: log.locator.node,
            view: log.locator.meta.clone(),
            clock: Arc::clone(&log.clock),
            rights,
            metrics,
        });
        Self {
            log,
            forward,
            creator,
            deps,
            coordinators: Mutex::default(),
        }
    }

    /// Carries out a call for a group at the node that leads its coordinator.
    pub(crate) async fn call(&self, request: GroupRequest) -> Result<GroupAnswer, ApiError> {
        self.check_level()?;
        let _memory = self.reserve(&request).await?;
        let group = &request.target.group;
        let Some((number, raft_group)) = self.coordinator_of(&request).await? else {
            return none_yet(group, &request.call);
        };
        self.wait_started(raft_group).await;
        let target = target_of(
            number,
            request.target.is_forwarded,
            &request.target.principal,
        );
        let (target, request) = (&target, &request);
        let here = |replica: Arc<Replica>| async move {
            let coordinator = self.coordinator(&replica)?;
            coordinator.call(request).await
        };
        let there = |leader: Elsewhere| self.forward.group_call(leader.node, request.clone());
        self.log
            .locator
            .at_leader_of((target, Some(raft_group)), Safety::Repeatable, here, there)
            .await
    }

    /// Reserves the memory of a request, as for appends. A member that waits for news takes none.
    async fn reserve(&self, request: &GroupRequest) -> Result<Option<Reserved>, ApiError> {
        let bytes = request.call.memory_bytes();
        if bytes == 0 {
            return Ok(None);
        }
        let deadline = Instant::now() + GROUP_MEMORY_WAIT_MAX;
        let is_forwarded = request.target.is_forwarded;
        let reserved = self.log.reserve_append(is_forwarded, bytes, deadline);
        reserved.await.map(Some)
    }

    /// The memory for the replies to a user's requests.
    pub(crate) fn reply_account(&self, user: &Arc<Principal>, is_forwarded: bool) -> ReplyAccount {
        self.log.replies.account_of(user, is_forwarded)
    }

    /// The coordinator of a group. At the first use of groups, creates them all; `None` if the call
    /// needs none.
    async fn coordinator_of(
        &self,
        request: &GroupRequest,
    ) -> Result<Option<(PartitionId, GroupId)>, ApiError> {
        let group = &request.target.group;
        let known = || self.deps.view.load().coordinator_of(group);
        if let Some(found) = known() {
            return Ok(Some(found));
        }
        if request.target.is_forwarded {
            self.wait_for_coordinators().await;
        } else if makes_state(&request.call) {
            self.creator.create().await?;
        } else {
            self.log.check_metadata()?;
        }
        Ok(known())
    }

    /// At the first use of groups, their coordinators have just been created: gives them the time
    /// to start.
    async fn wait_started(&self, raft_group: GroupId) {
        let is_started = |metadata: &Metadata| {
            let place = metadata.group(raft_group);
            let started = place.is_none_or(|place| place.partition.started);
            started.then_some(()).ok_or(())
        };
        let deadline = Instant::now() + COORDINATOR_START_MAX;
        // If they have not started by then, the call fails as it does without a leader.
        self.deps.view.find(deadline, is_started).await.ok();
    }

    /// The node that forwards knows of coordinators: this one soon does too.
    async fn wait_for_coordinators(&self) {
        let has_coordinators = |metadata: &Metadata| {
            let are_known = metadata.coordinators().is_some();
            are_known.then_some(()).ok_or(())
        };
        let deadline = Instant::now() + METADATA_LAG_MAX;
        // The caller looks again.
        self.deps.view.find(deadline, has_coordinators).await.ok();
    }

    /// Without it, whether there are groups would depend on the version of the node that is asked.
    fn check_level(&self) -> Result<(), ApiError> {
        let finalized = self.deps.view.load().finalized_level();
        if finalized >= LEVEL {
            return Ok(());
        }
        let error = MetaError::NotFinalized {
            feature: "consumer groups".to_owned(),
            level: LEVEL,
            finalized,
        };
        Err(error.into())
    }

    /// The coordinator of a replica on this node.
    fn coordinator(&self, replica: &Arc<Replica>) -> Result<Arc<Coordinator>, ApiError> {
        let groups = replica.groups.clone();
        let groups = groups.ok_or_else(ApiError::replica_closing)?;
        let mut coordinators = self
            .coordinators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = coordinators.get(&replica.group)
            && Arc::ptr_eq(&known.leading.replica, replica)
        {
            return Ok(Arc::clone(known));
        }
        let deps = Arc::clone(&self.deps);
        let leading = Leading::new(deps, Arc::clone(replica), groups);
        let coordinator = Arc::new(Coordinator::new(leading));
        coordinators.insert(replica.group, Arc::clone(&coordinator));
        Ok(coordinator)
    }

    /// Groups by name, those that the principal may describe.
    pub(crate) async fn list(
        &self,
        request: ListRequest,
        is_forwarded: bool,
        is_visible: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Vec<ListedGroup>, ApiError> {
        self.check_level()?;
        self.log.check_metadata()?;
        let Some(coordinators) = self.deps.view.load().coordinators().cloned() else {
            return Ok(Vec::new());
        };
        let numbered = (0..).map(PartitionId).zip(&coordinators.partitions);
        let asked = numbered.filter(|(number, _)| {
            let only = request.coordinator;
            only.is_none_or(|only| only == *number)
        });
        let pages = asked.map(|(number, partition)| {
            let place = (number, partition.group);
            self.list_of(place, &request, (is_forwarded, is_visible))
        });
        let mut listed = Vec::new();
        for page in join_all(pages).await {
            listed.extend(page?);
        }
        listed.sort_by(|a: &ListedGroup, b| a.group.cmp(&b.group));
        listed.truncate(request.max_count);
        Ok(listed)
    }

    async fn list_of(
        &self,
        (number, group): (PartitionId, GroupId),
        request: &ListRequest,
        (is_forwarded, is_visible): (bool, &(dyn Fn(&str) -> bool + Sync)),
    ) -> Result<Vec<ListedGroup>, ApiError> {
        let target = target_of(number, is_forwarded, &request.principal);
        let target = &target;
        let here = |replica: Arc<Replica>| async move {
            let coordinator = self.coordinator(&replica)?;
            coordinator.leading.term()?;
            catch_up(&replica).await?;
            Ok(described::list(
                &coordinator.leading.groups,
                request,
                is_visible,
            ))
        };
        let there = |leader: Elsewhere| {
            let request = ListRequest {
                coordinator: Some(number),
                ..request.clone()
            };
            self.forward.list_groups(leader.node, request)
        };
        self.log
            .locator
            .at_leader_of((target, Some(group)), Safety::Repeatable, here, there)
            .await
    }

    /// Runs the timers of the coordinators that this node leads, until dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut followed = FollowedTopics::default();
        loop {
            let metadata = self.deps.view.load();
            let has_news = followed.changed(&metadata, self.deps.rights.settings());
            let mut leads_any = false;
            let mut counts = GroupCounts::default();
            for coordinator in self.present() {
                if coordinator.upkeep.check(has_news) {
                    leads_any = true;
                    counts.add(&coordinator.leading);
                }
            }
            counts.publish(&self.deps.metrics);
            let wait = if leads_any {
                COORDINATOR_CHECK_INTERVAL
            } else {
                COORDINATOR_IDLE_INTERVAL
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The coordinators whose replicas are on this node. Forgets the others.
    fn present(&self) -> Vec<Arc<Coordinator>> {
        let metadata = self.deps.view.load();
        let partitions = metadata.coordinators().map(|all| all.partitions.clone());
        let groups = partitions.unwrap_or_default().into_iter().map(|p| p.group);
        let replicas = groups.filter_map(|group| self.log.locator.replicas.get(group));
        let present: Vec<_> = replicas
            .filter_map(|replica| self.coordinator(&replica).ok())
            .collect();
        let mut coordinators = self
            .coordinators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        coordinators.retain(|_, known| {
            let is_present = present.iter().any(|found| Arc::ptr_eq(found, known));
            if !is_present {
                known.leading.end();
            }
            is_present
        });
        present
    }
}

/// The groups that this node coordinates.
#[derive(Debug, Default)]
struct GroupCounts {
    groups: usize,
    members: usize,
    bytes: usize,
}

impl GroupCounts {
    fn add(&mut self, leading: &Leading) {
        self.members += leading.timers.member_count();
        let state = leading.groups.lock();
        self.groups += state.groups().len();
        self.bytes += state.bytes();
    }

    fn publish(&self, metrics: &Metrics) {
        let set = |gauge: &IntGauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&metrics.groups.groups, self.groups);
        set(&metrics.groups.members, self.members);
        set(&metrics.groups.bytes, self.bytes);
    }
}

/// A coordinator as the target of a request.
fn target_of(number: PartitionId, is_forwarded: bool, principal: &Arc<Principal>) -> Target {
    Target {
        topic: COORDINATORS_NAME.to_owned(),
        topic_id: None,
        partition: number.get(),
        is_forwarded,
        principal: Arc::clone(principal),
    }
}

/// Whether a call may make a group.
const fn makes_state(call: &GroupCall) -> bool {
    matches!(call, GroupCall::Join(_) | GroupCall::Commit(_))
}

/// The answer in a cluster that has never had a group.
fn none_yet(group: &str, call: &GroupCall) -> Result<GroupAnswer, ApiError> {
    match call {
        GroupCall::Leave(_) => Ok(GroupAnswer::Done),
        GroupCall::Offsets(_) => Ok(GroupAnswer::Offsets(OffsetsPage::default())),
        GroupCall::Heartbeat(heartbeat) => Err(described::unknown_member(&heartbeat.member.id)),
        GroupCall::Describe(_) | GroupCall::DeleteOffsets(_) | GroupCall::Delete => {
            Err(described::unknown_group(group))
        }
        GroupCall::Join(_) | GroupCall::Commit(_) => Err(ApiError::replica_closing()),
    }
}
