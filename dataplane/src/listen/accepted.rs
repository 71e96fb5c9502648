//! The IO of a connection whose peer is known. It ends with the right to it, or if the client does
//! not start to speak HTTP/2 in time, and is closed so that the client reads its last replies.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lograft_core::limits::CONNECTION_LINGER_MAX;
use lograft_proto::gather::Gather;
use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::Open;
use super::age::Lifetime;
use crate::identity::Caller;
use crate::net::{BoxFuture, BoxIo};
use crate::tls::Port;

/// How much is discarded at once from a connection that has been closed.
const DISCARD_BYTES: usize = 8 * 1024;
/// How often, before other tasks have a turn.
const DISCARDS_PER_POLL_COUNT: usize = 16;

/// The HTTP/2 preface that a client has not sent completely yet. Until then the server sends no
/// keepalive pings, so a client that stays silent would keep its place indefinitely.
pub(super) struct Preface {
    missing_bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Preface {
    /// The fixed text and the head of the SETTINGS frame behind it.
    pub(super) const BYTES: usize = 24 + 9;

    pub(super) fn within(max: Duration) -> Self {
        Self {
            missing_bytes: Self::BYTES,
            deadline: Box::pin(tokio::time::sleep(max)),
        }
    }
}

/// A connection whose peer is known.
pub(crate) struct Accepted {
    /// Boxed: the futures of a server have several places for a connection.
    pub(super) stream: Box<TlsStream<BufReader<Gather<BoxIo>>>>,
    pub(super) caller: Caller,
    pub(super) lifetime: Lifetime,
    /// Counts lifetimes that have ended.
    pub(super) closes: IntCounterVec,
    pub(super) port: Port,
    /// Ready when it has to end; none once it has.
    pub(super) cut: Option<BoxFuture<'static, ()>>,
    /// Whether the client speaks HTTP/2: always, but on the HTTP port.
    pub(super) is_http2: bool,
    /// None once it has arrived, and if none is expected.
    pub(super) preface: Option<Preface>,
    /// Ends the wait for the client's end; none before this half is closed.
    pub(super) linger: Option<Pin<Box<Sleep>>>,
    pub(super) _open: Open,
}

impl Accepted {
    /// Ready once the connection is to be closed, because `stopped` holds true or for its age.
    pub(super) fn lifetime_end(
        &self,
        mut stopped: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let (lifetime, closes) = (self.lifetime, self.closes.clone());
        async move {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => {}
                reason = lifetime.ended() => closes.with_label_values(&[reason.name()]).inc(),
            }
        }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // First of all: a connection on which something always arrives has to end too.
        if let Some(cut) = &mut this.cut
            && cut.as_mut().poll(cx).is_ready()
        {
            // A finished future is not polled again.
            this.cut = None;
        }
        if this.cut.is_none() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let filled_before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if let Some(preface) = &mut this.preface {
            let read_bytes = buffer.filled().len() - filled_before;
            preface.missing_bytes = preface.missing_bytes.saturating_sub(read_bytes);
            if preface.missing_bytes == 0 {
                this.preface = None;
            } else if read.is_pending() && preface.deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
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

    /// Ready once the client has closed its half too, or after a moment. A socket that is closed
    /// while data arrive resets the connection, and the client loses what it has not read yet: the
    /// last replies, and the end of its stream.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            std::task::ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.linger = Some(Box::pin(tokio::time::sleep(CONNECTION_LINGER_MAX)));
        }
        let mut discarded = [0; DISCARD_BYTES];
        for _ in 0..DISCARDS_PER_POLL_COUNT {
            let is_over = self
                .linger
                .as_mut()
                .is_none_or(|linger| linger.as_mut().poll(cx).is_ready());
            let mut buffer = ReadBuf::new(&mut discarded);
            match self.as_mut().poll_read(cx, &mut buffer) {
                _ if is_over => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
