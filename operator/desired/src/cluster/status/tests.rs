use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lograft_crds::LogClusterSpec;
use lograft_crds::log_cluster::Blocked;

use super::*;
use crate::ObjectKey;
use crate::cluster::observed::{ObservedDisk, ObservedPod};
use crate::cluster::outcome::{Step, StepFailure};
use crate::cluster::view::{ClusterView, ObservedCheck, ObservedNode, ObservedNote};
use crate::cluster::wait::Progress;

pub(super) const NOW: i64 = 1_800_000_000;

fn raw(status: Option<LogClusterStatus>) -> LogCluster {
    let mut raw = LogCluster::new("events", LogClusterSpec::default());
    raw.metadata.namespace = Some("prod".to_owned());
    raw.metadata.uid = Some("u".to_owned());
    raw.status = status;
    raw
}

/// The status after a plan with these waits at `now`, on top of `old`.
fn status_at(now: i64, old: &LogClusterStatus, waits: &[Wait]) -> LogClusterStatus {
    status_of(now, old, waits, &Outcome::default())
}

fn status_of(
    now: i64,
    old: &LogClusterStatus,
    waits: &[Wait],
    outcome: &Outcome,
) -> LogClusterStatus {
    let raw = raw(Some(old.clone()));
    let cluster = ValidCluster::new(&raw).unwrap();
    let observed = Observed {
        now_unix_seconds: now,
        ..Observed::default()
    };
    let plan = Plan {
        waits: waits.to_vec(),
        ..Plan::default()
    };
    next(&raw, &cluster, &observed, &plan, outcome)
}

fn since(status: &LogClusterStatus, at: usize) -> i64 {
    status.blocked[at].since.0.as_second()
}

fn nodes_started(count: usize, why: &str) -> Wait {
    Wait::NodesStarted {
        count,
        first: "events-0".to_owned(),
        why: Some(why.to_owned()),
    }
}

fn pod_ready(pod: &str) -> Wait {
    Wait::PodReady {
        pod: pod.to_owned(),
    }
}

fn condition<'a>(status: &'a LogClusterStatus, kind: &str) -> &'a Condition {
    let mut conditions = status.conditions.iter();
    conditions.find(|c| c.type_ == kind).unwrap()
}

#[test]
fn the_time_stays_while_counts_and_texts_change() {
    let first = status_at(NOW, &LogClusterStatus::default(), &[nodes_started(3, "a")]);
    assert_eq!((first.blocked.len(), since(&first, 0)), (1, NOW));
    let second = status_at(NOW + 60, &first, &[nodes_started(2, "b")]);
    assert_eq!(since(&second, 0), NOW);
    let Blocked {
        reason, message, ..
    } = &second.blocked[0];
    assert_eq!(reason, "NodesNotStarted");
    assert!(
        message.contains("2 node(s)") && message.ends_with(": b"),
        "{message}"
    );
    let sentence = second.blocked_on.unwrap();
    assert!(sentence.starts_with(message.as_str()), "{sentence}");
    assert!(
        sentence.ends_with(", since 2027-01-15T08:00:00Z"),
        "{sentence}"
    );
}

#[test]
fn another_subject_or_reason_has_its_own_time() {
    let first = status_at(NOW, &LogClusterStatus::default(), &[pod_ready("events-0")]);
    assert_eq!(first.blocked[0].subject.as_deref(), Some("Pod events-0"));
    let waits = [pod_ready("events-1"), pod_ready("events-0")];
    let second = status_at(NOW + 60, &first, &waits);
    assert_eq!((since(&second, 0), since(&second, 1)), (NOW + 60, NOW));
    let third = status_at(NOW + 90, &second, &[Intervention::UpdatePaused.into()]);
    assert_eq!(since(&third, 0), NOW + 90);
    // A wait that has ended a while ago starts again with a new time.
    let fourth = status_at(NOW + 400, &third, &[pod_ready("events-0")]);
    assert_eq!(since(&fourth, 0), NOW + 400);
}

