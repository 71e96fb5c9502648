//! The network policy: access to the nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lograft_crds::names::{
    LABEL_NAME, OPERATOR, PORT_CLIENT, PORT_GOSSIP, PORT_HEALTH, PORT_HTTP, PORT_PEER,
};

use super::BuildInput;

/// Label of a namespace that holds its name.
const LABEL_NAMESPACE: &str = "kubernetes.io/metadata.name";

/// Allows clients and readers of metrics from the spec, and peers of the same cluster. kubelet
/// needs no rule: traffic from the machine of a pod is always allowed. Outgoing connections are not
/// limited: a node connects to its peers only.
pub(super) fn build(input: &BuildInput<'_>) -> Option<NetworkPolicy> {
    let access = &input.cluster.spec.network_policy;
    if !access.enabled {
        return None;
    }
    let selector = selector(input.names().selector());
    let peers = NetworkPolicyPeer {
        pod_selector: Some(selector.clone()),
        ..NetworkPolicyPeer::default()
    };
    // A missing list allows everybody. So does an empty one, but it looks as if it allowed nobody.
    let clients = (!access.clients.is_empty()).then(|| {
        let mut clients = access.clients.clone();
        clients.push(operator(input));
        clients
    });
    let mut client_ports = vec![tcp(PORT_CLIENT)];
    client_ports.extend(input.serves_http().then(|| tcp(PORT_HTTP)));
    // The port needs no certificate, so it is never open to everybody.
    let metrics = if access.metrics.is_empty() {
        vec![NetworkPolicyPeer {
            pod_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        }]
    } else {
        access.metrics.clone()
    };
    Some(NetworkPolicy {
        metadata: input.metadata(input.names().network_policy()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                rule(&client_ports, clients),
                rule(&[tcp(PORT_PEER), udp(PORT_GOSSIP)], Some(vec![peers])),
                rule(&[tcp(PORT_HEALTH)], Some(metrics)),
            ]),
            ..NetworkPolicySpec::default()
        }),
    })
}

fn operator(input: &BuildInput<'_>) -> NetworkPolicyPeer {
    let labels = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let namespace = labels(LABEL_NAMESPACE, &input.settings.operator_namespace);
    NetworkPolicyPeer {
        namespace_selector: Some(selector(namespace)),
        pod_selector: Some(selector(labels(LABEL_NAME, OPERATOR))),
        ..NetworkPolicyPeer::default()
    }
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

fn rule(
    ports: &[NetworkPolicyPort],
    from: Option<Vec<NetworkPolicyPeer>>,
) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from,
        ports: Some(ports.to_vec()),
    }
}

fn tcp(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    }
}

fn udp(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some("UDP".to_owned()),
        ..tcp(port)
    }
}
