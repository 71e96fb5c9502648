//! From a LogTopic and an observation to the next step.

use lograft_crds::LogTopic;
use lograft_crds::log_topic::DeletionPolicy;
use lograft_crds::names::TOPIC_FINALIZER;

use crate::topic::gate::{self, OpenCluster};
use crate::topic::observed::{Observed, ObservedTopic};
use crate::topic::plan::{Event, FinalizerChange, Plan};
use crate::topic::removal;
use crate::topic::request::{NewTopic, Request, TopicChange};
use crate::topic::setting::value_text;
use crate::topic::validate::ValidTopic;
use crate::topic::wait::Wait;
use crate::validation::ValidationError;

/// The plan for a LogTopic whose spec is invalid: it waits for a correction, and it can be deleted,
/// which leaves the topic alone.
pub fn of_invalid(topic: &LogTopic, error: &ValidationError) -> Plan {
    let why = error.sentence();
    let mut finalizers = topic.metadata.finalizers.iter().flatten();
    let is_held = finalizers.any(|it| it == TOPIC_FINALIZER);
    if topic.metadata.deletion_timestamp.is_some() && is_held {
        return removal::leaving(&format!("its LogTopic is invalid: {why}"));
    }
    Plan::waiting(Wait::InvalidSpec { why })
}

/// The next step of a LogTopic.
pub fn plan(topic: &ValidTopic, observed: &Observed) -> Plan {
    if topic.is_deleting {
        return removal::plan(topic, observed);
    }
    let open = gate::open(topic, observed).map_err(Wait::Cluster);
    let step = open.and_then(|cluster| {
        gate::check_owner(topic, observed, &cluster)?;
        Ok(match cluster.listed {
            None => create(topic, observed, &cluster),
            Some(found) => manage_or_refuse(topic, observed, &cluster, found),
        })
    });
    let plan = step.unwrap_or_else(Plan::waiting);
    let owns = plan.owned.is_some() || plan.request.is_some() || topic.stored.topic_id.is_some();
    let is_wanted = topic.deletion_policy == DeletionPolicy::Delete;
    let finalizer = match (is_wanted, topic.has_finalizer) {
        (true, false) if owns => FinalizerChange::Add,
        (false, true) => FinalizerChange::Remove,
        _ => FinalizerChange::Keep,
    };
    Plan { finalizer, ..plan }
}

fn create(topic: &ValidTopic, observed: &Observed, cluster: &OpenCluster<'_>) -> Plan {
    let name = &topic.topic;
    let lost_id = topic.stored.id_in(Some(cluster.id));
    let mut plan = Plan {
        // A list from before the creation does not have the topic.
        needs_recent_list: lost_id.is_some(),
        ..Plan::default()
    };
    if let Some(why) = &observed.refusal {
        plan.waits.push(Wait::Refused { why: why.clone() });
        return plan;
    }
    if let Some(id) = lost_id {
        let text = format!(
            "topic {name} (ID {id}) was deleted by somebody else; creating it again, without its \
             records"
        );
        plan.events.push(Event::warning("TopicLost", text));
    }
    plan.waits.push(Wait::Creating {
        topic: name.clone(),
    });
    plan.marks_creation = !topic.stored.creating;
    plan.request = Some(Request::Create(NewTopic::of(topic)));
    plan.done = Some(Event::normal("Created", format!("created topic {name}")));
    plan
}

/// Manages the topic if the LogTopic owns it or may adopt it.
fn manage_or_refuse(
    topic: &ValidTopic,
    observed: &Observed,
    cluster: &OpenCluster<'_>,
    found: &ObservedTopic,
) -> Plan {
    let stored = &topic.stored;
    let name = &topic.topic;
    let former_id = stored.id_in(Some(cluster.id));
    let is_own = former_id == Some(found.id);
    // The answer to the creation was lost, or the operator ended before it was stored.
    let is_created = stored.creating && NewTopic::of(topic).may_have_created(found);
    if is_own || is_created {
        return manage(topic, observed, cluster, found);
    }
    if topic.adopts {
        let text = format!("adopted topic {name} (ID {})", found.id);
        let mut plan = manage(topic, observed, cluster, found);
        plan.events.push(Event::normal("Adopted", text));
        return plan;
    }
    let wait = match former_id {
        Some(former_id) => Wait::TopicReplaced {
            topic: name.clone(),
            former_id,
            id: found.id,
        },
        None => Wait::TopicExists {
            topic: name.clone(),
        },
    };
    Plan {
        needs_recent_list: former_id.is_some(),
        ..Plan::waiting(wait)
    }
}

fn manage(
    topic: &ValidTopic,
    observed: &Observed,
    cluster: &OpenCluster<'_>,
    found: &ObservedTopic,
) -> Plan {
    let mut plan = Plan {
        owned: Some(found.clone()),
        ..Plan::default()
    };
    if let Some(change) = TopicChange::of(topic, found, &cluster.facts.defaults) {
        // A list from before the last change shows the settings before it.
        plan.needs_recent_list = true;
        if let Some(why) = &observed.refusal {
            plan.waits.push(Wait::Refused { why: why.clone() });
        } else {
            plan.waits.push(Wait::Changing {
                topic: topic.topic.clone(),
            });
            plan.done = Some(changed(topic, found, &change));
            plan.request = Some(Request::Alter(change));
        }
    }
    if let Some(wanted) = topic.partitions.filter(|wanted| *wanted < found.partitions) {
        plan.waits.push(Wait::CannotShrink {
            wanted,
            found: found.partitions,
        });
    }
    plan.waits.extend(no_leader(found));
    plan
}

/// The wait for leaders, if partitions have none.
pub(super) fn no_leader(found: &ObservedTopic) -> Option<Wait> {
    (found.leaderless > 0).then_some(Wait::NoLeader {
        leaderless: found.leaderless,
        partitions: found.partitions,
    })
}

/// The event about a change. If the topic matched this spec before, somebody else has changed it.
fn changed(topic: &ValidTopic, found: &ObservedTopic, change: &TopicChange) -> Event {
    let partitions = change.partitions.map(|wanted| {
        let found = found.partitions;
        format!("partitions from {found} to {wanted}")
    });
    let replicas = change.replication_factor.map(|wanted| {
        let found = found.replication_factor;
        format!("replication factor from {found} to {wanted}")
    });
    let settings = change.settings.iter().map(|(key, wanted)| {
        let found = value_text(found.settings.get(key).copied());
        format!("{key} from {found} to {}", value_text(*wanted))
    });
    let parts: Vec<String> = partitions
        .into_iter()
        .chain(replicas)
        .chain(settings)
        .collect();
    let (name, parts) = (&topic.topic, parts.join(", "));
    if topic.stored.was_matching {
        let text = format!("reverted a change of topic {name} by somebody else: {parts}");
        Event::warning("RevertedEdit", text)
    } else {
        Event::normal("Changed", format!("changed topic {name}: {parts}"))
    }
}
