//! Why a pod is not ready: the first cause in the order of a pod's life.

use lograft_crds::log_cluster::{BlockedReason, MemberStatus};
use lograft_crds::names::ClusterNames;

use super::obstacles;
use crate::cluster::observed::{NodeAnswer, Observed, ObservedPod};

/// A reason for programs, and a sentence. Where the cluster waits for the same, the reason is that
/// of `status.blocked`.
type Why = (&'static str, String);

/// Why the pod with this ordinal is not ready; none if it is.
pub(super) fn why(names: ClusterNames<'_>, observed: &Observed, ordinal: i32) -> Option<Why> {
    let pod = observed.pods.get(&ordinal);
    if pod.is_some_and(is_ready) {
        return None;
    }
    let obstacle = obstacles::of_pod(names, observed, ordinal);
    let obstacle = obstacle.map(|found| (found.kind.blocked_reason().name(), found.why));
    let why = obstacle.or_else(|| pod.and_then(of_pod)).or_else(|| {
        let name = names.pod(ordinal);
        pod.map(|_| of_node(observed, ordinal, &name))
    });
    let absent = || ("PodMissing", "the pod does not exist".to_owned());
    Some(why.unwrap_or_else(absent))
}

/// Since when it is ready, or is not, seconds since 1970.
pub(super) fn since(observed: &Observed, ordinal: i32, old: Option<&MemberStatus>) -> i64 {
    let pod = observed.pods.get(&ordinal).filter(|pod| is_ready(pod));
    if let Some(since) = pod.and_then(|pod| pod.ready_since) {
        return since;
    }
    let same = old.filter(|old| old.ready == pod.is_some());
    let since = same.and_then(|old| old.since.as_ref());
    since.map_or(observed.now_unix_seconds, |since| since.0.as_second())
}

const fn is_ready(pod: &ObservedPod) -> bool {
    pod.ready && !pod.terminating
}

/// The reason that Kubernetes gives.
fn of_pod(pod: &ObservedPod) -> Option<Why> {
    let (reason, why) = if pod.terminating {
        ("PodStopping", "the pod is being stopped".to_owned())
    } else if let Some(why) = &pod.unscheduled {
        (BlockedReason::PodNotScheduled.name(), why.clone())
    } else if pod.host.is_none() {
        ("PodPending", "the pod has no host yet".to_owned())
    } else if let Some(why) = &pod.trouble {
        (BlockedReason::PodNotStarted.name(), why.clone())
    } else if !pod.running {
        let why = "the container of the node has not started yet";
        ("PodStarting", why.to_owned())
    } else {
        return None;
    };
    Some((reason, why))
}

/// The reason that the node in a running pod gives, or others give for it.
fn of_node(observed: &Observed, ordinal: i32, name: &str) -> Why {
    let node = observed.view.as_ref().and_then(|view| view.node_of(name));
    let waits_for = node.map_or("", |node| node.waits_for.as_str());
    match observed.answers.get(&ordinal) {
        _ if !waits_for.is_empty() => ("NodeWaits", waits_for.to_owned()),
        Some(NodeAnswer::Silent(why)) => ("NodeSilent", why.clone()),
        Some(NodeAnswer::Empty) => {
            let why = "its disk is empty: it has not joined the cluster yet";
            ("NodeNotJoined", why.to_owned())
        }
        Some(NodeAnswer::Member { .. }) | None => {
            let why = "its readiness probe has not succeeded yet";
            ("ProbePending", why.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::NOW;
    use super::*;
    use crate::cluster::view::{ClusterView, ObservedNode};

    const NAMES: ClusterNames<'_> = ClusterNames("events");

    fn observed(pod: Option<ObservedPod>) -> Observed {
        Observed {
            now_unix_seconds: NOW,
            pods: pod.into_iter().map(|pod| (0, pod)).collect(),
            ..Observed::default()
        }
    }

    fn running() -> ObservedPod {
        ObservedPod {
            running: true,
            host: Some("host-a".to_owned()),
            never_ready_since: Some(NOW - 3),
            ..ObservedPod::default()
        }
    }

    fn reason(observed: &Observed) -> Option<&'static str> {
        why(NAMES, observed, 0).map(|(reason, _)| reason)
    }

    #[test]
    fn each_step_in_the_life_of_a_pod_has_its_reason() {
        let pod = |change: fn(&mut ObservedPod)| {
            let mut pod = running();
            change(&mut pod);
            reason(&observed(Some(pod)))
        };
        assert_eq!(reason(&observed(None)), Some("PodMissing"));
        assert_eq!(pod(|pod| pod.terminating = true), Some("PodStopping"));
        assert_eq!(pod(|pod| pod.host = None), Some("PodPending"));
        let refused = pod(|pod| pod.unscheduled = Some("0/3 hosts".to_owned()));
        assert_eq!(refused, Some("PodNotScheduled"));
        let crashed = pod(|pod| pod.trouble = Some("exit 1".to_owned()));
        assert_eq!(crashed, Some("PodNotStarted"));
        assert_eq!(pod(|pod| pod.running = false), Some("PodStarting"));
        assert_eq!(pod(|_| ()), Some("ProbePending"));
        assert_eq!(pod(|pod| pod.ready = true), None);
    }

    #[test]
    fn a_node_says_itself_what_it_waits_for() {
        let mut seen = observed(Some(running()));
        seen.answers
            .insert(0, NodeAnswer::Silent("timeout".to_owned()));
        assert_eq!(
            why(NAMES, &seen, 0),
            Some(("NodeSilent", "timeout".to_owned()))
        );
        seen.answers.insert(0, NodeAnswer::Empty);
        assert_eq!(reason(&seen), Some("NodeNotJoined"));
        let mut node = ObservedNode::member(1, "events-0".to_owned());
        node.waits_for = "the disk is older".to_owned();
        seen.view = Some(ClusterView {
            nodes: vec![node],
            ..ClusterView::default()
        });
        let waits = ("NodeWaits", "the disk is older".to_owned());
        assert_eq!(why(NAMES, &seen, 0), Some(waits));
    }

    #[test]
    fn a_state_keeps_its_start() {
        let ready = ObservedPod {
            ready: true,
            ready_since: Some(NOW - 50),
            ..running()
        };
        let member = |ready, since| MemberStatus {
            ready,
            since: crate::time::time(since),
            ..serde_json::from_str(r#"{"name": "events-0"}"#).unwrap()
        };
        let at = |pod: ObservedPod, old: Option<&MemberStatus>| since(&observed(Some(pod)), 0, old);
        assert_eq!(at(ready.clone(), None), NOW - 50);
        assert_eq!(at(ready, Some(&member(false, NOW - 90))), NOW - 50);
        assert_eq!(at(running(), None), NOW);
        assert_eq!(at(running(), Some(&member(true, NOW - 90))), NOW);
        assert_eq!(at(running(), Some(&member(false, NOW - 90))), NOW - 90);
    }
}
