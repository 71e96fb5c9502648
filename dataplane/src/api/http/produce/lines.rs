//! The lines of a body, as they arrive.

use axum::extract::Request;
use bytes::{Buf, Bytes, BytesMut};
use lograft_core::limits::HTTP_LINE_MAX_BYTES;

use crate::api::http::body::BodyStream;
use crate::api::http::error::HttpError;

/// Lines of a body.
pub(super) struct Lines {
    body: BodyStream,
    buffer: BytesMut,
    /// Bytes at the start of the buffer without a line end.
    searched: usize,
    is_ended: bool,
    /// Lines taken so far.
    count: u64,
}

/// A line with its number, from 1.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) text: Bytes,
}

impl Lines {
    pub(super) fn new(request: Request) -> Result<Self, HttpError> {
        Ok(Self {
            body: BodyStream::new(request)?,
            buffer: BytesMut::new(),
            searched: 0,
            is_ended: false,
            count: 0,
        })
    }

    /// The number of the next line.
    pub(super) const fn next_number(&self) -> u64 {
        self.count + 1
    }

    /// The next line that is not empty, if it has arrived.
    pub(super) fn take(&mut self) -> Result<Option<Line>, HttpError> {
        while let Some(mut text) = self.take_any()? {
            if text.last() == Some(&b'\r') {
                text.truncate(text.len() - 1);
            }
            if !text.is_empty() {
                let number = self.count;
                return Ok(Some(Line { number, text }));
            }
        }
        Ok(None)
    }

    fn take_any(&mut self) -> Result<Option<Bytes>, HttpError> {
        let found = memchr::memchr(b'\n', &self.buffer[self.searched..]);
        let end = found.map(|at| self.searched + at);
        if end.unwrap_or(self.buffer.len()) > HTTP_LINE_MAX_BYTES {
            return Err(HttpError::BodyTooLarge {
                field: "line",
                max_bytes: HTTP_LINE_MAX_BYTES,
            });
        }
        let Some(end) = end else {
            self.searched = self.buffer.len();
            if !self.is_ended || self.buffer.is_empty() {
                return Ok(None);
            }
            // The last line may have no end.
            self.count += 1;
            self.searched = 0;
            return Ok(Some(self.buffer.split().freeze()));
        };
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        self.count += 1;
        Ok(Some(line))
    }

    /// Waits for more of the body. Returns false at its end. May be cancelled.
    pub(super) async fn fill(&mut self) -> Result<bool, HttpError> {
        if self.is_ended {
            return Ok(false);
        }
        self.is_ended = !self.body.read(&mut self.buffer).await?;
        // What is left at the end is a line.
        Ok(!self.is_ended || !self.buffer.is_empty())
    }

    /// Bytes that have arrived and are not taken.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether more of the body has arrived already.
    pub(super) fn has_more(&self) -> bool {
        self.body.has_more()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn lines(pieces: &[&'static str]) -> Result<Vec<(u64, String)>, HttpError> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, std::io::Error>(*piece))
            .collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let mut lines = Lines::new(Request::new(body))?;
        let mut found = Vec::new();
        loop {
            while let Some(Line { number, text }) = lines.take()? {
                found.push((number, String::from_utf8(text.to_vec()).unwrap()));
            }
            if !lines.fill().await? {
                return Ok(found);
            }
        }
    }

    #[tokio::test]
    async fn lines_are_numbered_and_the_last_may_have_no_end() {
        let found = lines(&["a\n\nb", "c\r\n", "", "d\n", "e"]).await.unwrap();
        let expected = [(1, "a"), (3, "bc"), (4, "d"), (5, "e")];
        assert_eq!(found, expected.map(|(at, text)| (at, text.to_owned())));
        assert!(lines(&[]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_line_above_its_limit_is_refused_before_it_has_arrived() {
        let piece: &'static str = Box::leak("x".repeat(HTTP_LINE_MAX_BYTES / 2).into_boxed_str());
        assert_eq!(lines(&[piece, piece]).await.unwrap().len(), 1);
        let refused = lines(&[piece, piece, "x", "\n"]).await.unwrap_err();
        assert!(matches!(
            refused,
            HttpError::BodyTooLarge { field: "line", .. }
        ));
    }
}
