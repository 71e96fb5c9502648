//! Compressed answers: gzip or zstd, if the client accepts one of them.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Buf, Bytes};
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use hyper::body::{Body as _, Frame};
use lograft_core::limits::{HTTP_COMPRESS_MIN_BYTES, ZSTD_LEVEL};
use zstd::stream::write::Encoder as ZstdEncoder;

use super::answer::{JSON, NDJSON};

/// Bytes that are compressed before other tasks have a turn.
const STEP_BYTES: usize = 64 * 1024;

pub(super) async fn compress(request: Request, next: Next) -> Response {
    let coding = Coding::accepted(request.headers());
    let mut response = next.run(request).await;
    if !is_compressible(&response) {
        return response;
    }
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    let Some((coding, encoder)) = coding.and_then(|coding| Some((coding, coding.encoder().ok()?)))
    else {
        return response;
    };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(CONTENT_LENGTH);
    response.map(|body| Body::new(Compressed::new(body, encoder)))
}

/// Whether an answer is worth it. Server-sent events are short, and proxies hold them back if they
/// are compressed.
fn is_compressible(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind == JSON || kind == NDJSON);
    let bytes = response.body().size_hint().exact();
    is_json && bytes.is_none_or(|bytes| bytes >= HTTP_COMPRESS_MIN_BYTES as u64)
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Zstd,
    Gzip,
}

impl Coding {
    const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The coding that a client prefers; zstd, which is faster, if it accepts both alike.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let accepted = values.join(",");
        let zstd = weight_of(&accepted, "zstd");
        let gzip = weight_of(&accepted, "gzip");
        match (zstd, gzip) {
            (0.0, 0.0) => None,
            (zstd, gzip) if gzip > zstd => Some(Self::Gzip),
            _ => Some(Self::Zstd),
        }
    }

    fn encoder(self) -> io::Result<Encoder> {
        Ok(match self {
            Self::Zstd => Encoder::Zstd(ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?),
            Self::Gzip => {
                let level = flate2::Compression::fast();
                Encoder::Gzip(GzEncoder::new(Vec::new(), level))
            }
        })
    }
}

/// The weight of a coding in the header Accept-Encoding; 0 if it is not acceptable.
fn weight_of(accepted: &str, coding: &str) -> f32 {
    let mut any = 0.0;
    for part in accepted.split(',') {
        let mut parts = part.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
        let weight = weight.unwrap_or(1.0);
        if name.eq_ignore_ascii_case(coding) {
            return weight;
        }
        if name == "*" {
            any = weight;
        }
    }
    any
}

enum Encoder {
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    /// Compresses a piece. The client can decode all of it, once `is_last`, the end of a piece of
    /// the answer, is in it.
    fn push(&mut self, piece: &[u8], is_last: bool) -> io::Result<Bytes> {
        let output = match self {
            Self::Zstd(encoder) => {
                encoder.write_all(piece)?;
                if is_last {
                    encoder.flush()?;
                }
                encoder.get_mut()
            }
            Self::Gzip(encoder) => {
                encoder.write_all(piece)?;
                if is_last {
                    encoder.flush()?;
                }
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(output).into())
    }

    fn finish(self) -> io::Result<Bytes> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
        .map(Bytes::from)
    }
}

/// A body that is compressed as it is sent.
struct Compressed {
    body: Body,
    /// None once the end is sent.
    encoder: Option<Encoder>,
    /// Pieces of the body that are not compressed yet.
    waiting: VecDeque<Bytes>,
}

impl Compressed {
    fn new(body: Body, encoder: Encoder) -> Self {
        Self {
            body,
            encoder: Some(encoder),
            waiting: VecDeque::new(),
        }
    }

    /// Compresses the next step of what waits.
    fn step(&mut self) -> Option<io::Result<Bytes>> {
        let piece = self.waiting.front_mut()?;
        let step = piece.split_to(piece.remaining().min(STEP_BYTES));
        let is_last = piece.is_empty();
        if is_last {
            self.waiting.pop_front();
        }
        self.encoder
            .as_mut()
            .map(|encoder| encoder.push(&step, is_last))
    }
}

impl hyper::body::Body for Compressed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        loop {
            // A body that has ended is not polled again.
            if this.encoder.is_none() {
                return Poll::Ready(None);
            }
            match this.step() {
                Some(Ok(step)) if step.is_empty() => continue,
                Some(step) => {
                    return Poll::Ready(Some(step.map(Frame::data).map_err(axum::Error::new)));
                }
                None => {}
            }
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Answers have no trailers.
                    this.waiting.extend(frame.into_data().ok());
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let end = this.encoder.take().map(Encoder::finish);
                    let end = end.map(|end| end.map(Frame::data).map_err(axum::Error::new));
                    return Poll::Ready(end);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    fn accepted(value: &str) -> Option<Coding> {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]);
        Coding::accepted(&headers)
    }

    #[test]
    fn the_client_chooses_the_coding() {
        assert_eq!(accepted("gzip, deflate, br"), Some(Coding::Gzip));
        assert_eq!(accepted("gzip, zstd"), Some(Coding::Zstd));
        assert_eq!(accepted("gzip;q=1.0, zstd;q=0.5"), Some(Coding::Gzip));
        assert_eq!(accepted("*"), Some(Coding::Zstd));
        assert_eq!(accepted("zstd;q=0, gzip;q=0, *"), None);
        assert_eq!(accepted("identity"), None);
        assert_eq!(Coding::accepted(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn each_piece_can_be_decoded_when_it_arrives() {
        let first = Bytes::from("first line\n".repeat(20_000));
        let pieces = [first.clone(), Bytes::from_static(b"second\n")];
        for coding in [Coding::Zstd, Coding::Gzip] {
            let mut left = pieces.clone().into_iter();
            let stream = futures_util::stream::unfold((), move |()| {
                std::future::ready(left.next().map(|piece| (Ok::<_, io::Error>(piece), ())))
            });
            let body = Body::from_stream(stream);
            let mut body = Compressed::new(body, coding.encoder().unwrap());
            let mut sent = Vec::new();
            let mut decoded = Vec::new();
            while decoded.len() < first.len() {
                sent.extend_from_slice(body.frame().await.unwrap().unwrap().data_ref().unwrap());
                decoded = decode_start(coding, &sent);
            }
            assert_eq!(decoded, first);
            while let Some(frame) = body.frame().await {
                sent.extend_from_slice(frame.unwrap().data_ref().unwrap());
            }
            assert_eq!(decode_start(coding, &sent), pieces.concat());
        }
    }

    fn decode_start(coding: Coding, sent: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        // The end is missing: whatever is there is decoded.
        let _ = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(sent).read_to_end(&mut decoded),
            Coding::Zstd => zstd::Decoder::new(sent).unwrap().read_to_end(&mut decoded),
        };
        decoded
    }
}
