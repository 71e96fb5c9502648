//! Small writes of one round of work go to the socket together.
//!
//! gRPC flushes a connection after each message that a stream hands it. Where many streams share
//! the connection, most of what the system then does is to send, and to wake for, packets of some
//! 70 bytes. So a flush first lets the tasks that are ready have their turn, once: what they write
//! meanwhile goes along. There is no timer: with nothing else to do, the flush follows at once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream whose small writes are gathered. What is written MUST be flushed to be sent.
#[derive(Debug)]
pub struct Gather<S> {
    inner: S,
    held: Vec<u8>,
    /// How much of `held` is sent.
    sent: usize,
    /// The others have had their turn since the last flush.
    yielded: bool,
    /// The most that is held, bytes; larger writes pass. Nothing is held before the start.
    max_bytes: usize,
}

impl<S> Gather<S> {
    /// Over `inner`. It gathers nothing before [`Gather::start`]: what a handshake sends last, an
    /// alert, is not flushed.
    pub const fn new(inner: S) -> Self {
        Self {
            inner,
            held: Vec::new(),
            sent: 0,
            yielded: false,
            max_bytes: 0,
        }
    }

    /// From now on writes below `max_bytes` are gathered, and no more than that is held.
    pub const fn start(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    /// Hands what is held to the stream below.
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

    /// Hands on what is held, and `slices` with it; how much of those was taken.
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
            // A task that wakes itself stands behind all that are ready.
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

    /// Keeps each write; takes at most `room` bytes, then none until more is given.
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
        // The next round begins anew.
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
