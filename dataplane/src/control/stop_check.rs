//! Whether a node may be stopped: what each group would be without it, from the metadata and from
//! what the nodes say of themselves.

use std::collections::BTreeMap;

use lograft_core::limits::{IN_SYNC_LAG_MAX_COUNT, PROBLEM_NAMES_MAX_COUNT};
use lograft_core::metadata::{Metadata, PartitionRef};
use lograft_core::{GroupId, NodeId};
use lograft_proto::raft::v1::ReplicaReport;

use super::describe::{Reports, lacks_voters};

/// What the stop of a node would do to the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopCheck {
    /// Why it may not be stopped now, in sentences; empty if it may.
    pub waits_for: Vec<String>,
    /// What cannot be helped, in sentences.
    pub notes: Vec<String>,
    /// The groups that it leads and another node could, with that node.
    pub leads: Vec<(GroupId, NodeId)>,
}

/// What a group would be without the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Without {
    /// It goes on.
    Works,
    /// It has too few replicas to go on.
    Pauses,
    /// Nobody leads it as it is.
    NoLeader,
    /// It does not have all its voters yet, and too few of them.
    FewVoters,
    /// Its majority would not be in sync; which nodes are not, and why.
    NoMajority(String),
}

impl Without {
    fn sentence(&self, node: NodeId, names: &str) -> Option<String> {
        match self {
            Self::Works => None,
            Self::Pauses => Some(format!(
                "nothing can be written to {names} while node {node} is away: too few replicas"
            )),
            Self::NoLeader => Some(format!("nobody leads {names}")),
            Self::FewVoters => Some(format!("voters are still to be added to {names}")),
            Self::NoMajority(why) => Some(format!(
                "without node {node} no majority would be in sync of {names}: {why}"
            )),
        }
    }
}

/// Asks what would be if the node stopped.
pub fn check_stop(metadata: &Metadata, reports: &Reports, node: NodeId) -> StopCheck {
    let mut found: BTreeMap<Without, Vec<String>> = BTreeMap::new();
    let mut leads = Vec::new();
    let mut add = |group: GroupId, name: String, (without, heir): (Without, Option<NodeId>)| {
        found.entry(without).or_default().push(name);
        leads.extend(heir.map(|heir| (group, heir)));
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
        list.extend(without.sentence(node, &few(&names)));
    }
    StopCheck {
        waits_for,
        notes,
        leads,
    }
}

impl StopCheck {
    /// Whether the node may be stopped as it is.
    pub fn is_ready(&self) -> bool {
        self.waits_for.is_empty() && self.leads.is_empty()
    }

    /// That the node still leads, if it does.
    pub fn still_leads(&self, node: NodeId) -> Option<String> {
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
    let is_short = lacks_voters(metadata, report);
    (group.without(node, is_short), group.heir(node, &[]))
}

fn check_partition(
    place: PartitionRef<'_>,
    reports: &Reports,
    node: NodeId,
) -> (Without, Option<NodeId>) {
    let partition = place.partition;
    let Some((leader, report)) = reports.leader(partition.group) else {
        // Two replicas cannot go on without one of them: what has stopped is stopped already.
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
    let is_short = report.voters.len() < partition.replicas.len();
    (
        group.without(node, is_short),
        group.heir(node, &partition.replicas),
    )
}

/// A group as its leader sees it.
struct Group<'a> {
    id: GroupId,
    leader: NodeId,
    report: &'a ReplicaReport,
    reports: &'a Reports,
}

impl Group<'_> {
    /// What it would be without the node; `is_short`: it is to have more voters than it has.
    fn without(&self, node: NodeId, is_short: bool) -> Without {
        let mut without = Without::Works;
        // While its voters change, it needs a majority of both sets.
        for voters in [&self.report.voters, &self.report.joint_voters] {
            if !voters.contains(&node.get()) {
                continue;
            }
            let others = voters.iter().map(|id| NodeId(*id)).filter(|id| *id != node);
            let (majority, others) = (voters.len() / 2 + 1, others.collect::<Vec<_>>());
            let cannot_do_without = others.len() < majority;
            if cannot_do_without && is_short {
                return Without::FewVoters;
            }
            let lacking: Vec<String> = others
                .iter()
                .filter_map(|id| Some(format!("node {id} {}", self.lacks(*id)?)))
                .collect();
            // Where it pauses anyway, all that is left is to be whole.
            let needed = majority.min(others.len());
            if others.len() - lacking.len() < needed {
                return Without::NoMajority(lacking.join(", "));
            }
            if cannot_do_without {
                without = Without::Pauses;
            }
        }
        without
    }

    /// Who leads after the node, if it leads: the next in `order` that is in sync.
    fn heir(&self, node: NodeId, order: &[NodeId]) -> Option<NodeId> {
        if self.leader != node {
            return None;
        }
        let at = order.iter().position(|id| *id == node).unwrap_or(0);
        let (before, after) = order.split_at(at);
        let voters = || self.report.voters.iter().map(|id| NodeId(*id));
        let in_order = after.iter().chain(before).copied();
        in_order
            .filter(|id| voters().any(|voter| voter == *id))
            .chain(voters())
            .find(|id| *id != node && self.lacks(*id).is_none())
    }

    /// Why a voter does not count as in sync, if it does not.
    fn lacks(&self, node: NodeId) -> Option<&'static str> {
        if node == self.leader {
            return None;
        }
        if !self.reports.is_reachable(node) {
            return Some("does not answer");
        }
        let lag = self
            .report
            .lags
            .iter()
            .find(|lag| lag.node_id == node.get());
        match (self.reports.replica(node, self.id), lag) {
            (None, _) => Some("does not hold its replica yet"),
            (Some(replica), _) if replica.corrupt => Some("has damaged files"),
            (Some(_), Some(lag)) if lag.entries <= IN_SYNC_LAG_MAX_COUNT => None,
            (Some(_), _) => Some("is behind"),
        }
    }
}

/// The first of them, and how many more.
fn few(names: &[String]) -> String {
    let shown = names.len().min(PROBLEM_NAMES_MAX_COUNT);
    let text = names[..shown].join(", ");
    match names.len() - shown {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
