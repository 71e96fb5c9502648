//! Combines small writes of ready tasks into one write to the socket.
//!
//! gRPC flushes a connection after each message of a stream. Where many streams share a connection,
//! most of the CPU time then goes into sending, and waking up for, packets of about 70 bytes. So a
//! flush first yields once to the tasks that are ready, and sends what they write meanwhile in the
//! same packet. There is no timer: if no other task is ready, the flush happens immediately.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream that combines small writes. Written bytes are sent only after a flush, so callers
/// MUST flush.
#[derive(Debug)]
pub struct Gather<S> {
    inner: S,
    held: Vec<u8>,
    /// Number of bytes of `held` that are sent.
    sent: usize,
    /// Whether the other tasks have run since the last flush.
    yielded: bool,
    /// Maximum number of bytes held back; larger writes pass through. 0 before the start.
    max_bytes: usize,
}

impl<S> Gather<S> {
    /// Wraps `inner`. Writes pass through until [`Gather::start`], because the last message of a
    /// TLS handshake, an alert, is not flushed.
    pub const fn new(inner: S) -> Self {
        Self {
            inner,
            held: Vec::new(),
            sent: 0,
            yielded: false,
            max_bytes: 0,
        }
    }

    /// Combines writes below `max_bytes` from now on, and holds back at most this many bytes.
    pub const fn start(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    /// Writes the held bytes to the inner stream.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let rest = &self.held[self.sent..];
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.sent = 0;
        self.held.clear();
        Poll::Ready(Ok(()))
    }

    /// Writes the held bytes followed by `slices`; returns how many bytes of `slices` were written.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let held = self.held.len() - self.sent;
            if held == 0 {
                return Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
            }
            let mut all = Vec::with_capacity(slices.len() + 1);
            all.push(IoSlice::new(&self.held[self.sent..]));
            all.extend(slices.iter().map(|slice| IoSlice::new(slice)));
            let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, &all))?;
            self.sent += written.min(held);
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if self.sent == self.held.len() {
                self.sent = 0;
                self.held.clear();
            }
            if written > held {
                return Poll::Ready(Ok(written - held));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        if bytes >= this.max_bytes {
            return this.poll_pass(cx, slices);
        }
        if this.held.len() + bytes > this.max_bytes {
            ready!(this.poll_send(cx))?;
        }
        for slice in slices {
            this.held.extend_from_slice(slice);
        }
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.held.is_empty() && !std::mem::replace(&mut this.yielded, true) {
            // A task that wakes itself is scheduled after all tasks that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(this.poll_send(cx))?;
        this.yielded = false;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const MAX_BYTES: usize = 1024;

    /// Records each write; accepts at most `room` bytes.
    #[derive(Default)]
    struct Writes {
        seen: Vec<Vec<u8>>,
        room: usize,
    }

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Poll::Pending;
            }
            self.room -= taken;
            self.seen.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gather(room: usize) -> Gather<Writes> {
        let seen = Vec::new();
        let mut gather = Gather::new(Writes { seen, room });
        gather.start(MAX_BYTES);
        gather
    }

    fn write(gather: &mut Gather<Writes>, bytes: &[u8]) -> Poll<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        let written = Pin::new(gather).poll_write(&mut cx, bytes);
        written.map(Result::unwrap)
    }

    fn flush(gather: &mut Gather<Writes>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(gather).poll_flush(&mut cx).is_ready()
    }

    #[test]
    fn small_writes_go_together_once_the_others_had_their_turn() {
        let mut gather = gather(1000);
        assert_eq!(write(&mut gather, b"ab"), Poll::Ready(2));
        assert!(!flush(&mut gather));
        assert_eq!(write(&mut gather, b"cd"), Poll::Ready(2));
        assert!(flush(&mut gather));
        assert_eq!(gather.inner.seen, [b"abcd"]);
        // The next flush yields again.
        assert_eq!(write(&mut gather, b"e"), Poll::Ready(1));
        assert!(!flush(&mut gather));
        assert!(flush(&mut gather));
        assert_eq!(gather.inner.seen.len(), 2);
    }

    #[test]
    fn a_handshake_is_not_held_back() {
        let (seen, room) = (Vec::new(), 1000);
        let mut gather = Gather::new(Writes { seen, room });
        assert_eq!(write(&mut gather, b"alert"), Poll::Ready(5));
        assert_eq!(gather.inner.seen, [b"alert"]);
    }

    #[test]
    fn nothing_held_is_flushed_at_once() {
        assert!(flush(&mut gather(0)));
    }

    #[test]
    fn large_writes_pass_behind_what_is_held() {
        let mut gather = gather(usize::MAX);
        let large = vec![7; MAX_BYTES];
        assert_eq!(write(&mut gather, b"ab"), Poll::Ready(2));
        assert_eq!(write(&mut gather, &large), Poll::Ready(large.len()));
        assert_eq!(gather.inner.seen, [b"ab".to_vec(), large]);
    }

    #[test]
    fn a_large_write_that_finds_little_room_loses_nothing() {
        let mut gather = gather(3);
        let large = vec![7; MAX_BYTES];
        assert_eq!(write(&mut gather, b"abcd"), Poll::Ready(4));
        assert_eq!(write(&mut gather, &large), Poll::Pending);
        gather.inner.room = 10;
        assert_eq!(write(&mut gather, &large), Poll::Ready(9));
        let all = gather.inner.seen.concat();
        assert_eq!(all, [b"abcd".as_slice(), &[7; 9]].concat());
    }

    #[test]
    fn no_more_is_held_than_the_bound_and_nothing_is_lost_or_doubled() {
        let mut gather = gather(3);
        let most = vec![1; MAX_BYTES - 1];
        assert_eq!(write(&mut gather, &most), Poll::Ready(most.len()));
        assert_eq!(write(&mut gather, &[2; 2]), Poll::Pending);
        assert_eq!(gather.held.len(), most.len());
        gather.inner.room = usize::MAX;
        assert_eq!(write(&mut gather, &[2; 2]), Poll::Ready(2));
        assert!(!flush(&mut gather));
        assert!(flush(&mut gather));
        let all = gather.inner.seen.concat();
        assert_eq!(all, [most.as_slice(), &[2; 2]].concat());
    }
}
