//! Requests of HTTP/1.1 whose framing is ambiguous are refused. hyper follows RFC 9112, which lets
//! a server repair some of them: a length beside `Transfer-Encoding`, equal lengths twice, lines
//! that end in a bare LF. A proxy that repairs them in another way would see other requests on the
//! same connection than the node does (request smuggling), so nothing is repaired here.
//!
//! A head is held back until it is complete. In place of a head that is refused, hyper gets a
//! request for [`REFUSED_PATH`], whose answer says why, and nothing after it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use lograft_core::limits::HTTP_HEAD_MAX_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chunked::{Chunked, Next};
use super::request_head::{Framed, framing_of};

/// The path of requests that stand for refused ones.
pub(crate) const REFUSED_PATH: &str = "/refused-framing";
const REFUSED_REQUEST: &[u8] =
    b"GET /refused-framing HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n";
/// How much is read at once while a head is expected.
const READ_BYTES: usize = 8 * 1024;

/// A connection whose requests are checked as they are read.
pub(super) struct Framing<T> {
    io: T,
    state: State,
    /// Checked bytes that are not taken yet.
    ready: BytesMut,
}

/// The part of a request that is expected.
#[derive(Debug)]
enum State {
    /// A head, of which these bytes have arrived.
    Head(BytesMut),
    /// So many bytes of a body.
    Body(u64),
    Chunked(Chunked),
    /// Anything: hyper refuses what comes.
    Unchecked,
    /// Nothing: a request was refused.
    Refused,
}

impl<T> Framing<T> {
    pub(super) fn new(io: T) -> Self {
        Self {
            io,
            state: State::Head(BytesMut::new()),
            ready: BytesMut::new(),
        }
    }

