//! What must hold before anything is done with a topic, in this order: the LogCluster exists,
//! consents, is not being deleted, is not paused and has been bootstrapped; its nodes answer; no
//! other LogTopic owns the topic.

use crate::consent::{Applicant, ConsentRefusal, consent};
use crate::topic::observed::{
    FoundCluster, Observed, ObservedCluster, ObservedTopic, ObservedTopics,
};
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
) -> Result<&'a FoundCluster, Wait> {
    let key = &topic.cluster;
    let applicant = Applicant {
        namespace: &topic.namespace,
        labels: observed.namespace_labels.as_ref(),
    };
    match &observed.cluster {
        ObservedCluster::NotWatched => Err(Wait::NotWatched(key.clone())),
        ObservedCluster::Missing if key.namespace == topic.namespace => {
            Err(Wait::ClusterNotFound(key.clone()))
        }
        ObservedCluster::Missing => {
            let refusal = ConsentRefusal::of_missing(applicant, key);
            Err(Wait::NotAllowed(refusal))
        }
        ObservedCluster::Found(found) => {
            let consented = consent(applicant, key, found.allowed.as_ref());
            consented.map(|()| found).map_err(Wait::NotAllowed)
        }
    }
}

/// The cluster, if its nodes have answered.
pub(super) fn open<'a>(
    topic: &ValidTopic,
    observed: &'a Observed,
) -> Result<OpenCluster<'a>, Wait> {
    let facts = consenting(topic, observed)?;
    let key = topic.cluster.clone();
    if facts.is_deleting {
        return Err(Wait::ClusterDeleting(key));
    }
    if facts.is_paused {
        return Err(Wait::ClusterPaused(key));
    }
    let Some(id) = facts.id.as_deref() else {
        return Err(Wait::ClusterNotBootstrapped(key));
    };
    let why = match &observed.topics {
        ObservedTopics::Listed(listed) => {
            return Ok(OpenCluster {
                facts,
                id,
                listed: listed.as_ref(),
            });
        }
        ObservedTopics::Unreachable(why) => why.clone(),
        ObservedTopics::NotAsked => "it has not been asked yet".to_owned(),
    };
    Err(Wait::ClusterUnreachable { cluster: key, why })
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
