//! Requirements of the design on the objects, one by one.

use lograft_crds::LogCluster;
use lograft_crds::log_cluster::Seeds;
use lograft_operator_desired::cluster::Observed;
use serde_json::{Value, json};

use crate::{SAMPLES, build, object, sample, text};

fn pod_spec(name: &str) -> Value {
    let set = object(
        &build(&sample(name), &Observed::default()),
        "StatefulSet",
        "",
    );
    set["spec"]["template"]["spec"].clone()
}

#[test]
fn every_object_is_labelled_and_owned() {
    for name in SAMPLES {
        let cluster = sample(name);
        let objects = build(&cluster, &Observed::default()).objects().unwrap();
        assert!(objects.len() >= 7, "{name} has {} objects", objects.len());
        for object in objects {
            let metadata = &object["metadata"];
            let what = format!("{} {}", object["kind"], metadata["name"]);
            assert_eq!(metadata["namespace"], "prod", "{what}");
            assert_eq!(
                metadata["labels"]["lograft.io/cluster"],
                json!(cluster.metadata.name)
            );
            assert_eq!(
                metadata["labels"]["app.kubernetes.io/managed-by"],
                "lograft-operator"
            );
            let owner = &metadata["ownerReferences"][0];
            assert_eq!(owner["uid"], json!(cluster.metadata.uid), "{what}");
            assert_eq!(owner["kind"], "LogCluster", "{what}");
            assert_eq!(owner["controller"], true, "{what}");
        }
    }
}

/// PodSecurity's restricted profile, point by point.
#[test]
fn pods_pass_the_restricted_profile() {
    for name in SAMPLES {
        let pod = pod_spec(name);
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_ne!(security["runAsUser"], 0);
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        for absent in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
            assert!(pod[absent].is_null(), "{absent}");
        }
        for volume in pod["volumes"].as_array().unwrap() {
            let known = ["configMap", "secret", "projected"];
            let is_known = known.iter().any(|kind| volume[kind].is_object());
            assert!(is_known, "{volume}");
        }
        let containers = pod["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        let security = &containers[0]["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert!(security["privileged"].is_null());
        assert!(containers[0]["ports"][0]["hostPort"].is_null());
    }
}

/// The token is mounted explicitly, and permits what the Role says.
#[test]
fn pods_may_watch_endpoints_and_nothing_else() {
    let cluster = sample("minimal");
    let desired = build(&cluster, &Observed::default());
    let account = object(&desired, "ServiceAccount", "-node");
    assert_eq!(account["automountServiceAccountToken"], false);
    let pod = pod_spec("minimal");
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    let role = object(&desired, "Role", "-node");
    let verbs = ["get", "list", "watch"];
    let permission = json!({
        "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs,
    });
    assert_eq!(role["rules"], json!([permission]));
    let binding = object(&desired, "RoleBinding", "-node");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    assert_eq!(binding["subjects"][0]["name"], account["metadata"]["name"]);
    assert!(!text(&desired).contains("kind: ClusterRole"));
}

#[test]
fn without_endpoints_and_gossip_pods_have_neither_token_nor_key() {
    let mut cluster = sample("minimal");
    cluster.spec.discovery.endpoints = false;
    cluster.spec.discovery.gossip.enabled = false;
    let desired = build(&cluster, &Observed::default());
    let text = text(&desired);
    for absent in [
        "kind: Role",
        "serviceAccountToken",
        "gossip-keys",
        "discovery:",
    ] {
        assert!(!text.contains(absent), "{absent}");
    }
}

#[test]
fn seeds_are_those_of_the_spec() {
    let seeds = |seeds: Seeds| {
        let mut cluster = sample("minimal");
        cluster.spec.discovery.seeds = seeds;
        let desired = build(&cluster, &Observed::default());
        let text = desired.config.data.unwrap()["lograft-1.yaml"].clone();
        let config: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        serde_yaml::from_value::<Vec<String>>(config["seeds"].clone()).unwrap()
    };
    let others = [
        "lograft-0.lograft-nodes.prod.svc:9401",
        "lograft-2.lograft-nodes.prod.svc:9401",
    ];
    assert_eq!(seeds(Seeds::Pods), others);
    assert_eq!(seeds(Seeds::Service), ["lograft-nodes.prod.svc:9401"]);
    assert!(seeds(Seeds::None).is_empty());
}