    /// Bytes of a body that may be passed on without a look.
    fn unchecked_bytes(&self) -> usize {
        let bytes = match self.state {
            State::Body(left) | State::Chunked(Chunked::Data(left)) => left,
            State::Unchecked => u64::MAX,
            _ => 0,
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Notes that bytes of a body have passed.
    fn on_passed(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        match &mut self.state {
            State::Body(left) => {
                *left -= bytes;
                if *left == 0 {
                    self.state = State::Head(BytesMut::new());
                }
            }
            State::Chunked(chunked @ Chunked::Data(_)) => {
                if let Chunked::Data(left) = chunked {
                    *left -= bytes;
                    if *left == 0 {
                        *chunked = Chunked::DataEnd;
                    }
                }
            }
            _ => {}
        }
    }

    /// Checks bytes that have arrived, and makes them ready.
    fn check(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let unchecked = self.unchecked_bytes().min(bytes.len());
            if unchecked > 0 {
                self.ready.extend_from_slice(&bytes[..unchecked]);
                self.on_passed(unchecked);
                bytes.advance(unchecked);
                continue;
            }
            match &mut self.state {
                State::Head(_) => self.check_head(&mut bytes),
                State::Chunked(chunked) => {
                    let byte = bytes.get_u8();
                    self.ready.extend_from_slice(&[byte]);
                    self.state = match chunked.after(byte) {
                        Next::Inside(chunked) => State::Chunked(chunked),
                        Next::Ended => State::Head(BytesMut::new()),
                        Next::Unknown => State::Unchecked,
                    };
                }
                State::Refused => return,
                State::Body(_) | State::Unchecked => {
                    self.state = State::Head(BytesMut::new());
                }
            }
        }
    }

    /// Takes bytes of a head, up to its end.
    fn check_head(&mut self, bytes: &mut &[u8]) {
        let State::Head(head) = &mut self.state else {
            return;
        };
        while bytes.has_remaining() {
            let byte = bytes.get_u8();
            let after_cr = head.last() == Some(&b'\r');
            head.extend_from_slice(&[byte]);
            if after_cr != (byte == b'\n') {
                return self.refuse();
            }
            // Empty lines before a request mean nothing.
            if &**head == b"\r\n" {
                head.clear();
            }
            if head.ends_with(b"\r\n\r\n") {
                let framed = framing_of(head);
                self.ready.extend_from_slice(head);
                self.state = match framed {
                    Ok(Framed::Length(0)) => State::Head(BytesMut::new()),
                    Ok(Framed::Length(length)) => State::Body(length),
                    Ok(Framed::Chunked) => State::Chunked(Chunked::Size(0)),
                    Err(_) => {
                        let before = self.ready.len() - head.len();
                        self.ready.truncate(before);
                        return self.refuse();
                    }
                };
                return;
            }
            if head.len() > HTTP_HEAD_MAX_BYTES {
                self.ready.extend_from_slice(head);
                self.state = State::Unchecked;
                return;
            }
        }
    }

    fn refuse(&mut self) {
        self.ready.extend_from_slice(REFUSED_REQUEST);
        self.state = State::Refused;
    }

    /// Makes the rest ready at the end of the connection.
    fn on_end(&mut self) {
        if let State::Head(head) = &mut self.state {
            self.ready.extend_from_slice(&head.split());
        }
    }

    fn take_ready(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready.split_to(count));
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Framing<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                this.take_ready(buffer);
                return Poll::Ready(Ok(()));
            }
            if matches!(this.state, State::Refused) {
                // hyper answers the last request and closes the connection.
                return Poll::Pending;
            }
            let unchecked = this.unchecked_bytes().min(buffer.remaining());
            if unchecked > 0 {
                let mut part = ReadBuf::new(buffer.initialize_unfilled_to(unchecked));
                std::task::ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
                let read = part.filled().len();
                buffer.advance(read);
                this.on_passed(read);
                return Poll::Ready(Ok(()));
            }
            let mut read = [0; READ_BYTES];
            let mut part = ReadBuf::new(&mut read);
            std::task::ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                this.on_end();
                this.take_ready(buffer);
                return Poll::Ready(Ok(()));
            }
            this.check(part.filled());
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Framing<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that arrive in pieces of this size.
    fn arrived(bytes: &[u8], piece: usize) -> Framing<()> {
        let mut framing = Framing::new(());
        for piece in bytes.chunks(piece) {
            framing.check(piece);
        }
        framing
    }

    /// What hyper reads of these bytes, in pieces of any size.
    fn passed(bytes: &[u8], piece: usize) -> (String, State) {
        let framing = arrived(bytes, piece);
        let passed = String::from_utf8(framing.ready.to_vec()).unwrap();
        (passed, framing.state)
    }

    const HEAD: &str = "POST / HTTP/1.1\r\nHost: x\r\n";

    #[test]
    fn requests_on_one_connection_pass_one_after_the_other() {
        let chunked = "5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: a\r\n\r\n";
        let requests = [
            format!("{HEAD}Content-Length: 5\r\n\r\nhello"),
            format!("{HEAD}Transfer-Encoding: Chunked\r\n\r\n{chunked}"),
            format!("{HEAD}\r\n"),
            format!("{HEAD}Content-Length: 0\r\n\r\n"),
        ];
        let all = requests.concat() + &requests.concat();
        for piece in [1, 2, 7, 1000] {
            let (read, state) = passed(all.as_bytes(), piece);
            assert_eq!(read, all);
            assert!(matches!(state, State::Head(head) if head.is_empty()));
        }
        let (read, _) = passed(format!("\r\n\r\n{HEAD}\r\n").as_bytes(), 3);
        assert_eq!(read, format!("{HEAD}\r\n"), "empty lines before a request");
    }

    #[test]
    fn any_bytes_are_framed_the_same_in_whatever_pieces_they_arrive() {
        let chunked = "5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: a\r\n\r\n";
        let valid = format!(
            "{HEAD}Content-Length: 5\r\n\r\nhello\
             {HEAD}Transfer-Encoding: chunked\r\n\r\n{chunked}{HEAD}\r\n"
        );
        crate::fuzz::run("framing of HTTP requests", |random| {
            let input = random.mutated(valid.as_bytes(), 2 * HTTP_HEAD_MAX_BYTES);
            let whole = arrived(&input, input.len().max(1));
            let pieces = arrived(&input, 1 + random.below(64));
            assert_eq!(whole.ready, pieces.ready);
            let states = [&whole.state, &pieces.state].map(std::mem::discriminant);
            assert_eq!(states[0], states[1]);
            assert!(whole.ready.len() <= input.len() + REFUSED_REQUEST.len());
        });
    }

    #[test]
    fn the_rest_of_a_connection_behind_a_refused_request_is_not_read() {
        let good = format!("{HEAD}Content-Length: 1\r\n\r\n5");
        for bad in [
            "GET / HTTP/1.1\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
        ] {
            for piece in [1, 1000] {
                let (read, state) = passed(format!("{good}{bad}{good}").as_bytes(), piece);
                let refused = std::str::from_utf8(REFUSED_REQUEST).unwrap();
                assert_eq!(read, format!("{good}{refused}"));
                assert!(matches!(state, State::Refused));
            }
        }
        assert!(refused_path_is_requested());
    }

    fn refused_path_is_requested() -> bool {
        REFUSED_REQUEST.starts_with(format!("GET {REFUSED_PATH} HTTP/1.1").as_bytes())
    }

    #[test]
    fn what_is_no_chunk_is_left_to_hyper() {
        let head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
        for bad in ["5\r\nhelloX", "fffffffffffffffff\r\n", "0\r\n\r\nGET"] {
            let (read, state) = passed(format!("{head}{bad}").as_bytes(), 1);
            let is_end = bad.ends_with("GET");
            assert_eq!(
                read.len(),
                head.len() + bad.len() - if is_end { 3 } else { 0 }
            );
            assert_eq!(matches!(state, State::Unchecked), !is_end, "{bad}");
        }
    }
}
