//! Keeps the TLS alert with which a node ended a connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::dial::Wire;
use super::dial_error::DialErrorKind;

/// The last TLS alert that a node sent on one of its connections.
///
/// In TLS 1.3 a node verifies the client's certificate after the client has finished its side of
/// the handshake. The refusal therefore arrives as an alert on an open connection, which HTTP/2
/// reports only as "connection closed". So the stream itself records the alert.
#[derive(Debug, Default)]
pub(crate) struct TlsAlert(Mutex<Option<DialErrorKind>>);

impl TlsAlert {
    fn slot(&self) -> MutexGuard<'_, Option<DialErrorKind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes and returns the recorded alert.
    pub(crate) fn take(&self) -> Option<DialErrorKind> {
        self.slot().take()
    }

    fn record(&self, error: &io::Error) {
        let tls = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls {
            *self.slot() = Some(DialErrorKind::from_tls(tls));
        }
    }
}

/// A TLS stream that records the alert with which the node ended it.
pub(super) struct AlertStream<S> {
    stream: S,
    alert: Arc<TlsAlert>,
    /// The error of a failed write, kept until the alert that may explain it has been read.
    write_error: Option<io::Error>,
}

impl<S: Wire> AlertStream<S> {
    pub(super) const fn new(stream: S, alert: Arc<TlsAlert>) -> Self {
        Self {
            stream,
            alert,
            write_error: None,
        }
    }

    /// Returns the result of a write, after reading the alert if the write failed.
    ///
    /// A node that refuses the client closes the connection, so a write can fail with "broken pipe"
    /// while the alert is still unread in the receive buffer. Without reading it first, the user
    /// would see a broken connection instead of the refused certificate.
    fn check_write<T>(
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
            // Ends soon: a connection that fails writes also reaches its end of stream.
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch)) {
                Ok(()) if !scratch.filled().is_empty() => {}
                Ok(()) => break,
                Err(error) => {
                    self.alert.record(&error);
                    break;
                }
            }
        }
        let error = self.write_error.take();
        Poll::Ready(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }
}

impl<S: Wire> AsyncRead for AlertStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read {
            self.alert.record(error);
        }
        read
    }
}

impl<S: Wire> AsyncWrite for AlertStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_error.is_some() {
            return self.poll_write_error(cx).map(Err);
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.check_write(cx, written)
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
        self.check_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_error.is_some() {
            return self.poll_write_error(cx).map(Err);
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.check_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
