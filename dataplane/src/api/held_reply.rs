//! Memory of a reply that is answered as a whole, held until its client has taken it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::middleware::map_response;
use axum::response::Response;
use bytes::Bytes;
use http::Extensions;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use lograft_core::limits::REPLY_PIECE_MAX_BYTES;

use crate::serving::reply_memory::ReplyMemory;

/// The memory, among the extensions of a response.
#[derive(Clone)]
struct Held(#[expect(dead_code, reason = "held")] Arc<ReplyMemory>);

/// Passes the memory of a reply on to [`hold_replies`].
pub(crate) fn hold(extensions: &mut Extensions, memory: Option<ReplyMemory>) {
    if let Some(memory) = memory {
        extensions.insert(Held(Arc::new(memory)));
    }
}

/// The routes, with the memory of each reply held until its client has taken it.
pub(crate) fn hold_replies(routes: Router) -> Router {
    routes.layer(map_response(async |mut response: Response| match response
        .extensions_mut()
        .remove::<Held>()
    {
        Some(held) => response.map(|body| Body::new(HeldBody::new(body, held))),
        None => response,
    }))
}

/// A body with its memory. hyper asks for a piece of it only once it may send something, so the
/// memory is given back with the question after the last piece, and not with that piece.
struct HeldBody {
    body: Body,
    /// The rest of the last frame. Over HTTP/1.1 hyper takes any frame as a whole.
    rest: Bytes,
    held: Option<Held>,
}

impl HeldBody {
    fn new(body: Body, held: Held) -> Self {
        let rest = Bytes::new();
        let held = Some(held);
        Self { body, rest, held }
    }

    fn next_piece(&mut self) -> Frame<Bytes> {
        let length = self.rest.len().min(REPLY_PIECE_MAX_BYTES);
        Frame::data(self.rest.split_to(length))
    }
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_piece())));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            end => {
                self.held = None;
                return Poll::Ready(end);
            }
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                self.next_piece()
            }
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