#[test]
fn waits_that_alternate_keep_their_times() {
    let mut status = LogClusterStatus::default();
    for step in 0..20 {
        let wait = if step % 2 == 0 {
            pod_ready("events-0")
        } else {
            Intervention::UpdatePaused.into()
        };
        status = status_at(NOW + 30 * step, &status, &[wait]);
        assert_eq!(since(&status, 0), NOW + 30 * (step % 2), "step {step}");
        assert_eq!(status.blocked.len(), 1);
    }
    assert_eq!(status.recently_blocked.len(), 1);
    let status = status_at(NOW + 900, &status, &[]);
    let ended = &status.recently_blocked;
    assert_eq!(ended.len(), 1, "{ended:?}");
    let status = status_at(NOW + 2000, &status, &[]);
    assert_eq!(status.recently_blocked, []);
}

#[test]
fn each_reason_and_subject_is_listed_once_and_progress_is_not() {
    let key = ObjectKey::new("Service", "events-client");
    let progress = Progress::CreatingObject { key }.into();
    let waits = [progress, nodes_started(3, "a"), nodes_started(2, "b")];
    let status = status_at(NOW, &LogClusterStatus::default(), &waits);
    assert_eq!(status.blocked.len(), 1);
    assert!(status.blocked[0].message.contains("3 node(s)"));
    let many: Vec<Wait> = (0..99)
        .map(|at| pod_ready(&format!("events-{at}")))
        .collect();
    let status = status_at(NOW, &LogClusterStatus::default(), &many);
    assert_eq!(status.blocked.len(), 16);
    let status = status_at(NOW, &status, &[]);
    assert_eq!((status.blocked, status.blocked_on), (Vec::new(), None));
}

/// A status in the form of operators that wrote only the sentence.
fn former(reason: &str, message: &str, sentence: &str) -> LogClusterStatus {
    let mut status = status_at(NOW, &LogClusterStatus::default(), &[]);
    let condition = status
        .conditions
        .iter_mut()
        .find(|c| c.type_ == "Progressing");
    let condition = condition.unwrap();
    reason.clone_into(&mut condition.reason);
    message.clone_into(&mut condition.message);
    status.blocked = Vec::new();
    status.blocked_on = Some(sentence.to_owned());
    status
}

#[test]
fn the_time_of_a_former_status_is_kept() {
    let sentence = "waits for 3 node(s) to start and answer, the first is 0: no route, since \
                    2027-01-15T07:00:00Z";
    let message = "3 node(s) to start and answer, the first is 0: no route";
    let old = former("Bootstrapping", message, sentence);
    let status = status_at(NOW, &old, &[nodes_started(2, "no route")]);
    assert_eq!(since(&status, 0), NOW - 3600);
    // Then it is kept by reason.
    let status = status_at(NOW + 60, &status, &[nodes_started(1, "no answer")]);
    assert_eq!(since(&status, 0), NOW - 3600);
    // The time of another wait is not taken over.
    let status = status_at(NOW, &old, &[pod_ready("events-1")]);
    assert_eq!(since(&status, 0), NOW);
    for broken in ["", "waits for x", "waits for x, since then", "since"] {
        let old = former("Bootstrapping", "x", broken);
        let status = status_at(NOW, &old, &[nodes_started(2, "no route")]);
        assert_eq!(since(&status, 0), NOW, "{broken:?}");
    }
}

fn failed(step: Step) -> Outcome {
    let error = "the Secret is immutable".to_owned();
    Outcome {
        failures: vec![StepFailure { step, error }],
        ..Outcome::default()
    }
}

#[test]
fn a_failed_renewal_is_a_condition_of_certificates() {
    let issuing = [Progress::IssuingCertificates.into()];
    let old = LogClusterStatus::default();
    for step in [Step::IssueCertificates, Step::WriteSecret] {
        let outcome = failed(step("events-node-tls".to_owned()));
        let status = status_of(NOW, &old, &issuing, &outcome);
        let certificates = condition(&status, "CertificatesReady");
        assert_eq!(certificates.status, "False");
        assert_eq!(certificates.reason, "RenewalFailed");
        assert!(
            certificates.message.contains("immutable"),
            "{certificates:?}"
        );
        assert_eq!(condition(&status, "Progressing").reason, "CreatingObjects");
        let blocked = &status.blocked[0];
        assert_eq!(blocked.reason, "RenewalFailed");
        assert_eq!(blocked.subject.as_deref(), Some("Secret events-node-tls"));
        assert_eq!(outcome.api_failures().count(), 1);
    }
    // It is no failure of certificates if another object could not be written.
    let outcome = failed(Step::Apply(ObjectKey::new("Service", "events-client")));
    let status = status_of(NOW, &old, &[], &outcome);
    assert_eq!(condition(&status, "CertificatesReady").reason, "Issued");
    assert_eq!(status.blocked[0].reason, "StepFailed");
}

