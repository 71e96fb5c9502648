//! Balances replicas and preferred leaders. The leader of the meta group plans from the metadata
//! and starts the next few moves; partition leaders carry them out, as those of a decommission.
//! Nothing but the request is stored: any later leader continues.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_core::limits::{
    DRAIN_COMMANDS_MAX_COUNT, REBALANCE_DISK_FREE_MIN_PERCENT, REBALANCE_MOVES_MAX_COUNT,
    REBALANCE_MOVES_PER_NODE_MAX_COUNT, REBALANCE_PLAN_REST_PERCENT, REBALANCE_RETRY_INTERVAL,
};
use lograft_core::metadata::{Command, Metadata, Node, Partition};
use lograft_core::rebalance::{Layout, Participation, Plan, Step, plan};
use lograft_core::{DiskMark, GroupId, NodeId, NodeState};
use tokio::time::Instant;
use tracing::{info, warn};

use super::decommission::moves_in_progress;
use super::disk_handover::has_bad_disk;
use super::local_member::LocalMember;
use super::reachability::Reachability;
use super::task_registry::{TaskKind, TaskRegistry};
use crate::blocking::run_blocking;
use crate::clock::Clock;
use crate::error_text::error_chain;
use crate::exchange::NodeExchange;
use crate::serving::meta_group::MetaHandle;
use crate::serving::replica::ReplicaMap;

/// This node's knowledge of the others. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NodeJudge {
    pub(crate) member: LocalMember,
    pub(crate) reachability: Arc<Reachability>,
    pub(crate) exchange: NodeExchange,
    pub(crate) clock: Arc<dyn Clock>,
}

impl NodeJudge {
    /// The part of a node in the balance, and the number of replicas that it carries.
    ///
    /// A node that does not answer takes its full part, on purpose: it is expected back, and a plan
    /// without it would move replicas that have to be moved back. Steps that need it wait.
    fn part(&self, node: NodeId) -> (Participation, u32) {
        let own = self.member.node();
        let max = self.exchange.replicas_max_count(own, node);
        let participation = if self.has_bad_disk(node) {
            Participation::GivesOnly
        } else {
            Participation::Full
        };
        (participation, max.unwrap_or(u32::MAX))
    }

    /// Plans the balance of the cluster.
    pub(crate) fn plan(
        &self,
        metadata: &Metadata,
        size_bytes: impl Fn(GroupId) -> Option<u64>,
    ) -> Plan {
        plan(&Layout::new(metadata, |node| self.part(node), size_bytes))
    }

    fn has_bad_disk(&self, node: NodeId) -> bool {
        if self.member.node() == Some(node) {
            return self.exchange.own().disk.mark >= DiskMark::Low;
        }
        has_bad_disk(&self.exchange, node)
    }

    fn is_reachable(&self, node: NodeId) -> bool {
        self.member.node() == Some(node) || self.reachability.is_reachable(node)
    }

    /// Whether a node receives replicas and leaders now.
    fn can_take(&self, metadata: &Metadata, node: NodeId) -> bool {
        let now_ms = self.clock.now_ms();
        let rests = |node: &Node| node.rests_for(now_ms).is_some();
        let disk = if self.member.node() == Some(node) {
            Some(self.exchange.own().disk)
        } else {
            self.exchange.recent(node).map(|reading| reading.disk)
        };
        let is_roomy = disk.is_some_and(|disk| {
            let needed = disk.total_bytes / 100 * REBALANCE_DISK_FREE_MIN_PERCENT;
            disk.free_bytes >= needed
        });
        is_roomy && self.is_reachable(node) && !metadata.node(node).is_some_and(rests)
    }
}

/// The replicas that are being moved.
#[derive(Clone, Debug, Default)]
struct MovesInProgress {
    count: usize,
    nodes: BTreeMap<NodeId, usize>,
}

