//! The current values of a node's metrics.

use std::sync::{Arc, Weak};

use crate::control::Control;
use crate::metrics::{Sample, Sampler};
use crate::tls::Tls;

/// Asks the node's parts. Does not keep control alive: the metrics are among what control holds.
pub(super) struct NodeSampler {
    pub(super) control: Weak<Control>,
    pub(super) tls: Arc<Tls>,
}

impl Sampler for NodeSampler {
    fn sample(&self) -> Sample {
        let sample = self
            .control
            .upgrade()
            .map(|control| control.sample())
            .unwrap_or_default();
        Sample {
            certificate_expiry_s: self.tls.not_after_s(),
            ..sample
        }
    }
}
