//! Reads everything that the plan of a LogUser depends on.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use lograft_crds::LogUser;
use lograft_operator_desired::consent::needs_labels;
use lograft_operator_desired::topic::ObservedCluster;
use lograft_operator_desired::user::{Observed, ObservedAccess, ObservedUserSecret, ValidUser};

use super::{UserError, Users};
use crate::cluster_topics::Snapshot;
use crate::pki;

/// Objects that were read, for the steps that write.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) secret: Option<Secret>,
}

/// With `newer` the rules are from a list that was requested after this time.
pub(super) async fn observe(
    users: &Users,
    raw: &LogUser,
    valid: &ValidUser,
    newer: Option<Instant>,
) -> Result<(Observed, Sources), UserError> {
    let failed = |what: String| {
        move |source| UserError::Read {
            what,
            source: Box::new(source),
        }
    };
    let key = &valid.cluster;
    let snapshot = match newer {
        None => users.clusters.recent_users(key).await,
        Some(earliest) => users.clusters.newer_users(key, earliest).await,
    };
    let snapshot = snapshot.map_err(failed(format!("LogCluster {key}")))?;
    let allowed = match &snapshot.cluster {
        ObservedCluster::Found(found) => found.allowed.as_ref(),
        ObservedCluster::Missing | ObservedCluster::NotWatched => None,
    };
    let namespace = &valid.namespace;
    let namespace_labels = if needs_labels(namespace, key, allowed) {
        let labels = users.labels.of(namespace).await;
        labels.map_err(failed(format!("Namespace {namespace}")))?
    } else {
        None
    };
    let secrets: Api<Secret> = Api::namespaced(users.reconciler.client.clone(), namespace);
    let secret = secrets.get_opt(&valid.secret).await;
    let secret = secret.map_err(failed(format!("Secret {}", valid.secret)))?;
    let cluster_users = snapshot.users();
    let observed = Observed {
        now_unix_seconds: Timestamp::now().as_second(),
        cluster: snapshot.cluster.clone(),
        namespace_labels,
        authority: cluster_users.and_then(|it| it.authority.clone()),
        secret: observe_secret(raw, secret.as_ref()),
        access: cluster_users.map_or(ObservedAccess::NotAsked, |it| it.access(&valid.principal)),
    };
    let sources = Sources {
        snapshot: Some(snapshot),
        secret,
    };
    Ok((observed, sources))
}

fn observe_secret(raw: &LogUser, secret: Option<&Secret>) -> ObservedUserSecret {
    let Some(secret) = secret else {
        return ObservedUserSecret::Missing;
    };
    let mut owners = secret.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    if owner.is_some_and(|owner| Some(&owner.uid) == raw.metadata.uid.as_ref()) {
        let (certificate, roots) = pki::observe_user(secret);
        return ObservedUserSecret::Own { certificate, roots };
    }
    ObservedUserSecret::Foreign {
        owner: owner.map(|owner| format!("{} {}", owner.kind, owner.name)),
    }
}
