//! A pod as Kubernetes reports it. Only the container of the node says whether the node runs; other
//! containers, which somebody else may have injected, only explain why a pod is not ready.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lograft_crds::limits::{
    CRASHES_MIN_COUNT, CRASHES_OVER_AFTER_SECONDS, OBSTACLE_TEXT_MAX_BYTES, TROUBLE_TEXT_MAX_BYTES,
    UNREADY_AT_START_MAX_SECONDS,
};
use lograft_crds::names::{
    ANNOTATION_DRAINING_SINCE, ANNOTATION_KUBECTL_RESTART, ANNOTATION_ROLLOUT_HASH, CONTAINER,
};
use lograft_operator_desired::cluster::ObservedPod;
use lograft_operator_desired::{cut_words, end_words};

/// Label of a pod of a StatefulSet: the revision that it was created from.
const LABEL_REVISION: &str = "controller-revision-hash";
/// Reasons for which a container waits without trouble. One that has just crashed for the first
/// time may be on its way; if it is not, its restarts say so.
const USUAL_WAITS: [&str; 3] = ["ContainerCreating", "PodInitializing", "CrashLoopBackOff"];

/// The pod at `now`, seconds since 1970.
pub(super) fn observe(pod: &Pod, zone_key: &str, now: i64) -> ObservedPod {
    let metadata = &pod.metadata;
    let annotation = |key: &str| metadata.annotations.as_ref()?.get(key).cloned();
    let status = pod.status.clone().unwrap_or_default();
    let ready = ready_condition(&status).filter(|ready| ready.status == "True");
    let is_ready = ready.is_some();
    let never_ready_since = never_ready_since(pod, &status);
    // A pod that was ready may be on its way back. One that never was has just failed.
    let restarts = if never_ready_since.is_some() {
        0
    } else {
        CRASHES_MIN_COUNT
    };
    let patience = Patience { now, restarts };
    let mut containers = status.container_statuses.iter().flatten();
    let node = containers.find(|container| container.name == CONTAINER);
    let state = node.and_then(|container| container.state.as_ref());
    let is_running = state.is_some_and(|state| state.running.is_some());
    ObservedPod {
        uid: metadata.uid.clone().unwrap_or_default(),
        hash: annotation(ANNOTATION_ROLLOUT_HASH),
        revision: metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(LABEL_REVISION).cloned()),
        restarted_at: annotation(ANNOTATION_KUBECTL_RESTART),
        ready: is_ready,
        ready_since: ready
            .and_then(|ready| ready.last_transition_time.as_ref())
            .map(seconds),
        never_ready_since,
        running: is_running,
        address: status.pod_ip.clone().filter(|ip| !ip.is_empty()),
        terminating: metadata.deletion_timestamp.is_some(),
        // Kubernetes adds the grace period to it.
        gone_by: metadata.deletion_timestamp.as_ref().map(seconds),
        unscheduled: unscheduled(&status),
        trouble: if is_ready {
            node.and_then(|container| crash_loop(container, patience))
        } else {
            trouble(&status, patience)
        },
        draining_since: annotation(ANNOTATION_DRAINING_SINCE).and_then(|text| text.parse().ok()),
        owner_uid: metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid.clone()),
        host: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        // Kubernetes 1.35 and later copy two topology labels of the host to the pod.
        zone: metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(zone_key).cloned()),
    }
}

/// When exits of a container count as trouble.
#[derive(Clone, Copy)]
struct Patience {
    /// Seconds since 1970.
    now: i64,
    /// Restarts from which on they do.
    restarts: i32,
}

/// The condition `Ready` of a pod, if it has one.
fn ready_condition(status: &PodStatus) -> Option<&PodCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "Ready")
}

fn seconds(time: &Time) -> i64 {
    time.0.as_second()
}

/// Why no host takes a pod.
fn unscheduled(status: &PodStatus) -> Option<String> {
    let mut conditions = status.conditions.iter().flatten();
    let scheduled = conditions.find(|condition| condition.type_ == "PodScheduled")?;
    let why = scheduled.message.as_ref().or(scheduled.reason.as_ref());
    let is_refused = scheduled.status == "False";
    why.filter(|_| is_refused)
        .map(|why| cut_words(why, OBSTACLE_TEXT_MAX_BYTES))
}

/// Since when a pod that has never been ready could have been.
fn never_ready_since(pod: &Pod, status: &PodStatus) -> Option<i64> {
    let created = pod.metadata.creation_timestamp.as_ref().map_or(0, seconds);
    let Some(ready) = ready_condition(status) else {
        return Some(created);
    };
    if ready.status == "True" {
        return None;
    }
    // The condition is false from the start of the pod on. If it changed later, it was true in
    // between.
    let started = status.start_time.as_ref().map_or(created, seconds);
    let changed = ready.last_transition_time.as_ref().map_or(started, seconds);
    (changed - started <= UNREADY_AT_START_MAX_SECONDS).then_some(started)
}

