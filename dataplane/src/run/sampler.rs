//! The current values of a node's metrics.

use std::sync::{Arc, Weak};

use crate::control::{Control, NodeReporter};
use crate::metrics::{Sample, Sampler};
use crate::tls::Tls;

/// Samples the node's reporter. The reference is weak: the reporter holds the metrics, through its
/// replicas and their transport, and a cycle would keep both alive for ever.
pub(super) struct NodeSampler {
    reporter: Weak<NodeReporter>,
    tls: Arc<Tls>,
}

impl NodeSampler {
    pub(super) fn new(control: &Control, tls: &Arc<Tls>) -> Self {
        Self {
            reporter: Arc::downgrade(&control.reporter),
            tls: Arc::clone(tls),
        }
    }
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
