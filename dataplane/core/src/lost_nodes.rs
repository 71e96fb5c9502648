//! Nodes that are lost for good: when a silent node is marked as lost, and how its replicas are
//! replaced.
//!
//! This is the one exception to the rule that silence removes nobody. What the rule prevents is two
//! sides of a network partition that each shrink to a majority of their own (split brain). That
//! cannot happen here, for three reasons:
//!
//! 1. Nothing is decided outside of raft. The mark is an entry that a majority of the meta group
//!    has committed, and the voters of a partition change by a joint change that a majority of the
//!    former voters commits too. A side without that majority can start neither.
//! 2. The number of voters never gets smaller. A new replica is added as a learner, catches up, and
//!    only then changes places with the lost one. Two majorities of equal size over the former and
//!    the new voters overlap throughout.
//! 3. The lost node needs not know. If it is alive after all, its votes and logs belong to the
//!    former voters and count for nothing once the change is committed. It learns of the change
//!    from the metadata, and gives up the replicas that are no longer its own.
//!
//! A node that is wrongly marked costs a copy of its data, and no record.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::assignment::{Candidate, candidates, final_replicas, pick};
use crate::ids::NodeId;
use crate::limits::{LOST_REPLACEMENTS_MAX_COUNT, READING_MAX_AGE, SILENCE_CHECK_GAP_MAX};
use crate::majority::majority_of;
use crate::metadata::{Command, Metadata, Node, NodeState, Partition};

/// The last sign of each node, as the leader of the meta group has seen it since it leads. Times
/// are those of a monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    last_sign: BTreeMap<NodeId, Duration>,
    checked: Option<Duration>,
}

impl Silence {
    /// Forgets everything: this node does not lead, and has not watched the others.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes over the signs at `now`. `sign_age` is the age of a node's last sign, if there was
    /// one. A node that is new here counts as heard of just now.
    pub fn observe(
        &mut self,
        now: Duration,
        members: &BTreeSet<NodeId>,
        sign_age: impl Fn(NodeId) -> Option<Duration>,
    ) {
        // A process that was paused for minutes has heard of nobody, and nobody is to blame.
        let gap = self.checked.map(|checked| now.saturating_sub(checked));
        if gap.is_some_and(|gap| gap > SILENCE_CHECK_GAP_MAX) {
            self.forget();
        }
        self.checked = Some(now);
        self.last_sign.retain(|node, _| members.contains(node));
        for node in members {
            let sign = sign_age(*node).map(|age| now.saturating_sub(age));
            let last = self.last_sign.entry(*node).or_insert(now);
            *last = sign.map_or(*last, |sign| sign.max(*last));
        }
    }

    /// The time since the last sign of a node; `None` if it was not observed.
    pub fn of(&self, node: NodeId) -> Option<Duration> {
        let last = self.last_sign.get(&node)?;
        Some(self.checked?.saturating_sub(*last))
    }

    fn is_heard(&self, node: NodeId) -> bool {
        self.of(node)
            .is_some_and(|silence| silence <= READING_MAX_AGE)
    }
}

/// When nodes count as lost, and who decides.
#[derive(Clone, Copy, Debug)]
pub struct LostRule<'a> {
    /// The silence after which a node counts as lost; `None` if none ever does.
    pub after: Option<Duration>,
    /// The voters of the meta group.
    pub voters: &'a BTreeSet<NodeId>,
    /// The wall clock, milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// The next node to mark as lost or as found; `None` if there is none. For the leader of the meta
/// group, with what it has observed.
pub fn plan_mark(metadata: &Metadata, silence: &Silence, rule: LostRule<'_>) -> Option<Command> {
    // 1. A lost node with a sign is back, whatever else holds.
    let mut lost = metadata.lost_nodes();
    if let Some(node) = lost.find(|node| silence.is_heard(node.id)) {
        return Some(Command::FindNode { node: node.id });
    }
    // 2. Nodes are marked if the configuration says so, and every program knows marks.
    let after = rule.after?;
    let level = Command::FindNode { node: NodeId(0) }.level();
    if metadata.finalized_level() < level {
        return None;
    }
    // 3. A leader that hears of few others is cut off itself. A majority of the meta group's voters
    //    commits the mark anyway; a leader without them must not even propose it.
    let heard = |nodes: &mut dyn Iterator<Item = NodeId>| {
        let (heard, silent): (Vec<_>, Vec<_>) = nodes.partition(|node| silence.is_heard(*node));
        heard.len() >= majority_of(heard.len() + silent.len())
    };
    if !heard(&mut rule.voters.iter().copied()) || !heard(&mut metadata.members().map(|n| n.id)) {
        return None;
    }
    // 4. One node at a time, the one that is silent for longest, and only if the others can take
    //    its replicas: the mark of a node that stays without a replacement would only take it away
    //    from new topics.
    let mut silent: Vec<(Duration, NodeId)> = metadata
        .active_nodes()
        .filter_map(|node| Some((silence.of(node.id)?, node.id)))
        .filter(|(silence, node)| *silence >= after && metadata.check_spare(*node).is_ok())
        .collect();
    silent.sort_unstable_by_key(|(silence, node)| (std::cmp::Reverse(*silence), *node));
    let (silence, node) = silent.first().copied()?;
    let silence_ms = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
    let since_ms = rule.now_ms.saturating_sub(silence_ms);
    Some(Command::MarkLost { node, since_ms })
}

