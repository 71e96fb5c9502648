//! Streams without an end end with their connection.

use futures_util::{Stream, StreamExt, stream};

use super::caller::connection_closing;
use crate::closing::Closing;
use crate::error::ApiError;
use crate::serving::forward::FetchedStream;
use crate::serving::request::Fetched;

/// The chunks until the connection is closing, then the error that says so.
pub(crate) fn until_closing(
    chunks: FetchedStream,
    closing: &Closing,
) -> impl Stream<Item = Result<Fetched, ApiError>> + Send + 'static {
    let first = Some((chunks, Box::pin(closing.started())));
    stream::unfold(first, |state| async move {
        let (mut chunks, mut closing) = state?;
        tokio::select! {
            biased;
            () = &mut closing => Some((Err(connection_closing()), None)),
            chunk = chunks.next() => Some((chunk?, Some((chunks, closing)))),
        }
    })
}
