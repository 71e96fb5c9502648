//! What keeps pods from running, as far as Kubernetes says so: refusals of the API server, the
//! words of the scheduler, of the provisioner and of kubelet.

use lograft_crds::limits::{OBSTACLE_MIN_AGE_SECONDS, OBSTACLE_TEXT_MAX_BYTES};
use lograft_crds::names::ClusterNames;

use crate::ObjectKey;
use crate::cluster::observed::{Observed, ObservedPod};
use crate::cluster::wait::{Intervention, Obstacle, ObstacleKind, Wait};
use crate::text::cut_words;

/// One obstacle per pod of the StatefulSet at most, the first in the order of a pod's life. A pod
/// that one of `waits` already explains has none.
pub(super) fn find(names: ClusterNames<'_>, observed: &Observed, waits: &[Wait]) -> Vec<Obstacle> {
    let is_explained = |name: &str| {
        waits.iter().any(|wait| match wait {
            Wait::Intervention(Intervention::BrokenPod { pod, .. }) => pod == name,
            _ => false,
        })
    };
    let ordinals = (0..observed.replicas()).filter(|at| !is_explained(&names.pod(*at)));
    let obstacle = |at| of_pod(names, observed, at);
    ordinals.filter_map(obstacle).collect()
}

/// The obstacle of one pod.
pub(super) fn of_pod(names: ClusterNames<'_>, observed: &Observed, at: i32) -> Option<Obstacle> {
    let (kind, why) = match observed.pods.get(&at) {
        None => (ObstacleKind::Created, refusal(names, observed, at)?),
        Some(pod) => unready(names, observed, at, pod)?,
    };
    Some(Obstacle {
        kind,
        pod: names.pod(at),
        claim: names.disk_claim(at),
        why: cut_words(&why, OBSTACLE_TEXT_MAX_BYTES),
    })
}

/// Disks that Kubernetes has tried to grow and cannot. Their pods run, so these explain nothing
/// about pods.
pub(super) fn growths(names: ClusterNames<'_>, observed: &Observed) -> Vec<Obstacle> {
    let disks = observed.disks.iter();
    let growing = disks.filter(|(_, disk)| disk.is_growing());
    let obstacle = |at: i32| {
        let claim = names.disk_claim(at);
        let key = ObjectKey::new("PersistentVolumeClaim", claim.clone());
        let why = observed.warnings.get(&key)?;
        Some(Obstacle {
            kind: ObstacleKind::Grown,
            pod: names.pod(at),
            claim,
            why: cut_words(why, OBSTACLE_TEXT_MAX_BYTES),
        })
    };
    growing.filter_map(|(at, _)| obstacle(*at)).collect()
}

/// Whether an obstacle says why a claim is waited for.
pub(super) fn explain(obstacles: &[Obstacle], wait: &Wait) -> bool {
    let (kind, claim) = match wait {
        Wait::ClaimBound { claim } => (ObstacleKind::Bound, claim),
        Wait::ClaimGrown { claim } => (ObstacleKind::Grown, claim),
        _ => return false,
    };
    let mut obstacles = obstacles.iter();
    obstacles.any(|obstacle| obstacle.kind == kind && obstacle.claim == *claim)
}

/// Why the StatefulSet cannot create a pod, or its PVC.
fn refusal(names: ClusterNames<'_>, observed: &Observed, at: i32) -> Option<String> {
    const CAUSE: &str = "failed error: ";
    let set = ObjectKey::new("StatefulSet", names.stateful_set());
    let warning = observed.warnings.get(&set)?;
    // "create Pod data-0 in StatefulSet data failed error: the cause". Its name may be the start of
    // another one's.
    let pod = names.pod(at);
    let mut words = warning.split(|c: char| !(c.is_alphanumeric() || "-.".contains(c)));
    words.any(|word| word == pod).then_some(())?;
    let cause = warning.split_once(CAUSE);
    Some(cause.map_or_else(|| warning.clone(), |(_, cause)| cause.to_owned()))
}

