//! A running cluster whose spec becomes invalid: its certificates do not run out.

use lograft_crds::Period;
use lograft_crds::log_cluster::MaintenanceWindow;
use lograft_crds::names::ANNOTATION_ROLLOUT_WAVE;
use lograft_operator_desired::cluster::{
    Outcome, Plan, SecretPlan, ValidCluster, plan_certificates, status,
};

use crate::converge::{Sim, running};

const DAY: i64 = 24 * 3600;

fn valid(sim: &Sim) -> ValidCluster {
    let error = ValidCluster::new(&sim.cluster).unwrap_err();
    ValidCluster::for_certificates(&sim.cluster, &error).unwrap()
}

/// Whether the plan does nothing but write Secrets.
fn is_renewal(plan: &Plan) -> bool {
    let rest = Plan {
        secrets: Vec::new(),
        events: Vec::new(),
        ..plan.clone()
    };
    rest.is_empty() && !plan.secrets.is_empty()
}

#[test]
fn an_invalid_spec_does_not_stop_the_renewal_of_certificates() {
    type Change = fn(&mut Sim);
    let changes: [(&str, Change); 5] = [
        ("the annotation lograft.io/rollout-wave", |sim| {
            let wave = (ANNOTATION_ROLLOUT_WAVE.to_owned(), "first".to_owned());
            sim.cluster.metadata.annotations = Some([wave].into());
        }),
        ("spec.log.maxBatchSize", |sim| {
            sim.cluster.spec.log.max_batch_size = Some("1".into());
        }),
        ("spec.update.maintenanceWindows.duration", |sim| {
            let window = serde_json::json!({"start": "02:30", "duration": "1m"});
            let window: MaintenanceWindow = serde_json::from_value(window).unwrap();
            sim.cluster.spec.update.maintenance_windows = vec![window];
        }),
        ("spec.replicas", |sim| sim.cluster.spec.replicas = 100),
        ("spec.tls.renewBefore", |sim| {
            sim.cluster.spec.tls.renew_before = Some(Period("9999h".to_owned()));
        }),
    ];
    for (field, change) in changes {
        let mut sim = running();
        change(&mut sim);
        let cluster = valid(&sim);
        let plan = plan_certificates(&cluster, &sim.observed);
        assert!(plan.is_empty(), "{field}: {plan:#?}");
        let outcome = Outcome::default();
        let next = status::next(&sim.cluster, &cluster, &sim.observed, &plan, &outcome);
        let first = &next.blocked[0];
        assert_eq!(first.reason, "InvalidSpec", "{field}");
        assert!(first.message.contains(field), "{first:?}");
        let ready = next.conditions.iter().find(|it| it.type_ == "Ready");
        assert_eq!(ready.unwrap().reason, "InvalidSpec", "{field}");
        sim.observed.now_unix_seconds += 61 * DAY;
        let plan = plan_certificates(&cluster, &sim.observed);
        assert!(is_renewal(&plan), "{field}: {plan:#?}");
        let issued = plan.secrets.iter().map(|secret| secret.issue.len());
        // Three nodes, the operator and the first user.
        assert_eq!(issued.sum::<usize>(), 5, "{field}");
        assert!(plan.secrets.iter().all(|secret: &SecretPlan| !secret.is_ca));
        assert!(plan.requeue_seconds < 60, "{field}");
    }
}

#[test]
fn a_new_cluster_with_an_invalid_spec_gets_nothing() {
    let mut sim = running();
    sim.cluster.spec.replicas = 100;
    sim.cluster.status.as_mut().unwrap().bootstrapped = false;
    let error = ValidCluster::new(&sim.cluster).unwrap_err();
    assert_eq!(ValidCluster::for_certificates(&sim.cluster, &error), None);
}

#[test]
fn a_paused_cluster_stays_paused() {
    let mut sim = running();
    sim.cluster.spec.replicas = 100;
    sim.cluster.spec.paused = true;
    sim.observed.now_unix_seconds += 61 * DAY;
    assert!(plan_certificates(&valid(&sim), &sim.observed).is_empty());
}
