//! Edits by others: what they added is removed, what they need stays, and pods that were created
//! from an edited template are replaced.

use lograft_operator_desired::ObjectKey;
use lograft_operator_desired::cluster::{Observed, ObservedMetadata};
use serde_json::{Value, json};

use crate::converge::{Sim, running};

/// Edits the object of this kind whose name has this ending.
fn edit(observed: &mut Observed, kind: &str, ending: &str, edit: impl FnOnce(&mut Value)) {
    let mut live = observed.live.iter_mut();
    let found = live.find(|(key, _)| key.kind == kind && key.name.ends_with(ending));
    edit(found.unwrap().1);
}

fn template(set: &mut Value) -> &mut Value {
    &mut set["spec"]["template"]["spec"]
}

fn events(sim: &Sim) -> Vec<String> {
    let events = sim.plan().events.into_iter();
    events.map(|event| event.text).collect()
}

type Edit = fn(&mut Value);

/// Kind and end of the name of an object, an edit of it, and the path of what it adds.
const EDITS: [(&str, &str, Edit, &str); 10] = [
    (
        "Service",
        "-client",
        |live| live["spec"]["selector"]["team"] = json!("a"),
        "spec.selector.team",
    ),
    (
        "Service",
        "-nodes",
        |live| live["spec"]["selector"]["team"] = json!("a"),
        "spec.selector.team",
    ),
    (
        "Service",
        "-client",
        |live| live["spec"]["externalIPs"] = json!(["10.0.0.1"]),
        "spec.externalIPs",
    ),
    (
        "StatefulSet",
        "lograft",
        |live| {
            let env = template(live)["containers"][0]["env"].as_array_mut();
            env.unwrap().insert(0, json!({"name": "X", "value": "1"}));
        },
        "spec.template.spec.containers[node].env[X]",
    ),
    (
        "StatefulSet",
        "lograft",
        |live| template(live)["nodeSelector"] = json!({"disk": "none"}),
        "spec.template.spec.nodeSelector",
    ),
    (
        "StatefulSet",
        "lograft",
        |live| template(live)["initContainers"] = json!([{"name": "wait", "image": "x"}]),
        "spec.template.spec.initContainers",
    ),
    (
        "ConfigMap",
        "-peers",
        |live| live["data"]["extra"] = json!("x"),
        "data.extra",
    ),
    (
        "PodDisruptionBudget",
        "-nodes",
        |live| {
            let spec = live["spec"].as_object_mut().unwrap();
            spec.remove("maxUnavailable");
            spec.insert("minAvailable".to_owned(), json!(3));
        },
        "spec.minAvailable",
    ),
    (
        "NetworkPolicy",
        "-nodes",
        |live| {
            let rules = live["spec"]["ingress"].as_array_mut().unwrap();
            rules.push(json!({"from": [{"podSelector": {}}]}));
        },
        "spec.ingress[3]",
    ),
    (
        "StatefulSet",
        "lograft",
        |live| {
            // `kubectl set env` on a variable that has a source.
            let env = &mut template(live)["containers"][0]["env"][0];
            *env = json!({"name": "POD_NAME", "value": "x"});
        },
        "spec.template.spec.containers[node].env[POD_NAME].value",
    ),
];

#[test]
fn what_others_add_to_an_object_is_removed() {
    for (kind, ending, change, path) in EDITS {
        let mut sim = running();
        let before = sim.observed.live.clone();
        edit(&mut sim.observed, kind, ending, change);
        let plan = sim.plan();
        assert_eq!((plan.mend.len(), plan.apply.len()), (1, 0), "{path}");
        let text = &events(&sim)[0];
        assert!(text.starts_with("reverting a change of"), "{text}");
        assert!(text.contains(path), "{text}");
        sim.converge();
        for (key, live) in &sim.observed.live {
            let spec = |live: &Value| (live["spec"].clone(), live["data"].clone());
            assert_eq!(spec(live), spec(&before[key]), "{path}");
        }
        assert_eq!(sim.replaced, [""; 0], "{path}");
    }
}

