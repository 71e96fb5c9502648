//! Checks whether a node may be stopped without a group losing its majority. Pure: decides from the
//! metadata and the reports of the nodes.
//!
//! A group with a majority of in-sync voters after the stop keeps serving. A group that would lose
//! its majority blocks the stop, as long as waiting can help. A group with one or two replicas
//! cannot keep a majority without one of them, so it does not block: it is only noted.

use std::collections::BTreeMap;

use lograft_core::limits::{IN_SYNC_LAG_MAX_COUNT, PROBLEM_NAMES_MAX_COUNT};
use lograft_core::metadata::{Metadata, PartitionRef};
use lograft_core::{GroupId, NodeId, majority_of};

use super::cluster_report::reports::{Reports, lacks_meta_voters};
use super::node_report::ReplicaReport;

/// The effect of stopping a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StopCheck {
    /// Why the node must not be stopped now, as sentences; empty if it may.
    pub(crate) waits_for: Vec<String>,
    /// Consequences that cannot be avoided, as sentences.
    pub(crate) notes: Vec<String>,
    /// The groups that the node leads and another node could, with that node.
    pub(crate) leads: Vec<(GroupId, NodeId)>,
}

/// State of a group without the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Without {
    /// It keeps a majority.
    Works,
    /// It has too few replicas to keep a majority.
    Pauses,
    /// It has no leader, even with the node.
    NoLeader,
    /// It lacks voters that are still to be added.
    FewVoters,
    /// Its majority would not be in sync; the nodes that are not, and why.
    NoMajority(String),
}

impl Without {
    fn sentence(&self, node: NodeId, names: &str) -> Option<String> {
        match self {
            Self::Works => None,
            Self::Pauses => Some(format!(
                "{names} cannot be written while node {node} is stopped: too few replicas"
            )),
            Self::NoLeader => Some(format!("waiting for a leader of {names}")),
            Self::FewVoters => Some(format!("waiting for voters to be added to {names}")),
            Self::NoMajority(why) => Some(format!(
                "waiting for a majority of {names} to be in sync without node {node}: {why}"
            )),
        }
    }
}

/// Checks what happens to each group if the node stops.
pub(crate) fn check_stop(metadata: &Metadata, reports: &Reports, node: NodeId) -> StopCheck {
    let mut found: BTreeMap<Without, Vec<String>> = BTreeMap::new();
    let mut leads = Vec::new();
    let mut add = |group: GroupId, name: String, (without, next): (Without, Option<NodeId>)| {
        found.entry(without).or_default().push(name);
        leads.extend(next.map(|next| (group, next)));
    };
    let meta = check_meta(metadata, reports, node);
    add(GroupId::META, "the meta group".to_owned(), meta);
    for place in metadata.partitions() {
        let name = format!("{}/{}", place.topic.name, place.number);
        add(
            place.partition.group,
            name,
            check_partition(place, reports, node),
        );
    }
    let (mut waits_for, mut notes) = (Vec::new(), Vec::new());
    for (without, names) in found {
        let list = if without == Without::Pauses {
            &mut notes
        } else {
            &mut waits_for
        };
        list.extend(without.sentence(node, &abbreviated(&names)));
    }
    StopCheck {
        waits_for,
        notes,
        leads,
    }
}

impl StopCheck {
    /// Whether the node may be stopped now.
    pub(crate) fn is_ready(&self) -> bool {
        self.waits_for.is_empty() && self.leads.is_empty()
    }

    /// Whether every group keeps its majority, or has too few replicas to keep one.
    pub(crate) fn keeps_majorities(&self) -> bool {
        self.waits_for.is_empty()
    }

    /// A sentence with the number of groups that the node still leads, if any.
    pub(crate) fn still_leads(&self, node: NodeId) -> Option<String> {
        let count = self.leads.len();
        (count > 0).then(|| format!("node {node} still leads {count} groups"))
    }
}

fn check_meta(metadata: &Metadata, reports: &Reports, node: NodeId) -> (Without, Option<NodeId>) {
    let Some((leader, report)) = reports.leader(GroupId::META) else {
        return (Without::NoLeader, None);
    };
    let group = Group {
        id: GroupId::META,
        leader,
        report,
        reports,
    };
    let lacks_voters = lacks_meta_voters(metadata, report);
    (
        group.without(node, lacks_voters),
        group.next_leader(node, &[]),
    )
}

