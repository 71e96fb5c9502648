//! The stateful set.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use lograft_crds::limits::REVISIONS_MAX_COUNT;
use lograft_crds::names::{ANNOTATION_ROLLOUT_HASH, DISK};

use super::{BuildError, BuildInput, config, pod};
use crate::cluster::rollout_hash::rollout_hash;

/// Pods start in parallel: a pod becomes ready only with a majority of its peers, so with an
/// ordered start the first one would wait forever. `OnDelete`: only the operator replaces pods, one
/// at a time and after the majority check, which a rolling update by Kubernetes does not do.
pub(super) fn build(input: &BuildInput<'_>) -> Result<StatefulSet, BuildError> {
    let names = input.names();
    let mut template = pod::template(input);
    let config = config::written_restart_config(input).map_err(BuildError::SharedConfig)?;
    let hash = rollout_hash(&template, &config).map_err(BuildError::Hash)?;
    let metadata = template.metadata.get_or_insert_default();
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(ANNOTATION_ROLLOUT_HASH.to_owned(), hash);
    Ok(StatefulSet {
        metadata: input.metadata(names.stateful_set()),
        spec: Some(StatefulSetSpec {
            replicas: Some(input.pods),
            service_name: Some(names.nodes_service()),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            revision_history_limit: Some(REVISIONS_MAX_COUNT),
            selector: LabelSelector {
                match_labels: Some(names.selector()),
                ..LabelSelector::default()
            },
            template,
            volume_claim_templates: Some(vec![disk(input)]),
            persistent_volume_claim_retention_policy: Some(retention(input)),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    })
}

/// The disk of a scaled-down node always stays, so that the scale-down can be undone.
fn retention(input: &BuildInput<'_>) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let when_deleted = if input.cluster.spec.storage.retain_on_delete {
        "Retain"
    } else {
        "Delete"
    };
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(when_deleted.to_owned()),
        when_scaled: Some("Retain".to_owned()),
    }
}

/// The PVC of each disk. Its size is immutable in an existing StatefulSet, so the existing value is
/// kept there, and disks grow through their own PVCs.
fn disk(input: &BuildInput<'_>) -> PersistentVolumeClaim {
    let storage = &input.cluster.spec.storage;
    let existing = input.observed.disk_size();
    let size = Quantity(existing.unwrap_or_else(|| storage.size.0.clone()));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DISK.to_owned()),
            labels: Some(input.names().selector()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