#[test]
fn what_the_api_server_and_others_need_stays() {
    let mut sim = running();
    edit(&mut sim.observed, "Service", "-client", |live| {
        live["metadata"]["annotations"]["example.org/note"] = json!("kept");
        live["metadata"]["labels"]["team"] = json!("a");
        live["metadata"]["finalizers"] = json!(["example.org/wait"]);
        live["spec"]["clusterIP"] = json!("10.0.0.1");
        live["spec"]["sessionAffinity"] = json!("None");
    });
    edit(&mut sim.observed, "StatefulSet", "lograft", |live| {
        let metadata = &mut live["spec"]["template"]["metadata"];
        metadata["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!("2026-01-01");
        let spec = template(live);
        spec["dnsPolicy"] = json!("ClusterFirst");
        spec["containers"][0]["terminationMessagePath"] = json!("/dev/termination-log");
        spec["containers"][0]["livenessProbe"]["successThreshold"] = json!(1);
    });
    edit(&mut sim.observed, "ServiceAccount", "-node", |live| {
        live["imagePullSecrets"] = json!([{"name": "registry"}]);
    });
    assert!(sim.plan().is_empty(), "{:#?}", sim.plan());
}

#[test]
fn an_event_names_who_has_edited() {
    let mut sim = running();
    edit(&mut sim.observed, "Service", "-client", |live| {
        live["spec"]["selector"]["team"] = json!("a");
        live["metadata"]["managedFields"] = json!([{
            "manager": "kubectl-edit", "operation": "Update",
            "fieldsV1": {"f:spec": {"f:selector": {"f:team": {}}}},
        }]);
    });
    let text = "reverting a change of Service lograft-client by kubectl-edit: spec.selector.team";
    assert_eq!(events(&sim), [text]);
    // A change of the spec is no edit.
    let mut sim = running();
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    assert!(events(&sim).iter().all(|text| !text.contains("reverting")));
}

/// A pod that was created from the edited template has the rollout hash of the desired one.
#[test]
fn pods_from_an_edited_template_are_replaced_once_it_is_reverted() {
    let mut sim = running();
    let key = ObjectKey::new("StatefulSet", "lograft");
    let mut edited = sim.observed.live[&key]["spec"]["template"].clone();
    edited["spec"]["nodeSelector"] = json!({"disk": "none"});
    let desired = sim.observed.live[&key]["spec"]["template"].clone();
    sim.observed.live.get_mut(&key).unwrap()["spec"]["template"] = edited.clone();
    sim.observed
        .revisions
        .insert("lograft-2b".to_owned(), edited);
    // The desired template as another version of Kubernetes stores it.
    let mut same = desired;
    same["spec"]["dnsPolicy"] = json!("ClusterFirst");
    sim.observed.revisions.insert("lograft-1a".to_owned(), same);
    let revision = |name: &str| Some(name.to_owned());
    sim.observed.pods.get_mut(&0).unwrap().revision = revision("lograft-1a");
    let pod = sim.observed.pods.get_mut(&1).unwrap();
    (pod.revision, pod.ready, pod.running) = (revision("lograft-2b"), false, false);
    // No pod is created from the edited template by the operator's hand.
    let plan = sim.plan();
    assert!(plan.stop.is_none() && plan.drain.is_empty() && plan.delete.is_empty());
    sim.converge();
    assert_eq!(sim.replaced, ["lograft-1"]);
}

#[test]
fn an_immutable_config_map_is_made_again() {
    let mut sim = running();
    edit(&mut sim.observed, "ConfigMap", "-config", |live| {
        live["immutable"] = json!(true);
    });
    let plan = sim.plan();
    assert_eq!(plan.delete.len(), 1);
    assert_eq!(plan.delete[0].object.key.name, "lograft-config");
    assert!(plan.apply.is_empty() && plan.mend.is_empty());
    sim.converge();
    let config = &sim.observed.live[&ObjectKey::new("ConfigMap", "lograft-config")];
    assert!(config["immutable"].is_null() && config["data"].is_object());
}

fn metadata(kind: &str, labels: &Value, owners: &Value) -> ObservedMetadata {
    ObservedMetadata {
        uid: format!("uid of {kind}"),
        resource_version: "7".to_owned(),
        labels: serde_json::from_value(labels.clone()).unwrap(),
        hash: None,
        owners: serde_json::from_value(owners.clone()).unwrap(),
    }
}

#[test]
fn labels_and_owners_are_put_back() {
    let mut sim = running();
    let other = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "backup", "uid": "b"}]);
    for (kind, name) in [
        ("Secret", "lograft-ca"),
        ("Pod", "lograft-1"),
        ("PersistentVolumeClaim", "data-lograft-1"),
    ] {
        let mut found = metadata(kind, &json!({"lograft.io/cluster": "other"}), &other);
        found.hash = Some("made from the template".to_owned());
        let key = ObjectKey::new(kind, name);
        sim.observed.metadata.insert(key, found);
    }
    assert_eq!(sim.plan().mend.len(), 3);
    assert_eq!(sim.plan().events.len(), 3);
    sim.converge();
    for found in sim.observed.metadata.values() {
        assert_eq!(found.labels["lograft.io/cluster"], "lograft");
        assert_eq!(found.labels["app.kubernetes.io/component"], "node");
    }
    let ca = &sim.observed.metadata[&ObjectKey::new("Secret", "lograft-ca")];
    assert_eq!(ca.owners.len(), 2);
    assert_eq!(
        ca.owners[1].uid,
        *sim.cluster.metadata.uid.as_ref().unwrap()
    );
    let pod = &sim.observed.metadata[&ObjectKey::new("Pod", "lograft-1")];
    assert_eq!(
        pod.owners.len(),
        1,
        "the StatefulSet adopts its pods itself"
    );
}

#[test]
fn a_pod_of_somebody_else_is_named_and_left_alone() {
    let mut sim = running();
    let job = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j",
        "controller": true}]);
    for (owners, owner) in [(json!([]), "somebody else"), (job, "Job j")] {
        let found = metadata("Pod", &json!({}), &owners);
        let key = ObjectKey::new("Pod", "lograft-1");
        sim.observed.metadata.insert(key, found);
        assert!(sim.plan().is_empty(), "{:#?}", sim.plan());
        let text = sim.wait_text();
        assert!(
            text.contains("Pod lograft-1") && text.contains(owner),
            "{text}"
        );
    }
}

/// A disk without labels may hold a cluster, so no ID is generated before it is known.
#[test]
fn no_identity_is_made_while_a_disk_has_no_labels() {
    let mut sim = Sim::new();
    let key = ObjectKey::new("PersistentVolumeClaim", "data-lograft-0");
    let found = metadata("PersistentVolumeClaim", &json!({}), &json!([]));
    sim.observed.metadata.insert(key.clone(), found);
    let plan = sim.plan();
    assert_eq!(
        plan.identity,
        lograft_operator_desired::cluster::Identity::Keep
    );
    assert_eq!(plan.mend[0].object.key, key);
}