#[test]
fn an_expired_certificate_outranks_its_failed_renewal() {
    let name = "events-0".to_owned();
    let expired = [Progress::ExpiredCertificate { name }.into()];
    let outcome = failed(Step::WriteSecret("events-node-tls".to_owned()));
    let status = status_of(NOW, &LogClusterStatus::default(), &expired, &outcome);
    assert_eq!(condition(&status, "CertificatesReady").reason, "Expired");
    assert_eq!(status.blocked[0].reason, "RenewalFailed");
}

#[test]
fn the_most_important_check_of_a_node_degrades_the_cluster() {
    let check = |text: &str| ObservedCheck {
        text: text.to_owned(),
        next_step: "grow the disk".to_owned(),
    };
    let raw = raw(Some(LogClusterStatus {
        bootstrapped: true,
        ..LogClusterStatus::default()
    }));
    let cluster = ValidCluster::new(&raw).unwrap();
    let mut observed = Observed {
        now_unix_seconds: NOW,
        view: Some(ClusterView {
            meta_leader: Some(1),
            checks: vec![check("node 3 (events-2) rejects writes"), check("b")],
            ..ClusterView::default()
        }),
        ..Observed::default()
    };
    let status = |observed: &Observed| {
        let (plan, outcome) = (Plan::default(), Outcome::default());
        next(&raw, &cluster, observed, &plan, &outcome)
    };
    let degraded = status(&observed);
    let degraded = condition(&degraded, "Degraded");
    assert_eq!(
        (&*degraded.status, &*degraded.reason),
        ("True", "CheckRaised")
    );
    let message = "node 3 (events-2) rejects writes; next step: grow the disk (and 1 more checks)";
    assert_eq!(degraded.message, message);
    observed.view.as_mut().unwrap().checks.clear();
    let whole = status(&observed);
    assert_eq!(condition(&whole, "Degraded").reason, "Whole");
}

#[test]
fn an_invalid_spec_changes_the_readiness_only() {
    let mut raw = raw(Some(status_at(NOW, &LogClusterStatus::default(), &[])));
    raw.spec.replicas = 100;
    let error = ValidCluster::new(&raw).unwrap_err();
    let status = invalid(&raw, &error, NOW + 60);
    let kinds: Vec<&str> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
    let all = [
        "Ready",
        "Progressing",
        "Degraded",
        "CertificatesReady",
        "StorageReady",
        "Paused",
    ];
    assert_eq!(kinds, all);
    let ready = condition(&status, "Ready");
    assert_eq!((&*ready.status, &*ready.reason), ("False", "InvalidSpec"));
    assert_eq!(status.blocked[0].reason, "InvalidSpec");
    let sentence = status.blocked_on.clone().unwrap();
    assert!(
        sentence.contains("spec.replicas must be between 1 and 99, got 100"),
        "{sentence}"
    );
    assert_eq!(condition(&status, "Paused").reason, "Running");
}

/// A bootstrapped cluster of one node, described by it.
fn one_node(reachable: bool, pod: Option<ObservedPod>) -> Observed {
    let node = ObservedNode {
        reachable,
        ..ObservedNode::member(1, "events-0".to_owned())
    };
    Observed {
        view: Some(ClusterView {
            nodes: vec![node],
            meta_leader: Some(1),
            ..ClusterView::default()
        }),
        ..one_pod(pod)
    }
}

