//! Memory of replies on their way to clients. A frame counts until the connection has sent it:
//! hyper asks for the next frame of a stream, and for the end of a reply, while the former frame
//! still waits for the client to take it.

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

use crate::serving::reply_memory::{ReplyAccount, ReplyMemory};

/// The memory of a reply, among the extensions of its response.
#[derive(Clone)]
struct Held {
    account: ReplyAccount,
    /// Of a message that is not encoded yet.
    message: Option<Arc<ReplyMemory>>,
}

/// Tells [`hold_replies`] whose memory a reply takes. `message` is that of a reply that is one
/// message; it is held until the message is encoded.
pub(crate) fn hold(
    extensions: &mut Extensions,
    account: ReplyAccount,
    message: Option<ReplyMemory>,
) {
    let message = message.map(Arc::new);
    extensions.insert(Held { account, message });
}

/// The routes, with the frames of each reply counted until they are sent.
pub(crate) fn hold_replies(routes: Router) -> Router {
    routes.layer(map_response(async |mut response: Response| match response
        .extensions_mut()
        .remove::<Held>()
    {
        Some(held) => response.map(|body| Body::new(HeldBody { body, held })),
        None => response,
    }))
}

/// A body whose frames count.
struct HeldBody {
    body: Body,
    held: Held,
}

/// The bytes of a frame; the connection drops them when it has sent them.
struct Counted {
    bytes: Bytes,
    #[expect(dead_code, reason = "held")]
    memory: ReplyMemory,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        // The frame may be larger than the records that it was made of. It exists already: the
        // next read of this user waits, also if there was no room for this one.
        let counted = frame.map_data(|bytes| {
            let memory = self.held.account.count(bytes.len());
            Bytes::from_owner(Counted { bytes, memory })
        });
        self.held.message = None;
        Poll::Ready(Some(Ok(counted)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
