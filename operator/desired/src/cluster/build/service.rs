//! The Services.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lograft_crds::names::{PORT_CLIENT, PORT_HEALTH, PORT_PEER};

use super::World;

/// The headless Service. It names pods that are not ready too: a pod that waits for its peers is
/// not ready, and its peers must find it.
pub(super) fn nodes(world: &World<'_>) -> Service {
    Service {
        metadata: world.metadata(world.names().nodes_service()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(world.names().selector()),
            ports: Some(vec![
                port("client", PORT_CLIENT),
                port("peer", PORT_PEER),
                port("health", PORT_HEALTH),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The Service that clients begin with: any ready node tells them of the others.
pub(super) fn client(world: &World<'_>) -> Service {
    let mut metadata = world.metadata(world.names().client_service());
    let annotations = &world.cluster.spec.listeners.internal.annotations;
    metadata.annotations = (!annotations.is_empty()).then(|| annotations.clone());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(world.names().selector()),
            ports: Some(vec![port("client", PORT_CLIENT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
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