fn check_partition(
    place: PartitionRef<'_>,
    reports: &Reports,
    node: NodeId,
) -> (Without, Option<NodeId>) {
    let partition = place.partition;
    let Some((leader, report)) = reports.leader(partition.group) else {
        // If the node is down already, a group of one or two replicas has stopped because of it:
        // waiting for its leader would block the very restart that brings it back.
        let is_down_with_it = !reports.is_reachable(node) && partition.replicas.len() <= 2;
        let without = match partition.is_on(node) {
            false => Without::Works,
            true if is_down_with_it => Without::Pauses,
            true => Without::NoLeader,
        };
        return (without, None);
    };
    let group = Group {
        id: partition.group,
        leader,
        report,
        reports,
    };
    let lacks_voters = report.voters.len() < partition.replicas.len();
    (
        group.without(node, lacks_voters),
        group.next_leader(node, &partition.replicas),
    )
}

/// A group as its leader reports it.
struct Group<'a> {
    id: GroupId,
    leader: NodeId,
    report: &'a ReplicaReport,
    reports: &'a Reports,
}

impl Group<'_> {
    /// The group's state without the node. `lacks_voters` says whether voters are missing.
    fn without(&self, node: NodeId, lacks_voters: bool) -> Without {
        let mut without = Without::Works;
        // During a membership change (joint consensus) every decision needs a majority of the old
        // voters and one of the new voters. Both must survive the stop.
        for voters in [&self.report.voters, &self.report.joint_voters] {
            if !voters.contains(&node) {
                continue;
            }
            let others = voters.iter().copied().filter(|id| *id != node);
            let (majority, others) = (majority_of(voters.len()), others.collect::<Vec<_>>());
            let needs_node = others.len() < majority;
            if needs_node && lacks_voters {
                return Without::FewVoters;
            }
            let lacking: Vec<String> = others
                .iter()
                .filter_map(|id| Some(format!("node {id} {}", self.out_of_sync(*id)?)))
                .collect();
            // A group that pauses in any case still needs its other replicas in sync: otherwise
            // the stop would take away the last complete copy.
            let needed = majority.min(others.len());
            if others.len() - lacking.len() < needed {
                return Without::NoMajority(lacking.join(", "));
            }
            if needs_node {
                without = Without::Pauses;
            }
        }
        without
    }

    /// The leader after the node, if the node leads: the next one in `order` that is in sync.
    fn next_leader(&self, node: NodeId, order: &[NodeId]) -> Option<NodeId> {
        if self.leader != node {
            return None;
        }
        let at = order.iter().position(|id| *id == node).unwrap_or(0);
        let (before, after) = order.split_at(at);
        let voters = &self.report.voters;
        let in_order = after.iter().chain(before).copied();
        in_order
            .filter(|id| voters.contains(id))
            .chain(voters.iter().copied())
            .find(|id| *id != node && self.out_of_sync(*id).is_none())
    }

    /// Why a voter does not count as in sync, as the rest of a sentence; `None` if it does.
    fn out_of_sync(&self, node: NodeId) -> Option<&'static str> {
        if node == self.leader {
            return None;
        }
        if !self.reports.is_reachable(node) {
            return Some("does not answer");
        }
        let lag = self.report.lags.get(&node);
        match (self.reports.replica(node, self.id), lag) {
            (None, _) => Some("has not created its replica yet"),
            (Some(replica), _) if replica.corrupt => Some("has a corrupt replica"),
            (Some(replica), _) if replica.fenced => Some("does not vote, its disk is older"),
            (Some(_), Some(lag)) if *lag <= IN_SYNC_LAG_MAX_COUNT => None,
            (Some(_), _) => Some("is behind"),
        }
    }
}

/// The first names, and how many more there are.
fn abbreviated(names: &[String]) -> String {
    let shown = names.len().min(PROBLEM_NAMES_MAX_COUNT);
    let text = names[..shown].join(", ");
    match names.len() - shown {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
