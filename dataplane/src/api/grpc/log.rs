//! The messages of the log service, and its produce stream.

pub(super) mod decode;
pub(super) mod encode;
pub(super) mod produce_stream;

use futures_util::{Stream, StreamExt, stream};

use super::principal::connection_closing;
use crate::closing::Closing;
use crate::error::ApiError;
use crate::serving::forward::FetchedStream;
use crate::serving::request::Fetched;

/// The chunks until the connection is closing, then the error that says so.
pub(super) fn until_closing(
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

#[cfg(test)]
mod delete_tests;
#[cfg(test)]
mod fetch_tests;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod produce_tests;
#[cfg(test)]
mod small_request_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod time_tests;
#[cfg(test)]
mod version_tests;
#[cfg(test)]
mod watermark_tests;
