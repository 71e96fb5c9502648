//! The feature level of a new version is finalized after its time, and only in good health.

use lograft_crds::log_cluster::{FeatureLevelStatus, Finalize};
use lograft_operator_desired::cluster::{
    Ask, FeatureLevel, NodeState, Outcome, Plan, ValidCluster, status,
};

use crate::converge::{NOW, Sim, running};

/// A converged cluster whose nodes run 0.2.0 with level 1; level 0 is finalized. Its configuration
/// has no field above level 0.
fn upgraded() -> Sim {
    let mut sim = running();
    sim.cluster.spec.discovery.endpoints = false;
    sim.cluster.spec.discovery.gossip.enabled = false;
    sim.converge();
    for node in &mut sim.observed.view.as_mut().unwrap().nodes {
        "0.2.0".clone_into(&mut node.version);
        node.feature_level = FeatureLevel(1);
    }
    sim
}

/// One reconcile at this many seconds after the start, its status included.
fn reconcile(sim: &mut Sim, at: i64) -> Plan {
    sim.observed.now_unix_seconds = NOW + at;
    let plan = sim.plan();
    let valid = ValidCluster::new(&sim.cluster).unwrap();
    let outcome = Outcome::default();
    let next = status::next(&sim.cluster, &valid, &sim.observed, &plan, &outcome);
    sim.carry_out(&plan);
    sim.cluster.status = Some(next);
    plan
}

fn level(sim: &Sim) -> FeatureLevelStatus {
    let status = sim.cluster.status.as_ref().unwrap();
    status.feature_level.clone().unwrap()
}

fn since(sim: &Sim) -> Option<i64> {
    level(sim).stable_since.map(|time| time.0.as_second() - NOW)
}

fn finalizes(sim: &mut Sim, at: i64) -> bool {
    reconcile(sim, at)
        .ask
        .iter()
        .any(|ask| matches!(ask, Ask::FinalizeLevel { .. }))
}

#[test]
fn a_level_is_finalized_after_its_time() {
    let mut sim = upgraded();
    let plan = reconcile(&mut sim, 0);
    assert!(plan.is_empty(), "{plan:#?}");
    let reported = level(&sim);
    assert_eq!((reported.finalized, reported.available), (0, Some(1)));
    assert_eq!(reported.stable_version.as_deref(), Some("0.2.0"));
    let status = sim.cluster.status.clone().unwrap();
    let [blocked] = &*status.blocked else {
        panic!("{:?}", status.blocked)
    };
    assert_eq!(blocked.reason, "UpgradeNotFinalized");
    assert_eq!(
        blocked.message,
        "waiting for all nodes to run 0.2.0 in good health for 600 s, then feature level 1 is \
         finalized; until then the former version can be restored"
    );
    let progressing = status.conditions.iter().find(|c| c.type_ == "Progressing");
    assert_eq!(progressing.unwrap().reason, "Finalizing");
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    assert_eq!(ready.unwrap().status, "True");

    // Quiet until it is due: neither actions nor a reconcile every few seconds.
    let plan = reconcile(&mut sim, 590);
    assert!(plan.is_empty());
    assert_eq!(plan.requeue_seconds, 10);
    assert_eq!(since(&sim), Some(0), "the start is kept in status");

    let plan = reconcile(&mut sim, 600);
    let level_1 = FeatureLevel(1);
    assert_eq!(plan.ask, [Ask::FinalizeLevel { level: level_1 }]);
    let plan = reconcile(&mut sim, 603);
    assert_eq!(plan.ask, []);
    let [event] = &*plan.events else {
        panic!("{:?}", plan.events)
    };
    assert_eq!(event.reason, "LevelFinalized");
    assert_eq!(
        event.text,
        "finalized feature level 1: older versions no longer start"
    );
    // From level 1 on the file of a node may have newer fields, here those that need no restart.
    let plan = reconcile(&mut sim, 606);
    assert_eq!(plan.apply.len(), 1, "{plan:#?}");
    assert_eq!(plan.apply[0]["kind"], "ConfigMap");
    let plan = reconcile(&mut sim, 609);
    assert!(plan.is_empty() && plan.waits.is_empty(), "{plan:#?}");
    let reported = level(&sim);
    assert_eq!((reported.finalized, since(&sim)), (1, None));
    assert_eq!(reported.stable_version, None);
}

