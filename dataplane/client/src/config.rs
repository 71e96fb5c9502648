//! Client configuration: endpoints, TLS, timeouts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::{
    CLIENT_CONNECT_TIMEOUT, CLIENT_ENDPOINTS_MAX_COUNT, CLIENT_METADATA_MAX_AGE,
    CLIENT_REQUEST_TIMEOUT, NODE_NAME_MAX_BYTES,
};

use crate::connection::dial::{Dial, TcpDialer};
use crate::connection::tls_source::TlsSource;
use crate::error::ClientError;

/// Environment variable with the failure zone of a client.
const ZONE_VARIABLE: &str = "LOGRAFT_ZONE";

/// Configuration of a [`Client`](crate::Client).
///
/// ```
/// use lograft_client::{ClientConfig, TlsFiles};
///
/// let tls = TlsFiles::new("ca.crt", "client.crt", "client.key");
/// let config = ClientConfig::new(["127.0.0.1:9400", "127.0.0.1:9410"], tls);
/// assert_eq!(config.endpoints.len(), 2);
/// ```
#[derive(Clone)]
pub struct ClientConfig {
    /// `host:port` of one or more nodes; one that answers is enough to find the others.
    pub endpoints: Vec<String>,
    /// Connect only to [`Self::endpoints`], never to the addresses that nodes advertise. For a
    /// port-forward or a proxy, behind which advertised addresses are not reachable. Nodes then
    /// forward requests to the partition leaders, which costs an extra hop.
    pub endpoints_only: bool,
    /// CA certificates, client certificate and key.
    pub tls: TlsSource,
    /// Name to verify in the certificates of nodes, if it differs from the host of the address.
    pub server_name: Option<String>,
    /// Failure zone of this client, as in the configuration of the nodes. Consumers that read from
    /// the nearest replica prefer nodes of the zone. By default that of the environment variable
    /// `LOGRAFT_ZONE`; empty is none.
    pub zone: String,
    /// Timeout of one connection attempt, TLS handshake included.
    pub connect_timeout: Duration,
    /// Timeout of one call, retries included. It does not apply to streams.
    pub request_timeout: Duration,
    /// Age after which cached metadata (topics, partitions, leaders) is fetched again.
    pub metadata_max_age: Duration,
    /// Opens the byte streams to nodes; simulations replace it.
    pub dialer: Arc<dyn Dial>,
    /// Seed for the jitter of back-off delays; unset takes one from the operating system.
    pub jitter_seed: Option<u64>,
}

impl ClientConfig {
    /// Default configuration for these `host:port` endpoints.
    pub fn new<E, S>(endpoints: E, tls: impl Into<TlsSource>) -> Self
    where
        E: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            endpoints_only: false,
            tls: tls.into(),
            server_name: None,
            zone: std::env::var(ZONE_VARIABLE).unwrap_or_default(),
            connect_timeout: CLIENT_CONNECT_TIMEOUT,
            request_timeout: CLIENT_REQUEST_TIMEOUT,
            metadata_max_age: CLIENT_METADATA_MAX_AGE,
            dialer: Arc::new(TcpDialer),
            jitter_seed: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ClientError> {
        let count = self.endpoints.len();
        if count == 0 || count > CLIENT_ENDPOINTS_MAX_COUNT {
            return Err(ClientError::config(
                "endpoints",
                format!("between 1 and {CLIENT_ENDPOINTS_MAX_COUNT} addresses"),
                count,
            ));
        }
        if self.zone.len() > NODE_NAME_MAX_BYTES {
            let bound = format!("at most {NODE_NAME_MAX_BYTES} bytes");
            return Err(ClientError::config("zone", bound, self.zone.len()));
        }
        for endpoint in &self.endpoints {
            validate_address(endpoint)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("endpoints", &self.endpoints)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

fn validate_address(address: &str) -> Result<(), ClientError> {
    let is_valid = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_valid {
        return Ok(());
    }
    Err(ClientError::config(
        "endpoints",
        "host:port addresses",
        format_args!("\"{address}\""),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::tls_source::TlsFiles;

    fn config(endpoints: &[&str]) -> ClientConfig {
        ClientConfig::new(endpoints.iter().copied(), TlsFiles::new("a", "b", "c"))
    }

    #[test]
    fn invalid_endpoints_are_named_in_the_error() {
        assert!(config(&["localhost:1", "[::1]:9400"]).validate().is_ok());
        for bad in [&[][..], &["localhost"], &[":9400"], &["a:b"], &["a:70000"]] {
            let error = config(bad).validate().unwrap_err().to_string();
            assert!(error.starts_with("endpoints must be "), "{error}");
            assert!(bad.iter().all(|address| error.contains(address)), "{error}");
        }
    }
}
