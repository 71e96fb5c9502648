//! A bootstrapped cluster whose spec is invalid, as far as its certificates need it.
//!
//! Nodes refuse each other once their certificates have expired, and the cluster is then down
//! because of a field that may have nothing to do with them.

use lograft_crds::limits::REPLICAS_MAX_COUNT;
use lograft_crds::{LogCluster, LogClusterSpec};

use super::{ValidCluster, ValidationError, certificate_lifetimes};

impl ValidCluster {
    /// The cluster with defaults for the fields that its certificates do not depend on. None if it
    /// has not been bootstrapped.
    pub fn for_certificates(cluster: &LogCluster, error: &ValidationError) -> Option<Self> {
        let status = cluster.status.as_ref();
        status.filter(|status| status.bootstrapped)?;
        let spec = &cluster.spec;
        let tls = certificate_lifetimes(spec).map(|_| spec.tls.clone());
        let mut kept = cluster.clone();
        kept.metadata.annotations = None;
        kept.spec = LogClusterSpec {
            replicas: spec.replicas.clamp(1, REPLICAS_MAX_COUNT),
            authorization: spec.authorization.clone(),
            paused: spec.paused,
            tls: tls.unwrap_or_default(),
            ..LogClusterSpec::default()
        };
        let valid = Self::new(&kept).ok()?;
        Some(Self {
            unsupported: Some(error.clone()),
            certificates_only: true,
            ..valid
        })
    }
}
