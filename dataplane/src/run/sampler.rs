//! The current values of a node's metrics.

use std::sync::Arc;

use crate::control::Control;
use crate::metrics::{Sample, Sampler};
use crate::tls::Tls;

/// Asks the node's parts.
pub(super) struct NodeSampler {
    pub(super) control: Arc<Control>,
    pub(super) tls: Arc<Tls>,
}

impl Sampler for NodeSampler {
    fn sample(&self) -> Sample {
        Sample { certificate_expiry_s: self.tls.not_after_s(), ..self.control.sample() }
    }
}
