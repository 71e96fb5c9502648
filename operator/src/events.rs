//! Events of LogClusters and LogTopics. They are written with the older of the two APIs, which
//! keeps a count and the times of the first and last occurrence: `kubectl get events
//! --sort-by=.lastTimestamp` shows nothing of the newer one.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use lograft_crds::limits::{EVENT_NAME_START_MAX_BYTES, EVENT_TEXT_MAX_BYTES};
use lograft_crds::names::OPERATOR;
use lograft_operator_desired::{cut_words, hash_text};
use serde_json::json;
use tracing::warn;

use crate::error_text::error_text;
use crate::kinds::key;

/// Something that has happened to an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happening<'a> {
    /// Whether it needs attention.
    pub(crate) is_warning: bool,
    /// Reason as one CamelCase word.
    pub(crate) reason: &'a str,
    /// Sentence for people.
    pub(crate) text: &'a str,
    /// Object that it is about, beside the one that it has happened to. Happenings with the same
    /// reason about the same object are one event, which is counted.
    pub(crate) about: Option<&'a str>,
}

/// Publishes events.
pub(crate) struct Publisher {
    client: Client,
    /// Pod name of the operator.
    instance: String,
}

impl Publisher {
    pub(crate) fn new(client: Client, instance: String) -> Self {
        Self { client, instance }
    }

    /// Publishes an event about an object. A failure is logged and not repeated: status has the
    /// same information.
    pub(crate) async fn report<K>(&self, object: &K, happening: &Happening<'_>)
    where
        K: ResourceExt + Resource<DynamicType = ()>,
    {
        let regarding = object.object_ref(&());
        if let Err(error) = self.publish(&regarding, happening).await {
            let error = error_text(&error);
            warn!(object = key(object), error, "cannot publish the event");
        }
    }

    /// Publishes an event about the object `regarding`, or counts it if it is known.
    async fn publish(
        &self,
        regarding: &ObjectReference,
        happening: &Happening<'_>,
    ) -> Result<(), kube::Error> {
        let namespace = regarding.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let name = name(regarding, happening);
        let message = cut_words(happening.text, EVENT_TEXT_MAX_BYTES);
        let now = Time(Timestamp::now());
        if let Some(known) = api.get_opt(&name).await? {
            let patch = json!({
                "count": known.count.unwrap_or(0).saturating_add(1),
                "lastTimestamp": now,
                "message": message,
            });
            let params = PatchParams::default();
            api.patch(&name, &params, &Patch::Merge(&patch)).await?;
            return Ok(());
        }
        let kind = if happening.is_warning {
            "Warning"
        } else {
            "Normal"
        };
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: regarding.clone(),
            type_: Some(kind.to_owned()),
            reason: Some(happening.reason.to_owned()),
            action: Some(happening.reason.to_owned()),
            message: Some(message),
            related: happening.about.and_then(|about| related(namespace, about)),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            source: Some(EventSource {
                component: Some(OPERATOR.to_owned()),
                host: None,
            }),
            reporting_component: Some(OPERATOR.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        };
        api.create(&PostParams::default(), &event).await?;
        Ok(())
    }
}

/// The name of the event: the same for all happenings that are counted as one.
// A collision of the hash would count two events as one, and changes nothing else.
fn name(regarding: &ObjectReference, happening: &Happening<'_>) -> String {
    let uid = regarding.uid.as_deref().unwrap_or_default();
    let about = happening.about.unwrap_or_default();
    let object = regarding.name.as_deref().unwrap_or_default();
    // The name of a LogTopic may be as long as that of the event.
    let start = &object[..object.floor_char_boundary(EVENT_NAME_START_MAX_BYTES)];
    let start = start.trim_end_matches(['-', '.']);
    let hash = hash_text(&[uid, happening.reason, about].join("\n"));
    format!("{start}.{hash}")
}

/// A reference to an object by its kind and name in one text, such as `Pod data-0`; none for what
/// is no object of Kubernetes, such as `node 3`.
fn related(namespace: &str, about: &str) -> Option<ObjectReference> {
    let (kind, name) = about.split_once(' ')?;
    kind.starts_with(char::is_uppercase).then_some(())?;
    Some(ObjectReference {
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening<'a>(reason: &'a str, about: Option<&'a str>) -> Happening<'a> {
        Happening {
            is_warning: true,
            reason,
            text: "text",
            about,
        }
    }

    #[test]
    fn events_of_one_reason_about_one_object_have_one_name() {
        let cluster = |uid: &str| ObjectReference {
            name: Some("events".to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let one = name(&cluster("a"), &happening("DiskFull", Some("Pod events-0")));
        assert!(
            one.starts_with("events.") && one.len() == "events.".len() + 16,
            "{one}"
        );
        let mut again = happening("DiskFull", Some("Pod events-0"));
        again.text = "another text";
        assert_eq!(name(&cluster("a"), &again), one);
        for other in [
            name(&cluster("b"), &happening("DiskFull", Some("Pod events-0"))),
            name(&cluster("a"), &happening("DiskFull", Some("Pod events-1"))),
            name(&cluster("a"), &happening("DiskLow", Some("Pod events-0"))),
            name(&cluster("a"), &happening("DiskFull", None)),
        ] {
            assert_ne!(other, one);
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let mut object = ObjectReference {
            name: Some(format!("{}.{}", "a".repeat(199), "b".repeat(53))),
            ..ObjectReference::default()
        };
        let cut = name(&object, &happening("Created", None));
        assert!(cut.len() <= 253 && !cut.contains(".."), "{cut}");
        object.name = Some("clicks".to_owned());
        assert!(name(&object, &happening("Created", None)).starts_with("clicks."));
    }
}
