//! A connection of either protocol, until it has ended.

use std::pin::pin;

use hyper_util::server::graceful::GracefulConnection;
use tracing::debug;

use crate::closing::Closing;
use crate::error_chain;

/// Runs a connection. Once it is to be closed, requests in progress get their answers, and streams
/// without an end learn that they have to end.
pub(super) async fn until_closed<C>(
    connection: C,
    close: impl Future<Output = ()>,
    closing: &Closing,
) where
    C: GracefulConnection<Error = hyper::Error>,
{
    let (mut connection, close) = (pin!(connection), pin!(close));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = close => {
            connection.as_mut().graceful_shutdown();
            closing.start();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(error = %error_chain(&error), "connection failed");
    }
}