/// Each disturbance starts the time again, and each is one of its own.
#[test]
fn the_time_starts_again_after_a_disturbance() {
    type Change = fn(&mut Sim);
    let disturbances: [(&str, Change, Change); 8] = [
        (
            "a node runs another version",
            |sim| "0.2.1".clone_into(&mut view(sim).nodes[1].version),
            |sim| "0.2.0".clone_into(&mut view(sim).nodes[1].version),
        ),
        (
            "a node is of the former level",
            |sim| view(sim).nodes[1].feature_level = FeatureLevel(0),
            |sim| view(sim).nodes[1].feature_level = FeatureLevel(1),
        ),
        (
            "a node is not reachable",
            |sim| view(sim).nodes[2].reachable = false,
            |sim| view(sim).nodes[2].reachable = true,
        ),
        (
            "a pod is not ready",
            |sim| sim.observed.pods.get_mut(&0).unwrap().ready = false,
            |sim| sim.observed.pods.get_mut(&0).unwrap().ready = true,
        ),
        (
            "a partition has no leader",
            |sim| view(sim).partitions[0].leader = None,
            |sim| view(sim).partitions[0].leader = Some(1),
        ),
        (
            "a replica is not in sync",
            |sim| view(sim).partitions[0].replicas[0].in_sync = false,
            |sim| view(sim).partitions[0].replicas[0].in_sync = true,
        ),
        (
            "the metadata group has no leader",
            |sim| view(sim).meta_leader = None,
            |sim| view(sim).meta_leader = Some(1),
        ),
        (
            "a pod has another template",
            |sim| sim.observed.pods.get_mut(&0).unwrap().hash = Some("other".to_owned()),
            |sim| {
                let hash = sim.observed.hash().cloned();
                sim.observed.pods.get_mut(&0).unwrap().hash = hash;
            },
        ),
    ];
    for (what, disturb, restore) in disturbances {
        let mut sim = upgraded();
        sim.cluster.spec.update.paused = true;
        reconcile(&mut sim, 0);
        disturb(&mut sim);
        assert!(!finalizes(&mut sim, 700), "{what}");
        assert_eq!(since(&sim), None, "{what}");
        restore(&mut sim);
        assert!(!finalizes(&mut sim, 701), "{what}");
        assert_eq!(since(&sim), Some(701), "{what}");
        assert!(!finalizes(&mut sim, 1300), "{what}");
        assert!(finalizes(&mut sim, 1301), "{what}");
    }
}

fn view(sim: &mut Sim) -> &mut lograft_operator_desired::cluster::ClusterView {
    sim.observed.view.as_mut().unwrap()
}

#[test]
fn the_time_starts_again_when_all_nodes_change_their_version() {
    let mut sim = upgraded();
    reconcile(&mut sim, 0);
    for node in &mut view(&mut sim).nodes {
        "0.2.1".clone_into(&mut node.version);
    }
    assert!(!finalizes(&mut sim, 600));
    assert_eq!(since(&sim), Some(600));
}

/// Work of another lane delays the request; the time goes on.
#[test]
fn work_of_another_lane_delays_the_request_only() {
    let mut sim = upgraded();
    reconcile(&mut sim, 0);
    sim.cluster.spec.replicas = 2;
    let plan = reconcile(&mut sim, 600);
    assert_eq!(plan.ask, [Ask::Decommission { node_id: 3 }]);
    assert_eq!(view(&mut sim).nodes[2].state, NodeState::Draining);
    assert!(!finalizes(&mut sim, 603));
    assert_eq!(since(&sim), None, "a node that leaves starts it again");

    let mut sim = upgraded();
    reconcile(&mut sim, 0);
    sim.cluster.spec.log.partitions += 1;
    let plan = reconcile(&mut sim, 600);
    assert!(plan.ask.is_empty() && plan.apply.len() == 1, "{plan:#?}");
    assert_eq!(since(&sim), Some(0));
    assert!(finalizes(&mut sim, 603));
}

#[test]
fn without_a_wait_it_is_finalized_at_once() {
    let mut sim = upgraded();
    sim.cluster.spec.update.finalize_after_seconds = 0;
    assert!(finalizes(&mut sim, 0));
}

