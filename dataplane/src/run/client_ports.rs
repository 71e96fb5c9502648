//! The ports of clients: gRPC, and HTTP if the configuration has an address for it.

use std::time::Duration;

use super::error::RunError;
use super::port::{BoundPort, ServedPort};
use super::services::Services;
use crate::config::HttpSettings;
use crate::listen::ClientTrust;
use crate::metrics::Metrics;

/// The ports, bound and not served yet.
pub(super) struct BoundClientPorts {
    pub(super) grpc: BoundPort,
    /// None if HTTP is off.
    pub(super) http: Option<BoundPort>,
}

impl BoundClientPorts {
    pub(super) fn serve(
        self,
        trust: &ClientTrust,
        metrics: &Metrics,
        (services, settings): (&Services, &HttpSettings),
    ) -> Result<ClientPorts, RunError> {
        let Self { grpc, http } = self;
        Ok(ClientPorts {
            grpc: grpc.serve(trust.clone(), metrics, services.client_port()?),
            http: http.map(|port| {
                let routes = services.http_port(settings);
                port.serve_http(trust.clone(), metrics, routes)
            }),
        })
    }
}

/// The ports in service.
pub(super) struct ClientPorts {
    grpc: ServedPort,
    http: Option<ServedPort>,
}

impl ClientPorts {
    /// Closes the ports, lets requests in progress end for at most `patience`, then closes their
    /// connections.
    pub(super) async fn stop(self, patience: Duration) {
        let Self { grpc, http } = self;
        let http = async {
            if let Some(http) = http {
                http.stop(patience).await;
            }
        };
        tokio::join!(grpc.stop(patience), http);
    }
}