/// What keeps an existing pod from being ready.
fn unready(
    names: ClusterNames<'_>,
    observed: &Observed,
    at: i32,
    pod: &ObservedPod,
) -> Option<(ObstacleKind, String)> {
    let is_old = |since: i64| observed.now_unix_seconds - since >= OBSTACLE_MIN_AGE_SECONDS;
    if pod.ready || pod.terminating || !pod.never_ready_since.is_none_or(is_old) {
        return None;
    }
    let warning = |kind: &str, name: String| observed.warnings.get(&ObjectKey::new(kind, name));
    let claim = || warning("PersistentVolumeClaim", names.disk_claim(at)).cloned();
    if let Some(why) = &pod.unscheduled {
        // The scheduler only says that the PVC is not bound.
        let is_bound = observed
            .disks
            .get(&at)
            .is_some_and(|disk| disk.actual_bytes.is_some());
        let unbound = if is_bound { None } else { claim() };
        return Some(match unbound {
            Some(why) => (ObstacleKind::Bound, why),
            None => (ObstacleKind::Scheduled, why.clone()),
        });
    }
    let kubelet = || {
        warning("Pod", names.pod(at))
            .filter(|_| !pod.running)
            .cloned()
    };
    let why = pod.trouble.clone().or_else(kubelet)?;
    Some((ObstacleKind::Started, why))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, one_pod};
    use super::*;
    use crate::cluster::observed::ObservedDisk;

    fn waiting() -> ObservedPod {
        ObservedPod {
            never_ready_since: Some(NOW - 60),
            ..ObservedPod::default()
        }
    }

    fn sentences(observed: &Observed) -> Vec<String> {
        let found = find(ClusterNames("events"), observed, &[]);
        found.iter().map(ToString::to_string).collect()
    }

    fn warn(observed: &mut Observed, kind: &str, name: &str, text: &str) {
        observed
            .warnings
            .insert(ObjectKey::new(kind, name), text.to_owned());
    }

    #[test]
    fn a_refused_pod_has_the_words_of_the_api_server() {
        let mut seen = one_pod(None);
        assert_eq!(sentences(&seen), Vec::<String>::new());
        let text = "create Pod events-0 in StatefulSet events failed error: pods \"events-0\" is \
                    forbidden: exceeded quota: small";
        warn(&mut seen, "StatefulSet", "events", text);
        let expected = "pod events-0 cannot be created: pods \"events-0\" is forbidden: exceeded \
                        quota: small";
        assert_eq!(sentences(&seen), [expected]);
        let other = text.replace("events-0", "events-01");
        warn(&mut seen, "StatefulSet", "events", &other);
        assert_eq!(sentences(&seen), Vec::<String>::new());
    }

    #[test]
    fn a_pod_without_a_host_has_the_words_of_the_scheduler_or_of_the_provisioner() {
        let mut pod = waiting();
        pod.unscheduled = Some("0/3 nodes are available: 3 Insufficient cpu.".to_owned());
        let mut seen = one_pod(Some(pod));
        seen.disks.insert(0, ObservedDisk::default());
        let scheduler = "pod events-0 cannot be scheduled: 0/3 nodes are available: 3 \
                         Insufficient cpu.";
        assert_eq!(sentences(&seen), [scheduler]);
        let text = "storageclass.storage.k8s.io \"fast\" not found";
        warn(&mut seen, "PersistentVolumeClaim", "data-events-0", text);
        assert_eq!(
            sentences(&seen),
            [format!("PVC data-events-0 cannot be bound: {text}")]
        );
        seen.disks.get_mut(&0).unwrap().actual_bytes = Some(1);
        assert_eq!(sentences(&seen), [scheduler]);
    }

    #[test]
    fn a_pod_with_a_host_has_the_words_of_kubelet() {
        let mut seen = one_pod(Some(waiting()));
        warn(
            &mut seen,
            "Pod",
            "events-0",
            "MountVolume.SetUp failed: secret not found",
        );
        let expected = "pod events-0 does not start: MountVolume.SetUp failed: secret not found";
        assert_eq!(sentences(&seen), [expected]);
        let pod = seen.pods.get_mut(&0).unwrap();
        pod.trouble = Some("container check: crashes again and again".to_owned());
        let expected = "pod events-0 does not start: container check: crashes again and again";
        assert_eq!(sentences(&seen), [expected]);
    }

    #[test]
    fn a_young_or_ready_pod_and_one_that_is_explained_have_none() {
        let young = ObservedPod {
            never_ready_since: Some(NOW - 1),
            unscheduled: Some("unbound".to_owned()),
            ..ObservedPod::default()
        };
        assert_eq!(sentences(&one_pod(Some(young))), Vec::<String>::new());
        let crashing = ObservedPod {
            trouble: Some("crashes".to_owned()),
            ..waiting()
        };
        let seen = one_pod(Some(crashing.clone()));
        let broken = Intervention::BrokenPod {
            pod: "events-0".to_owned(),
            why: "crashes".to_owned(),
        };
        assert_eq!(find(ClusterNames("events"), &seen, &[broken.into()]), []);
        let ready = ObservedPod {
            ready: true,
            ..crashing
        };
        assert_eq!(sentences(&one_pod(Some(ready))), Vec::<String>::new());
    }
}