impl MovesInProgress {
    fn new(metadata: &Metadata) -> Self {
        let mut moves = Self::default();
        for place in metadata.partitions() {
            let Partition {
                replicas,
                target: Some(target),
                ..
            } = place.partition
            else {
                continue;
            };
            let given = replicas.iter().filter(|node| !target.contains(node));
            let taken = target.iter().filter(|node| !replicas.contains(node));
            moves.count += 1;
            for node in given.chain(taken) {
                *moves.nodes.entry(*node).or_default() += 1;
            }
        }
        moves
    }

    /// Counts a move, if the limits permit it.
    fn add(&mut self, from: NodeId, to: NodeId) -> bool {
        let count = |node| self.nodes.get(&node).copied().unwrap_or(0);
        let is_busy = |node| count(node) >= REBALANCE_MOVES_PER_NODE_MAX_COUNT;
        if self.count >= REBALANCE_MOVES_MAX_COUNT || is_busy(from) || is_busy(to) {
            return false;
        }
        self.count += 1;
        for node in [from, to] {
            *self.nodes.entry(node).or_default() += 1;
        }
        true
    }
}

/// Whether replicas may be balanced now. A drain and repairs go first: they move replicas too.
fn is_due(metadata: &Metadata) -> bool {
    let is_draining = |node: &Node| node.state == NodeState::Draining;
    metadata.rebalancing().is_running()
        && !metadata.nodes().any(is_draining)
        && !metadata
            .partitions()
            .any(|place| place.partition.repair.is_some())
}

/// The commands that the meta group's leader proposes next to balance replicas; none if it has to
/// wait. `is_healthy` says of a node whether it answers, `can_take` whether it may receive.
fn next_commands(
    metadata: &Metadata,
    plan: &Plan,
    is_healthy: impl Fn(NodeId) -> bool,
    can_take: impl Fn(NodeId) -> bool,
) -> Vec<Command> {
    let mut moves = MovesInProgress::new(metadata);
    if plan.steps.is_empty() {
        let request = metadata.rebalancing().requests;
        let is_done = moves.count == 0;
        return is_done
            .then_some(Command::EndRebalance { request })
            .into_iter()
            .collect();
    }
    // A partition whose other replicas are not all there is not moved: until the move is done it
    // depends on them.
    let is_whole = |step: &Step| {
        metadata.group(step.group()).is_some_and(|place| {
            let mut hosts = place.partition.hosts();
            place.partition.target.is_none() && hosts.all(&is_healthy)
        })
    };
    let mut started: Vec<GroupId> = Vec::new();
    let mut commands = Vec::new();
    for step in &plan.steps {
        let is_possible = match *step {
            Step::Move {
                group, from, to, ..
            } => {
                // A later step of the same partition waits for the earlier one.
                let is_first = !started.contains(&group);
                is_first && is_whole(step) && can_take(to) && moves.add(from, to)
            }
            // The leaders were planned for the replicas after all moves.
            Step::Lead { to, .. } => {
                if moves.count > 0 || plan.cost.moves > 0 {
                    break;
                }
                commands.len() < DRAIN_COMMANDS_MAX_COUNT && can_take(to)
            }
        };
        if is_possible {
            started.push(step.group());
            commands.extend(step.command(metadata));
        }
    }
    commands
}

/// When the next plan may be made. Plans of a large cluster take time, and many of them change
/// nothing: a step waits for a node that is away, or for moves in progress.
#[derive(Clone, Debug)]
pub(crate) struct PlanPace {
    /// The metadata of the last plan.
    planned: Arc<Metadata>,
    unchanged_due: Instant,
    changed_due: Instant,
}

impl PlanPace {
    /// After a plan that was made from `planned` and took `took`.
    fn after(planned: Arc<Metadata>, took: Duration, now: Instant) -> Self {
        let rest = took * REBALANCE_PLAN_REST_PERCENT / 100;
        Self {
            planned,
            unchanged_due: now + rest.max(REBALANCE_RETRY_INTERVAL),
            changed_due: now + rest,
        }
    }

    fn is_due(&self, metadata: &Arc<Metadata>, now: Instant) -> bool {
        if Arc::ptr_eq(&self.planned, metadata) {
            now >= self.unchanged_due
        } else {
            now >= self.changed_due
        }
    }
}

