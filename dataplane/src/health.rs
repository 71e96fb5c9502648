//! Health and metrics over plain HTTP, for kubelet and Prometheus: no data and no control.
//!
//! `/healthz`: the process runs. `/readyz`: it is a member of a cluster and can serve; 503 and a
//! sentence that says what it waits for if not. `/metrics`: Prometheus's text format.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lograft_core::limits::{
    HEALTH_CONNECTIONS_MAX_COUNT, HEALTH_CONNECTIONS_PER_ORIGIN_MAX_COUNT, HEALTH_HEAD_MAX,
    HEALTH_HEAD_MAX_BYTES, HEALTH_REQUEST_MAX,
};
use lograft_proto::places::{SharedPlaces, TakenPlace};
use tokio::sync::watch;
use tracing::debug;

use crate::metrics::Metrics;
use crate::net::{BoxIo, Listener};

/// Whether a node can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot. A sentence says why.
    Waiting(String),
}

/// The state that the port publishes.
pub struct Health {
    /// Written during start and shutdown.
    pub readiness: watch::Receiver<Readiness>,
    /// The metrics of a scrape.
    pub metrics: Arc<Metrics>,
}

impl Health {
    pub(crate) fn new(readiness: &watch::Sender<Readiness>, metrics: &Arc<Metrics>) -> Self {
        Self {
            readiness: readiness.subscribe(),
            metrics: Arc::clone(metrics),
        }
    }
}

/// Serves until dropped. A new connection is always accepted: if all places are taken, a silent one
/// is closed for it. Otherwise a few dozen silent connections, which need no certificate, would
/// hold up the probes of kubelet until it restarts the node.
pub async fn serve(listener: Box<dyn Listener>, health: Arc<Health>) {
    let places = SharedPlaces::new(
        HEALTH_CONNECTIONS_MAX_COUNT,
        HEALTH_CONNECTIONS_PER_ORIGIN_MAX_COUNT,
    );
    loop {
        match listener.accept().await {
            Ok((io, remote)) => {
                let (place, lost) = places.take(remote.ip());
                let health = Arc::clone(&health);
                tokio::spawn(async move {
                    let served = tokio::select! {
                        biased; // a request that has arrived is answered first
                        served = serve_one(io, health, place) => served,
                        _ = lost => Err(io::ErrorKind::ConnectionAborted.into()),
                    };
                    if let Err(error) = served {
                        debug!(%error, "health connection failed");
                    }
                });
            }
            Err(error) => {
                debug!(%error, "cannot accept a health connection");
                tokio::time::sleep(HEALTH_REQUEST_MAX / 100).await;
            }
        }
    }
}

/// One request per connection, so that no idle one holds a place.
async fn serve_one(io: BoxIo, health: Arc<Health>, place: TakenPlace) -> Result<(), io::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        place.on_spoken();
        let answer = answer(request.method(), request.uri().path(), &health);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEALTH_HEAD_MAX)
        .max_buf_size(HEALTH_HEAD_MAX_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service);
    match tokio::time::timeout(HEALTH_REQUEST_MAX, connection).await {
        Ok(ended) => ended.map_err(io::Error::other),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn answer(method: &Method, path: &str, health: &Health) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut refused = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match &*health.readiness.borrow() {
            Readiness::Ready => text(StatusCode::OK, "ready\n".to_owned()),
            Readiness::Waiting(reason) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {reason}\n"),
            ),
        },
        "/metrics" => match health.metrics.encode() {
            Ok(body) => text(StatusCode::OK, body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "not found: the paths are /healthz, /readyz and /metrics\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::{Net, TcpNet};

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut io = TcpNet.connect(&address.to_string()).await.unwrap();
        io.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Opens connections that each send `bytes` and then read nothing.
    async fn open(address: SocketAddr, count: usize, bytes: &[u8]) -> Vec<BoxIo> {
        let mut all = Vec::new();
        for _ in 0..count {
            let mut io = TcpNet.connect(&address.to_string()).await.unwrap();
            // One that has lost its place already cannot be written to.
            io.write_all(bytes).await.ok();
            all.push(io);
        }
        all
    }

    async fn start() -> (SocketAddr, watch::Sender<Readiness>) {
        let (ready, readiness) = watch::channel(Readiness::Ready);
        let metrics = Arc::new(Metrics::new().unwrap());
        let listener = TcpNet.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_address().unwrap();
        tokio::spawn(serve(listener, Arc::new(Health { readiness, metrics })));
        (address, ready)
    }

    #[tokio::test]
    async fn a_probe_is_answered_whatever_other_connections_do() {
        let (address, _ready) = start().await;
        let others: [&[u8]; 3] = [
            b"",
            b"GET /healthz HT",
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        ];
        for bytes in others {
            let mut held = Vec::new();
            for _ in 0..4 {
                held.extend(open(address, 50, bytes).await);
                let probe = tokio::time::timeout(HEALTH_HEAD_MAX, get(address, "GET /readyz"));
                let answer = probe.await.expect("the probe is answered in time");
                assert!(answer.starts_with("HTTP/1.1 200"), "{bytes:?}: {answer}");
            }
        }
    }

    #[tokio::test]
    async fn a_connection_without_a_whole_head_is_closed_after_a_second() {
        let (address, _ready) = start().await;
        for bytes in ["", "GET /healthz HT"] {
            let mut io = open(address, 1, bytes.as_bytes()).await.remove(0);
            let started = tokio::time::Instant::now();
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(HEALTH_HEAD_MAX * 3, io.read_to_end(&mut answer));
            ended.await.expect("closed in time").ok();
            assert!(started.elapsed() >= HEALTH_HEAD_MAX / 2, "{bytes}");
        }
    }

    #[tokio::test]
    async fn each_path_says_what_it_should() {
        let (ready, readiness) = watch::channel(Readiness::Waiting("no cluster yet".to_owned()));
        let metrics = Arc::new(Metrics::new().unwrap());
        metrics.produce_records.inc_by(7);
        let listener = TcpNet.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_address().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Health { readiness, metrics })));

        assert!(
            get(address, "GET /healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        let waiting = get(address, "GET /readyz").await;
        assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
        assert!(waiting.contains("no cluster yet"), "{waiting}");
        ready.send_replace(Readiness::Ready);
        assert!(
            get(address, "GET /readyz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        let metrics = get(address, "GET /metrics").await;
        assert!(
            metrics.contains("\nlograft_produce_records_total 7\n"),
            "{metrics}"
        );
        assert!(
            get(address, "POST /healthz")
                .await
                .starts_with("HTTP/1.1 405")
        );
        assert!(get(address, "GET /other").await.starts_with("HTTP/1.1 404"));
        server.abort();
    }
}
