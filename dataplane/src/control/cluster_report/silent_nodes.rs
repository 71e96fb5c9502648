//! Nodes that do not answer, with a sentence that says what happens to their replicas.

use std::time::Duration;

use lograft_core::check::{CheckName, Evidence};
use lograft_core::metadata::{Command, MetaError, Metadata};
use lograft_core::{NodeId, NodeState};

use super::description::{LostNode, NodeDescription, Problem};

/// Describes nodes that do not answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SilentNodes<'a> {
    pub(crate) metadata: &'a Metadata,
    /// The silence after which a node counts as lost; `None` for never.
    pub(crate) dead_node_after: Option<Duration>,
    /// The wall clock, milliseconds since the Unix epoch.
    pub(crate) now_ms: i64,
}

impl SilentNodes<'_> {
    /// The problem of a node that does not answer; `who` names it.
    pub(super) fn problem(&self, node: &NodeDescription, who: &str) -> Problem {
        if let Some(lost) = node.lost {
            return self.lost_problem(node.id, who, lost);
        }
        let text = match self.prospect(node) {
            Some(prospect) => format!("{who} does not answer: {prospect}"),
            None => format!("{who} does not answer"),
        };
        let evidence = [Evidence::Node(node.id)];
        Problem::of_cluster(CheckName::NodeUnreachable, text, &evidence)
    }

    fn lost_problem(&self, id: NodeId, who: &str, lost: LostNode) -> Problem {
        let silence_ms = self.now_ms.saturating_sub(lost.since_ms).max(0);
        let silence_ms = u64::try_from(silence_ms).unwrap_or(0);
        let silent_for = minutes(Duration::from_millis(silence_ms));
        let replicas = lost.replicas;
        let left_count = replicas.left_count();
        let evidence = [
            Evidence::Node(id),
            Evidence::ForMs(silence_ms),
            Evidence::Count(left_count as u64),
        ];
        if left_count == 0 {
            let text = format!(
                "{who} has not answered for {silent_for}: it is lost, and its replicas were replaced"
            );
            return Problem::of_cluster(CheckName::NodeReplaced, text, &evidence);
        }
        let mut text = format!(
            "{who} has not answered for {silent_for}: {} replicas are being replaced, {} left",
            replicas.replacing_count, replicas.waiting_count
        );
        if replicas.without_majority_count > 0 {
            let count = replicas.without_majority_count;
            text = format!("{text}, of these {count} without a majority, which are not replaced");
        }
        Problem::of_cluster(CheckName::NodeLost, text, &evidence)
    }

    /// The prospect of the replicas of a silent node that is not marked; `None` if it has none.
    fn prospect(&self, node: &NodeDescription) -> Option<String> {
        let level = Command::FindNode { node: node.id }.level();
        let is_subject = node.state == NodeState::Active
            && node.replica_count > 0
            && self.metadata.finalized_level() >= level;
        if !is_subject {
            return None;
        }
        let count = node.replica_count;
        let Some(after) = self.dead_node_after else {
            return Some(format!(
                "its {count} replicas are not replaced, since recovery.dead_node_after_ms is 0"
            ));
        };
        Some(match self.metadata.check_spare(node.id) {
            Err(MetaError::NoSpareNode { active, needed, .. }) => format!(
                "its {count} replicas cannot be replaced: there are {active} other active nodes, \
                 and {needed} are needed"
            ),
            _ => format!(
                "its {count} replicas are replaced once it has been silent for {}",
                minutes(after)
            ),
        })
    }
}

/// A duration in whole minutes, or in seconds below one.
fn minutes(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::FeatureLevel;
    use lograft_core::lost_nodes::LostReplicas;

    use super::*;
    use crate::control::cluster_report::description::MetaRole;
    use crate::control::test_metadata::{apply, cluster, create, registration};

    fn described(replica_count: u32) -> NodeDescription {
        NodeDescription {
            id: NodeId(3),
            registration: registration(3),
            state: NodeState::Active,
            report: None,
            meta_role: MetaRole::Voter,
            replica_count,
            leader_count: 0,
            lag_entries: 0,
            lost: None,
        }
    }

    fn with_topic(nodes: u8) -> Metadata {
        let mut metadata = cluster(nodes);
        let level = FeatureLevel(2);
        apply(&mut metadata, &Command::FinalizeLevel { level });
        create(&mut metadata, "t", &[&[1, 2, 3]]);
        metadata
    }

    fn text(metadata: &Metadata, after: Option<Duration>, node: &NodeDescription) -> String {
        let silent = SilentNodes {
            metadata,
            dead_node_after: after,
            now_ms: 1_000_000,
        };
        silent.problem(node, "node 3 (node-3)").text
    }

    #[test]
    fn a_silent_node_says_what_happens_to_its_replicas() {
        let after = Some(Duration::from_mins(10));
        let node = described(2);
        for (nodes, after, expected) in [
            (
                4,
                after,
                "its 2 replicas are replaced once it has been silent for 10 min",
            ),
            (
                3,
                after,
                "its 2 replicas cannot be replaced: there are 2 other active nodes, and 3 are needed",
            ),
            (
                4,
                None,
                "its 2 replicas are not replaced, since recovery.dead_node_after_ms is 0",
            ),
        ] {
            let expected = format!("node 3 (node-3) does not answer: {expected}");
            assert_eq!(text(&with_topic(nodes), after, &node), expected);
        }
        let plain = "node 3 (node-3) does not answer";
        assert_eq!(text(&with_topic(4), after, &described(0)), plain);
        assert_eq!(text(&cluster(4), after, &node), plain, "below the level");
    }

    #[test]
    fn a_lost_node_says_how_far_its_replacement_is() {
        let lost = |replacing_count, waiting_count, without_majority_count| NodeDescription {
            lost: Some(LostNode {
                since_ms: 1_000_000 - 725_000,
                replicas: LostReplicas {
                    replacing_count,
                    waiting_count,
                    without_majority_count,
                },
            }),
            ..described(19)
        };
        let metadata = with_topic(4);
        let who = "node 3 (node-3) has not answered for 12 min: ";
        let expected = format!("{who}14 replicas are being replaced, 5 left");
        assert_eq!(text(&metadata, None, &lost(14, 5, 0)), expected);
        let expected = format!(
            "{who}0 replicas are being replaced, 2 left, of these 2 without a majority, which are \
             not replaced"
        );
        assert_eq!(text(&metadata, None, &lost(0, 2, 2)), expected);
        let expected = format!("{who}it is lost, and its replicas were replaced");
        assert_eq!(text(&metadata, None, &lost(0, 0, 0)), expected);
        let silent = SilentNodes {
            metadata: &metadata,
            dead_node_after: None,
            now_ms: 1_000_000,
        };
        let degrades = |node| silent.problem(&node, "it").severity.degrades();
        assert!(degrades(lost(1, 0, 0)) && degrades(lost(0, 1, 1)));
        assert!(!degrades(lost(0, 0, 0)), "the cluster is whole again");
    }
}
