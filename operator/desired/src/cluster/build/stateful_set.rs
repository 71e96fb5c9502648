//! The StatefulSet.

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

use super::{BuildError, World, config, pod};
use crate::cluster::lanes::rollout;

/// Pods start together, or three that wait for each other never would; they are replaced by the
/// operator alone, one at a time.
pub(super) fn build(world: &World<'_>) -> Result<StatefulSet, BuildError> {
    let names = world.names();
    let mut template = pod::template(world);
    let hash = rollout::hash(&template, &config::shared(world)).map_err(BuildError::Hash)?;
    let metadata = template.metadata.get_or_insert_default();
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(ANNOTATION_ROLLOUT_HASH.to_owned(), hash);
    Ok(StatefulSet {
        metadata: world.metadata(names.stateful_set()),
        spec: Some(StatefulSetSpec {
            replicas: Some(world.pods),
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
            volume_claim_templates: Some(vec![disk(world)]),
            persistent_volume_claim_retention_policy: Some(retention(world)),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    })
}

/// A scaled-down node's disk always stays: it is the way back.
fn retention(world: &World<'_>) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let when_deleted = if world.cluster.spec.storage.retain_on_delete {
        "Retain"
    } else {
        "Delete"
    };
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(when_deleted.to_owned()),
        when_scaled: Some("Retain".to_owned()),
    }
}

/// The claim of each pod's disk. Its size cannot change in a StatefulSet that stands: there it
/// stays as it is, and disks grow by their own claims.
fn disk(world: &World<'_>) -> PersistentVolumeClaim {
    let storage = &world.cluster.spec.storage;
    let standing = world.observed.disk_size();
    let size = Quantity(standing.unwrap_or_else(|| storage.size.0.clone()));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DISK.to_owned()),
            labels: Some(world.names().selector()),
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