/// Why a pod is not ready, if one of its containers says so: that of the node first, then those
/// that run before it, then those beside it.
fn trouble(status: &PodStatus, patience: Patience) -> Option<String> {
    let container_trouble = |status| container_trouble(status, patience);
    let containers = || status.container_statuses.iter().flatten();
    let mut node = containers().filter(|status| status.name == CONTAINER);
    let others = containers().filter(|status| status.name != CONTAINER);
    let before = status.init_container_statuses.iter().flatten();
    if let Some(text) = node.find_map(container_trouble) {
        return Some(text);
    }
    before.chain(others).find_map(|status| {
        let text = container_trouble(status)?;
        Some(format!("container {}: {text}", status.name))
    })
}

/// Why a container does not run, or does not stay up.
fn container_trouble(container: &ContainerStatus, patience: Patience) -> Option<String> {
    if let Some(text) = crash_loop(container, patience) {
        return Some(text);
    }
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let is_usual = USUAL_WAITS.contains(&reason);
    let message = one_line(waiting.message.as_deref().unwrap_or_default());
    (!is_usual).then(|| with_message(reason, &cut_words(&message, TROUBLE_TEXT_MAX_BYTES)))
}

/// The last exit of a container that crashes. The text is the same throughout a crash loop, in
/// which the state alternates between running, ready, terminated and waiting: it is over once the
/// container has run for a time.
fn crash_loop(container: &ContainerStatus, patience: Patience) -> Option<String> {
    let Patience { now, restarts } = patience;
    let state = container.state.as_ref();
    let last_state = container.last_state.as_ref();
    let ended = state.and_then(|state| state.terminated.as_ref());
    let exit = ended.or_else(|| last_state.and_then(|state| state.terminated.as_ref()))?;
    let running = state.and_then(|state| state.running.as_ref());
    let ran_since = running.and_then(|running| running.started_at.as_ref());
    let is_steady = ran_since.is_some_and(|at| now - seconds(at) >= CRASHES_OVER_AFTER_SECONDS);
    // An init container that has done its work is ready, and has ended.
    let has_finished = ended.is_some() && container.ready;
    if container.restart_count < restarts || is_steady || has_finished {
        return None;
    }
    let what = if container.restart_count < CRASHES_MIN_COUNT {
        "has ended"
    } else {
        "crashes again and again"
    };
    let reason = exit.reason.as_deref().unwrap_or("Error");
    let text = format!("{what}: exit code {} ({reason})", exit.exit_code);
    // Without a message of its own, it is the end of the container's output: the cause is its end.
    let message = one_line(exit.message.as_deref().unwrap_or_default());
    Some(with_message(
        &text,
        &end_words(&message, TROUBLE_TEXT_MAX_BYTES),
    ))
}

