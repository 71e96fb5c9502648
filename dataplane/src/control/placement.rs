//! Places the partitions of new and growing topics on nodes that can carry them.

use std::sync::Arc;

use lograft_core::assignment::{candidates, place_topic};
use lograft_core::capacity::check_replicas;
use lograft_core::metadata::{FactorChange, Growth, Metadata};
use lograft_core::{NodeId, topic};

use crate::error::ApiError;

/// Places partitions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Placement {
    /// The number of replicas that a node carries; `None` if the node has not reported it.
    pub(crate) replicas_max: Arc<dyn Fn(NodeId) -> Option<u32> + Send + Sync>,
}

impl Placement {
    /// The partitions to add to a topic; none if it has `partitions` already.
    pub(crate) fn growth(
        &self,
        metadata: &Metadata,
        name: &str,
        partitions: Option<u32>,
    ) -> Result<Option<Growth>, ApiError> {
        let known = metadata
            .topic(name)
            .ok_or_else(|| ApiError::unknown_topic(name))?;
        let existing = known.partition_count();
        let Some(total) = partitions.filter(|total| *total != existing) else {
            return Ok(None);
        };
        topic::validate_partitions(total, existing)?;
        let assignment = self.place(metadata, total - existing, known.replication_factor)?;
        Ok(Some(Growth { total, assignment }))
    }

    /// The change of a topic's replication factor; `None` if none is asked for. Fails if the nodes
    /// cannot carry the additional replicas.
    pub(crate) fn factor(
        &self,
        metadata: &Metadata,
        name: &str,
        count: Option<u32>,
    ) -> Result<Option<FactorChange>, ApiError> {
        let known = metadata
            .topic(name)
            .ok_or_else(|| ApiError::unknown_topic(name))?;
        let Some(count) = count else { return Ok(None) };
        let former = known.replication_factor;
        let nodes = metadata.active_nodes().count().max(former as usize);
        topic::validate_replication_factor(count, nodes)?;
        if count > former {
            // Where they will be is planned later, over the same nodes.
            self.place(metadata, known.partition_count(), count - former)?;
        }
        Ok(Some(FactorChange {
            count,
            follows_default: false,
        }))
    }

    /// Places new partitions on nodes that can carry them.
    pub(crate) fn place(
        &self,
        metadata: &Metadata,
        partitions: u32,
        replication_factor: u32,
    ) -> Result<Vec<Vec<NodeId>>, ApiError> {
        let nodes = candidates(metadata);
        let assignment = place_topic(nodes.clone(), partitions, replication_factor)?;
        check_replicas(&nodes, &assignment, &*self.replicas_max)
            .map_err(ApiError::too_many_replicas)?;
        Ok(assignment)
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::Reason;

    use super::*;
    use crate::control::test_metadata::{cluster, create};

    fn placement(replicas_max: u32) -> Placement {
        Placement {
            replicas_max: Arc::new(move |_| Some(replicas_max)),
        }
    }

    #[test]
    fn a_topic_grows_only() {
        let mut metadata = cluster(2);
        create(&mut metadata, "t", &[&[1], &[2]]);
        let placement = placement(9);
        let growth = |total| placement.growth(&metadata, "t", total);
        let grown = growth(Some(3)).unwrap().unwrap();
        assert_eq!((grown.total, grown.assignment.len()), (3, 1));
        assert_eq!(growth(None).unwrap(), None);
        assert_eq!(growth(Some(2)).unwrap(), None);
        let refused = growth(Some(1)).unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::InvalidPartitionCount));
    }

    #[test]
    fn new_topics_and_growing_ones_stay_within_the_capacity_of_the_nodes() {
        let mut metadata = cluster(2);
        create(&mut metadata, "t", &[&[1], &[2]]);
        let placement = placement(3);
        assert!(placement.place(&metadata, 2, 2).is_ok());
        let refused = placement.place(&metadata, 3, 2).unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::LimitExceeded));
        let details: Vec<_> = refused.details().collect();
        assert!(details.contains(&("bound", "1..=3")), "{details:?}");
        assert!(placement.growth(&metadata, "t", Some(6)).is_ok());
        let refused = placement.growth(&metadata, "t", Some(7)).unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::LimitExceeded));
    }
}
