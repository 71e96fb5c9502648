//! Reads everything that a plan depends on. All reads of a reconcile are here.

mod lost_hosts;
mod pod;
mod strays;
mod user_issuers;
mod warnings;

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use lograft_crds::log_cluster::AuthorizationMode;
use lograft_crds::names::{ClusterNames, DISK, LABEL_AUTHORIZATION, LABEL_MANAGED_BY, OPERATOR};
use lograft_operator_desired::cluster::{
    Contest, NodeAnswer, Observed, ObservedDisk, ObservedPod, ObservedSecret, ValidCluster,
};
use lograft_operator_desired::{ObjectKey, bytes_of};
use serde_json::Value;
use tracing::debug;

use super::ReconcileError;
use crate::admin_client::{AdminClient, NodeReports};
use crate::controller::Reconciler;
use crate::error_text::error_text;
use crate::host_zones::HostZones;
use crate::{gossip_keys, kinds, pki};

/// The observation of a cluster, and what carrying a plan out needs beside it.
pub(super) struct Observation {
    /// Input of the plan.
    pub(super) observed: Observed,
    /// Existing Secrets with their private keys.
    pub(super) secrets: BTreeMap<String, Secret>,
    /// Client for the nodes, once the operator has a certificate.
    pub(super) admin: Option<AdminClient>,
    /// Host of the node that described the cluster.
    pub(super) reporter: Option<String>,
}

pub(super) async fn observe(
    reconciler: &Reconciler,
    cluster: &ValidCluster,
    names: ClusterNames<'_>,
    (contests, now): (BTreeMap<ObjectKey, Contest>, i64),
) -> Result<Observation, ReconcileError> {
    let namespace = cluster.namespace.as_str();
    let zone_key = &cluster.spec.topology.zone_key;
    let (live, secrets, mut pods, mut disks) = tokio::try_join!(
        objects(reconciler, namespace, names),
        secrets(reconciler, namespace, names),
        pods(reconciler, namespace, names, zone_key, now),
        disks(reconciler, namespace, names),
    )?;
    add_zones_of_hosts(&reconciler.host_zones, zone_key, &mut pods).await;
    lost_hosts::add(&reconciler.client, &pods, &mut disks, now).await;
    let stateful_set = stateful_set(&live)?;
    let seen = warnings::Seen {
        names,
        stateful_set: stateful_set.as_ref(),
        pods: &pods,
        disks: &disks,
        now,
    };
    let found = strays::Found {
        set: stateful_set.as_ref(),
        pods: &pods,
        disks: &disks,
        secrets: &secrets,
    };
    let (warnings, strays) = tokio::try_join!(
        warnings::read(reconciler, namespace, &seen),
        strays::look_up(reconciler, cluster, found),
    )?;
    let foreign_secrets = foreign_owners(&secrets, &cluster.uid);
    let is_own = |(name, _): &(&String, &Secret)| !foreign_secrets.contains_key(*name);
    let own_secrets: BTreeMap<&String, &Secret> = secrets.iter().filter(is_own).collect();
    let admin = own_secrets
        .get(&names.operator_tls())
        .and_then(|secret| admin_client(reconciler, secret));
    // Also those whose containers are said not to run: their nodes may answer all the same.
    let reachable = pods.iter().filter(|(_, pod)| pod.address.is_some());
    let hosts: BTreeMap<i32, String> = reachable
        .map(|(at, _)| (*at, names.pod_host(*at, namespace)))
        .collect();
    let reports = ask_nodes(admin.as_ref(), hosts).await;
    let gossip_keys = own_secrets
        .get(&names.gossip_keys())
        .and_then(|secret| gossip_keys::observe(secret, &names.identity_scope(namespace)));
    let observed_secrets = observe_secrets(&own_secrets);
    let user_issuers = user_issuers::read(reconciler, cluster, &observed_secrets, now).await?;
    let observed = Observed {
        now_unix_seconds: now,
        stateful_set,
        secrets: observed_secrets,
        user_issuers,
        gossip_keys,
        foreign_secrets,
        live,
        metadata: strays.metadata,
        revisions: strays.revisions,
        contests,
        pods,
        disks,
        warnings,
        answers: reports.answers,
        view: reports.view,
    };
    Ok(Observation {
        observed,
        secrets,
        admin,
        reporter: reports.reporter,
    })
}

