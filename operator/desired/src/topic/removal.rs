//! The deletion of a LogTopic. Its finalizer is removed once the topic is deleted, or once it is
//! known that this LogTopic cannot or must not delete it: no LogTopic waits for a cluster that is
//! gone.

use lograft_crds::log_topic::DeletionPolicy;

use crate::cluster_wait::ClusterWait;
use crate::consent::ConsentRefusal;
use crate::topic::gate;
use crate::topic::observed::Observed;
use crate::topic::plan::{Event, FinalizerChange, Plan};
use crate::topic::request::Request;
use crate::topic::validate::ValidTopic;
use crate::topic::wait::Wait;

pub(super) fn plan(topic: &ValidTopic, observed: &Observed) -> Plan {
    let name = &topic.topic;
    if !topic.has_finalizer {
        return Plan::default();
    }
    if topic.deletion_policy == DeletionPolicy::Retain {
        return released(Event::normal("Retained", format!("topic {name} stays")));
    }
    let cluster = match gate::open(topic, observed) {
        Ok(cluster) => cluster,
        Err(wait) => return blocked(topic, observed, wait),
    };
    let Some(own_id) = topic.stored.id_in(Some(cluster.id)) else {
        return leaving("this LogTopic has not created or adopted it");
    };
    if let Err(wait) = gate::check_owner(topic, observed, &cluster) {
        return leaving(&wait.to_string());
    }
    let needs_recent_list = true;
    let Some(found) = cluster.listed else {
        let text = format!("topic {name} is gone already");
        return Plan {
            needs_recent_list,
            ..released(Event::normal("Deleted", text))
        };
    };
    if found.id != own_id {
        return Plan {
            needs_recent_list,
            ..leaving(&format!(
                "somebody else has created it again (ID {})",
                found.id
            ))
        };
    }
    if let Some(why) = &observed.refusal {
        let refused = Wait::Refused { why: why.clone() };
        return Plan::waiting(Wait::Deletion(Box::new(refused)));
    }
    Plan {
        finalizer: FinalizerChange::RemoveOnceDone,
        request: Some(Request::Delete {
            topic: name.clone(),
            id: own_id,
        }),
        done: Some(Event::normal("Deleted", format!("deleted topic {name}"))),
        waits: vec![Wait::Deleting {
            topic: name.clone(),
        }],
        needs_recent_list,
        ..Plan::default()
    }
}

/// The topic cannot be deleted: the LogTopic waits if that may become possible, else it is
/// released.
fn blocked(topic: &ValidTopic, observed: &Observed, wait: ClusterWait) -> Plan {
    let id = gate::consenting(topic, observed).ok();
    let id = id.and_then(|cluster| cluster.id.as_deref());
    // Nothing is known to wait for: no topic was created, or its cluster has been replaced.
    let has_topic = match id {
        Some(_) => topic.stored.id_in(id).is_some(),
        None => topic.stored.topic_id.is_some(),
    };
    let may_end = matches!(
        wait,
        ClusterWait::Paused(_)
            | ClusterWait::NotBootstrapped(_)
            | ClusterWait::Unreachable { .. }
            | ClusterWait::NotAllowed(ConsentRefusal::LabelsUnknown { .. })
    );
    if may_end && has_topic {
        return Plan::waiting(Wait::Deletion(Box::new(wait.into())));
    }
    leaving(&wait.to_string())
}

/// Releases the LogTopic and leaves the topic as it is.
pub(super) fn leaving(why: &str) -> Plan {
    let text = format!("the topic is not deleted: {why}");
    released(Event::warning("NotDeleted", text))
}

fn released(event: Event) -> Plan {
    Plan {
        finalizer: FinalizerChange::Remove,
        events: vec![event],
        ..Plan::default()
    }
}