/// Plans the next replacements of replicas on lost nodes: a `SetTarget` for each partition that has
/// such a replica, keeps its majority without it, and is not being moved off it yet. A few at a
/// time. New replicas are placed on nodes that `may_receive` accepts.
///
/// A lost node that is drained is not the subject here: the drain moves its replicas.
pub fn plan_replacements(
    metadata: &Metadata,
    may_receive: impl Fn(NodeId) -> bool,
) -> Vec<Command> {
    let lost = lost_actives(metadata);
    if lost.is_empty() {
        return Vec::new();
    }
    let mut nodes = candidates(metadata);
    nodes.retain(|candidate| may_receive(candidate.id));
    let partitions = || metadata.partitions().map(|place| place.partition);
    let running = partitions().filter(|p| is_replaced(p, &lost)).count();
    let free = LOST_REPLACEMENTS_MAX_COUNT.saturating_sub(running);
    partitions()
        .filter(|p| p.started && keeps_majority(metadata, p))
        .filter_map(|p| {
            let replicas = replaced(p, &lost, &mut nodes)?;
            let group = p.group;
            Some(Command::SetTarget { group, replicas })
        })
        .take(free)
        .collect()
}

/// The replicas of a lost node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostReplicas {
    /// Replicas that are being replaced.
    pub replacing_count: usize,
    /// Replicas that are not being replaced yet, those of the next number included.
    pub waiting_count: usize,
    /// Replicas of partitions that have no majority without them. They are not replaced: only an
    /// explicit recovery may give up the records that nobody else has.
    pub without_majority_count: usize,
}

impl LostReplicas {
    /// Number of replicas that are not replaced yet.
    pub const fn left_count(&self) -> usize {
        self.replacing_count + self.waiting_count
    }

    /// The replicas of a node.
    pub fn new(metadata: &Metadata, node: NodeId) -> Self {
        let mut found = Self::default();
        for place in metadata.partitions() {
            let partition = place.partition;
            if !partition.is_on(node) {
                continue;
            }
            if final_replicas(partition).contains(&node) {
                found.waiting_count += 1;
                let has_majority = keeps_majority(metadata, partition);
                found.without_majority_count += usize::from(!has_majority);
            } else {
                found.replacing_count += 1;
            }
        }
        found
    }
}

/// The lost nodes that are not drained.
fn lost_actives(metadata: &Metadata) -> BTreeSet<NodeId> {
    metadata
        .lost_nodes()
        .filter(|node| node.state == NodeState::Active)
        .map(|node| node.id)
        .collect()
}

/// Whether a replacement of a lost replica is in progress.
fn is_replaced(partition: &Partition, lost: &BTreeSet<NodeId>) -> bool {
    let replicas = partition.replicas.iter();
    partition.target.as_ref().is_some_and(|target| {
        replicas
            .clone()
            .any(|n| lost.contains(n) && !target.contains(n))
    })
}

/// Whether the replicas that are neither lost nor corrupt are a majority of the voters.
fn keeps_majority(metadata: &Metadata, partition: &Partition) -> bool {
    let repair = partition.repair;
    let is_voter = |node: &&NodeId| !repair.is_some_and(|r| r.is_evicted && r.node == **node);
    let voters: Vec<NodeId> = partition
        .replicas
        .iter()
        .filter(is_voter)
        .copied()
        .collect();
    let is_whole = |node: &&NodeId| {
        let is_lost = metadata.node(**node).is_some_and(Node::is_lost);
        !is_lost && repair.is_none_or(|repair| repair.node != **node)
    };
    voters.iter().filter(is_whole).count() >= majority_of(voters.len())
}

/// The replicas of a partition with other nodes in place of the lost ones, as far as there are
/// any; `None` if none is lost, or no other node is left.
fn replaced(
    partition: &Partition,
    lost: &BTreeSet<NodeId>,
    nodes: &mut [Candidate],
) -> Option<Vec<NodeId>> {
    let mut replicas = final_replicas(partition).to_vec();
    let mut is_changed = false;
    for position in 0..replicas.len() {
        if !lost.contains(&replicas[position]) {
            continue;
        }
        let salt = partition.group.get();
        if let Some(other) = pick(nodes, &replicas, position == 0, salt) {
            replicas[position] = other;
            is_changed = true;
        }
    }
    is_changed.then_some(replicas)
}
