//! What must hold before anything is done with a topic, in this order: the LogCluster exists,
//! consents, is not being deleted, is not paused and has been bootstrapped; its nodes answer; no
//! other LogTopic owns the topic.

use crate::cluster_wait::ClusterWait;
use crate::consent::Applicant;
use crate::topic::observed::{FoundCluster, Observed, ObservedTopic, ObservedTopics};
use crate::topic::owner::preceding;
use crate::topic::validate::ValidTopic;
use crate::topic::wait::Wait;

/// A cluster whose topics may be managed.
pub(super) struct OpenCluster<'a> {
    pub(super) facts: &'a FoundCluster,
    pub(super) id: &'a str,
    /// The topic with the name of the LogTopic.
    pub(super) listed: Option<&'a ObservedTopic>,
}

/// The LogCluster, if it exists and consents.
pub(super) fn consenting<'a>(
    topic: &ValidTopic,
    observed: &'a Observed,
) -> Result<&'a FoundCluster, ClusterWait> {
    let applicant = Applicant {
        namespace: &topic.namespace,
        labels: observed.namespace_labels.as_ref(),
    };
    observed.cluster.consenting(&topic.cluster, applicant)
}

/// The cluster, if its nodes have answered.
pub(super) fn open<'a>(
    topic: &ValidTopic,
    observed: &'a Observed,
) -> Result<OpenCluster<'a>, ClusterWait> {
    let facts = consenting(topic, observed)?;
    let key = &topic.cluster;
    let id = facts.open_id(key)?;
    match &observed.topics {
        ObservedTopics::Listed(listed) => Ok(OpenCluster {
            facts,
            id,
            listed: listed.as_ref(),
        }),
        ObservedTopics::Unreachable(why) => {
            let (cluster, why) = (key.clone(), why.clone());
            Err(ClusterWait::Unreachable { cluster, why })
        }
        ObservedTopics::NotAsked => Err(ClusterWait::not_asked(key.clone())),
    }
}

/// Fails if another LogTopic owns the topic.
pub(super) fn check_owner(
    topic: &ValidTopic,
    observed: &Observed,
    cluster: &OpenCluster<'_>,
) -> Result<(), Wait> {
    let own = topic.claim(Some(cluster.id));
    let listed_id = cluster.listed.map(|found| found.id);
    let consent = (&topic.cluster, cluster.facts.allowed.as_ref());
    match preceding(&own, &observed.rivals, listed_id, consent) {
        None => Ok(()),
        Some(owner) => Err(Wait::OwnedByAnother {
            topic: topic.topic.clone(),
            owner: format!("{}/{}", owner.namespace, owner.name),
        }),
    }
}
