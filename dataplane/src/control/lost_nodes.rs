//! Nodes that are lost for good: the leader of the meta group watches the silence of the others,
//! marks the lost ones, and has their replicas replaced. `lograft_core::lost_nodes` decides, and
//! says why that is safe.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::NodeId;
use lograft_core::lost_nodes::{LostRule, Silence, plan_mark, plan_replacements};
use lograft_core::metadata::{Command, Metadata};
use lograft_discovery::MembershipReader;
use tokio::time::Instant;
use tracing::{info, warn};

use super::disk_handover::has_bad_disk;
use super::local_member::LocalMember;
use super::reachability::Reachability;
use crate::clock::Clock;
use crate::config::CurrentRecovery;
use crate::exchange::NodeExchange;

/// Watches the other nodes, on the leader of the meta group.
pub(crate) struct LostNodes {
    member: LocalMember,
    membership: MembershipReader,
    exchange: NodeExchange,
    reachability: Arc<Reachability>,
    clock: Arc<dyn Clock>,
    settings: CurrentRecovery,
    silence: Silence,
    /// The start of the monotonic time that the silence is measured in.
    started: Instant,
}

/// The parts that it uses.
pub(crate) struct LostNodesParts {
    pub(crate) member: LocalMember,
    pub(crate) membership: MembershipReader,
    pub(crate) exchange: NodeExchange,
    pub(crate) reachability: Arc<Reachability>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: CurrentRecovery,
}

impl LostNodes {
    /// Before anything was observed.
    pub(crate) fn new(parts: LostNodesParts) -> Self {
        let LostNodesParts {
            member,
            membership,
            exchange,
            reachability,
            clock,
            settings,
        } = parts;
        Self {
            member,
            membership,
            exchange,
            reachability,
            clock,
            settings,
            silence: Silence::default(),
            started: Instant::now(),
        }
    }

    /// Forgets what was observed: this node does not lead the meta group.
    pub(crate) fn forget(&mut self) {
        self.silence.forget();
    }

    /// Observes the signs of all nodes. Signs are the readings that a running program sends, on
    /// its heartbeats and leader-watch streams, and its gossip, which other nodes pass on: a node
    /// that only this one cannot reach is not silent. An open connection alone is no sign, since
    /// the kernel of a hung process keeps it open.
    pub(crate) fn observe(&mut self, metadata: &Metadata, now: Instant) {
        let members: BTreeSet<NodeId> = metadata.members().map(|node| node.id).collect();
        let view = self.membership.load();
        let gossips: BTreeSet<NodeId> = view
            .members
            .iter()
            .filter_map(|member| member.gossip.as_ref())
            .filter(|gossip| gossip.is_alive)
            .filter_map(|gossip| gossip.facts.node)
            .collect();
        let me = self.member.node();
        let exchange = &self.exchange;
        let sign_age = |node: NodeId| {
            if Some(node) == me || gossips.contains(&node) {
                return Some(Duration::ZERO);
            }
            let reading = exchange.peer(node)?;
            Some(now.saturating_duration_since(reading.received))
        };
        let now = now.saturating_duration_since(self.started);
        self.silence.observe(now, &members, sign_age);
    }

    /// The next mark; `voters` are those of the meta group.
    pub(crate) fn mark(&self, metadata: &Metadata, voters: &BTreeSet<NodeId>) -> Option<Command> {
        let rule = LostRule {
            after: self.settings.dead_node_after(),
            voters,
            now_ms: self.clock.now_ms(),
        };
        plan_mark(metadata, &self.silence, rule)
    }

    /// The next replacements of replicas of lost nodes; `None` without any.
    pub(crate) fn replacements(&self, metadata: &Metadata) -> Option<Vec<Command>> {
        let me = self.member.node();
        let plan = plan_replacements(metadata, |node| {
            let is_reachable = Some(node) == me || self.reachability.is_reachable(node);
            is_reachable && !has_bad_disk(&self.exchange, node)
        });
        (!plan.is_empty()).then_some(plan)
    }
}

/// Logs a mark that was made.
pub(crate) fn log_mark(command: &Command) {
    match command {
        Command::MarkLost { node, since_ms } => {
            warn!(node_id = %node, since_ms, "node is lost, its replicas will be replaced");
        }
        Command::FindNode { node } => info!(node_id = %node, "lost node is back"),
        _ => {}
    }
}
