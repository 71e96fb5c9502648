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
use hyper_util::rt::{TokioIo, TokioTimer};
use lograft_crds::limits::{
    ACCEPT_RETRY_MS, HEALTH_CONNECTION_MAX_SECONDS, HEALTH_CONNECTIONS_MAX_COUNT,
    HEALTH_CONNECTIONS_PER_ORIGIN_MAX_COUNT, HEALTH_HEAD_MAX_SECONDS, HTTP_HEAD_MAX_BYTES,
};
use lograft_proto::places::{SharedPlaces, TakenPlace};
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use crate::metrics::Metrics;

/// State that the health port reports.
pub(crate) struct HealthState {
    /// Whether the API server was reached at the last attempt.
    pub(crate) ready: AtomicBool,
    /// Metrics.
    pub(crate) metrics: Metrics,
}

/// Serves until dropped. A new connection is always accepted: if all places are taken, a silent one
/// is closed for it. Otherwise a few dozen silent connections would hold up the probes of kubelet
/// until it restarts the operator.
pub(crate) async fn serve(listener: TcpListener, health: Arc<HealthState>) {
    let places = SharedPlaces::new(
        HEALTH_CONNECTIONS_MAX_COUNT,
        HEALTH_CONNECTIONS_PER_ORIGIN_MAX_COUNT,
    );
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let (place, lost) = places.take(remote.ip());
                let health = Arc::clone(&health);
                tokio::spawn(async move {
                    tokio::select! {
                        biased; // a request that has arrived is answered first
                        () = serve_one(stream, health, place) => {}
                        _ = lost => debug!("health connection closed for a newer one"),
                    }
                });
            }
            Err(error) => {
                debug!(%error, "cannot accept a health connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
    }
}

/// One request per connection, so that no idle one holds a place.
async fn serve_one(stream: TcpStream, health: Arc<HealthState>, place: TakenPlace) {
    let service = service_fn(move |request| {
        place.on_spoken();
        let reply = answer(&health, &request);
        async move { Ok::<_, Infallible>(reply) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEALTH_HEAD_MAX_SECONDS))
        .max_buf_size(HTTP_HEAD_MAX_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let max = Duration::from_secs(HEALTH_CONNECTION_MAX_SECONDS);
    if let Ok(Err(error)) = tokio::time::timeout(max, connection).await {
        debug!(%error, "health connection failed");
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = HealthState {
            ready: AtomicBool::new(true),
            metrics: Metrics::new().unwrap(),
        };
        tokio::spawn(serve(listener, Arc::new(state)));
        address
    }

    #[tokio::test]
    async fn a_probe_is_answered_whatever_other_connections_do() {
        let address = start().await;
        let others = [
            "",
            "GET /healthz HT",
            "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        ];
        for bytes in others {
            let mut held = Vec::new();
            for _ in 0..200 {
                let mut stream = TcpStream::connect(address).await.unwrap();
                // One that has lost its place already cannot be written to.
                stream.write_all(bytes.as_bytes()).await.ok();
                held.push(stream);
            }
            let mut probe = TcpStream::connect(address).await.unwrap();
            let request = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
            probe.write_all(request).await.unwrap();
            let mut answer = String::new();
            let read = probe.read_to_string(&mut answer);
            let read = tokio::time::timeout(Duration::from_secs(1), read).await;
            read.expect("the probe is answered in time").unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{bytes}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_connection_without_a_whole_head_is_closed_after_a_second() {
        let address = start().await;
        for bytes in ["", "GET /healthz HT"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let ended = tokio::time::timeout(Duration::from_secs(3), ended).await;
            ended.expect("closed in time").ok();
        }
    }
}
