//! The current values of a node's metrics.

use std::sync::{Arc, Weak};

use crate::control::NodeReporter;
use crate::metrics::{Sample, Sampler};
use crate::tls::Tls;

/// Samples the node's reporter. The reference is weak: the reporter holds the metrics, through its
/// replicas and their transport, and a cycle would keep both alive for ever.
pub(super) struct NodeSampler {
    pub(super) reporter: Weak<NodeReporter>,
    pub(super) tls: Arc<Tls>,
}

impl Sampler for NodeSampler {
    fn sample(&self) -> Sample {
        let sample = self
            .reporter
            .upgrade()
            .map(|reporter| reporter.sample())
            .unwrap_or_default();
        Sample {
            certificate_expiry_s: self.tls.not_after_s(),
            ..sample
        }
    }
}
