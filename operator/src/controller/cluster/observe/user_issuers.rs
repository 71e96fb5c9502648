//! Which CAs have issued the certificates that the LogUsers of a cluster have now.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use lograft_crds::LogUser;
use lograft_crds::names::{ClusterNames, LABEL_MANAGED_BY, OPERATOR};
use lograft_operator_desired::cluster::{ObservedSecret, ROOTS_FIELD, ValidCluster};
use lograft_operator_desired::consent::ClusterKey;

use super::failed;
use crate::controller::Reconciler;
use crate::controller::cluster::ReconcileError;
use crate::kinds::scoped;
use crate::pki;

/// The key identifiers of the issuers. They matter only while a Secret of the cluster has a former
/// root: else nothing is read.
pub(super) async fn read(
    reconciler: &Reconciler,
    cluster: &ValidCluster,
    secrets: &BTreeMap<String, ObservedSecret>,
    now_unix_seconds: i64,
) -> Result<BTreeSet<String>, ReconcileError> {
    let mut issuers = BTreeSet::new();
    if !has_former_root(cluster, secrets) {
        return Ok(issuers);
    }
    let key = ClusterKey {
        namespace: cluster.namespace.clone(),
        name: cluster.name.clone(),
    };
    let named = reconciler.watched.iter().map(|it| Some(it.as_str()));
    let all = reconciler.watched.is_empty().then_some(None);
    let own = ListParams::default().labels(&format!("{LABEL_MANAGED_BY}={OPERATOR}"));
    for scope in named.chain(all) {
        let users = scoped::<LogUser>(&reconciler.client, scope);
        let users = users.list(&ListParams::default()).await;
        let users = users.map_err(failed("the LogUsers"))?.items;
        let users = users.into_iter().filter(|user| {
            let namespace = user.metadata.namespace.as_deref().unwrap_or_default();
            ClusterKey::new(&user.spec.cluster_ref, namespace) == key
        });
        let uids: BTreeSet<String> = users.filter_map(|user| user.metadata.uid).collect();
        if uids.is_empty() {
            continue;
        }
        let secrets = scoped::<Secret>(&reconciler.client, scope).list(&own).await;
        let secrets = secrets.map_err(failed("the Secrets of LogUsers"))?.items;
        let issued = secrets.iter().filter(|secret| {
            let mut owners = secret.metadata.owner_references.iter().flatten();
            owners.any(|owner| owner.controller == Some(true) && uids.contains(&owner.uid))
        });
        let certificates = issued.filter_map(|secret| pki::observe_user(secret).0);
        let valid = certificates.filter(|found| found.not_after > now_unix_seconds);
        issuers.extend(valid.map(|found| found.issuer_key));
    }
    Ok(issuers)
}

fn has_former_root(cluster: &ValidCluster, secrets: &BTreeMap<String, ObservedSecret>) -> bool {
    let ca = secrets.get(&ClusterNames(&cluster.name).ca());
    let ca = ca.and_then(|secret| secret.certificates.get(ROOTS_FIELD));
    let mut roots = secrets.values().flat_map(|secret| &secret.roots);
    roots.any(|root| ca.is_none_or(|ca| ca.fingerprint != root.fingerprint))
}