fn observe_secrets(own: &BTreeMap<&String, &Secret>) -> BTreeMap<String, ObservedSecret> {
    own.iter()
        .map(|(name, secret)| ((*name).clone(), pki::observe(secret)))
        .collect()
}

fn stateful_set(live: &BTreeMap<ObjectKey, Value>) -> Result<Option<StatefulSet>, ReconcileError> {
    let set = live.iter().find(|(key, _)| key.kind == "StatefulSet");
    let set = set.map(|(_, set)| serde_json::from_value::<StatefulSet>(set.clone()));
    set.transpose().map_err(|source| ReconcileError::Decode {
        what: "the StatefulSet".to_owned(),
        source,
    })
}

/// A client for the nodes, if the Secret holds a valid certificate of the operator.
fn admin_client(reconciler: &Reconciler, secret: &Secret) -> Option<AdminClient> {
    AdminClient::new(secret, reconciler.dialed)
        .inspect_err(|error| debug!(error = error_text(error), "cannot create a node client"))
        .ok()
}

/// Owners of the Secrets that do not belong to the cluster, by name.
fn foreign_owners(secrets: &BTreeMap<String, Secret>, uid: &str) -> BTreeMap<String, String> {
    let found = secrets.iter();
    found
        .filter_map(|(name, secret)| Some((name.clone(), foreign_owner(secret, uid)?)))
        .collect()
}

/// The owner of a Secret, if it is not the cluster: another object controls it, or none does and it
/// has no label of the operator.
fn foreign_owner(secret: &Secret, uid: &str) -> Option<String> {
    let owners = secret.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    match controllers.next() {
        Some(owner) if owner.uid == uid => None,
        Some(owner) => Some(format!("{} {}", owner.kind, owner.name)),
        None => {
            let labels = secret.metadata.labels.as_ref();
            let manager = labels.and_then(|labels| labels.get(LABEL_MANAGED_BY));
            (manager.map(String::as_str) != Some(OPERATOR)).then(|| "somebody else".to_owned())
        }
    }
}

/// Asks the nodes of the pods that have an address.
async fn ask_nodes(admin: Option<&AdminClient>, hosts: BTreeMap<i32, String>) -> NodeReports {
    let Some(admin) = admin else {
        let silent = || NodeAnswer::Silent("the operator has no certificate yet".to_owned());
        return NodeReports {
            answers: hosts.into_keys().map(|at| (at, silent())).collect(),
            ..NodeReports::default()
        };
    };
    admin.ask_all(hosts).await
}

fn failed(what: impl Into<String>) -> impl FnOnce(kube::Error) -> ReconcileError {
    let what = what.into();
    move |source| ReconcileError::Observe {
        what,
        source: Box::new(source),
    }
}

