//! Health and metrics over plain HTTP. `/healthz`: the process runs. `/readyz`: it reaches the API
//! server and leads or stands by. `/metrics`: Prometheus's text format.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lograft_crds::limits::{
    HEALTH_CONNECTION_MAX_SECONDS, HEALTH_CONNECTIONS_MAX_COUNT, HTTP_HEAD_MAX_BYTES,
};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::metrics::Metrics;

/// What the port tells about.
pub(crate) struct Health {
    /// Whether the API server was reached lately.
    pub(crate) ready: AtomicBool,
    /// What a scrape reads.
    pub(crate) metrics: Metrics,
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, health: Arc<Health>) {
    let places = Arc::new(Semaphore::new(HEALTH_CONNECTIONS_MAX_COUNT));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let health = Arc::clone(&health);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let reply = answer(&health, &request);
                        async move { Ok::<_, Infallible>(reply) }
                    });
                    let connection = http1::Builder::new()
                        .max_buf_size(HTTP_HEAD_MAX_BYTES)
                        .keep_alive(false)
                        .serve_connection(TokioIo::new(stream), service);
                    let most = Duration::from_secs(HEALTH_CONNECTION_MAX_SECONDS);
                    if let Ok(Err(error)) = tokio::time::timeout(most, connection).await {
                        debug!(%error, "health connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => debug!(%error, "accepting failed"),
        }
    }
}

fn answer(health: &Health, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, b"ok\n".to_vec()),
        "/readyz" if health.ready.load(Ordering::Relaxed) => (StatusCode::OK, b"ok\n".to_vec()),
        "/readyz" => (
            StatusCode::SERVICE_UNAVAILABLE,
            b"waits for the API server\n".to_vec(),
        ),
        "/metrics" => match health.metrics.text() {
            Ok(text) => (StatusCode::OK, text),
            Err(error) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string().into_bytes(),
            ),
        },
        _ => (StatusCode::NOT_FOUND, b"no such page\n".to_vec()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