#[test]
fn a_paused_cluster_is_not_finalized() {
    let mut sim = upgraded();
    sim.cluster.spec.update.finalize_after_seconds = 0;
    sim.cluster.spec.paused = true;
    assert!(!finalizes(&mut sim, 0));
}

#[test]
fn in_manual_mode_status_names_the_command() {
    let mut sim = upgraded();
    sim.cluster.spec.update.finalize = Finalize::Manual;
    assert!(!finalizes(&mut sim, 0));
    assert!(!finalizes(&mut sim, 100_000));
    let status = sim.cluster.status.clone().unwrap();
    assert_eq!(status.blocked[0].reason, "UpgradeNotFinalized");
    assert_eq!(
        status.blocked[0].message,
        "the upgrade is not finalized: all nodes support feature level 1, the cluster uses feature \
         level 0; run `lograft cluster finalize`, after which no node can go back"
    );
    let progressing = status.conditions.iter().find(|c| c.type_ == "Progressing");
    assert_eq!(progressing.unwrap().reason, "NotFinalized");
    // Somebody runs the command.
    view(&mut sim).finalized_level = FeatureLevel(1);
    let plan = reconcile(&mut sim, 100_060);
    assert_eq!(plan.events[0].reason, "LevelFinalized");
    assert!(plan.waits.is_empty());
}

/// Nodes of 0.1.0 report no level: there is nothing to finalize.
#[test]
fn nodes_without_a_level_have_nothing_to_finalize() {
    let mut sim = running();
    sim.cluster.spec.update.finalize_after_seconds = 0;
    let plan = reconcile(&mut sim, 0);
    assert!(plan.is_empty() && plan.waits.is_empty());
    let reported = level(&sim);
    assert_eq!((reported.finalized, reported.available), (0, Some(0)));
}

/// A cluster that starts at level 1 has nothing to finalize, and no event says that it was.
#[test]
fn a_new_cluster_has_nothing_to_finalize() {
    let mut sim = upgraded();
    view(&mut sim).finalized_level = FeatureLevel(1);
    sim.cluster.status.as_mut().unwrap().feature_level = None;
    let plan = reconcile(&mut sim, 0);
    assert!(plan.is_empty() && plan.waits.is_empty());
    assert_eq!(level(&sim).finalized, 1);
}

/// No field is added to the configuration of a new cluster once its level is known: that would
/// restart all pods.
#[test]
fn the_pods_of_a_new_cluster_are_not_replaced_when_its_level_is_reported() {
    for (version, level) in [("0.1.0", 0), ("0.2.0", 1), ("0.3.0", 2)] {
        let mut sim = Sim::new();
        sim.cluster.spec.version = Some(version.to_owned());
        sim.first_level = FeatureLevel(level);
        sim.converge();
        let finalized = &sim.cluster.status.as_ref().unwrap().feature_level;
        assert_eq!(finalized.as_ref().unwrap().finalized, i64::from(level));
        assert!(sim.replaced.is_empty(), "{version}: {:?}", sim.replaced);
        let config = sim
            .observed
            .live
            .values()
            .find(|o| o["kind"] == "ConfigMap");
        let text = config.unwrap()["data"]["lograft-0.yaml"].as_str().unwrap();
        assert_eq!(text.contains("discovery:"), level > 0, "{version}");
    }
}

/// The configuration of the nodes depends on the finalized level: it is kept while no node answers.
#[test]
fn the_finalized_level_outlives_an_outage() {
    let mut sim = upgraded();
    view(&mut sim).finalized_level = FeatureLevel(1);
    reconcile(&mut sim, 0);
    sim.observed.view = None;
    reconcile(&mut sim, 60);
    let reported = level(&sim);
    assert_eq!((reported.finalized, reported.available), (1, None));
}

#[test]
fn the_wait_has_bounds() {
    let mut cluster = upgraded().cluster;
    for (seconds, is_valid) in [(-1, false), (0, true), (604_800, true), (604_801, false)] {
        cluster.spec.update.finalize_after_seconds = seconds;
        let checked = ValidCluster::new(&cluster);
        assert_eq!(checked.is_ok(), is_valid, "{seconds}");
        if let Err(error) = checked {
            assert!(
                error.to_string().contains("between 0 and 604800"),
                "{error}"
            );
        }
    }
}
