//! One connection to a peer: TCP, TLS, the pause after a failure.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use lograft_core::limits::{
    CONNECT_ATTEMPT_DELAY, PEER_BACKOFF_MAX, PEER_BACKOFF_MIN, PEER_CONNECT_MAX,
    TLS_READ_BUFFER_BYTES, TLS_WRITE_BUFFER_BYTES, WRITES_GATHERED_MAX_BYTES,
};
use lograft_proto::connect::staggered;
use lograft_proto::gather::Gather;
use prometheus::IntCounter;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::io::BufReader;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;
use tracing::debug;

use crate::error_text::error_chain;
use crate::metrics::Metrics;
use crate::net::{BoxFuture, BoxIo, Net, PeerTarget};
use crate::tls::Tls;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The last attempt has just failed.
    #[error("cannot connect to {0}: the last attempt has just failed")]
    Pause(Arc<str>),
    /// The address holds no host name.
    #[error("cannot parse the host of {address}")]
    Host {
        /// The address.
        address: Arc<str>,
        /// The cause.
        #[source]
        source: InvalidDnsNameError,
    },
    /// No TCP connection.
    #[error("cannot connect to {address}")]
    Tcp {
        /// The address.
        address: Arc<str>,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// No TLS session: not our CA, not a node, or no TLS at all.
    #[error("TLS handshake with {address} failed")]
    Tls {
        /// The address.
        address: Arc<str>,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Neither in time.
    #[error("cannot connect to {0} within {PEER_CONNECT_MAX:?}")]
    Timeout(Arc<str>),
}

/// A connection as hyper reads it.
pub(super) type Connection = TokioIo<TlsStream<BufReader<Gather<BoxIo>>>>;

/// Makes the connections of one channel.
#[derive(Clone)]
pub(super) struct Connector {
    target: Arc<Target>,
}

/// The peer of a connector, and the pause after a failed attempt.
struct Target {
    net: Arc<dyn Net>,
    tls: Arc<Tls>,
    peer: PeerTarget,
    pause: Mutex<Pause>,
    connected: IntCounter,
    failed: IntCounter,
}

/// When the next attempt may be made.
#[derive(Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    fn failed(&mut self, now: Instant) {
        self.length = (self.length * 2).clamp(PEER_BACKOFF_MIN, PEER_BACKOFF_MAX);
        self.until = Some(now + self.length);
    }
}

impl Connector {
    pub(super) fn new(
        net: Arc<dyn Net>,
        tls: Arc<Tls>,
        peer: PeerTarget,
        metrics: &Metrics,
    ) -> Self {
        let target = Target {
            net,
            tls,
            peer,
            pause: Mutex::default(),
            connected: metrics.peer_connects.with_label_values(&["OK"]),
            failed: metrics.peer_connects.with_label_values(&["FAILED"]),
        };
        Self {
            target: Arc::new(target),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Connection, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    /// The address is that of the address book; the URI that tonic passes here is ignored.
    fn call(&mut self, _: Uri) -> Self::Future {
        let target = Arc::clone(&self.target);
        Box::pin(async move { target.connect().await })
    }
}

impl Target {
    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Connection, ConnectError> {
        if !self.pause().is_over(Instant::now()) {
            return Err(ConnectError::Pause(self.peer.label()));
        }
        // TLS is part of an attempt: another cluster's pod may have got a former address.
        let mut attempts = Vec::with_capacity(self.peer.addresses.len());
        for address in &self.peer.addresses {
            attempts.push(self.attempt(address));
        }
        let attempts = staggered(attempts, CONNECT_ATTEMPT_DELAY);
        let connected = tokio::time::timeout(PEER_CONNECT_MAX, attempts).await;
        let result = connected
            .ok()
            .flatten()
            .unwrap_or_else(|| Err(ConnectError::Timeout(self.peer.label())));
        match &result {
            Ok(_) => {
                self.connected.inc();
                *self.pause() = Pause::default();
            }
            Err(error) => {
                self.failed.inc();
                self.pause().failed(Instant::now());
                debug!(address = %self.peer.label(), error = %error_chain(error), "cannot connect to a peer");
            }
        }
        result
    }

    async fn attempt(&self, to: &Arc<str>) -> Result<Connection, ConnectError> {
        let address = || Arc::clone(to);
        let name = server_name(to).map_err(|source| ConnectError::Host {
            address: address(),
            source,
        })?;
        let io = self
            .net
            .connect(to)
            .await
            .map_err(|source| ConnectError::Tcp {
                address: address(),
                source,
            })?;
        let mut stream = TlsConnector::from(self.tls.connect(self.peer.name.as_ref()))
            .connect(
                name,
                BufReader::with_capacity(TLS_READ_BUFFER_BYTES, Gather::new(io)),
            )
            .await
            .map_err(|source| ConnectError::Tls {
                address: address(),
                source,
            })?;
        let (io, session) = stream.get_mut();
        io.get_mut().start(WRITES_GATHERED_MAX_BYTES);
        session.set_buffer_limit(Some(TLS_WRITE_BUFFER_BYTES));
        Ok(TokioIo::new(stream))
    }
}

/// The name that is sent to the peer (SNI): the address without its port. It is not verified, see
/// `tls/verify.rs`.
fn server_name(address: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    ServerName::try_from(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_sent() {
        let name = |address| server_name(address).unwrap().to_str().into_owned();
        assert_eq!(name("node-0.ns.svc:9401"), "node-0.ns.svc");
        assert_eq!(name("127.0.0.1:9401"), "127.0.0.1");
        assert_eq!(name("[::1]:9401"), "::1");
        assert!(server_name("a b:1").is_err());
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let now = Instant::now();
        let mut pause = Pause::default();
        assert!(pause.is_over(now));
        pause.failed(now);
        assert!(!pause.is_over(now));
        assert!(pause.is_over(now + PEER_BACKOFF_MIN));
        for _ in 0..40 {
            pause.failed(now);
        }
        assert_eq!(pause.length, PEER_BACKOFF_MAX);
    }
}