/// A StatefulSet of one pod, and the pod if it exists.
pub(super) fn one_pod(pod: Option<ObservedPod>) -> Observed {
    let spec = StatefulSetSpec {
        replicas: Some(1),
        ..StatefulSetSpec::default()
    };
    Observed {
        now_unix_seconds: NOW,
        stateful_set: Some(StatefulSet {
            spec: Some(spec),
            ..StatefulSet::default()
        }),
        pods: pod.into_iter().map(|pod| (0, pod)).collect(),
        ..Observed::default()
    }
}

fn bootstrapped() -> LogClusterStatus {
    LogClusterStatus {
        bootstrapped: true,
        ..LogClusterStatus::default()
    }
}

fn status_seen(old: &LogClusterStatus, observed: &Observed) -> LogClusterStatus {
    let raw = raw(Some(old.clone()));
    let cluster = ValidCluster::new(&raw).unwrap();
    next(
        &raw,
        &cluster,
        observed,
        &Plan::default(),
        &Outcome::default(),
    )
}

#[test]
fn a_node_is_lost_only_if_its_pod_is_not_being_replaced() {
    let degraded = |observed: &Observed| {
        let status = status_seen(&bootstrapped(), observed);
        condition(&status, "Degraded").reason.clone()
    };
    let pod = ObservedPod::default;
    let replaced = [
        None,
        Some(ObservedPod {
            terminating: true,
            gone_by: Some(NOW + 60),
            ..pod()
        }),
        Some(ObservedPod {
            never_ready_since: Some(NOW - 30),
            ..pod()
        }),
        Some(ObservedPod {
            ready: true,
            ready_since: Some(NOW - 2),
            ..pod()
        }),
    ];
    for pod in replaced {
        let found = degraded(&one_node(false, pod.clone()));
        assert_eq!(found, "SingleReplica", "{pod:?}");
    }
    let lost = [
        ObservedPod {
            terminating: true,
            gone_by: Some(NOW - 60),
            ..pod()
        },
        ObservedPod {
            never_ready_since: Some(NOW - 600),
            ..pod()
        },
        ObservedPod {
            ready: true,
            ready_since: Some(NOW - 60),
            ..pod()
        },
        // It was ready, and is not any more.
        pod(),
    ];
    for pod in lost {
        let found = degraded(&one_node(false, Some(pod.clone())));
        assert_eq!(found, "NodeLost", "{pod:?}");
        assert_eq!(degraded(&one_node(true, Some(pod))), "SingleReplica");
    }
    // A pod that cannot be created is not about to start.
    let mut refused = one_node(false, None);
    let text = "create Pod events-0 in StatefulSet events failed error: exceeded quota";
    let set = ObjectKey::new("StatefulSet", "events");
    refused.warnings.insert(set, text.to_owned());
    assert_eq!(degraded(&refused), "NodeLost");
    let status = status_seen(&bootstrapped(), &refused);
    assert_eq!(condition(&status, "Ready").reason, "PodBlocked");
    assert_eq!(status.blocked[0].reason, "PodNotCreated");
}

#[test]
fn a_group_without_a_leader_has_lost_its_majority_after_a_time() {
    let pod = ObservedPod {
        ready: true,
        ..ObservedPod::default()
    };
    let mut observed = one_node(true, Some(pod));
    observed.view.as_mut().unwrap().meta_leader = None;
    let first = status_seen(&bootstrapped(), &observed);
    assert_eq!(condition(&first, "Degraded").status, "False");
    assert_eq!(condition(&first, "Ready").status, "False");
    assert_eq!(first.blocked[0].reason, "NoLeader");
    observed.now_unix_seconds = NOW + 10;
    let later = status_seen(&first, &observed);
    assert_eq!(condition(&later, "Degraded").reason, "QuorumLost");
    assert_eq!(
        (&*later.blocked[0].reason, since(&later, 0)),
        ("QuorumLost", NOW)
    );
    observed.now_unix_seconds = NOW + 70;
    let last = status_seen(&later, &observed);
    assert_eq!(
        (&*last.blocked[0].reason, since(&last, 0)),
        ("QuorumLost", NOW)
    );
}

