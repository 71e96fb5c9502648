//! The gRPC server of a port. Each connection is closed by itself, for its age for example; tonic's
//! own server closes all of its connections at one signal.

use std::convert::Infallible;

use futures_util::StreamExt;
use http::{Request, Response};
use hyper::body::Incoming as IncomingBody;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lograft_core::limits::{
    HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_FRAME_MAX_BYTES, HTTP2_KEEPALIVE_INTERVAL,
    HTTP2_KEEPALIVE_MAX, HTTP2_RESETS_PENDING_MAX_COUNT, HTTP2_STREAM_ERRORS_MAX_COUNT,
    HTTP2_STREAM_WINDOW_BYTES, HTTP2_STREAMS_MAX_COUNT,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::until_closed::until_closed;
use super::{Accepted, Incoming};
use crate::identity::Caller;
use crate::tls::Port;

/// Serves the connections of a port. Once `stopped` holds true, no more are taken, and all are
/// asked to close; returns when they have ended.
pub(crate) async fn serve(incoming: Incoming, routes: Routes, stopped: watch::Receiver<bool>) {
    let routes = routes.prepare();
    serve_each(incoming, stopped, |accepted, stopped| {
        serve_one(accepted, routes.clone(), stopped)
    })
    .await;
}

/// Serves each connection of a port by a task of its own, as [`serve`] says.
pub(super) async fn serve_each<F>(
    mut incoming: Incoming,
    mut stopped: watch::Receiver<bool>,
    serve_one: impl Fn(Accepted, watch::Receiver<bool>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let next = tokio::select! {
            // A sender that is gone stops as well.
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
            next = incoming.next() => next,
        };
        let Some(Ok(accepted)) = next else { break };
        connections.spawn(serve_one(accepted, stopped.clone()));
    }
    // Closes the port.
    drop(incoming);
    while connections.join_next().await.is_some() {}
}

async fn serve_one(accepted: Accepted, routes: Routes, stopped: watch::Receiver<bool>) {
    let caller = accepted.caller.clone();
    let closing = caller.closing.clone();
    let close = accepted.lifetime_end(stopped);
    let server = http2_server(accepted.port);
    let answer = service_fn(move |request| answer(routes.clone(), caller.clone(), request));
    let connection = server.serve_connection(TokioIo::new(accepted), answer);
    until_closed(connection, close, &closing).await;
}

/// Answers one request. Its extensions name the caller.
async fn answer(
    mut routes: Routes,
    caller: Caller,
    mut request: Request<IncomingBody>,
) -> Result<Response<Body>, Infallible> {
    request.extensions_mut().insert(caller);
    // Routes are always ready.
    routes.call(request).await
}

fn http2_server(port: Port) -> http2::Builder<TokioExecutor> {
    // Nodes trust each other, and end many streams at once when leaders change.
    let stream_errors_max = (port != Port::Peer).then_some(HTTP2_STREAM_ERRORS_MAX_COUNT);
    let mut server = http2_of_any_port();
    server
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(HTTP2_STREAMS_MAX_COUNT)
        .max_pending_accept_reset_streams(HTTP2_RESETS_PENDING_MAX_COUNT)
        .max_local_error_reset_streams(stream_errors_max);
    server
}

/// A server with the settings that all ports share.
pub(super) fn http2_of_any_port() -> http2::Builder<TokioExecutor> {
    let mut server = http2::Builder::new(TokioExecutor::new());
    server
        .timer(TokioTimer::new())
        .max_frame_size(HTTP2_FRAME_MAX_BYTES)
        .keep_alive_interval(HTTP2_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(HTTP2_KEEPALIVE_MAX);
    server
}

/// Serves one connection until it ends.
pub(crate) async fn serve_alone(accepted: Accepted, routes: Routes) {
    let (_running, stopped) = watch::channel(false);
    serve_one(accepted, routes.prepare(), stopped).await;
}
