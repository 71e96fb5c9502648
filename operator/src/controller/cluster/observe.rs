//! Reads the world. All reads are here.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::Api;
use kube::api::ListParams;
use lograft_crds::names::{
    ANNOTATION_DRAINING_SINCE, ANNOTATION_ROLLOUT_HASH, ClusterNames, DISK, LABEL_MANAGED_BY,
    OPERATOR,
};
use lograft_operator_desired::{
    Answer, DiskSeen, ObjectKey, Observed, PodSeen, SecretSeen, ValidCluster, bytes_of,
};
use serde_json::Value;
use tracing::debug;

use super::ReconcileError;
use crate::error_text::sentence;
use crate::controller::Context;
use crate::admin_client::{Nodes, Told};
use crate::{kinds, pki};

/// What was read.
pub(super) struct World {
    /// As plans take it.
    pub(super) observed: Observed,
    /// The Secrets, with their keys.
    pub(super) secrets: BTreeMap<String, Secret>,
    /// The way to the nodes, once there is a certificate for it.
    pub(super) nodes: Option<Nodes>,
    /// Host of the first pod.
    pub(super) first_host: String,
    /// Host of a node that described the cluster.
    pub(super) reporter: Option<String>,
}

pub(super) async fn observe(
    context: &Context,
    cluster: &ValidCluster,
    names: ClusterNames<'_>,
    now: i64,
) -> Result<World, ReconcileError> {
    let namespace = cluster.namespace.as_str();
    let reads = (
        objects(context, namespace, names),
        secrets(context, namespace, names),
        pods(context, namespace, names, &cluster.spec.topology.zone_key),
        disks(context, namespace, names),
    );
    let (live, secrets, pods, disks) = tokio::try_join!(reads.0, reads.1, reads.2, reads.3)?;
    let set = live.iter().find(|(key, _)| key.kind == "StatefulSet");
    let set = set.map(|(_, set)| serde_json::from_value::<StatefulSet>(set.clone()));
    let set = set.transpose().map_err(|source| ReconcileError::Decode {
        what: "the StatefulSet".to_owned(),
        source,
    })?;
    let seen = secrets.iter().map(|(name, secret)| {
        let stranger = stranger(secret, &cluster.uid);
        let seen = match stranger {
            // Nothing of somebody else's is used.
            Some(_) => SecretSeen {
                stranger,
                ..SecretSeen::default()
            },
            None => pki::see(secret),
        };
        (name.clone(), seen)
    });
    let mut observed = Observed {
        now_unix_seconds: now,
        stateful_set: set,
        secrets: seen.collect(),
        live,
        pods,
        disks,
        ..Observed::default()
    };
    let own = names.operator_tls();
    let is_ours = |seen: &SecretSeen| seen.stranger.is_none();
    let own = secrets
        .get(&own)
        .filter(|_| observed.secrets.get(&own).is_some_and(is_ours));
    let nodes = own.and_then(|secret| {
        let nodes = Nodes::new(secret);
        nodes
            .inspect_err(|error| debug!(error = sentence(error), "no way to the nodes"))
            .ok()
    });
    let told = ask(nodes.as_ref(), &observed, names, namespace).await;
    observed.answers = told.answers;
    observed.view = told.view;
    observed.derive(cluster);
    Ok(World {
        observed,
        secrets,
        nodes,
        first_host: names.pod_host(0, namespace),
        reporter: told.reporter,
    })
}

