//! Health and metrics over plain HTTP. `/healthz`: the process runs. `/readyz`: the API server is
//! reachable, and the operator is leader or on standby. `/metrics`: Prometheus text format.

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

/// State that the health port reports.
pub(crate) struct HealthState {
    /// Whether the API server was reached at the last attempt.
    pub(crate) ready: AtomicBool,
    /// Metrics.
    pub(crate) metrics: Metrics,
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, health: Arc<HealthState>) {
    let permits = Arc::new(Semaphore::new(HEALTH_CONNECTIONS_MAX_COUNT));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
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
                    let max = Duration::from_secs(HEALTH_CONNECTION_MAX_SECONDS);
                    if let Ok(Err(error)) = tokio::time::timeout(max, connection).await {
                        debug!(%error, "health connection failed");
                    }
                    drop(permit);
                });
            }
            Err(error) => debug!(%error, "cannot accept a health connection"),
        }
    }
}

fn answer(health: &HealthState, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, b"ok\n".to_vec()),
        "/readyz" if health.ready.load(Ordering::Relaxed) => (StatusCode::OK, b"ok\n".to_vec()),
        "/readyz" => (
            StatusCode::SERVICE_UNAVAILABLE,
            b"waiting for the API server\n".to_vec(),
        ),
        "/metrics" => match health.metrics.text() {
            Ok(text) => (StatusCode::OK, text),
            Err(error) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string().into_bytes(),
            ),
        },
        _ => (StatusCode::NOT_FOUND, b"not found\n".to_vec()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
