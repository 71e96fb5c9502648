//! Warning events of Kubernetes about objects that are not as they should be: why the StatefulSet
//! cannot create a pod, why a PVC is not bound, why a pod does not start. Nothing is read while all
//! is well.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use lograft_crds::limits::{
    OBSTACLE_EVENT_MAX_AGE_SECONDS, OBSTACLE_EVENTS_MAX_COUNT, OBSTACLE_MIN_AGE_SECONDS,
    OBSTACLE_OBJECTS_MAX_COUNT,
};
use lograft_crds::names::ClusterNames;
use lograft_operator_desired::cluster::{ObservedDisk, ObservedPod};
use lograft_operator_desired::{ObjectKey, ObjectRef};

use super::failed;
use crate::controller::Reconciler;
use crate::controller::cluster::ReconcileError;

/// What was read of a cluster before.
pub(super) struct Seen<'a> {
    pub(super) names: ClusterNames<'a>,
    pub(super) stateful_set: Option<&'a StatefulSet>,
    pub(super) pods: &'a BTreeMap<i32, ObservedPod>,
    pub(super) disks: &'a BTreeMap<i32, ObservedDisk>,
    /// Time of the observation, seconds since 1970.
    pub(super) now: i64,
}

/// The latest warning about each object that has one.
pub(super) async fn read(
    reconciler: &Reconciler,
    namespace: &str,
    seen: &Seen<'_>,
) -> Result<BTreeMap<ObjectKey, String>, ReconcileError> {
    let api: Api<Event> = Api::namespaced(reconciler.client.clone(), namespace);
    let reads = objects(seen).into_iter().map(|Asked { object, about }| {
        let api = api.clone();
        async move {
            let ObjectKey { kind, name } = &object.key;
            let fields =
                format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
            let own = ListParams::default()
                .fields(&fields)
                .limit(OBSTACLE_EVENTS_MAX_COUNT);
            let events = match api.list(&own).await {
                Ok(events) => events,
                // A role that somebody else maintains may not allow it. The rest works without.
                Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
                Err(error) => {
                    return Err(failed(format!("the events of {}", object.key))(error));
                }
            };
            let events = events.items.into_iter();
            let events: Vec<Event> = events.filter(|event| about.concerns(event)).collect();
            let text = latest(&events, &object.uid, seen.now);
            Ok::<_, ReconcileError>(text.map(|text| (object.key, text)))
        }
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// An object, and which warnings about it count.
struct Asked {
    object: ObjectRef,
    about: About,
}

/// Which warnings about an object count.
#[derive(Clone, Copy)]
enum About {
    /// All.
    Everything,
    /// Failures to grow: a bound volume may have older warnings, from the time before it was bound.
    Growth,
}

impl About {
    fn concerns(self, event: &Event) -> bool {
        const FAILED: &str = "ResizeFailed";
        match self {
            Self::Everything => true,
            Self::Growth => {
                let reason = event.reason.as_deref();
                reason.is_some_and(|reason| reason.ends_with(FAILED))
            }
        }
    }
}

/// The objects about which there may be a warning.
fn objects(seen: &Seen<'_>) -> Vec<Asked> {
    let Some(set) = seen.stateful_set else {
        return Vec::new();
    };
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
    let ordinals = 0..replicas.unwrap_or(0);
    let is_old = |since: i64| seen.now - since >= OBSTACLE_MIN_AGE_SECONDS;
    let is_missing = |at: i32| !seen.pods.contains_key(&at);
    let of_set = ordinals.clone().any(is_missing).then(|| ObjectRef {
        key: ObjectKey::new("StatefulSet", seen.names.stateful_set()),
        uid: set.metadata.uid.clone().unwrap_or_default(),
    });
    let of_pods = seen.pods.iter().filter(|(at, pod)| {
        let waits = !pod.running && !pod.terminating && pod.trouble.is_none();
        waits && ordinals.contains(at) && pod.never_ready_since.is_some_and(is_old)
    });
    let of_pods = of_pods.map(|(at, pod)| ObjectRef {
        key: ObjectKey::new("Pod", seen.names.pod(*at)),
        uid: pod.uid.clone(),
    });
    let of_pods = of_pods.take(OBSTACLE_OBJECTS_MAX_COUNT);
    let all = of_set.into_iter().chain(of_pods).map(|object| Asked {
        object,
        about: About::Everything,
    });
    all.chain(claims(seen, |at| ordinals.contains(&at)))
        .collect()
}

/// Claims that are not bound for a while, and claims whose volume has not grown.
fn claims(seen: &Seen<'_>, is_in_use: impl Fn(i32) -> bool) -> Vec<Asked> {
    let is_old = |disk: &ObservedDisk| seen.now - disk.created >= OBSTACLE_MIN_AGE_SECONDS;
    let about = |disk: &ObservedDisk| match disk.actual_bytes {
        None => is_old(disk).then_some(About::Everything),
        Some(_) => disk.is_growing().then_some(About::Growth),
    };
    let disks = seen.disks.iter().filter(|(at, _)| is_in_use(**at));
    let asked = disks.filter_map(|(at, disk)| {
        let object = ObjectRef {
            key: ObjectKey::new("PersistentVolumeClaim", seen.names.disk_claim(*at)),
            uid: disk.uid.clone(),
        };
        let about = about(disk)?;
        Some(Asked { object, about })
    });
    asked.take(OBSTACLE_OBJECTS_MAX_COUNT).collect()
}

/// The message of the latest event about the object with this UID that is not too old.
fn latest(events: &[Event], uid: &str, now: i64) -> Option<String> {
    let own = events
        .iter()
        .filter(|event| event.involved_object.uid.as_deref() == Some(uid));
    let (at, event) = own
        .map(|event| (last_seen(event), event))
        .max_by_key(|(at, _)| *at)?;
    let message = event.message.as_deref()?.trim();
    let is_recent = now - at <= OBSTACLE_EVENT_MAX_AGE_SECONDS;
    (is_recent && !message.is_empty()).then(|| message.to_owned())
}

/// When an event was last seen, seconds since 1970. The two APIs write it into different fields.
fn last_seen(event: &Event) -> i64 {
    let series = event.series.as_ref();
    let of_series = series.and_then(|series| series.last_observed_time.as_ref());
    let last = event.last_timestamp.as_ref();
    let times = [
        of_series.map(|time| time.0.as_second()),
        last.map(|time| time.0.as_second()),
        event.event_time.as_ref().map(|time| time.0.as_second()),
    ];
    times.into_iter().flatten().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(uid: &str, seconds: i64, message: &str) -> Event {
        let at = format!("1970-01-01T00:{:02}:{:02}Z", seconds / 60, seconds % 60);
        let event = json!({
            "metadata": {}, "involvedObject": {"uid": uid}, "lastTimestamp": at,
            "message": message,
        });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn the_latest_recent_event_about_the_object_counts() {
        let events = [
            event("u", 10, "first"),
            event("u", 30, "last"),
            event("u", 20, "second"),
            event("former", 50, "of a former object"),
        ];
        assert_eq!(latest(&events, "u", 60).as_deref(), Some("last"));
        assert_eq!(latest(&events, "other", 60), None);
        let late = 31 + OBSTACLE_EVENT_MAX_AGE_SECONDS;
        assert_eq!(latest(&events, "u", late), None);
    }

    #[test]
    fn events_are_read_only_about_what_is_not_as_it_should_be() {
        let set = json!({"metadata": {"uid": "s"}, "spec": {
            "replicas": 2, "serviceName": "x", "selector": {}, "template": {},
        }});
        let set: StatefulSet = serde_json::from_value(set).unwrap();
        let up = || ObservedPod {
            running: true,
            ready: true,
            ..ObservedPod::default()
        };
        let bound = || ObservedDisk {
            actual_bytes: Some(1),
            ..ObservedDisk::default()
        };
        let mut pods = BTreeMap::from([(0, up()), (1, up())]);
        let mut disks = BTreeMap::from([(0, bound()), (1, bound())]);
        let asked = |pods: &BTreeMap<_, _>, disks: &BTreeMap<_, _>| {
            let seen = Seen {
                names: ClusterNames("events"),
                stateful_set: Some(&set),
                pods,
                disks,
                now: 100,
            };
            let objects = objects(&seen).into_iter();
            objects
                .map(|asked| asked.object.key.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(asked(&pods, &disks), Vec::<String>::new());
        pods.remove(&1);
        assert_eq!(asked(&pods, &disks), ["StatefulSet events"]);
        pods.insert(
            1,
            ObservedPod {
                never_ready_since: Some(10),
                ..ObservedPod::default()
            },
        );
        disks.insert(
            1,
            ObservedDisk {
                created: 10,
                ..ObservedDisk::default()
            },
        );
        let waiting = ["Pod events-1", "PersistentVolumeClaim data-events-1"];
        assert_eq!(asked(&pods, &disks), waiting);
        pods.get_mut(&1).unwrap().never_ready_since = Some(95);
        disks.get_mut(&1).unwrap().created = 95;
        assert_eq!(asked(&pods, &disks), Vec::<String>::new(), "young");
        disks.insert(
            1,
            ObservedDisk {
                requested_bytes: 2,
                ..bound()
            },
        );
        let growing = ["PersistentVolumeClaim data-events-1"];
        assert_eq!(asked(&pods, &disks), growing);
    }

    #[test]
    fn only_failed_growth_counts_for_a_volume_that_grows() {
        let reasons = [
            "ProvisioningFailed",
            "VolumeResizeFailed",
            "FileSystemResizeFailed",
        ];
        let counts = reasons.map(|reason| {
            let event = Event {
                reason: Some(reason.to_owned()),
                ..Event::default()
            };
            let is_asked = About::Everything.concerns(&event);
            (is_asked, About::Growth.concerns(&event))
        });
        assert_eq!(counts, [(true, false), (true, true), (true, true)]);
    }
}
