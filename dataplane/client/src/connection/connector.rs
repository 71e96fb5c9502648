//! Opens the connections of a gRPC channel.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use lograft_core::limits::{
    TLS_READ_BUFFER_BYTES, TLS_WRITE_BUFFER_BYTES, WRITES_GATHERED_MAX_BYTES,
};
use lograft_proto::gather::Gather;
use tokio::io::BufReader;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tower::Service;

use super::dial::{Dial, Wire};
use super::dial_error::DialErrorKind;
use super::tls::TlsSettings;
use super::tls_alert::AlertStream;
pub(crate) use super::tls_alert::TlsAlert;

/// Addresses that lead to one node; each connection attempt takes the next one.
#[derive(Debug)]
pub(crate) struct AddressRotation {
    addresses: Vec<Arc<str>>,
    next: AtomicUsize,
}

impl AddressRotation {
    /// Only the node's own address.
    pub(crate) fn single(address: Arc<str>) -> Self {
        Self {
            addresses: vec![address],
            next: AtomicUsize::new(0),
        }
    }

    /// All `endpoints` in turn, starting with the one at index `first`.
    pub(crate) fn over(endpoints: &[String], first: usize) -> Self {
        Self {
            addresses: endpoints.iter().map(|e| Arc::from(e.as_str())).collect(),
            next: AtomicUsize::new(first),
        }
    }

    fn next(&self) -> Option<Arc<str>> {
        let attempt = self.next.fetch_add(1, Ordering::Relaxed);
        let index = attempt.checked_rem(self.addresses.len())?;
        self.addresses.get(index).cloned()
    }
}

/// Opens the connections of one gRPC channel: dials the node and performs the TLS handshake.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) addresses: Arc<AddressRotation>,
    pub(crate) dialer: Arc<dyn Dial>,
    pub(crate) tls: Arc<TlsSettings>,
    pub(crate) alert: Arc<TlsAlert>,
    /// Bound of the whole attempt, TLS handshake included.
    pub(crate) timeout: Duration,
}

impl Connector {
    async fn open_within_timeout(self) -> Result<TokioIo<Box<dyn Wire>>, DialErrorKind> {
        let timeout = self.timeout;
        tokio::time::timeout(timeout, self.open())
            .await
            .unwrap_or(Err(DialErrorKind::TimedOut))
    }

    async fn open(self) -> Result<TokioIo<Box<dyn Wire>>, DialErrorKind> {
        let tls = self
            .tls
            .current()
            .map_err(|e| DialErrorKind::Files(Arc::new(e)))?;
        let address = self.addresses.next().ok_or(DialErrorKind::TimedOut)?;
        let name = self
            .tls
            .server_name(&address)
            .map_err(DialErrorKind::ServerName)?;
        let stream = self
            .dialer
            .dial(&address)
            .await
            .map_err(|e| DialErrorKind::from_io(&e))?;
        let stream = BufReader::with_capacity(TLS_READ_BUFFER_BYTES, Gather::new(stream));
        let mut stream = TlsConnector::from(tls)
            .connect(name, stream)
            .await
            .map_err(|e| DialErrorKind::from_io(&e))?;
        let (io, session) = stream.get_mut();
        io.get_mut().start(WRITES_GATHERED_MAX_BYTES);
        session.set_buffer_limit(Some(TLS_WRITE_BUFFER_BYTES));
        Ok(TokioIo::new(Box::new(AlertStream::new(stream, self.alert))))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.addresses).finish()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Wire>>;
    type Error = DialErrorKind;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        Box::pin(self.clone().open_within_timeout())
    }
}
