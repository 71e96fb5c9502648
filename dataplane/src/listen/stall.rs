//! A connection that fails once its client has not taken anything for too long. HTTP/2 finds a
//! client that is gone by its pings; HTTP/1.1 has none, so a client that neither reads nor closes
//! would keep its place until the kernel gives up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use lograft_core::limits::HTTP_WRITE_STALL_MAX;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection with a bound on how long a write may wait.
pub(super) struct Stall<T> {
    io: T,
    timer: Pin<Box<Sleep>>,
    /// Whether the last write is waiting.
    is_waiting: bool,
}

impl<T> Stall<T> {
    pub(super) fn new(io: T) -> Self {
        Self {
            io,
            timer: Box::pin(tokio::time::sleep(HTTP_WRITE_STALL_MAX)),
            is_waiting: false,
        }
    }

    /// Passes the result of a write on, unless it has been waiting for too long.
    fn bounded<R>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.is_waiting = false;
            return result;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.timer
                .as_mut()
                .reset(Instant::now() + HTTP_WRITE_STALL_MAX);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stall<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stall<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_client_that_takes_nothing_ends_the_connection() {
        let (mut client, server) = duplex(4);
        let mut server = Stall::new(server);
        let slow = async {
            for _ in 0..3 {
                tokio::time::sleep(HTTP_WRITE_STALL_MAX / 2).await;
                client.read_exact(&mut [0; 4]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(server.write_all(b"0123456789ab"), slow);
        written.unwrap();
        let started = Instant::now();
        let failed = server.write_all(b"0123456789").await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), HTTP_WRITE_STALL_MAX);
    }
}
