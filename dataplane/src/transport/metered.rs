//! Replies of another node whose memory is reserved before they are received: each message of a
//! call's reply says how long it is before it begins.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use lograft_core::limits::FORWARDED_READ_WINDOW_BYTES;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service;

use crate::error::ApiError;
use crate::serving::reply_memory::{ReplyAccount, ReplyMemory};

/// The prefix of a gRPC message: a flag and its length, 4 bytes, big endian.
const PREFIX_BYTES: usize = 5;

/// A channel whose replies take their memory from an account.
#[derive(Clone)]
pub(super) struct MeteredChannel {
    channel: Channel,
    replies: ReplyAccount,
}

impl MeteredChannel {
    pub(super) const fn new(channel: Channel, replies: ReplyAccount) -> Self {
        Self { channel, replies }
    }
}

impl Service<Request<Body>> for MeteredChannel {
    type Response = Response<MeteredBody>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let reply = self.channel.call(request);
        let replies = self.replies.clone();
        Box::pin(async move { Ok(reply.await?.map(|body| MeteredBody::new(body, replies))) })
    }
}

/// The body of a reply. Its reader takes all of a message before it asks for the next one.
pub(super) struct MeteredBody {
    body: Body,
    replies: ReplyAccount,
    messages: Messages,
    /// The memory of the messages that were begun since the last one ended.
    held: Option<ReplyMemory>,
    /// The frame that waits for its memory.
    waiting: Option<(Bytes, BoxFuture<'static, Result<ReplyMemory, ApiError>>)>,
}

impl MeteredBody {
    fn new(body: Body, replies: ReplyAccount) -> Self {
        Self {
            body,
            replies,
            messages: Messages::default(),
            held: None,
            waiting: None,
        }
    }

    fn hold(&mut self, memory: ReplyMemory) {
        match &mut self.held {
            Some(held) => held.absorb(memory),
            none => *none = Some(memory),
        }
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.waiting.is_none() {
            if self.messages.are_whole() {
                // The reader has taken them.
                self.held = None;
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            let were_whole = self.messages.are_whole();
            let begun_bytes = self.messages.pass(&data);
            if begun_bytes == 0 {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            // A reply that the client does not take stays in the window of the other node too.
            let bytes = begun_bytes + FORWARDED_READ_WINDOW_BYTES as usize;
            if !were_whole {
                // Rare, as a large message ends with a frame. A wait would be one with memory held.
                let memory = self.replies.count(bytes);
                self.hold(memory);
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let replies = self.replies.clone();
            let reserving = async move { replies.reserve(bytes).await };
            self.waiting = Some((data, Box::pin(reserving)));
        }
        let Some((_, reserving)) = &mut self.waiting else {
            return Poll::Ready(None);
        };
        let reserved = ready!(reserving.as_mut().poll(cx));
        let data = self.waiting.take().map(|(data, _)| data);
        self.hold(reserved.map_err(Status::from)?);
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Where the messages of a body begin and end.
#[derive(Debug, Default)]
struct Messages {
    /// The part of a prefix that has arrived.
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// The rest of the message that has begun.
    left_bytes: usize,
}

impl Messages {
    /// Whether all messages that have begun have also ended.
    const fn are_whole(&self) -> bool {
        self.left_bytes == 0 && self.prefix_bytes == 0
    }

    /// Notes the next bytes. Returns the length of the messages that begin in them.
    fn pass(&mut self, mut data: &[u8]) -> usize {
        let mut begun_bytes = 0;
        loop {
            let passed = self.left_bytes.min(data.len());
            self.left_bytes -= passed;
            data = data.get(passed..).unwrap_or_default();
            let missing = self.prefix.get_mut(self.prefix_bytes..).unwrap_or_default();
            let taken = missing.len().min(data.len());
            let (head, rest) = data.split_at_checked(taken).unwrap_or_default();
            if head.is_empty() {
                return begun_bytes;
            }
            if let Some(missing) = missing.get_mut(..taken) {
                missing.copy_from_slice(head);
            }
            self.prefix_bytes += taken;
            data = rest;
            if self.prefix_bytes == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.left_bytes = u32::from_be_bytes(length) as usize;
                self.prefix_bytes = 0;
                begun_bytes += PREFIX_BYTES + self.left_bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(u32::try_from(length).unwrap().to_be_bytes());
        message.resize(PREFIX_BYTES + length, 7);
        message
    }

    #[test]
    fn messages_are_found_however_they_are_cut_into_frames() {
        let lengths = [0, 3, 70_000, 1, 0, 0, 12];
        let whole: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
        for frame_bytes in [1, 2, 5, 6, 7, 1000, usize::MAX] {
            let mut messages = Messages::default();
            let frames = whole.chunks(frame_bytes);
            let begun: usize = frames.map(|frame| messages.pass(frame)).sum();
            assert_eq!(begun, whole.len(), "frames of {frame_bytes}");
            assert!(messages.are_whole());
        }
    }

    #[test]
    fn a_message_counts_once_its_prefix_is_whole() {
        let whole = message(1000);
        let mut messages = Messages::default();
        assert_eq!(messages.pass(&whole[..4]), 0);
        assert!(!messages.are_whole());
        assert_eq!(messages.pass(&whole[4..10]), PREFIX_BYTES + 1000);
        assert!(!messages.are_whole());
        assert_eq!(messages.pass(&whole[10..]), 0);
        assert!(messages.are_whole());
    }
}