#[test]
fn nothing_is_whole_where_nobody_was_asked() {
    let unseen = Observed {
        view: None,
        ..one_node(true, None)
    };
    let status = status_seen(&bootstrapped(), &unseen);
    let degraded = condition(&status, "Degraded");
    assert_eq!(degraded.reason, "DataPlaneUnreachable");
    assert!(degraded.message.ends_with("no node runs"), "{degraded:?}");
    let status = status_seen(&LogClusterStatus::default(), &unseen);
    assert_eq!(condition(&status, "Degraded").reason, "NotCreated");
}

#[test]
fn records_that_exist_once_are_said_without_an_alarm() {
    let mut seen = one_node(true, None);
    let said = |seen: &Observed| {
        let status = status_seen(&bootstrapped(), seen);
        let degraded = condition(&status, "Degraded").clone();
        assert_eq!(degraded.status, "False", "{degraded:?}");
        assert_eq!(warnings(&status, NOW + 100_000), []);
        let notes = status.notes.iter().map(|note| note.message.clone());
        let notes: Vec<String> = notes.collect();
        (degraded.reason, degraded.message, notes)
    };
    let (reason, message, notes) = said(&seen);
    assert_eq!((&*reason, notes.len()), ("SingleReplica", 0));
    assert_eq!(
        message,
        "the cluster has one node: every record exists once"
    );
    let view = seen.view.as_mut().unwrap();
    let second = ObservedNode {
        reachable: true,
        ..ObservedNode::member(2, "events-1".to_owned())
    };
    view.nodes.push(second);
    assert_eq!(said(&seen).0, "Whole");
    let note = |check: &str, text: &str| ObservedNote {
        check: check.to_owned(),
        text: text.to_owned(),
        next_step: "create topics".to_owned(),
    };
    let view = seen.view.as_mut().unwrap();
    view.notes = vec![note("NODE_WITHOUT_REPLICAS", "node 2 has no replicas")];
    let (reason, _, notes) = said(&seen);
    assert_eq!(reason, "Whole", "an empty node puts nothing at risk");
    let expected = "node 2 has no replicas; next step: create topics";
    assert_eq!(notes, [expected]);
    let view = seen.view.as_mut().unwrap();
    let single = "topic t has partitions with one replica";
    view.notes
        .insert(0, note("PARTITION_SINGLE_REPLICA", single));
    let (reason, message, notes) = said(&seen);
    assert_eq!((&*reason, &*message), ("SingleReplica", single));
    assert_eq!(notes.len(), 2);
    // They stay while no node answers.
    let status = status_seen(&bootstrapped(), &seen);
    seen.view = None;
    assert_eq!(status_seen(&status, &seen).notes, status.notes);
}

/// Reasons of the warnings at this age of the first wait.
fn warned(status: &LogClusterStatus, age: i64) -> Vec<String> {
    let found = warnings(status, since(status, 0) + age).into_iter();
    found.map(|warning| warning.reason).collect()
}

/// A claim that is waited for, and the reasons without and with a warning of Kubernetes.
struct ClaimCase {
    pod: ObservedPod,
    disk: ObservedDisk,
    wait: Wait,
    plain: &'static str,
    explained: &'static str,
}

const CLAIM: &str = "data-events-0";

fn claim_that_is_not_bound() -> ClaimCase {
    let unbound = "pod has unbound immediate PersistentVolumeClaims";
    ClaimCase {
        pod: ObservedPod {
            never_ready_since: Some(NOW - 60),
            unscheduled: Some(unbound.to_owned()),
            ..ObservedPod::default()
        },
        disk: ObservedDisk::default(),
        wait: Wait::ClaimBound {
            claim: CLAIM.to_owned(),
        },
        plain: "ClaimNotBound",
        explained: "ClaimNotProvisioned",
    }
}

fn claim_that_has_not_grown() -> ClaimCase {
    ClaimCase {
        pod: ObservedPod {
            ready: true,
            ..ObservedPod::default()
        },
        disk: ObservedDisk {
            requested_bytes: 2,
            actual_bytes: Some(1),
            ..ObservedDisk::default()
        },
        wait: Wait::ClaimGrown {
            claim: CLAIM.to_owned(),
        },
        plain: "ClaimNotGrown",
        explained: "GrowthRefused",
    }
}

