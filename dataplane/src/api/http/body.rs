//! Bodies of requests: bounded in size, time and in the memory of all of them together.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use lograft_core::limits::{
    HTTP_BODIES_MAX_BYTES, HTTP_BODY_IDLE_MAX, HTTP_BODY_MAX, HTTP_BODY_MAX_BYTES,
};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::encoding::BodyDecoder;
use super::error::HttpError;
use super::media::{BodyForm, body_form};

/// The memory for bodies that arrive.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HTTP_BODIES_MAX_BYTES)))
    }
}

/// Memory of a body, until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct HeldBody(Option<OwnedSemaphorePermit>);

impl BodyBudget {
    /// Sets the memory of a body. Fails with TOO_MANY_BODIES if it grows and there is none left.
    pub(crate) fn resize(&self, held: &mut HeldBody, bytes: usize) -> Result<(), HttpError> {
        let before = held.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if let Some(more) = bytes.checked_sub(before) {
            return self.hold(held, more);
        }
        drop(held.0.as_mut().and_then(|held| held.split(before - bytes)));
        Ok(())
    }

    /// Adds to the memory of a body. Fails with TOO_MANY_BODIES if there is none left.
    fn hold(&self, held: &mut HeldBody, bytes: usize) -> Result<(), HttpError> {
        let bytes = u32::try_from(bytes).map_err(|_| HttpError::TooManyBodies)?;
        let more = Arc::clone(&self.0)
            .try_acquire_many_owned(bytes)
            .map_err(|_| HttpError::TooManyBodies)?;
        match &mut held.0 {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// Reads a whole body, decompressed.
pub(crate) async fn read_whole(
    budget: &BodyBudget,
    request: Request<Body>,
) -> Result<(Bytes, HeldBody), HttpError> {
    let (head, body) = request.into_parts();
    check_length(&head.headers)?;
    let mut decoder = BodyDecoder::of(&head.headers)?;
    let read = read_decoded(budget, body, &mut decoder);
    let max = HTTP_BODY_MAX;
    tokio::time::timeout(max, read)
        .await
        .unwrap_or(Err(HttpError::BodyTimeout { max }))
}

/// Reads a body that is one JSON object.
pub(crate) async fn read_json<T: DeserializeOwned>(
    budget: &BodyBudget,
    request: Request<Body>,
) -> Result<T, HttpError> {
    body_form(request.headers(), &[BodyForm::Json])?;
    let (body, _held) = read_whole(budget, request).await?;
    serde_json::from_slice(&body).map_err(|error| HttpError::json("body", &error))
}

async fn read_decoded(
    budget: &BodyBudget,
    mut body: Body,
    decoder: &mut BodyDecoder,
) -> Result<(Bytes, HeldBody), HttpError> {
    let (mut whole, mut held) = (BytesMut::new(), HeldBody::default());
    while let Some(mut piece) = next_piece(&mut body).await? {
        while !piece.is_empty() {
            let before = whole.len();
            decoder.step(&mut piece, &mut whole)?;
            check_size(whole.len())?;
            budget.hold(&mut held, whole.len() - before)?;
        }
    }
    decoder.finish(&mut whole)?;
    check_size(whole.len())?;
    Ok((whole.freeze(), held))
}

fn check_length(headers: &HeaderMap) -> Result<(), HttpError> {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    check_size(length.unwrap_or(0))
}

fn check_size(bytes: usize) -> Result<(), HttpError> {
    if bytes <= HTTP_BODY_MAX_BYTES {
        return Ok(());
    }
    Err(HttpError::BodyTooLarge {
        field: "body",
        max_bytes: HTTP_BODY_MAX_BYTES,
    })
}

/// The next piece of a body; none at its end.
async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, HttpError> {
    loop {
        let Some(frame) = body.frame().await else {
            return Ok(None);
        };
        let frame = frame.map_err(|error| HttpError::BodyMalformed {
            field: "body".to_owned(),
            bound: "complete, and framed as RFC 9112 says",
            cause: crate::error_chain(&error),
        })?;
        // Trailers mean nothing here.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// A body that is read piece by piece.
pub(crate) struct BodyStream {
    body: Body,
    decoder: BodyDecoder,
    /// Bytes that have arrived and are not decoded yet.
    piece: Bytes,
    is_ended: bool,
}

impl BodyStream {
    pub(crate) fn new(request: Request<Body>) -> Result<Self, HttpError> {
        let (head, body) = request.into_parts();
        Ok(Self {
            body,
            decoder: BodyDecoder::of(&head.headers)?,
            piece: Bytes::new(),
            is_ended: false,
        })
    }

    /// Whether the next call of `read` does not wait for the client.
    pub(crate) fn has_more(&self) -> bool {
        !self.piece.is_empty()
    }

    /// Adds more decoded bytes to `output`. Returns false at the end of the body. May be cancelled.
    pub(crate) async fn read(&mut self, output: &mut BytesMut) -> Result<bool, HttpError> {
        if self.piece.is_empty() {
            if self.is_ended {
                return Ok(false);
            }
            let next = tokio::time::timeout(HTTP_BODY_IDLE_MAX, next_piece(&mut self.body));
            let Some(piece) = next.await.map_err(|_| HttpError::idle())?? else {
                self.is_ended = true;
                self.decoder.finish(output)?;
                return Ok(!output.is_empty());
            };
            self.piece = piece;
        }
        self.decoder.step(&mut self.piece, output)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_a_bounded_memory() {
        let budget = BodyBudget::default();
        let (mut first, mut second) = (HeldBody::default(), HeldBody::default());
        budget
            .resize(&mut first, HTTP_BODIES_MAX_BYTES - 10)
            .unwrap();
        budget.resize(&mut second, 10).unwrap();
        let refused = budget.resize(&mut second, 11).unwrap_err();
        assert!(matches!(refused, HttpError::TooManyBodies));
        budget.resize(&mut first, 5).unwrap();
        budget.resize(&mut second, 11).unwrap();
        drop((first, second));
        let mut all = HeldBody::default();
        budget.hold(&mut all, HTTP_BODIES_MAX_BYTES).unwrap();
    }
}
