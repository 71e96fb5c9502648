//! A port of the node: takes connections, does the TLS handshake beside the accept loop, and
//! hands over those whose certificate passes. Handshakes and connections are bounded.

mod accepted;
mod age;
mod chunked;
mod framing;
mod handshakes;
mod judge;
mod listen_limits;
mod request_head;
mod serve;
mod serve_http;
mod shares;
mod stall;
mod until_closed;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lograft_core::acl::Revoked;
use lograft_core::limits::{
    ACCEPT_RETRY_INTERVAL, REFUSAL_LOG_INTERVAL, REVOKED_CONNECTION_MAX, TLS_READ_BUFFER_BYTES,
    TLS_WRITE_BUFFER_BYTES, WRITES_GATHERED_MAX_BYTES,
};
use lograft_proto::gather::Gather;
use lograft_proto::places::Origin;
use prometheus::{IntCounterVec, IntGauge};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use crate::closing::Closing;
use crate::identity::{Caller, CertificateFacts, IdentityError, PeerIdentity};
use crate::metrics::Metrics;
use crate::net::{BoxFuture, BoxIo, Listener};
use crate::tls::{HTTP2, Port};
use crate::{LogLimit, error_chain};
use accepted::Preface;
use age::Lifetimes;
use handshakes::{HandshakeGuard, Handshakes};
use judge::Judge;

pub(crate) use accepted::Accepted;
pub(crate) use framing::REFUSED_PATH;
pub(crate) use judge::ClientTrust;
pub(crate) use listen_limits::ListenLimits;
pub(crate) use serve::{serve, serve_alone};
pub(crate) use serve_http::{serve_http, serve_http_alone};
use shares::{Share, Shares};

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("TLS handshake not completed within {0:?}")]
    Timeout(Duration),
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("TLS handshake made no progress while other connections waited")]
    Evicted,
    #[error("cannot identify the peer")]
    Identity(#[source] IdentityError),
    #[error("certificate refused")]
    Revoked(#[source] Revoked),
    #[error("connections must be at most {max_count}")]
    TooMany { max_count: usize },
    #[error("connections of {address} must be at most {max_count}")]
    TooManyOfAddress { address: IpAddr, max_count: usize },
    #[error("connections of {user} must be at most {max_count}")]
    TooManyOfUser {
        user: Arc<PeerIdentity>,
        max_count: usize,
    },
}

impl HandshakeError {
    /// The share that the connection would exceed, as in metrics.
    const fn exceeded_share(&self) -> Option<&'static str> {
        match self {
            Self::TooManyOfAddress { .. } => Some("ADDRESS"),
            Self::TooManyOfUser { .. } => Some("USER"),
            Self::TooMany { .. }
            | Self::Timeout(_)
            | Self::Tls(_)
            | Self::Revoked(_)
            | Self::Evicted
            | Self::Identity(_) => None,
        }
    }
}

impl Port {
    /// The port's name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Peer => "peer",
            Self::Http => "http",
        }
    }
}

/// The connections of a port, as a stream that never fails.
pub(crate) type Incoming = ReceiverStream<Result<Accepted, Infallible>>;

/// Starts to take connections; stops when the stream is dropped, and the port is closed when the
/// task has ended. Connections end by themselves once `cut` holds true.
pub(crate) fn incoming(
    listener: Box<dyn Listener>,
    (port, limits): (Port, ListenLimits),
    trust: ClientTrust,
    metrics: &Metrics,
    cut: watch::Receiver<bool>,
) -> (Incoming, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(1);
    let name = &[port.name()];
    let acceptor = Arc::new(PortAcceptor {
        port,
        limits,
        trust,
        cut,
        sender,
        connections: Arc::new(Semaphore::new(limits.connections_max_count)),
        users: Shares::new(limits.per_user_max_count),
        addresses: Shares::new(limits.per_address_max_count),
        lifetimes: Lifetimes::new(limits.max_age),
        over_share: metrics.connections.over_share.clone(),
        handshakes: Handshakes::new(limits.handshakes_max_count),
        open: metrics.connections.open.with_label_values(name),
        closes: metrics.connections.expired.clone(),
        refused: metrics.connections.refused.with_label_values(name),
        failed: metrics
            .connections
            .handshakes_failed
            .with_label_values(name),
        refused_log: LogLimit::new(REFUSAL_LOG_INTERVAL),
        failed_log: LogLimit::new(REFUSAL_LOG_INTERVAL),
        ended_log: Arc::new(LogLimit::new(REFUSAL_LOG_INTERVAL)),
        accept_log: LogLimit::new(REFUSAL_LOG_INTERVAL),
    });
    let accepting = tokio::spawn(accept_all(listener, acceptor));
    (ReceiverStream::new(receiver), accepting)
}

