//! A port of the node: takes connections, does the TLS handshake beside the accept loop, and
//! hands over those whose certificate passes. Handshakes and connections are bounded.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lograft_core::capacity::Capacity;
use lograft_core::limits::{
    ACCEPT_RETRY_INTERVAL, HANDSHAKE_MAX, HANDSHAKES_MAX_COUNT, HTTP2_CONNECTION_WINDOW_BYTES,
    HTTP2_FRAME_MAX_BYTES, HTTP2_KEEPALIVE_INTERVAL, HTTP2_KEEPALIVE_MAX,
    HTTP2_STREAM_WINDOW_BYTES, HTTP2_STREAMS_MAX_COUNT, REFUSAL_LOG_INTERVAL,
    TLS_READ_BUFFER_BYTES, TLS_WRITE_BUFFER_BYTES, WRITES_GATHERED_MAX_BYTES,
};
use lograft_proto::gather::Gather;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use crate::identity::{Caller, IdentityError, PeerIdentity};
use crate::metrics::Metrics;
use crate::net::{BoxFuture, BoxIo, Listener};
use crate::tls::{Port, Tls};
use crate::{LogLimit, error_chain};

/// Why a handshake did not end in a connection.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("TLS handshake not completed within {0:?}")]
    Timeout(Duration),
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("cannot identify the peer")]
    Identity(#[source] IdentityError),
}

impl Port {
    /// The port's name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Peer => "peer",
        }
    }
}

/// The limits of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenLimits {
    /// Connections at once, those in their handshake included; more are closed unanswered.
    pub connections_max_count: usize,
    /// Handshakes at once; more wait in the system's backlog.
    pub handshakes_max_count: usize,
    /// Longest wait for a handshake.
    pub handshake_max: Duration,
}

impl ListenLimits {
    /// Those of a port on a node with this capacity.
    pub(crate) const fn of(port: Port, capacity: Capacity) -> Self {
        Self {
            connections_max_count: match port {
                Port::Client => capacity.client_connections_max_count,
                Port::Peer => capacity.peer_connections_max_count,
            },
            handshakes_max_count: HANDSHAKES_MAX_COUNT,
            handshake_max: HANDSHAKE_MAX,
        }
    }
}

/// tonic's server with the windows and limits of every port.
pub(crate) fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_MAX_BYTES)
        .max_concurrent_streams(HTTP2_STREAMS_MAX_COUNT)
        .http2_keepalive_interval(Some(HTTP2_KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(HTTP2_KEEPALIVE_MAX))
}

/// The connections of a port, as a stream that never fails.
pub(crate) type Incoming = ReceiverStream<Result<Accepted, Infallible>>;

/// Starts to take connections; stops when the stream is dropped, and the port is closed when the
/// task has ended. Connections end by themselves once `cut` holds true.
pub(crate) fn incoming(
    listener: Box<dyn Listener>,
    (port, limits): (Port, ListenLimits),
    tls: Arc<Tls>,
    metrics: &Metrics,
    cut: watch::Receiver<bool>,
) -> (Incoming, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(1);
    let name = &[port.name()];
    let acceptor = Arc::new(PortAcceptor {
        port,
        limits,
        tls,
        cut,
        sender,
        connections: Arc::new(Semaphore::new(limits.connections_max_count)),
        handshakes: Arc::new(Semaphore::new(limits.handshakes_max_count)),
        open: metrics.connections.with_label_values(name),
        refused: metrics.connections_refused.with_label_values(name),
        failed: metrics.handshakes_failed.with_label_values(name),
        refused_log: LogLimit::new(REFUSAL_LOG_INTERVAL),
        failed_log: LogLimit::new(REFUSAL_LOG_INTERVAL),
        accept_log: LogLimit::new(REFUSAL_LOG_INTERVAL),
    });
    let accepting = tokio::spawn(accept_all(listener, acceptor));
    (ReceiverStream::new(receiver), accepting)
}