async fn objects(
    reconciler: &Reconciler,
    namespace: &str,
    names: ClusterNames<'_>,
) -> Result<BTreeMap<ObjectKey, Value>, ReconcileError> {
    let reads = kinds::objects(names).into_iter().map(|key| async move {
        let Ok(api) = kinds::api(&reconciler.client, namespace, &key.kind) else {
            return Ok(None);
        };
        let found = api.get_opt(&key.name).await;
        let Some(object) = found.map_err(failed(key.to_string()))? else {
            return Ok(None);
        };
        let value = serde_json::to_value(object).map_err(|source| ReconcileError::Decode {
            what: key.to_string(),
            source,
        })?;
        Ok(Some((key, value)))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

async fn secrets(
    reconciler: &Reconciler,
    namespace: &str,
    names: ClusterNames<'_>,
) -> Result<BTreeMap<String, Secret>, ReconcileError> {
    let api: Api<Secret> = Api::namespaced(reconciler.client.clone(), namespace);
    let all = [
        names.ca(),
        names.node_tls(),
        names.operator_tls(),
        names.admin_tls(),
        names.gossip_keys(),
    ];
    let reads = all.into_iter().map(|name| {
        let api = api.clone();
        async move {
            let found = api
                .get_opt(&name)
                .await
                .map_err(failed(format!("Secret {name}")))?;
            Ok::<_, ReconcileError>(found.map(|secret| (name, secret)))
        }
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// Adds the zones of pods that have no label with it, from their hosts.
async fn add_zones_of_hosts(
    hosts: &HostZones,
    zone_key: &str,
    pods: &mut BTreeMap<i32, ObservedPod>,
) {
    for pod in pods.values_mut().filter(|pod| pod.zone.is_none()) {
        if let Some(host) = &pod.host {
            pod.zone = hosts.zone(host, zone_key).await;
        }
    }
}

async fn pods(
    reconciler: &Reconciler,
    namespace: &str,
    names: ClusterNames<'_>,
    zone_key: &str,
    now: i64,
) -> Result<BTreeMap<i32, ObservedPod>, ReconcileError> {
    let api: Api<Pod> = Api::namespaced(reconciler.client.clone(), namespace);
    let own = ListParams::default().labels(&names.selector_text());
    let pods = api.list(&own).await.map_err(failed("the pods"))?;
    let pods = pods.items.into_iter().filter_map(|pod| {
        let ordinal = names.ordinal(pod.metadata.name.as_deref()?)?;
        Some((ordinal, pod::observe(&pod, zone_key, now)))
    });
    Ok(pods.collect())
}

/// The pods as they are now, without their zones.
pub(super) async fn pods_now(
    reconciler: &Reconciler,
    namespace: &str,
    names: ClusterNames<'_>,
) -> Result<BTreeMap<i32, ObservedPod>, ReconcileError> {
    let now = Timestamp::now().as_second();
    pods(reconciler, namespace, names, "", now).await
}

async fn disks(
    reconciler: &Reconciler,
    namespace: &str,
    names: ClusterNames<'_>,
) -> Result<BTreeMap<i32, ObservedDisk>, ReconcileError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(reconciler.client.clone(), namespace);
    let own = ListParams::default().labels(&names.selector_text());
    let claims = api.list(&own).await.map_err(failed("the PVCs"))?;
    let claims = claims.items.into_iter();
    Ok(claims
        .filter_map(|claim| observe_disk(&claim, names))
        .collect())
}

fn observe_disk(
    claim: &PersistentVolumeClaim,
    names: ClusterNames<'_>,
) -> Option<(i32, ObservedDisk)> {
    let name = claim.metadata.name.as_deref()?;
    let pod = name.strip_prefix(DISK)?.strip_prefix('-')?;
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    let status = claim.status.as_ref();
    let capacity = status.and_then(|status| status.capacity.as_ref());
    let disk = ObservedDisk {
        uid: claim.metadata.uid.clone().unwrap_or_default(),
        requested_bytes: bytes_of(&requests.get("storage")?.0)?,
        terminating: claim.metadata.deletion_timestamp.is_some(),
        created: claim
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(0, |created| created.0.as_second()),
        authorization: claim
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| AuthorizationMode::from_name(labels.get(LABEL_AUTHORIZATION)?)),
        actual_bytes: capacity.and_then(|all| bytes_of(&all.get("storage")?.0)),
        volume: claim
            .spec
            .as_ref()?
            .volume_name
            .clone()
            .filter(|name| !name.is_empty()),
        lost_host: None,
    };
    Some((names.ordinal(pod)?, disk))
}