fn with_message(text: &str, message: &str) -> String {
    if message.is_empty() {
        return text.to_owned();
    }
    format!("{text}: {message}")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    const START: &str = "2026-01-01T00:00:00Z";

    /// A minute after the start.
    fn now() -> i64 {
        START.parse::<Timestamp>().unwrap().as_second() + 60
    }

    fn pod(status: &Value) -> ObservedPod {
        let pod = json!({"metadata": {"name": "events-0"}, "status": status});
        observe(&serde_json::from_value(pod).unwrap(), "zone", now())
    }

    fn container(name: &str, state: &Value, restarts: i32) -> Value {
        let mut container = json!({
            "name": name, "image": "i", "imageID": "i", "ready": false, "restartCount": restarts,
            "state": state,
        });
        if restarts > 0 {
            let exit = json!({"exitCode": 3, "reason": "Error", "message": "bad  port"});
            container["lastState"] = json!({"terminated": exit});
        }
        container
    }

    fn running() -> Value {
        json!({"running": {"startedAt": START}})
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({"waiting": {"reason": reason, "message": message}})
    }

    #[test]
    fn only_the_container_of_the_node_says_whether_the_node_runs() {
        let crash = waiting("CrashLoopBackOff", "back-off 5m0s");
        // Kubelet sorts by name: injected containers come before and after it.
        for other in ["istio-proxy", "zz-agent"] {
            for field in ["containerStatuses", "initContainerStatuses"] {
                let node = container("node", &running(), 0);
                let mut status = json!({"podIP": "10.0.0.1", "containerStatuses": [node]});
                let mut all = status[field].as_array().cloned().unwrap_or_default();
                all.push(container(other, &crash, 9));
                all.sort_by_key(|status| status["name"].as_str().unwrap().to_owned());
                status[field] = json!(all);
                let seen = pod(&status);
                assert!(seen.running && seen.address.is_some(), "{other} in {field}");
                let trouble = seen.trouble.unwrap();
                assert!(
                    trouble.starts_with(&format!("container {other}: crashes")),
                    "{trouble}"
                );
            }
        }
        let mut status = json!({"containerStatuses": [
            container("istio-proxy", &running(), 0), container("node", &crash, 9),
        ]});
        assert!(!pod(&status).running);
        // Without its container a pod does not run a node.
        status["containerStatuses"].as_array_mut().unwrap().pop();
        assert!(!pod(&status).running);
    }

    #[test]
    fn a_crash_loop_has_one_text_in_all_of_its_states() {
        let ended =
            json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "bad port"}});
        let states = [
            running(),
            ended,
            waiting("CrashLoopBackOff", "back-off 10s"),
        ];
        for state in states {
            let seen = pod(&json!({"containerStatuses": [container("node", &state, 7)]}));
            let text = "crashes again and again: exit code 3 (Error): bad port";
            assert_eq!(seen.trouble.as_deref(), Some(text), "{state}");
        }
        // From the first exit on, while the pod has never been ready.
        for state in [running(), waiting("CrashLoopBackOff", "back-off 10s")] {
            let mut raw = json!({"containerStatuses": [container("node", &state, 1)]});
            let text = "has ended: exit code 3 (Error): bad port";
            assert_eq!(pod(&raw).trouble.as_deref(), Some(text), "{state}");
            // A pod that was ready may be on its way back.
            raw["startTime"] = json!("2025-01-01T00:00:00Z");
            raw["conditions"] = json!([
                {"type": "Ready", "status": "False", "lastTransitionTime": START},
            ]);
            assert_eq!(pod(&raw).trouble, None, "{state}");
        }
    }

    #[test]
    fn a_crash_loop_is_over_once_the_container_has_run_for_a_time() {
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": START});
        let node = container("node", &running(), 7);
        let raw = json!({"status": {"conditions": [ready], "containerStatuses": [node]}});
        let raw: Pod = serde_json::from_value(raw).unwrap();
        let trouble_after = |seconds: i64| {
            let seen = observe(&raw, "zone", now() - 60 + seconds);
            assert!(seen.ready);
            seen.trouble.is_some()
        };
        assert!(trouble_after(CRASHES_OVER_AFTER_SECONDS - 1));
        assert!(!trouble_after(CRASHES_OVER_AFTER_SECONDS));
    }

    #[test]
    fn the_words_of_the_scheduler_are_kept() {
        let condition = |status: &str| {
            let message = "0/3 nodes are available: 3 Insufficient cpu.";
            let condition = json!({
                "type": "PodScheduled", "status": status, "reason": "Unschedulable",
                "message": message,
            });
            pod(&json!({"conditions": [condition]})).unscheduled
        };
        assert!(condition("False").unwrap().ends_with("Insufficient cpu."));
        assert_eq!(condition("True"), None);
    }

    #[test]
    fn usual_waits_are_no_trouble_and_messages_are_cut_between_words() {
        for usual in USUAL_WAITS {
            let state = waiting(usual, "");
            let seen = pod(&json!({"containerStatuses": [container("node", &state, 0)]}));
            assert_eq!(seen.trouble, None);
        }
        let message = "word ".repeat(100);
        let state = waiting("ImagePullBackOff", &message);
        let seen = pod(&json!({"containerStatuses": [container("node", &state, 0)]}));
        let trouble = seen.trouble.unwrap();
        assert!(
            trouble.starts_with("ImagePullBackOff: word word"),
            "{trouble}"
        );
        assert!(trouble.ends_with("word ..."), "{trouble}");
    }

    #[test]
    fn a_pod_was_ready_if_its_condition_changed_after_its_start() {
        let at = |status: &str, changed: &str| {
            let seen = pod(&json!({"startTime": START, "conditions": [
                {"type": "Ready", "status": status, "lastTransitionTime": changed},
            ]}));
            (seen.ready, seen.never_ready_since.is_none())
        };
        assert_eq!(at("False", START), (false, false));
        assert_eq!(at("False", "2026-01-01T00:00:01Z"), (false, false));
        assert_eq!(at("False", "2026-01-01T00:01:00Z"), (false, true));
        assert_eq!(at("True", "2026-01-01T00:00:09Z"), (true, true));
        assert_eq!(pod(&json!({})).never_ready_since, Some(0));
    }
}
