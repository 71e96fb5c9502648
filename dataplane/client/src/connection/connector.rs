//! Opening connections: TCP, TLS, and what can go wrong on the way.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use lograft_core::limits::{
    TLS_READ_BUFFER_BYTES, TLS_WRITE_BUFFER_BYTES, WRITES_GATHERED_MAX_BYTES,
};
use lograft_proto::gather::Gather;
use rustls::{AlertDescription, CertificateError};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tower::Service;

use crate::tls::TlsSettings;

/// A byte stream to a node.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The future of [`Dial::dial`].
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

/// Opens byte streams. The TCP one serves all but simulations.
pub trait Dial: Send + Sync {
    /// Opens a stream to `address`, a `host:port`.
    fn dial(&self, address: &str) -> Dialling;
}

/// TCP with no delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDialer;

impl Dial for TcpDialer {
    fn dial(&self, address: &str) -> Dialling {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Wire>)
        })
    }
}

/// No connection to a node.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {endpoint}: {kind}")]
pub struct DialError {
    /// `host:port` of the node.
    pub endpoint: String,
    /// What went wrong.
    #[source]
    pub kind: DialErrorKind,
}

/// What went wrong while connecting.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialErrorKind {
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// No answer in time.
    #[error("no answer within the connect timeout")]
    TimedOut,
    /// The name has no address, the network is down, or the connection broke while opening.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The host is no name that a certificate could carry.
    #[error("\"{0}\" is no server name")]
    ServerName(String),
    /// The client's own TLS files cannot be used.
    #[error("the client's TLS files cannot be used")]
    Files(#[source] Arc<crate::tls::TlsError>),
    /// The node's certificate is from a CA that this client does not trust.
    #[error("the node's certificate is from an unknown CA")]
    NodeUnknownCa,
    /// The node's certificate does not hold: expired, another name, damaged.
    #[error("the node's certificate does not hold: {0}")]
    NodeCertificate(rustls::Error),
    /// The node wants a client certificate and got none.
    #[error("the node wants a client certificate and this client has none")]
    NoCertificate,
    /// The node does not trust the CA of the client's certificate.
    #[error("the node does not trust the client's certificate: another CA issued it")]
    ClientUnknownCa,
    /// The node refused the client's certificate: expired, damaged.
    #[error("the node refused the client's certificate: {0:?}")]
    ClientCertificate(AlertDescription),
    /// Another failure of TLS: the other side may speak none.
    #[error("TLS failed: {0}")]
    Tls(rustls::Error),
}

impl DialErrorKind {
    /// Whether the node refused who this client is.
    pub const fn is_refused_identity(&self) -> bool {
        matches!(
            self,
            Self::NoCertificate | Self::ClientUnknownCa | Self::ClientCertificate(_)
        )
    }

    /// Whether another try may succeed without anyone changing anything.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Refused | Self::TimedOut | Self::Io(_))
    }

    /// Looks through the causes of an error for one that speaks of connecting or of TLS.
    pub(crate) fn find_in(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        let mut found = None;
        while let Some(error) = cause {
            if let Some(kind) = error.downcast_ref::<Self>() {
                return Some(kind.clone());
            }
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Some(Self::from_tls(error));
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                match Self::from_io(error) {
                    // A broken stream may be any of a thousand things: not a failure to connect.
                    Self::Io(_) => {}
                    kind => found = Some(kind),
                }
                // An io error's source skips what it wraps.
                if let Some(inner) = error.get_ref() {
                    cause = Some(inner);
                    continue;
                }
            }
            cause = error.source();
        }
        found
    }

    fn from_io(error: &io::Error) -> Self {
        if let Some(tls) = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<rustls::Error>())
        {
            return Self::from_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            kind => Self::Io(Arc::new(io::Error::new(kind, error.to_string()))),
        }
    }

    fn from_tls(error: &rustls::Error) -> Self {
        use AlertDescription as Alert;
        match error {
            // A CA of the same name whose key is another one's is another CA.
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Self::NodeUnknownCa,
            rustls::Error::InvalidCertificate(_) => Self::NodeCertificate(error.clone()),
            rustls::Error::AlertReceived(Alert::CertificateRequired) => Self::NoCertificate,
            rustls::Error::AlertReceived(Alert::UnknownCA | Alert::DecryptError) => {
                Self::ClientUnknownCa
            }
            rustls::Error::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::UnsupportedCertificate
                | Alert::AccessDenied),
            ) => Self::ClientCertificate(*alert),
            other => Self::Tls(other.clone()),
        }
    }
}