/// Balances replicas while this node leads the meta group.
pub(crate) struct Rebalancer {
    pub(crate) replicas: ReplicaMap,
    pub(crate) judge: NodeJudge,
    pub(crate) proposer: MetaHandle,
    pub(crate) tasks: TaskRegistry,
    pub(crate) pace: Arc<Mutex<Option<PlanPace>>>,
}

impl Rebalancer {
    /// Starts the next steps, unless the former ones are still being proposed.
    pub(crate) fn check(&self, metadata: &Arc<Metadata>) {
        let Some(meta) = self.replicas.meta() else {
            return;
        };
        if !metadata.rebalancing().is_wanted || !meta.raft.watch().borrow().ready {
            return;
        }
        let is_paced = lock(&self.pace)
            .as_ref()
            .is_none_or(|pace| pace.is_due(metadata, Instant::now()));
        let is_full = || moves_in_progress(metadata) >= REBALANCE_MOVES_MAX_COUNT;
        if !is_paced || !is_due(metadata) || is_full() {
            return;
        }
        let (judge, proposer) = (self.judge.clone(), Arc::clone(&self.proposer));
        let (metadata, pace) = (Arc::clone(metadata), Arc::clone(&self.pace));
        self.tasks.spawn_once(TaskKind::Rebalance, async move {
            let started = Instant::now();
            // A large cluster takes a moment to plan.
            let planned = run_blocking(move || {
                let plan = judge.plan(&metadata, |_| None);
                let can_take = |node| judge.can_take(&metadata, node);
                let is_reachable = |node| judge.is_reachable(node);
                let commands = next_commands(&metadata, &plan, is_reachable, can_take);
                let now = Instant::now();
                *lock(&pace) = Some(PlanPace::after(metadata, now - started, now));
                commands
            });
            let commands = planned.await.unwrap_or_default();
            propose_all(&proposer, commands).await
        });
    }
}

fn lock(pace: &Mutex<Option<PlanPace>>) -> MutexGuard<'_, Option<PlanPace>> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn propose_all(proposer: &MetaHandle, commands: Vec<Command>) -> bool {
    let is_any = !commands.is_empty();
    for command in commands {
        let is_end = matches!(command, Command::EndRebalance { .. });
        if let Err(error) = proposer.propose(command.into()).await {
            let error = error_chain(&error);
            warn!(error, "rebalancing step failed, will retry");
            return false;
        }
        if is_end {
            info!("rebalancing ended, nothing is left to move");
        }
    }
    is_any
}

#[cfg(test)]
mod tests {
    use lograft_core::FeatureLevel;

    use super::*;
    use crate::control::test_metadata::{apply, cluster, create, group, ids, registration};

    /// Three nodes with all replicas, and two new ones.
    fn grown(partitions: u32) -> Metadata {
        let mut metadata = cluster(3);
        let level = FeatureLevel(2);
        apply(&mut metadata, &Command::FinalizeLevel { level });
        let replicas: Vec<&[u64]> = (0..partitions).map(|_| &[1, 2, 3][..]).collect();
        create(&mut metadata, "t", &replicas);
        for partition in 0..partitions {
            let group = group(&metadata, "t", partition);
            apply(&mut metadata, &Command::StartPartition { group });
        }
        for n in 4..=5 {
            apply(&mut metadata, &Command::RegisterNode(registration(n)));
        }
        metadata
    }

    fn next(metadata: &Metadata, is_there: impl Fn(NodeId) -> bool) -> Vec<Command> {
        let plan = plan(&Layout::unrestricted(metadata));
        next_commands(metadata, &plan, &is_there, &is_there)
    }

    fn moves(metadata: &Metadata) -> Vec<(GroupId, Vec<NodeId>)> {
        let moving = metadata.partitions().filter_map(|place| {
            let target = place.partition.target.clone()?;
            Some((place.partition.group, target))
        });
        moving.collect()
    }

