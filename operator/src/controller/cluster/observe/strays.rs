//! What the labels of the cluster do not find: pods and PVCs that have lost them, and the revisions
//! that pods were created from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Range;

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{ListParams, ObjectMeta};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use lograft_crds::limits::LOOKUPS_MAX_COUNT;
use lograft_crds::names::{ANNOTATION_ROLLOUT_HASH, ClusterNames};
use lograft_operator_desired::ObjectKey;
use lograft_operator_desired::cluster::{
    ObservedDisk, ObservedMetadata, ObservedPod, ValidCluster,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failed;
use crate::controller::Reconciler;
use crate::controller::cluster::ReconcileError;

/// What was found by labels and names.
pub(super) struct Found<'a> {
    pub(super) set: Option<&'a StatefulSet>,
    pub(super) pods: &'a BTreeMap<i32, ObservedPod>,
    pub(super) disks: &'a BTreeMap<i32, ObservedDisk>,
    pub(super) secrets: &'a BTreeMap<String, Secret>,
}

/// What else there is.
pub(super) struct Strays {
    /// Labels and owners of Secrets, and of pods and PVCs without the labels of the cluster.
    pub(super) metadata: BTreeMap<ObjectKey, ObservedMetadata>,
    /// Templates of revisions of the StatefulSet by name.
    pub(super) revisions: BTreeMap<String, Value>,
}

pub(super) async fn look_up(
    reconciler: &Reconciler,
    cluster: &ValidCluster,
    found: Found<'_>,
) -> Result<Strays, ReconcileError> {
    let replicas = found.set.and_then(|set| set.spec.as_ref()?.replicas);
    let lookup = Lookup {
        reconciler,
        namespace: &cluster.namespace,
        names: ClusterNames(&cluster.name),
        ordinals: 0..replicas.unwrap_or(0).max(cluster.spec.replicas),
    };
    let (mut metadata, revisions) = tokio::try_join!(
        lookup.metadata(found.pods, found.disks),
        lookup.revisions(found.set, found.pods),
    )?;
    metadata.extend(found.secrets.iter().map(|(name, secret)| {
        let key = ObjectKey::new("Secret", name.clone());
        (key, metadata_of(&secret.metadata))
    }));
    Ok(Strays {
        metadata,
        revisions,
    })
}

/// Lookups by name for the pods of a StatefulSet.
struct Lookup<'a> {
    reconciler: &'a Reconciler,
    namespace: &'a str,
    names: ClusterNames<'a>,
    /// Ordinals of its pods.
    ordinals: Range<i32>,
}

impl Lookup<'_> {
    /// The pods and PVCs that exist, but were not found by their labels.
    async fn metadata(
        &self,
        pods: &BTreeMap<i32, ObservedPod>,
        disks: &BTreeMap<i32, ObservedDisk>,
    ) -> Result<BTreeMap<ObjectKey, ObservedMetadata>, ReconcileError> {
        let missing = |is_found: &dyn Fn(&i32) -> bool| {
            let missing = self.ordinals.clone().filter(|at| !is_found(at));
            missing.collect::<Vec<i32>>()
        };
        let pods = missing(&|at| pods.contains_key(at));
        let pods = pods.into_iter().map(|at| self.names.pod(at)).collect();
        let disks = missing(&|at| disks.contains_key(at));
        let disks = disks.into_iter().map(|at| self.names.disk_claim(at));
        let (mut found, disks) = tokio::try_join!(
            self.by_name::<Pod>("Pod", pods),
            self.by_name::<PersistentVolumeClaim>("PersistentVolumeClaim", disks.collect()),
        )?;
        found.extend(disks);
        Ok(found)
    }

    /// The objects with these names. They are listed, because the operator has no permission to
    /// get them.
    async fn by_name<K>(
        &self,
        kind: &str,
        names: Vec<String>,
    ) -> Result<BTreeMap<ObjectKey, ObservedMetadata>, ReconcileError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::namespaced(self.reconciler.client.clone(), self.namespace);
        let lookups = names.into_iter().map(|name| {
            let api = api.clone();
            async move {
                let params = ListParams::default().fields(&format!("metadata.name={name}"));
                let found = api.list_metadata(&params).await;
                let found = found.map_err(failed(format!("{kind} {name}")))?;
                let first = found.items.into_iter().next();
                let found = first.map(|object| metadata_of(&object.metadata));
                Ok::<_, ReconcileError>(found.map(|found| (ObjectKey::new(kind, name), found)))
            }
        });
        let lookups = futures_util::stream::iter(lookups).buffer_unordered(LOOKUPS_MAX_COUNT);
        let found: Vec<_> = lookups.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Templates of the revisions that pods were created from, without the current revision.
    async fn revisions(
        &self,
        set: Option<&StatefulSet>,
        pods: &BTreeMap<i32, ObservedPod>,
    ) -> Result<BTreeMap<String, Value>, ReconcileError> {
        let status = set.and_then(|set| set.status.as_ref());
        let current = status.and_then(|status| status.update_revision.as_ref());
        let names = pods.values().filter_map(|pod| pod.revision.as_ref());
        let others: BTreeSet<&String> = names.filter(|name| Some(*name) != current).collect();
        let api: Api<ControllerRevision> =
            Api::namespaced(self.reconciler.client.clone(), self.namespace);
        let mut templates = BTreeMap::new();
        for name in others {
            let found = api.get_opt(name).await;
            let found = found.map_err(failed(format!("ControllerRevision {name}")))?;
            let Some(data) = found.and_then(|revision| revision.data) else {
                continue;
            };
            let mut template = data.0["spec"]["template"].clone();
            if let Some(fields) = template.as_object_mut() {
                // A directive for the patch that restores a revision, not a part of the template.
                fields.remove("$patch");
            }
            templates.insert(name.clone(), template);
        }
        Ok(templates)
    }
}

fn metadata_of(metadata: &ObjectMeta) -> ObservedMetadata {
    let annotations = metadata.annotations.as_ref();
    ObservedMetadata {
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        labels: metadata.labels.clone().unwrap_or_default(),
        hash: annotations.and_then(|all| all.get(ANNOTATION_ROLLOUT_HASH).cloned()),
        owners: metadata.owner_references.clone().unwrap_or_default(),
    }
}