/// Why a node broke connections off, if TLS told.
///
/// In TLS 1.3 a node looks at the client's certificate after the client's side of the handshake is
/// done: its refusal comes as an alert on an open connection, and what HTTP/2 makes of that is "the
/// connection is closed". So the stream itself keeps the alert.
#[derive(Debug, Default)]
pub(crate) struct Refusal(Mutex<Option<DialErrorKind>>);

impl Refusal {
    fn slot(&self) -> MutexGuard<'_, Option<DialErrorKind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last one, which is forgotten.
    pub(crate) fn take(&self) -> Option<DialErrorKind> {
        self.slot().take()
    }

    fn note(&self, error: &io::Error) {
        let tls = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls {
            *self.slot() = Some(DialErrorKind::from_tls(tls));
        }
    }
}

/// A TLS stream whose refusal is kept.
struct Watched<S> {
    stream: S,
    refusal: Arc<Refusal>,
    /// Writing has failed, and what there is to read may tell why.
    write_error: Option<io::Error>,
}

impl<S: Wire> Watched<S> {
    /// Passes on what became of a write. A node that refuses closes its end, so writing fails while
    /// its alert waits to be read: it is read before the failure is told.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) => {
                self.write_error = Some(error);
                self.poll_write_error(cx).map(Err)
            }
            written => written,
        }
    }

    fn poll_write_error(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut scratch = [0; 1024];
        loop {
            let mut scratch = ReadBuf::new(&mut scratch);
            // A connection that cannot be written to any more soon has an end to be read.
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch)) {
                Ok(()) if !scratch.filled().is_empty() => {}
                Ok(()) => break,
                Err(error) => {
                    self.refusal.note(&error);
                    break;
                }
            }
        }
        let error = self.write_error.take();
        Poll::Ready(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }
}

impl<S: Wire> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read {
            self.refusal.note(error);
        }
        read
    }
}

impl<S: Wire> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_error.is_some() {
            return self.poll_write_error(cx).map(Err);
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.write_error.is_some() {
            return self.poll_write_error(cx).map(Err);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_error.is_some() {
            return self.poll_write_error(cx).map(Err);
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The addresses that lead to one node, of which each connection takes the next.
#[derive(Debug)]
pub(crate) struct Route {
    addresses: Vec<Arc<str>>,
    next: AtomicUsize,
}

impl Route {
    /// The one that is the node's own.
    pub(crate) fn to(address: Arc<str>) -> Self {
        Self {
            addresses: vec![address],
            next: AtomicUsize::new(0),
        }
    }

    /// Through any of these, beginning with the one at `first`.
    pub(crate) fn over(endpoints: &[String], first: usize) -> Self {
        Self {
            addresses: endpoints.iter().map(|e| Arc::from(e.as_str())).collect(),
            next: AtomicUsize::new(first),
        }
    }

    fn take(&self) -> Option<Arc<str>> {
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        let at = nth.checked_rem(self.addresses.len())?;
        self.addresses.get(at).cloned()
    }
}

/// Dials one node and speaks TLS with it: what a channel opens its connections by.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) route: Arc<Route>,
    pub(crate) dialer: Arc<dyn Dial>,
    pub(crate) tls: Arc<TlsSettings>,
    pub(crate) refusal: Arc<Refusal>,
    /// For all of it, TLS included.
    pub(crate) timeout: Duration,
}

impl Connector {
    async fn open_in_time(self) -> Result<TokioIo<Box<dyn Wire>>, DialErrorKind> {
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
        let address = self.route.take().ok_or(DialErrorKind::TimedOut)?;
        let name = self.tls.server_name(&address)?;
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
        let refusal = self.refusal;
        Ok(TokioIo::new(Box::new(Watched {
            stream,
            refusal,
            write_error: None,
        })))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.route).finish()
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
        Box::pin(self.clone().open_in_time())
    }
}
