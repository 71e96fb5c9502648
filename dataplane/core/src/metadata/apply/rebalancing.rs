//! Commands that start, pause and end the balancing of replicas.

use crate::metadata::{Metadata, Outcome, Rebalancing};

impl Metadata {
    /// Requests that replicas are balanced. Below the feature level nothing changes: programs that
    /// do not know it apply the same commands.
    pub(super) fn want_rebalancing(&mut self) {
        if self.finalized_level < Rebalancing::LEVEL {
            return;
        }
        self.rebalancing.requests += 1;
        self.rebalancing.is_wanted = true;
    }

    pub(super) fn start_rebalance(&mut self) -> Outcome {
        self.want_rebalancing();
        Outcome::Done
    }

    pub(super) fn pause_rebalance(&mut self, is_paused: bool) -> Outcome {
        self.rebalancing.is_paused = is_paused;
        Outcome::Done
    }

    pub(super) fn end_rebalance(&mut self, request: u64) -> Outcome {
        // The leader has planned before a later request, which may have changed the nodes.
        if self.rebalancing.requests == request {
            self.rebalancing.is_wanted = false;
        }
        Outcome::Done
    }
}

#[cfg(test)]
mod tests {
    use crate::feature_level::FeatureLevel;
    use crate::ids::NodeId;
    use crate::metadata::tests::{apply, cluster, registration};
    use crate::metadata::{Command, Metadata, Rebalancing, Registration};
    use crate::offset::LogIndex;
    use crate::reason::Reason;

    fn finalized() -> Metadata {
        let mut metadata = cluster(3);
        let level = FeatureLevel(2);
        apply(&mut metadata, &Command::FinalizeLevel { level });
        metadata
    }

    /// Ends the request. Fails if there is none.
    fn end(metadata: &mut Metadata) {
        let Rebalancing {
            requests,
            is_wanted,
            ..
        } = metadata.rebalancing();
        assert!(is_wanted);
        apply(metadata, &Command::EndRebalance { request: requests });
        assert!(!metadata.rebalancing().is_wanted);
    }

    #[test]
    fn each_change_of_the_nodes_requests_it_once_the_level_is_finalized() {
        let mut metadata = cluster(3);
        assert_eq!(metadata.rebalancing(), Rebalancing::default());
        let early = metadata.apply(&Command::StartRebalance, LogIndex(90));
        assert_eq!(early.unwrap_err().reason(), Reason::FeatureNotFinalized);

        let mut metadata = finalized();
        end(&mut metadata);
        let level = FeatureLevel(2);
        apply(&mut metadata, &Command::FinalizeLevel { level });
        assert!(!metadata.rebalancing().is_wanted, "it was finalized before");
        let newcomer = Command::RegisterNode(registration(4));
        apply(&mut metadata, &newcomer);
        end(&mut metadata);
        apply(&mut metadata, &newcomer);
        assert!(!metadata.rebalancing().is_wanted, "it is a node already");
        let node = NodeId(4);
        let update = |zone: &str| Command::UpdateNode {
            node,
            registration: Registration {
                zone: zone.to_owned(),
                ..registration(4)
            },
        };
        apply(&mut metadata, &update("a"));
        end(&mut metadata);
        apply(&mut metadata, &update("a"));
        assert!(!metadata.rebalancing().is_wanted, "its zone is the same");
        apply(&mut metadata, &Command::DrainNode { node });
        assert!(!metadata.rebalancing().is_wanted);
        apply(&mut metadata, &Command::UndrainNode { node });
        end(&mut metadata);
        apply(&mut metadata, &Command::UndrainNode { node });
        assert!(!metadata.rebalancing().is_wanted, "it did not drain");
        apply(&mut metadata, &Command::DrainNode { node });
        apply(&mut metadata, &Command::RemoveNode { node });
        end(&mut metadata);
        apply(&mut metadata, &Command::RemoveNode { node });
        assert!(!metadata.rebalancing().is_wanted, "it was removed before");
    }

    #[test]
    fn the_end_of_an_earlier_request_does_not_end_a_later_one() {
        let mut metadata = finalized();
        let request = metadata.rebalancing().requests;
        apply(&mut metadata, &Command::StartRebalance);
        apply(&mut metadata, &Command::EndRebalance { request });
        assert!(metadata.rebalancing().is_running());
        let is_paused = true;
        apply(&mut metadata, &Command::PauseRebalance { is_paused });
        assert!(!metadata.rebalancing().is_running());
        assert!(metadata.rebalancing().is_wanted);
        let decoded = Metadata::decode(&metadata.encode().unwrap()).unwrap();
        assert_eq!(decoded, metadata);
        let is_paused = false;
        apply(&mut metadata, &Command::PauseRebalance { is_paused });
        end(&mut metadata);
    }
}
