//! How a client finds, reaches and proves itself to a cluster.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::{
    CLIENT_CONNECT_TIMEOUT, CLIENT_ENDPOINTS_MAX_COUNT, CLIENT_METADATA_MAX_AGE,
    CLIENT_REQUEST_TIMEOUT,
};

use crate::dial::{Dial, TcpDialer};
use crate::error::ClientError;

/// Where the cluster is and how to speak to it.
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
    /// `host:port` of some of the nodes; any one that answers is enough.
    pub endpoints: Vec<String>,
    /// Whether only [`Self::endpoints`] are dialled, never the addresses that nodes tell of each
    /// other: for a port-forward or a proxy, behind which those lead nowhere. The nodes then pass
    /// on what others have to do, which costs a hop.
    pub endpoints_only: bool,
    /// Who is trusted, and who this client is.
    pub tls: TlsSource,
    /// The name that nodes' certificates must carry, where it is not the host that is dialled.
    pub server_name: Option<String>,
    /// How long one connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long one call may take, its retries included. Streams are not bound by it.
    pub request_timeout: Duration,
    /// After which age the cached map of partitions and leaders is fetched again.
    pub metadata_max_age: Duration,
    /// What opens connections; another one stands in for the network in simulations.
    pub dialer: Arc<dyn Dial>,
    /// Where the jitter of waits begins; unset takes it from the operating system.
    pub jitter_seed: Option<u64>,
}

impl ClientConfig {
    /// The defaults, for these `host:port` endpoints.
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
            connect_timeout: CLIENT_CONNECT_TIMEOUT,
            request_timeout: CLIENT_REQUEST_TIMEOUT,
            metadata_max_age: CLIENT_METADATA_MAX_AGE,
            dialer: Arc::new(TcpDialer),
            jitter_seed: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ClientError> {
        let count = self.endpoints.len();
        if count == 0 || count > CLIENT_ENDPOINTS_MAX_COUNT {
            return Err(ClientError::config(
                "endpoints",
                format!("1 to {CLIENT_ENDPOINTS_MAX_COUNT} of them, not {count}"),
            ));
        }
        for endpoint in &self.endpoints {
            check_address(endpoint)?;
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

/// The host of a `host:port` address, without the brackets of an IPv6 one.
pub(crate) fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn check_address(address: &str) -> Result<(), ClientError> {
    let good = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if good {
        return Ok(());
    }
    Err(ClientError::config(
        "endpoints",
        format!("host:port each, which \"{address}\" is not"),
    ))
}

/// Where the CA's and the client's certificates come from.
#[derive(Clone, Debug)]
pub enum TlsSource {
    /// PEM files, read again for each new connection: a renewed certificate needs no restart.
    Files(TlsFiles),
    /// PEM texts.
    Pem(TlsPem),
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the CAs that nodes are trusted by.
    pub ca: PathBuf,
    /// The client's certificate chain. Nodes refuse a client that has none.
    pub cert: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    /// The CA's certificates, the client's certificate and its key.
    pub fn new(ca: impl Into<PathBuf>, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            ca: ca.into(),
            cert: Some(cert.into()),
            key: Some(key.into()),
        }
    }
}

/// PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsPem {
    /// The certificates of the CAs that nodes are trusted by.
    pub ca: String,
    /// The client's certificate chain. Nodes refuse a client that has none.
    pub cert: Option<String>,
    /// The key of the client's certificate.
    pub key: Option<String>,
}

impl fmt::Debug for TlsPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("TlsPem")
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

impl From<TlsFiles> for TlsSource {
    fn from(files: TlsFiles) -> Self {
        Self::Files(files)
    }
}

impl From<TlsPem> for TlsSource {
    fn from(pem: TlsPem) -> Self {
        Self::Pem(pem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoints: &[&str]) -> ClientConfig {
        ClientConfig::new(endpoints.iter().copied(), TlsFiles::new("a", "b", "c"))
    }

    #[test]
    fn endpoints_are_checked_by_name() {
        assert!(config(&["localhost:1", "[::1]:9400"]).check().is_ok());
        for bad in [&[][..], &["localhost"], &[":9400"], &["a:b"], &["a:70000"]] {
            let error = config(bad).check().unwrap_err();
            assert!(error.to_string().contains("endpoints"), "{error}");
        }
    }

    #[test]
    fn the_host_loses_port_and_brackets() {
        assert_eq!(host_of("[::1]:9400"), "::1");
        assert_eq!(host_of("node-1.svc:9400"), "node-1.svc");
    }

    #[test]
    fn a_key_is_not_printed() {
        let pem = TlsPem {
            ca: "CA".into(),
            cert: None,
            key: Some("SECRET".into()),
        };
        assert!(!format!("{pem:?}").contains("SECRET"));
    }
}
