//! HTTP for clients, `spec.listeners.http`: whether the nodes serve it.
//!
//! Only nodes of version 0.3.0 or later can, and they are told so only where every node that may
//! start can read it (`build/newer_fields.rs`). Where they cannot serve it, nothing is opened: a
//! container port alone would replace all pods for nothing, and a port of the Service would lead
//! nowhere. An upgrade of the nodes opens it together with the new image.

use lograft_crds::LogClusterSpec;

use crate::cluster::image;
use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::FeatureLevel;
use crate::cluster::wait::Wait;

/// The level of the first version that serves HTTP.
const PROGRAM_LEVEL: FeatureLevel = FeatureLevel(2);

/// Whether nodes of this image serve HTTP.
pub(crate) fn is_served(cluster: &ValidCluster, observed: &Observed, image: &str) -> bool {
    is_wanted(&cluster.spec) && wait(cluster, observed, image).is_none()
}

/// The wait for what the requested listener needs and the nodes, of this image, do not have.
pub(crate) fn wait(cluster: &ValidCluster, observed: &Observed, image: &str) -> Option<Wait> {
    if !is_wanted(&cluster.spec) {
        return None;
    }
    if image::assumed_level(image) < PROGRAM_LEVEL {
        let image = image.to_owned();
        return Some(Wait::HttpProgram { image });
    }
    let finalized = image::lowest_level(cluster, observed, image);
    (finalized < FeatureLevel::NEWER_FIELDS).then_some(Wait::HttpLevel { finalized })
}

fn is_wanted(spec: &LogClusterSpec) -> bool {
    let http = spec.listeners.http.as_ref();
    http.is_some_and(|http| http.enabled)
}