#[test]
fn a_claim_that_cannot_be_bound_or_grown_needs_a_person_and_one_under_way_does_not() {
    let text = "storageclass.storage.k8s.io \"fast\" not found";
    for case in [claim_that_is_not_bound(), claim_that_has_not_grown()] {
        let ClaimCase {
            pod,
            disk,
            wait,
            plain,
            explained,
        } = case;
        let plan = Plan {
            waits: vec![wait],
            ..Plan::default()
        };
        let status_after = |old: &LogClusterStatus, seen: &Observed| {
            let raw = raw(Some(old.clone()));
            let cluster = ValidCluster::new(&raw).unwrap();
            next(&raw, &cluster, seen, &plan, &Outcome::default())
        };
        let mut seen = one_pod(Some(pod));
        seen.disks.insert(0, disk);
        let before = status_after(&LogClusterStatus::default(), &seen);
        assert_eq!(counts(&before, [plain, explained]), [1, 0]);
        assert!(!warned(&before, 60).contains(&plain.to_owned()), "{plain}");
        let key = ObjectKey::new("PersistentVolumeClaim", CLAIM.to_owned());
        seen.warnings.insert(key, text.to_owned());
        seen.now_unix_seconds += 20;
        let after = status_after(&before, &seen);
        assert_eq!(counts(&after, [plain, explained]), [0, 1]);
        let mut blocked = after.blocked.iter();
        let entry = blocked.find(|it| it.reason == explained).unwrap();
        assert!(entry.message.ends_with(text), "{entry:?}");
        assert_eq!(
            entry.since.0.as_second(),
            NOW,
            "the wait is the same one as before"
        );
        assert!(warned(&after, 20).contains(&explained.to_owned()));
        assert!(condition(&after, "StorageReady").message.ends_with(text));
    }
}

/// Number of entries in `status.blocked` with each reason.
fn counts(status: &LogClusterStatus, reasons: [&str; 2]) -> [usize; 2] {
    reasons.map(|reason| {
        let with_reason = status.blocked.iter().filter(|it| it.reason == reason);
        with_reason.count()
    })
}

#[test]
fn a_wait_that_should_end_by_itself_needs_a_person_when_it_does_not() {
    let claim = || "data-events-0".to_owned();
    let rows: [(Wait, Option<i64>); 5] = [
        (Wait::ClaimBound { claim: claim() }, Some(1800)),
        (Wait::ClaimDeleted { claim: claim() }, Some(1800)),
        (Wait::FormerSetDeleted, Some(1800)),
        (Wait::ClaimGrown { claim: claim() }, Some(21_600)),
        (Intervention::UpdatePaused.into(), None),
    ];
    for (wait, patience) in rows {
        let status = status_at(
            NOW,
            &LogClusterStatus::default(),
            std::slice::from_ref(&wait),
        );
        let late = patience.unwrap_or(1_000_000);
        assert_eq!(warned(&status, late - 1), Vec::<String>::new(), "{wait:?}");
        let expected = usize::from(patience.is_some());
        assert_eq!(warned(&status, late).len(), expected, "{wait:?}");
        // The operator looks again when it is due, and not for it afterwards.
        let left = next_warning_seconds(&status, NOW + late - 7);
        assert_eq!(left, patience.map(|_| 7), "{wait:?}");
        assert_eq!(next_warning_seconds(&status, NOW + late), None, "{wait:?}");
    }
}

#[test]
fn what_needs_a_person_is_warned_of_once_it_lasts() {
    let broken = Intervention::BrokenPod {
        pod: "events-0".to_owned(),
        why: "crashes".to_owned(),
    };
    let waits = [broken.into(), pod_ready("events-1")];
    let status = status_at(NOW, &LogClusterStatus::default(), &waits);
    assert_eq!(warnings(&status, NOW + 9), []);
    let found = warnings(&status, NOW + 10);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].reason, "RolloutStuck");
    assert_eq!(found[0].subject.as_deref(), Some("Pod events-0"));
    let lost = ObservedPod::default();
    let status = status_seen(&bootstrapped(), &one_node(false, Some(lost)));
    let found = warnings(&status, NOW + 10);
    let found: Vec<&str> = found.iter().map(|warning| &*warning.reason).collect();
    assert_eq!(found, ["NodeLost"]);
}
