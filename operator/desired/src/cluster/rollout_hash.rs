//! The hash that says whether a running pod has the desired template and configuration.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;

use crate::text::hash_text;

/// Hash of everything that takes effect only by a restart of the pod: the template and the
/// configuration that all nodes share. Seeds, zones and the number of pods are not part of it,
/// because a change of the cluster size must not replace every pod.
///
/// Sixteen hexadecimal digits: xxh64 over both as JSON. The order of the JSON is that of the types'
/// fields and of sorted maps, so it does not depend on the run. An operator version that adds a
/// field to the template replaces all pods.
pub(crate) fn rollout_hash(
    template: &PodTemplateSpec,
    config: &impl Serialize,
) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(&(template, config))?;
    Ok(hash_text(&text))
}
