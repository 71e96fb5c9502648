//! The shape of the cluster as clients need it to find leaders. Any node answers from its own copy
//! of the metadata.

use std::sync::Arc;

use lograft_core::metadata::{Metadata, Partition, Topic};
use lograft_core::{NodeId, Term};

use super::engine::LogEngine;
use crate::error::ApiError;

/// The cluster's metadata with the leaders that this node knows.
pub(crate) struct ClusterView<'a> {
    engine: &'a LogEngine,
    pub(crate) metadata: Arc<Metadata>,
    /// The node that answers.
    pub(crate) answered_by: NodeId,
}

impl<'a> ClusterView<'a> {
    pub(crate) fn of(engine: &'a LogEngine) -> Self {
        Self {
            engine,
            metadata: engine.locator.meta.load(),
            answered_by: engine.locator.node,
        }
    }

    /// The topics of these names, each once; all topics if no name is given.
    pub(crate) fn topics<'b>(
        &'b self,
        names: &'b [String],
    ) -> Vec<(&'b str, Result<&'b Topic, ApiError>)> {
        if names.is_empty() {
            let all = self.metadata.topics();
            return all
                .map(|topic| (topic.name.as_str(), Ok(&**topic)))
                .collect();
        }
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .map(|name| {
                let found = self.metadata.topic(name).map(|topic| &**topic);
                let absent = || self.engine.locator.absent(ApiError::unknown_topic(name));
                (name, found.ok_or_else(absent))
            })
            .collect()
    }

    /// The leader of a partition and its term, as far as this node knows.
    pub(crate) fn leader(&self, partition: &Partition) -> Option<(NodeId, Term)> {
        self.engine.locator.known_leader(partition.group)
    }
}
