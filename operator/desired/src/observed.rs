//! What goes in beside the LogCluster.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;

/// The world, as far as what should stand depends on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The cluster's StatefulSet, if it stands.
    pub stateful_set: Option<StatefulSet>,
    /// Ordinals whose node was decommissioned and, as the data plane says, holds nothing.
    pub emptied: BTreeSet<i32>,
    /// The zone of each pod that has been placed, by ordinal.
    pub zones: BTreeMap<i32, String>,
}

impl Observed {
    /// The number of pods that the StatefulSet asks for; 0 if there is none.
    pub fn replicas(&self) -> i32 {
        let spec = self.stateful_set.as_ref().and_then(|set| set.spec.as_ref());
        spec.and_then(|spec| spec.replicas).unwrap_or(0)
    }

    /// The size that new disks get, which stands in the StatefulSet and cannot change in it.
    pub fn disk_size(&self) -> Option<String> {
        let spec = self.stateful_set.as_ref()?.spec.as_ref()?;
        let claim = spec.volume_claim_templates.as_ref()?.first()?;
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        requests.get("storage").map(|size| size.0.clone())
    }
}

/// What the operator was told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Repository of the nodes' image, without a tag.
    pub image_repository: String,
    /// Version of Lograft that clusters run which say nothing.
    pub version: String,
    /// The namespace that the operator runs in: it may reach every cluster.
    pub operator_namespace: String,
}
