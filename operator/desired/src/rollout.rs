//! The hash that tells whether a running pod has what it should.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;
use twox_hash::XxHash64;

/// Hash of all that a pod only takes up by a restart: its template and what all nodes'
/// configurations share. Seeds, zones and the number of pods are not in it.
///
/// Sixteen hexadecimal digits: xxh64 over the two as JSON, whose order is that of the types'
/// fields and of sorted maps. An operator that adds a field to the template replaces pods.
pub(crate) fn hash(
    template: &PodTemplateSpec,
    config: &impl Serialize,
) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(&(template, config))?;
    Ok(format!("{:016x}", XxHash64::oneshot(0, text.as_bytes())))
}