#[test]
fn probes_use_the_health_port() {
    let node = pod_spec("minimal")["containers"][0].clone();
    let port = node["ports"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["name"] == "health");
    assert_eq!(port.unwrap()["containerPort"], 9403);
    for (probe, path) in [
        ("startupProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/healthz"),
    ] {
        assert_eq!(node[probe]["httpGet"]["path"], path);
        assert_eq!(node[probe]["httpGet"]["port"], "health");
    }
}

#[test]
fn pods_start_in_parallel_and_are_replaced_by_the_operator_only() {
    let desired = build(&sample("minimal"), &Observed::default());
    let spec = object(&desired, "StatefulSet", "")["spec"].clone();
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    assert_eq!(spec["updateStrategy"], json!({"type": "OnDelete"}));
    let nodes = object(&desired, "Service", "-nodes");
    assert_eq!(spec["serviceName"], nodes["metadata"]["name"]);
    assert_eq!(nodes["spec"]["clusterIP"], "None");
    assert_eq!(nodes["spec"]["publishNotReadyAddresses"], true);
}

#[test]
fn disks_are_retained_unless_the_spec_says_otherwise() {
    let policy = |name: &str| {
        let set = object(
            &build(&sample(name), &Observed::default()),
            "StatefulSet",
            "",
        );
        set["spec"]["persistentVolumeClaimRetentionPolicy"].clone()
    };
    assert_eq!(
        policy("minimal"),
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    assert_eq!(
        policy("development"),
        json!({"whenDeleted": "Delete", "whenScaled": "Retain"})
    );
}

#[test]
fn spreading_is_as_strict_as_requested() {
    let when =
        |name: &str| pod_spec(name)["topologySpreadConstraints"][0]["whenUnsatisfiable"].clone();
    assert_eq!(when("minimal"), "ScheduleAnyway");
    assert_eq!(when("production"), "DoNotSchedule");
    let anti = |name: &str| pod_spec(name)["affinity"]["podAntiAffinity"].clone();
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    assert!(anti("minimal")[preferred].is_array() && anti("minimal")[required].is_null());
    assert!(anti("production")[required].is_array());
}

/// The operator extends the affinity of a user and never replaces it.
#[test]
fn the_affinity_of_a_user_is_kept() {
    let mut cluster = sample("minimal");
    let affinity = json!({
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "rack", "labelSelector": {"matchLabels": {"a": "b"}}}
        ]},
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"topologyKey": "x"}}
        ]},
    });
    cluster.spec.pod_template.affinity = Some(serde_json::from_value(affinity.clone()).unwrap());
    let set = object(&build(&cluster, &Observed::default()), "StatefulSet", "");
    let made = &set["spec"]["template"]["spec"]["affinity"];
    assert_eq!(made["podAffinity"], affinity["podAffinity"]);
    let key = "requiredDuringSchedulingIgnoredDuringExecution";
    assert_eq!(
        made["podAntiAffinity"][key],
        affinity["podAntiAffinity"][key]
    );
    let ours = &made["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(
        ours[0]["podAffinityTerm"]["topologyKey"],
        "kubernetes.io/hostname"
    );
}

#[test]
fn the_operator_is_allowed_where_other_clients_are_not() {
    let desired = build(&sample("production"), &Observed::default());
    let policy = object(&desired, "NetworkPolicy", "-nodes");
    let rules = policy["spec"]["ingress"].as_array().unwrap();
    let from = |port: i32| {
        let rule = rules.iter().find(|rule| rule["ports"][0]["port"] == port);
        rule.unwrap()["from"].clone()
    };
    let clients = from(9400);
    assert_eq!(clients.as_array().unwrap().len(), 2);
    let operator = &clients[1]["namespaceSelector"]["matchLabels"];
    assert_eq!(operator["kubernetes.io/metadata.name"], "lograft-system");
    let set = object(&desired, "StatefulSet", "");
    assert_eq!(from(9401)[0]["podSelector"], set["spec"]["selector"]);
}

