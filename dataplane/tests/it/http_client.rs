//! Requests over HTTP to the nodes of a test, each on a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cluster::{Cluster, PATIENCE};
use crate::pki::uri;
use crate::user_channel::client_tls;

/// A client of one node.
#[derive(Clone)]
pub(crate) struct HttpClient {
    tls: Arc<ClientConfig>,
    to: SocketAddr,
    is_http2: bool,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The JSON of each line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a problem of this status and reason, and returns its details.
    pub(crate) fn problem(&self, status: u16, reason: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["reason"], reason, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["type"],
            format!("tag:lograft.io,2026:reason/{reason}")
        );
        let waits = self.headers.contains_key("retry-after");
        assert_eq!(waits, matches!(status, 429 | 503), "{self:?}");
        problem["details"].clone()
    }
}

impl HttpClient {
    /// A client of a node with this principal, over HTTP/1.1.
    pub(crate) fn new(cluster: &Cluster, (at, principal): (usize, &str)) -> Self {
        let leaf = cluster.ca.issue(&[uri(principal)]);
        Self {
            tls: with_protocol(&client_tls(&cluster.ca, Some(&leaf)), b"http/1.1"),
            to: cluster.addresses(at).http.unwrap(),
            is_http2: false,
        }
    }

    /// The same over HTTP/2.
    pub(crate) fn http2(&self) -> Self {
        Self {
            tls: with_protocol(&self.tls, b"h2"),
            is_http2: true,
            ..self.clone()
        }
    }

    pub(crate) async fn open(&self) -> TlsStream<TcpStream> {
        let io = TcpStream::connect(self.to).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        connector.connect(name, io).await.unwrap()
    }

    /// Sends a request and returns the head of the answer with its body.
    pub(crate) async fn start(&self, request: Request<Body>) -> http::Response<Incoming> {
        let io = TokioIo::new(self.open().await);
        let sent = async {
            if self.is_http2 {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                        .await
                        .unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            } else {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            }
        };
        tokio::time::timeout(PATIENCE, sent).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.start(request).await.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await;
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.unwrap().unwrap().to_bytes(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let uri = if self.is_http2 {
            format!("https://localhost{path}")
        } else {
            path.to_owned()
        };
        let request = Request::builder().method(method).uri(uri);
        if self.is_http2 {
            request
        } else {
            request.header("host", "localhost")
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.request(Method::GET, path);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        let request = self.request(Method::GET, path).header("accept", accept);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.post_as(method, path, ("application/json", body.to_string().into()))
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body).await
    }

    pub(crate) async fn post_as(
        &self,
        method: Method,
        path: &str,
        (kind, body): (&str, Bytes),
    ) -> Answer {
        let request = self.request(method, path).header("content-type", kind);
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Sends bytes as they are, and returns everything until the node closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut io = self.open().await;
        // The node may answer and close before it has read everything.
        let _ = io.write_all(bytes).await;
        let _ = io.flush().await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, io.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the node does not close the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn with_protocol(tls: &ClientConfig, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(tls)
}

/// Checks the class of a status.
pub(crate) fn is_ok(answer: &Answer) -> bool {
    StatusCode::from_u16(answer.status).unwrap().is_success()
}
