//! The checks of where replicas are, from the metadata alone: each node comes to the same result,
//! whatever it reaches.

use super::{CheckName, Evidence, RaisedCheck};
use crate::assignment::{Candidate, candidates, final_replicas};
use crate::ids::NodeId;
use crate::metadata::{Metadata, Topic};
use crate::replication_factor::below_factor_count;

/// Replicas that are not where they could be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementFindings {
    /// Topics with a partition that has one replica, although more nodes could hold one; by name.
    pub single: Vec<String>,
    /// Other topics with a partition that has fewer replicas than a new topic would get; by name.
    pub few: Vec<String>,
    /// Topics with a partition that has fewer replicas than their replication factor; by name.
    pub below_factor: Vec<String>,
    /// Active nodes without a replica, while others have several; by id.
    pub empty: Vec<NodeId>,
}

impl PlacementFindings {
    /// The findings, where a new topic gets `replication_factor` replicas if there are enough
    /// nodes.
    ///
    /// A partition that is being moved counts with its target: the findings do not change during a
    /// decommission.
    pub fn new(metadata: &Metadata, replication_factor: u32) -> Self {
        let nodes = candidates(metadata);
        let expected = nodes.len().min(replication_factor as usize);
        let mut findings = Self {
            empty: empty(&nodes),
            ..Self::default()
        };
        for topic in metadata.topics() {
            if below_factor_count(topic) > 0 {
                findings.below_factor.push(topic.name.clone());
            }
            match fewest_replicas(topic) {
                Some(1) if nodes.len() > 1 => findings.single.push(topic.name.clone()),
                Some(count) if count < expected => findings.few.push(topic.name.clone()),
                _ => {}
            }
        }
        findings
    }

    /// The raised checks, in the order of the table.
    pub fn raised(&self) -> Vec<RaisedCheck> {
        let counts = [
            (CheckName::PartitionSingleReplica, self.single.len()),
            (CheckName::PartitionFewReplicas, self.few.len()),
            (CheckName::PartitionBelowFactor, self.below_factor.len()),
            (CheckName::NodeWithoutReplicas, self.empty.len()),
        ];
        let raised = counts.into_iter().filter(|(_, count)| *count > 0);
        raised
            .map(|(name, count)| RaisedCheck::new(name, [Evidence::Count(count as u64)]))
            .collect()
    }
}

/// The smallest number of replicas of a partition of the topic.
fn fewest_replicas(topic: &Topic) -> Option<usize> {
    let partitions = topic.partitions.iter();
    partitions
        .map(|partition| final_replicas(partition).len())
        .min()
}

/// One replica more or less than another node has is no imbalance: nothing could be moved.
fn empty(nodes: &[Candidate]) -> Vec<NodeId> {
    const SEVERAL: u32 = 2;
    if nodes.iter().all(|node| node.replicas < SEVERAL) {
        return Vec::new();
    }
    let empty = nodes.iter().filter(|node| node.replicas == 0);
    empty.map(|node| node.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Command;
    use crate::metadata::tests::{apply, cluster, create, registration};

    fn grow(metadata: &mut Metadata, nodes: std::ops::RangeInclusive<u8>) {
        for n in nodes {
            apply(metadata, &Command::RegisterNode(registration(n)));
        }
    }

    fn names(findings: &PlacementFindings) -> Vec<&'static str> {
        let raised = findings.raised();
        raised.iter().map(|check| check.name.as_str()).collect()
    }

    #[test]
    fn topics_of_one_node_have_too_few_replicas_once_there_are_three() {
        let mut metadata = cluster(1);
        apply(&mut metadata, &create("a", &[&[1], &[1], &[1]]));
        apply(&mut metadata, &create("b", &[&[1]]));
        assert_eq!(
            PlacementFindings::new(&metadata, 3),
            PlacementFindings::default()
        );
        grow(&mut metadata, 2..=3);
        let findings = PlacementFindings::new(&metadata, 3);
        let expected = PlacementFindings {
            single: vec!["a".to_owned(), "b".to_owned()],
            few: Vec::new(),
            below_factor: Vec::new(),
            empty: vec![NodeId(2), NodeId(3)],
        };
        assert_eq!(findings, expected);
        let raised = ["PARTITION_SINGLE_REPLICA", "NODE_WITHOUT_REPLICAS"];
        assert_eq!(names(&findings), raised);
        let text = findings.raised()[0].text();
        assert!(text.starts_with("2 topics have partitions"), "{text}");
        // A topic that uses them ends the second one, and only that.
        apply(&mut metadata, &create("c", &[&[2, 3, 1]]));
        let findings = PlacementFindings::new(&metadata, 3);
        assert_eq!(names(&findings), ["PARTITION_SINGLE_REPLICA"]);
    }

    #[test]
    fn a_topic_has_few_replicas_only_against_what_a_new_one_gets() {
        let mut metadata = cluster(1);
        grow(&mut metadata, 2..=2);
        apply(&mut metadata, &create("two", &[&[1, 2], &[2, 1]]));
        assert_eq!(names(&PlacementFindings::new(&metadata, 3)), [""; 0]);
        grow(&mut metadata, 3..=3);
        let findings = PlacementFindings::new(&metadata, 3);
        assert_eq!(findings.few, ["two"]);
        // As many as the default asks for.
        assert_eq!(PlacementFindings::new(&metadata, 2).few, [""; 0]);
        // One replica is said even where that is the default: its records exist once.
        apply(&mut metadata, &create("one", &[&[3]]));
        assert_eq!(PlacementFindings::new(&metadata, 1).single, ["one"]);
    }

    #[test]
    fn a_decommission_changes_nothing_while_replicas_move() {
        let mut metadata = cluster(1);
        grow(&mut metadata, 2..=4);
        apply(&mut metadata, &create("t", &[&[1, 2, 3], &[1, 2, 3]]));
        let before = PlacementFindings::new(&metadata, 3);
        assert_eq!(before.empty, [NodeId(4)]);
        apply(&mut metadata, &Command::DrainNode { node: NodeId(3) });
        for group in [1, 2] {
            let group = crate::ids::GroupId(group);
            apply(&mut metadata, &Command::StartPartition { group });
            let target = Command::SetTarget {
                group,
                replicas: [1, 2, 4].map(NodeId).to_vec(),
            };
            apply(&mut metadata, &target);
        }
        let during = PlacementFindings::new(&metadata, 3);
        assert_eq!(during, PlacementFindings::default());
    }

    #[test]
    fn a_node_is_empty_only_if_others_have_several_replicas() {
        let mut metadata = cluster(1);
        grow(&mut metadata, 2..=4);
        apply(&mut metadata, &create("t", &[&[1, 2, 3]]));
        assert_eq!(PlacementFindings::new(&metadata, 3).empty, []);
        apply(&mut metadata, &create("u", &[&[2, 3, 1]]));
        assert_eq!(PlacementFindings::new(&metadata, 3).empty, [NodeId(4)]);
    }
}