#[test]
fn the_health_port_is_open_to_the_namespace_or_to_the_peers_of_the_spec() {
    let from = |cluster: &LogCluster| {
        let policy = object(
            &build(cluster, &Observed::default()),
            "NetworkPolicy",
            "-nodes",
        );
        let rules = policy["spec"]["ingress"].as_array().unwrap().clone();
        let rule = rules.iter().find(|rule| rule["ports"][0]["port"] == 9403);
        rule.unwrap()["from"].clone()
    };
    let mut cluster = sample("production");
    assert_eq!(from(&cluster), json!([{"podSelector": {}}]));
    let monitoring = json!({"namespaceSelector": {"matchLabels": {"monitoring": "true"}}});
    cluster.spec.network_policy.metrics = vec![serde_json::from_value(monitoring.clone()).unwrap()];
    assert_eq!(from(&cluster), json!([monitoring]));
}

#[test]
fn a_network_policy_that_is_switched_off_is_not_built() {
    let desired = build(&sample("development"), &Observed::default());
    assert!(desired.network_policy.is_none());
    assert!(!text(&desired).contains("NetworkPolicy"));
}

#[test]
fn every_pod_has_its_configuration_and_its_certificate() {
    let desired = build(&sample("minimal"), &Observed::default());
    let config = object(&desired, "ConfigMap", "-config");
    let files = config["data"].as_object().unwrap();
    assert_eq!(files.len(), 3);
    let file: Value = serde_yaml::from_str(files["lograft-1.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(file["name"], "lograft-1");
    assert_eq!(file["tls"]["key"], "/etc/lograft/tls/lograft-1.key");
    assert_eq!(
        file["advertise"]["peer"],
        "lograft-1.lograft-nodes.prod.svc:9401"
    );
    let seeds = json!([
        "lograft-0.lograft-nodes.prod.svc:9401",
        "lograft-2.lograft-nodes.prod.svc:9401"
    ]);
    assert_eq!(file["seeds"], seeds);
    let node = pod_spec("minimal")["containers"][0].clone();
    assert_eq!(
        node["args"],
        json!(["--config", "/etc/lograft/config/$(POD_NAME).yaml"])
    );
    assert_eq!(node["env"][0]["name"], "POD_NAME");
}

#[test]
fn the_image_follows_version_and_image() {
    let mut cluster = sample("minimal");
    let image = |cluster: &LogCluster| {
        let set = object(&build(cluster, &Observed::default()), "StatefulSet", "");
        set["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(image(&cluster), "registry.example/lograft/node:0.1.0");
    cluster.spec.version = Some("0.2.0".to_owned());
    assert_eq!(image(&cluster), "registry.example/lograft/node:0.2.0");
    cluster.spec.image = Some("other/node@sha256:1".to_owned());
    assert_eq!(image(&cluster), "other/node@sha256:1");
}

/// A drain works by default, and what an autoscaler or a host that is lost may do is the user's.
#[test]
fn annotations_of_autoscalers_and_tolerations_of_lost_hosts_are_the_users() {
    let template = |cluster: &LogCluster| {
        let built = build(cluster, &Observed::default());
        object(&built, "StatefulSet", "")["spec"]["template"].clone()
    };
    let mut cluster = sample("minimal");
    let plain = template(&cluster);
    assert!(
        plain["metadata"]["annotations"]
            .as_object()
            .unwrap()
            .keys()
            .all(|key| key.starts_with("lograft.io/"))
    );
    assert!(plain["spec"]["tolerations"].is_null());
    let annotations = [
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
        ("karpenter.sh/do-not-disrupt", "true"),
    ];
    for (key, value) in annotations {
        let user = &mut cluster.spec.pod_template.annotations;
        user.insert(key.to_owned(), value.to_owned());
    }
    let tolerations = json!([
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
         "tolerationSeconds": 60},
    ]);
    cluster.spec.pod_template.tolerations = serde_json::from_value(tolerations.clone()).unwrap();
    let changed = template(&cluster);
    for (key, value) in annotations {
        assert_eq!(changed["metadata"]["annotations"][key], value);
    }
    assert_eq!(changed["spec"]["tolerations"], tolerations);
    let hash =
        |template: &Value| template["metadata"]["annotations"]["lograft.io/rollout-hash"].clone();
    assert_ne!(
        hash(&plain),
        hash(&changed),
        "a change of them is a rollout"
    );
}
