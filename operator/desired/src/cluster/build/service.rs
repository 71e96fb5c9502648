//! The headless Service of the nodes and the Service for clients.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lograft_crds::names::{PORT_CLIENT, PORT_GOSSIP, PORT_HEALTH, PORT_HTTP, PORT_PEER};

use super::BuildInput;

/// The headless Service. It also publishes pods that are not ready: a pod is not ready before it
/// has reached its peers, and they find it through this Service.
pub(super) fn nodes(input: &BuildInput<'_>) -> Service {
    Service {
        metadata: input.metadata(input.names().nodes_service()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(input.names().selector()),
            ports: Some(vec![
                port("client", PORT_CLIENT),
                port("peer", PORT_PEER),
                gossip_port(),
                port("health", PORT_HEALTH),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The headless Service of the ready pods: their addresses, for clients that do not ask a node for
/// them.
pub(super) fn ready(input: &BuildInput<'_>) -> Service {
    Service {
        metadata: input.metadata(input.names().ready_service()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(input.names().selector()),
            ports: Some(client_ports(input)),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The Service that clients connect to first. Any ready node returns the addresses of the others.
pub(super) fn client(input: &BuildInput<'_>) -> Service {
    let mut metadata = input.metadata(input.names().client_service());
    let annotations = &input.cluster.spec.listeners.internal.annotations;
    metadata.annotations = (!annotations.is_empty()).then(|| annotations.clone());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(input.names().selector()),
            ports: Some(client_ports(input)),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Pods without a container port of this name, which a rollout has not reached yet, are no
/// endpoints of it.
fn client_ports(input: &BuildInput<'_>) -> Vec<ServicePort> {
    let mut ports = vec![port("client", PORT_CLIENT)];
    ports.extend(input.serves_http().then(|| ServicePort {
        // Ingresses and meshes would take the name of the port for plain HTTP.
        app_protocol: Some("https".to_owned()),
        ..port("http", PORT_HTTP)
    }));
    ports
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

fn gossip_port() -> ServicePort {
    ServicePort {
        protocol: Some("UDP".to_owned()),
        ..port("gossip", PORT_GOSSIP)
    }
}
