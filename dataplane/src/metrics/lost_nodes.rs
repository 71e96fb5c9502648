//! Metrics of nodes that are lost, as this node knows it.

use prometheus::{IntGauge, Registry};

use super::{MetricsError, Sample, gauge, int};

pub(super) struct LostNodeMetrics {
    nodes: IntGauge,
    replicas: IntGauge,
}

impl LostNodeMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            nodes: gauge(
                registry,
                "lograft_nodes_lost",
                "Nodes that are marked as lost, as this node knows it.",
            )?,
            replicas: gauge(
                registry,
                "lograft_replicas_lost",
                "Replicas on lost nodes that are not replaced yet, as this node knows it.",
            )?,
        })
    }

    pub(super) fn take(&self, sample: &Sample) {
        self.nodes.set(int(sample.lost_nodes_count as u64));
        self.replicas.set(int(sample.lost_replicas_count as u64));
    }
}