struct PortAcceptor {
    port: Port,
    limits: ListenLimits,
    tls: Arc<Tls>,
    cut: watch::Receiver<bool>,
    sender: mpsc::Sender<Result<Accepted, Infallible>>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    open: IntGauge,
    refused: prometheus::IntCounter,
    failed: prometheus::IntCounter,
    refused_log: LogLimit,
    failed_log: LogLimit,
    accept_log: LogLimit,
}

async fn accept_all(listener: Box<dyn Listener>, acceptor: Arc<PortAcceptor>) {
    loop {
        let next = async {
            let turn = Arc::clone(&acceptor.handshakes).acquire_owned().await;
            (turn, listener.accept().await)
        };
        let (turn, accepted) = tokio::select! {
            () = acceptor.sender.closed() => return,
            next = next => next,
        };
        // The semaphore is never closed.
        let Ok(turn) = turn else { return };
        match accepted {
            Ok((io, remote)) => acceptor.admit(io, remote, turn),
            Err(error) => {
                if let Some(held_back) = acceptor.accept_log.pass() {
                    warn!(port = acceptor.port.name(), %error, held_back, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

impl PortAcceptor {
    fn admit(self: &Arc<Self>, io: BoxIo, remote: SocketAddr, turn: OwnedSemaphorePermit) {
        let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.refused.inc();
            if let Some(held_back) = self.refused_log.pass() {
                let max = self.limits.connections_max_count;
                warn!(port = self.port.name(), %remote, max, held_back, "connection refused: too many connections");
            }
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let result = this.handshake(io, place).await;
            drop(turn);
            match result {
                // The other end of the channel is gone only when the node stops.
                Ok(accepted) => drop(this.sender.send(Ok(accepted)).await),
                Err(error) => this.tell_failure(&error, remote),
            }
        });
    }

    async fn handshake(
        &self,
        io: BoxIo,
        place: OwnedSemaphorePermit,
    ) -> Result<Accepted, HandshakeError> {
        let acceptor = TlsAcceptor::from(self.tls.server(self.port));
        let buffered = BufReader::with_capacity(TLS_READ_BUFFER_BYTES, Gather::new(io));
        let max = self.limits.handshake_max;
        let mut stream = tokio::time::timeout(max, acceptor.accept(buffered))
            .await
            .map_err(|_| HandshakeError::Timeout(max))?
            .map_err(HandshakeError::Tls)?;
        let (io, session) = stream.get_mut();
        io.get_mut().start(WRITES_GATHERED_MAX_BYTES);
        session.set_buffer_limit(Some(TLS_WRITE_BUFFER_BYTES));
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let identity = leaf
            .ok_or(IdentityError::Certificate)
            .and_then(PeerIdentity::from_certificate)
            .map_err(HandshakeError::Identity)?;
        let caller = Caller {
            identity: Arc::new(identity),
        };
        Ok(Accepted {
            stream,
            caller,
            cut: Some(Box::pin(cut_off(self.cut.clone()))),
            _open: Open::new(self.open.clone(), place),
        })
    }

    fn tell_failure(&self, error: &HandshakeError, remote: SocketAddr) {
        self.failed.inc();
        let port = self.port.name();
        let text = error_chain(error);
        if let Some(held_back) = self.failed_log.pass() {
            warn!(port, %remote, held_back, error = text, "connection refused");
        } else {
            debug!(port, %remote, error = text, "connection refused");
        }
    }
}

async fn cut_off(mut cut: watch::Receiver<bool>) {
    // A sender that is gone cuts as well: nobody is left to do it.
    let _ = cut.wait_for(|cut| *cut).await;
}

/// Counts a connection while it lives.
struct Open {
    gauge: IntGauge,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(gauge: IntGauge, place: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self {
            gauge,
            _place: place,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A connection whose peer is known.
pub(crate) struct Accepted {
    stream: TlsStream<BufReader<Gather<BoxIo>>>,
    caller: Caller,
    cut: Option<BoxFuture<'static, ()>>,
    _open: Open,
}

impl Connected for Accepted {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_ready() {
            return read;
        }
        if let Some(cut) = &mut this.cut
            && cut.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        // A finished future is not polled again.
        this.cut = None;
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