/// Whose a Secret is, if it is not the cluster's: somebody else controls it, or nobody does and it
/// is not marked as the operator's.
fn stranger(secret: &Secret, uid: &str) -> Option<String> {
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

/// Asks the pods that run.
async fn ask(
    nodes: Option<&Nodes>,
    observed: &Observed,
    names: ClusterNames<'_>,
    namespace: &str,
) -> Told {
    let running = observed.pods.iter().filter(|(_, pod)| pod.running);
    let hosts: BTreeMap<i32, String> = running
        .map(|(at, _)| (*at, names.pod_host(*at, namespace)))
        .collect();
    let Some(nodes) = nodes else {
        let silent = || Answer::Silent("there is no certificate to ask with yet".to_owned());
        return Told {
            answers: hosts.into_keys().map(|at| (at, silent())).collect(),
            ..Told::default()
        };
    };
    nodes.ask_all(hosts).await
}

fn failed(what: impl Into<String>) -> impl FnOnce(kube::Error) -> ReconcileError {
    let what = what.into();
    move |source| ReconcileError::Observe {
        what,
        source: Box::new(source),
    }
}

async fn objects(
    context: &Context,
    namespace: &str,
    names: ClusterNames<'_>,
) -> Result<BTreeMap<ObjectKey, Value>, ReconcileError> {
    let reads = kinds::objects(names).into_iter().map(|key| async move {
        let what = format!("{} {}", key.kind, key.name);
        let Ok(api) = kinds::api(&context.client, namespace, &key.kind) else {
            return Ok(None);
        };
        let found = api.get_opt(&key.name).await.map_err(failed(&what))?;
        let Some(mut object) = found else {
            return Ok(None);
        };
        object.metadata.managed_fields = None;
        let value = serde_json::to_value(object);
        let value = value.map_err(|source| ReconcileError::Decode { what, source })?;
        Ok(Some((key, value)))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

async fn secrets(
    context: &Context,
    namespace: &str,
    names: ClusterNames<'_>,
) -> Result<BTreeMap<String, Secret>, ReconcileError> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let all = [
        names.ca(),
        names.node_tls(),
        names.operator_tls(),
        names.admin_tls(),
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

async fn pods(
    context: &Context,
    namespace: &str,
    names: ClusterNames<'_>,
    zone_key: &str,
) -> Result<BTreeMap<i32, PodSeen>, ReconcileError> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let own = ListParams::default().labels(&names.selector_text());
    let pods = api.list(&own).await.map_err(failed("the pods"))?;
    let pods = pods.items.into_iter().filter_map(|pod| {
        let ordinal = names.ordinal(pod.metadata.name.as_deref()?)?;
        Some((ordinal, see(&pod, zone_key)))
    });
    Ok(pods.collect())
}

fn see(pod: &Pod, zone_key: &str) -> PodSeen {
    let metadata = &pod.metadata;
    let annotation = |key: &str| metadata.annotations.as_ref()?.get(key).cloned();
    let status = pod.status.clone().unwrap_or_default();
    let is_true = |kind: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.any(|c| c.type_ == kind && c.status == "True")
    };
    let container = status.container_statuses.iter().flatten().next();
    let state = container.and_then(|container| container.state.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    // Reasons of a start that is under way are no trouble.
    let trouble = waiting.and_then(|waiting| {
        let reason = waiting.reason.as_deref()?;
        let is_usual = ["ContainerCreating", "PodInitializing"].contains(&reason);
        let said = waiting.message.as_deref().unwrap_or_default();
        let said: String = said.chars().take(120).collect();
        (!is_usual).then(|| format!("{reason} {said}").trim_end().to_owned())
    });
    PodSeen {
        uid: metadata.uid.clone().unwrap_or_default(),
        hash: annotation(ANNOTATION_ROLLOUT_HASH),
        ready: is_true("Ready"),
        running: state.is_some_and(|state| state.running.is_some()),
        terminating: metadata.deletion_timestamp.is_some(),
        trouble,
        draining_since: annotation(ANNOTATION_DRAINING_SINCE).and_then(|text| text.parse().ok()),
        owner_uid: metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid.clone()),
        // Kubernetes copies the labels of the host that name its place.
        zone: metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(zone_key).cloned()),
    }
}

async fn disks(
    context: &Context,
    namespace: &str,
    names: ClusterNames<'_>,
) -> Result<BTreeMap<i32, DiskSeen>, ReconcileError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
    let own = ListParams::default().labels(&names.selector_text());
    let claims = api.list(&own).await.map_err(failed("the disks' claims"))?;
    let claims = claims.items.into_iter().filter_map(|claim| {
        let pod = claim
            .metadata
            .name
            .as_deref()?
            .strip_prefix(DISK)?
            .strip_prefix('-')?;
        let ordinal = names.ordinal(pod)?;
        let wanted = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        let capacity = claim
            .status
            .as_ref()
            .and_then(|status| status.capacity.as_ref());
        let disk = DiskSeen {
            uid: claim.metadata.uid.clone().unwrap_or_default(),
            requested_bytes: bytes_of(&wanted.get("storage")?.0)?,
            terminating: claim.metadata.deletion_timestamp.is_some(),
            actual_bytes: capacity.and_then(|all| bytes_of(&all.get("storage")?.0)),
        };
        Some((ordinal, disk))
    });
    Ok(claims.collect())
}
