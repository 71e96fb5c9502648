//! Refusals of clusters: a refused request is repeated after a pause that doubles, or at once if
//! the spec of its LogTopic changes. A restart of the operator forgets them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lograft_crds::LogTopic;
use lograft_crds::limits::{
    TOPIC_REFUSALS_MAX_COUNT, TOPIC_REFUSED_MAX_SECONDS, TOPIC_REFUSED_MIN_SECONDS,
};
use lograft_operator_desired::topic::{Failure, Outcome};

use crate::kinds::key;

/// The last refusal of each LogTopic.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<String, Refusal>>);

#[derive(Clone, Debug)]
struct Refusal {
    /// Generation of the refused spec, and whether the LogTopic was being deleted.
    of: (Option<i64>, bool),
    why: String,
    /// Time from which the request is repeated, seconds since 1970.
    retry_at: i64,
    pause_seconds: i64,
}

impl Refusals {
    /// Why the request for this LogTopic is not repeated yet.
    pub(super) fn current(&self, topic: &LogTopic, now: i64) -> Option<String> {
        let refusals = self.lock();
        let refusal = refusals.get(&key(topic))?;
        (refusal.of == state(topic) && now < refusal.retry_at).then(|| refusal.why.clone())
    }

    /// Notes the outcome of a request for this LogTopic.
    pub(super) fn note(&self, topic: &LogTopic, outcome: &Outcome, now: i64) {
        match outcome {
            Outcome::Failed(Failure::Refused(why)) => self.hold(topic, why, now),
            Outcome::Topic(_) | Outcome::Deleted => self.clear(&key(topic)),
            Outcome::Failed(_) | Outcome::Unchanged => {}
        }
    }

    /// Forgets the refusal of a LogTopic.
    pub(super) fn clear(&self, topic: &str) {
        self.lock().remove(topic);
    }

    fn hold(&self, topic: &LogTopic, why: &str, now: i64) {
        let mut refusals = self.lock();
        if refusals.len() >= TOPIC_REFUSALS_MAX_COUNT {
            refusals.retain(|_, refusal| now < refusal.retry_at);
        }
        let former = refusals.get(&key(topic)).filter(|it| it.of == state(topic));
        let pause_seconds = former.map_or(TOPIC_REFUSED_MIN_SECONDS, |former| {
            (former.pause_seconds * 2).min(TOPIC_REFUSED_MAX_SECONDS)
        });
        let refusal = Refusal {
            of: state(topic),
            why: why.to_owned(),
            retry_at: now + pause_seconds,
            pause_seconds,
        };
        refusals.insert(key(topic), refusal);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state(topic: &LogTopic) -> (Option<i64>, bool) {
    let metadata = &topic.metadata;
    (metadata.generation, metadata.deletion_timestamp.is_some())
}

#[cfg(test)]
mod tests {
    use lograft_crds::LogTopicSpec;
    use serde_json::json;

    use super::*;

    #[test]
    fn pauses_double_and_a_new_spec_ends_them() {
        let spec: LogTopicSpec =
            serde_json::from_value(json!({"clusterRef": {"name": "events"}})).unwrap();
        let mut topic = LogTopic::new("clicks", spec);
        topic.metadata.generation = Some(1);
        let refusals = Refusals::default();
        let refused = Outcome::Failed(Failure::Refused("no".to_owned()));
        let mut now = 1000;
        for pause in [10, 20, 40, 80, 160, 320, 600, 600] {
            refusals.note(&topic, &refused, now);
            assert_eq!(
                refusals.current(&topic, now + pause - 1).as_deref(),
                Some("no")
            );
            now += pause;
            assert_eq!(refusals.current(&topic, now), None);
        }
        refusals.note(&topic, &refused, now);
        topic.metadata.generation = Some(2);
        assert_eq!(refusals.current(&topic, now), None);
        refusals.note(&topic, &refused, now);
        assert!(
            refusals
                .current(&topic, now + TOPIC_REFUSED_MIN_SECONDS - 1)
                .is_some()
        );
        refusals.note(&topic, &Outcome::Deleted, now);
        assert_eq!(refusals.current(&topic, now), None);
    }
}