    #[test]
    fn a_plan_that_changes_nothing_is_not_made_again_at_once() {
        let (metadata, now) = (Arc::new(grown(1)), Instant::now());
        let pace = PlanPace::after(Arc::clone(&metadata), Duration::from_millis(1), now);
        let soon = now + Duration::from_millis(10);
        assert!(!pace.is_due(&metadata, soon));
        assert!(pace.is_due(&metadata, now + REBALANCE_RETRY_INTERVAL));
        assert!(pace.is_due(&Arc::new(grown(1)), soon), "a move has ended");
        let long = PlanPace::after(metadata, Duration::from_secs(1), now);
        assert!(!long.is_due(&Arc::new(grown(1)), now + Duration::from_secs(7)));
        assert!(long.is_due(&Arc::new(grown(1)), now + Duration::from_secs(8)));
    }

    #[test]
    fn few_moves_at_once_then_leaders_and_then_the_end() {
        let mut metadata = grown(20);
        let mut rounds = 0;
        while metadata.rebalancing().is_wanted {
            assert!(is_due(&metadata));
            for command in next(&metadata, |_| true) {
                apply(&mut metadata, &command);
            }
            let moving = MovesInProgress::new(&metadata);
            for (node, count) in &moving.nodes {
                assert!(
                    *count <= REBALANCE_MOVES_PER_NODE_MAX_COUNT,
                    "{node}: {count}"
                );
            }
            if moving.count > 0 {
                assert_eq!(next(&metadata, |_| true), [], "the limits are reached");
            }
            // One move of those in progress ends.
            for (group, replicas) in moves(&metadata).into_iter().take(1) {
                apply(&mut metadata, &Command::CommitMove { group, replicas });
            }
            rounds += 1;
            assert!(rounds < 100);
        }
        assert!(rounds > 20, "24 moves, one after the other");
        for node in 1..=5 {
            let node = NodeId(node);
            let held = metadata.partitions().filter(|p| p.partition.is_on(node));
            assert_eq!(held.count(), 12);
            let leads = |p: &Partition| p.preferred_leader() == Some(node);
            let led = metadata.partitions().filter(|p| leads(p.partition));
            assert_eq!(led.count(), 4);
        }
    }

    #[test]
    fn nothing_is_moved_to_or_beside_a_silent_node() {
        let metadata = grown(4);
        let to_4 = next(&metadata, |node| node != NodeId(5));
        assert!(!to_4.is_empty());
        for command in &to_4 {
            let Command::SetTarget { replicas, .. } = command else {
                panic!("{command:?}");
            };
            assert!(!replicas.contains(&NodeId(5)));
        }
        assert_eq!(next(&metadata, |node| node != NodeId(2)), []);
    }

    #[test]
    fn a_drain_a_repair_and_a_pause_go_first() {
        let mut metadata = grown(4);
        let is_paused = true;
        apply(&mut metadata, &Command::PauseRebalance { is_paused });
        assert!(!is_due(&metadata));
        let is_paused = false;
        apply(&mut metadata, &Command::PauseRebalance { is_paused });
        let node = NodeId(5);
        apply(&mut metadata, &Command::DrainNode { node });
        assert!(!is_due(&metadata));
        apply(&mut metadata, &Command::UndrainNode { node });
        let (group, node) = (group(&metadata, "t", 0), NodeId(1));
        apply(&mut metadata, &Command::ReportDamage { group, node });
        assert!(!is_due(&metadata));
    }

    #[test]
    fn it_does_not_end_before_the_moves_in_progress() {
        let mut metadata = grown(1);
        let group = group(&metadata, "t", 0);
        let replicas: Vec<NodeId> = ids(&[1, 2, 4]);
        let target = Command::SetTarget {
            group,
            replicas: replicas.clone(),
        };
        apply(&mut metadata, &target);
        assert_eq!(next(&metadata, |_| true), []);
        apply(&mut metadata, &Command::CommitMove { group, replicas });
        let request = metadata.rebalancing().requests;
        let end = Command::EndRebalance { request };
        assert_eq!(next(&metadata, |_| true), [end]);
    }
}