struct PortAcceptor {
    port: Port,
    limits: ListenLimits,
    trust: ClientTrust,
    cut: watch::Receiver<bool>,
    sender: mpsc::Sender<Result<Accepted, Infallible>>,
    connections: Arc<Semaphore>,
    users: Shares<Arc<PeerIdentity>>,
    addresses: Shares<Origin>,
    lifetimes: Lifetimes,
    handshakes: Arc<Handshakes>,
    open: IntGauge,
    closes: IntCounterVec,
    refused: prometheus::IntCounter,
    over_share: IntCounterVec,
    failed: prometheus::IntCounter,
    refused_log: LogLimit,
    failed_log: LogLimit,
    ended_log: Arc<LogLimit>,
    accept_log: LogLimit,
}

async fn accept_all(listener: Box<dyn Listener>, acceptor: Arc<PortAcceptor>) {
    loop {
        let next = async {
            let accepted = listener.accept().await;
            acceptor.handshakes.room().await;
            accepted
        };
        let accepted = tokio::select! {
            () = acceptor.sender.closed() => return,
            accepted = next => accepted,
        };
        match accepted {
            Ok((io, remote)) => acceptor.admit(io, remote),
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
    fn admit(self: &Arc<Self>, io: BoxIo, remote: SocketAddr) {
        let Some(place) = self.place(remote) else {
            return;
        };
        let this = Arc::clone(self);
        let (running, evicted) = self.handshakes.start(remote);
        tokio::spawn(async move {
            let result = tokio::select! {
                result = this.handshake(io, place, &running) => result,
                _ = evicted => Err(HandshakeError::Evicted),
            };
            drop(running);
            match result {
                // The other end of the channel is gone only when the node stops.
                Ok((accepted, None)) => drop(this.sender.send(Ok(accepted)).await),
                Ok((accepted, Some(revoked))) => {
                    this.on_failed(&HandshakeError::Revoked(revoked.clone()), remote);
                    if let Some(answer) = &this.trust.answer_revoked {
                        answer(accepted, revoked).await;
                    }
                }
                Err(error) => this.on_failed(&error, remote),
            }
        });
    }

    /// A place for a connection; `None` if it is refused.
    fn place(&self, remote: SocketAddr) -> Option<Place> {
        let max_count = self.limits.connections_max_count;
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.refuse(remote, &HandshakeError::TooMany { max_count });
            return None;
        };
        let Some(share) = self.addresses.add(&Origin::from(remote.ip())) else {
            let max_count = self.limits.per_address_max_count;
            let address = remote.ip();
            self.refuse(
                remote,
                &HandshakeError::TooManyOfAddress { address, max_count },
            );
            return None;
        };
        Some(Place {
            _permit: permit,
            _share: share,
        })
    }

    /// The connection after its handshake, and why its certificate is revoked if it is.
    async fn handshake(
        &self,
        io: BoxIo,
        place: Place,
        running: &HandshakeGuard,
    ) -> Result<(Accepted, Option<Revoked>), HandshakeError> {
        let changes = self.trust.tls.changes();
        let acceptor = TlsAcceptor::from(self.trust.tls.server(self.port));
        let mut buffered = BufReader::with_capacity(TLS_READ_BUFFER_BYTES, Gather::new(io));
        let max = self.limits.handshake_max;
        let handshake = async {
            buffered.fill_buf().await?;
            running.on_spoken();
            acceptor.accept(buffered).await
        };
        let mut stream = tokio::time::timeout(max, handshake)
            .await
            .map_err(|_| HandshakeError::Timeout(max))?
            .map_err(HandshakeError::Tls)?;
        let (io, session) = stream.get_mut();
        io.get_mut().start(WRITES_GATHERED_MAX_BYTES);
        session.set_buffer_limit(Some(TLS_WRITE_BUFFER_BYTES));
        let is_http2 = self.port != Port::Http || session.alpn_protocol() == Some(HTTP2);
        let chain = session.peer_certificates().unwrap_or_default();
        let (identity, mut judge) = self
            .identify(chain, changes)
            .map_err(HandshakeError::Identity)?;
        let revoked = judge.check_revoked().err();
        let user = self.users.add(&identity);
        let user = user.ok_or_else(|| HandshakeError::TooManyOfUser {
            user: Arc::clone(&identity),
            max_count: self.limits.per_user_max_count,
        })?;
        let open = Open {
            gauge: self.open.clone(),
            _place: place,
            _user: user,
        };
        let closing = Closing::default();
        let accepted = Accepted {
            stream: Box::new(stream),
            lifetime: self.lifetimes.next(judge.facts.not_after_s),
            closes: self.closes.clone(),
            port: self.port,
            cut: Some(match &revoked {
                None => self.end_of(judge, &identity, &closing),
                Some(_) => self.end_of_revoked(),
            }),
            caller: Caller { identity, closing },
            preface: is_http2.then(|| Preface::within(self.limits.preface_max)),
            is_http2,
            linger: None,
            _open: open.count(),
        };
        Ok((accepted, revoked))
    }

    fn identify(
        &self,
        chain: &[CertificateDer<'static>],
        changes: watch::Receiver<()>,
    ) -> Result<(Arc<PeerIdentity>, Judge), IdentityError> {
        let leaf = chain.first().ok_or(IdentityError::Certificate)?;
        let identity = Arc::new(PeerIdentity::from_certificate(leaf)?);
        let judge = Judge {
            trust: self.trust.clone(),
            port: self.port,
            principal: Arc::clone(&identity.principal),
            changes,
            facts: CertificateFacts::of(leaf)?,
            chain: chain.to_vec(),
        };
        Ok((identity, judge))
    }

    /// Ready when a connection has to end: the port is cut, its certificate does not pass any more,
    /// or it has been closing for too long.
    fn end_of(
        &self,
        judge: Judge,
        peer: &Arc<PeerIdentity>,
        closing: &Closing,
    ) -> BoxFuture<'static, ()> {
        let (cut, port, log) = (
            self.cut.clone(),
            self.port.name(),
            Arc::clone(&self.ended_log),
        );
        let (peer, closing) = (Arc::clone(peer), closing.started());
        let drain_max = self.limits.drain_max;
        Box::pin(async move {
            let drained = async {
                closing.await;
                tokio::time::sleep(drain_max).await;
            };
            let refusal = tokio::select! {
                () = cut_off(cut) => return,
                () = drained => {
                    debug!(port, %peer, "closing connection cut: requests still in progress");
                    return;
                }
                refusal = judge.refusal() => error_chain(&refusal),
            };
            if let Some(held_back) = log.pass() {
                warn!(port, %peer, held_back, error = refusal, "connection ended");
            }
        })
    }

    /// Ready when the connection of a revoked certificate has to end.
    fn end_of_revoked(&self) -> BoxFuture<'static, ()> {
        let cut = self.cut.clone();
        Box::pin(async move {
            // The time is over, or the port is cut.
            let _ = tokio::time::timeout(REVOKED_CONNECTION_MAX, cut_off(cut)).await;
        })
    }

    /// Counts and logs a connection above a limit.
    fn refuse(&self, remote: SocketAddr, error: &HandshakeError) {
        self.refused.inc();
        if let Some(share) = error.exceeded_share() {
            self.over_share.with_label_values(&[share]).inc();
        }
        if let Some(held_back) = self.refused_log.pass() {
            let port = self.port.name();
            warn!(port, %remote, held_back, %error, "connection refused: too many connections");
        }
    }

    fn on_failed(&self, error: &HandshakeError, remote: SocketAddr) {
        if error.exceeded_share().is_some() {
            return self.refuse(remote, error);
        }
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

/// The place of a connection among all of the port and among those of its address.
struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share<Origin>,
}

/// Counts a connection while it lives.
struct Open {
    gauge: IntGauge,
    _place: Place,
    _user: Share<Arc<PeerIdentity>>,
}

impl Open {
    fn count(self) -> Self {
        self.gauge.inc();
        self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests;
