//! The HTTP server of a port: HTTP/2 or HTTP/1.1, whichever the TLS handshake has chosen.

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming as IncomingBody;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lograft_core::limits::{
    HTTP_CONNECTION_WINDOW_BYTES, HTTP_HEAD_MAX, HTTP_HEAD_MAX_BYTES, HTTP_HEADERS_MAX_COUNT,
    HTTP_RESETS_PENDING_MAX_COUNT, HTTP_STREAM_WINDOW_BYTES, HTTP_STREAMS_MAX_COUNT,
    HTTP2_STREAM_ERRORS_MAX_COUNT,
};
use tokio::sync::watch;
use tower::ServiceExt;

use super::framing::Framing;
use super::serve::{http2_of_any_port, serve_each};
use super::stall::Stall;
use super::until_closed::until_closed;
use super::{Accepted, Incoming};
use crate::identity::Caller;

/// Serves the connections of a port. Once `stopped` holds true, no more are taken, and all are
/// asked to close; returns when they have ended.
pub(crate) async fn serve_http(incoming: Incoming, routes: Router, stopped: watch::Receiver<bool>) {
    serve_each(incoming, stopped, |accepted, stopped| {
        serve_one(accepted, routes.clone(), stopped)
    })
    .await;
}

/// Serves one connection until it ends.
pub(crate) async fn serve_http_alone(accepted: Accepted, routes: Router) {
    let (_running, stopped) = watch::channel(false);
    serve_one(accepted, routes, stopped).await;
}

async fn serve_one(accepted: Accepted, routes: Router, stopped: watch::Receiver<bool>) {
    let caller = accepted.caller.clone();
    let closing = caller.closing.clone();
    let close = accepted.lifetime_end(stopped);
    let answer = service_fn(move |request| answer(routes.clone(), caller.clone(), request));
    if accepted.is_http2 {
        let connection = http2_server().serve_connection(TokioIo::new(accepted), answer);
        until_closed(connection, close, &closing).await;
    } else {
        let io = TokioIo::new(Stall::new(Framing::new(accepted)));
        let connection = http1_server().serve_connection(io, answer);
        until_closed(connection, close, &closing).await;
    }
}

/// Answers one request. Its extensions name the caller, as those of gRPC requests do.
async fn answer(
    routes: Router,
    caller: Caller,
    mut request: Request<IncomingBody>,
) -> Result<http::Response<Body>, std::convert::Infallible> {
    request.extensions_mut().insert(caller);
    routes.oneshot(request.map(Body::new)).await
}

fn http1_server() -> http1::Builder {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD_MAX)
        .max_headers(HTTP_HEADERS_MAX_COUNT)
        .max_buf_size(HTTP_HEAD_MAX_BYTES);
    server
}

fn http2_server() -> http2::Builder<TokioExecutor> {
    let mut server = http2_of_any_port();
    server
        .initial_stream_window_size(HTTP_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(HTTP_STREAMS_MAX_COUNT)
        .max_pending_accept_reset_streams(HTTP_RESETS_PENDING_MAX_COUNT)
        .max_local_error_reset_streams(HTTP2_STREAM_ERRORS_MAX_COUNT)
        .max_header_list_size(u32::try_from(HTTP_HEAD_MAX_BYTES).unwrap_or(u32::MAX));
    server
}
