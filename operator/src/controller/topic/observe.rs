//! Reads everything that the plan of a LogTopic depends on.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use lograft_crds::LogTopic;
use lograft_crds::log_cluster::AllowedNamespaces;
use lograft_operator_desired::consent::{ClusterKey, needs_labels};
use lograft_operator_desired::topic::{
    Claimant, Observed, ObservedCluster, ObservedTopics, ValidTopic, topic_name,
};

use super::{TopicError, Topics};
use crate::cluster_topics::Snapshot;
use crate::kinds::key;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A recent list of topics. Rivals are left out if the status has the ID of the topic: no other
    /// LogTopic precedes then.
    Quick,
    /// A recent list of topics, and all rivals.
    Careful,
    /// A list of topics that was requested after this time, and all rivals.
    NewerThan(Instant),
}

pub(super) async fn observe(
    topics: &Topics,
    raw: &LogTopic,
    valid: &ValidTopic,
    look: Look,
) -> Result<(Observed, Arc<Snapshot>), TopicError> {
    let key = &valid.cluster;
    let snapshot = match look {
        Look::Quick | Look::Careful => topics.clusters.recent(key).await,
        Look::NewerThan(earliest) => topics.clusters.newer_than(key, earliest).await,
    };
    let snapshot = snapshot.map_err(|source| TopicError::Read {
        what: format!("LogCluster {key}"),
        source: Box::new(source),
    })?;
    let listed = snapshot.topic(&valid.topic);
    let (cluster_id, allowed) = match &snapshot.cluster {
        ObservedCluster::Found(found) => (found.id.as_deref(), found.allowed.as_ref()),
        ObservedCluster::Missing | ObservedCluster::NotWatched => (None, None),
    };
    let is_proven = match &listed {
        ObservedTopics::Listed(Some(found)) => valid.stored.id_in(cluster_id) == Some(found.id),
        _ => false,
    };
    let rivals = if look == Look::Quick && is_proven {
        Vec::new()
    } else {
        rivals(topics, raw, key, (cluster_id, allowed)).await?
    };
    let now = Timestamp::now().as_second();
    let observed = Observed {
        now_unix_seconds: now,
        cluster: snapshot.cluster.clone(),
        namespace_labels: labels(topics, &valid.namespace, key, allowed).await?,
        topics: listed,
        rivals,
        refusal: topics.refusals.current(raw, now),
    };
    Ok((observed, snapshot))
}

/// The labels of a namespace, if the LogCluster decides by them.
async fn labels(
    topics: &Topics,
    namespace: &str,
    cluster: &ClusterKey,
    allowed: Option<&AllowedNamespaces>,
) -> Result<Option<std::collections::BTreeMap<String, String>>, TopicError> {
    if !needs_labels(namespace, cluster, allowed) {
        return Ok(None);
    }
    let found = topics.labels.of(namespace).await;
    found.map_err(|source| TopicError::Read {
        what: format!("Namespace {namespace}"),
        source: Box::new(source),
    })
}

/// The other LogTopics that name the same topic, in all namespaces that the operator watches.
async fn rivals(
    topics: &Topics,
    raw: &LogTopic,
    cluster: &ClusterKey,
    (cluster_id, allowed): (Option<&str>, Option<&AllowedNamespaces>),
) -> Result<Vec<Claimant>, TopicError> {
    let mut found = Vec::new();
    for store in topics.stores() {
        // An error means that the watch has ended: the operator stops.
        let _ = store.wait_until_ready().await;
        let is_rival = |other: &LogTopic| {
            let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
            topic_name(other) == topic_name(raw)
                && key(other) != key(raw)
                && ClusterKey::new(&other.spec.cluster_ref, namespace) == *cluster
        };
        let all = store.state();
        found.extend(all.into_iter().filter(|other| is_rival(other)));
    }
    let mut rivals = Vec::new();
    for other in found {
        let Ok(valid) = ValidTopic::new(&other) else {
            continue;
        };
        rivals.push(Claimant {
            topic_id: valid.stored.id_in(cluster_id),
            created_unix_seconds: valid.created_unix_seconds,
            namespace_labels: labels(topics, &valid.namespace, cluster, allowed).await?,
            namespace: valid.namespace,
            name: valid.name,
        });
    }
    Ok(rivals)
}
