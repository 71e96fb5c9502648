//! Mistakes that the libraries below the services find: each call of the client port answers each
//! of them with a reason, its text, and whether to retry.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lograft_core::Reason;
use lograft_core::limits::LOG_REQUEST_MAX_BYTES;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::cluster::{Cluster, record_for};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// A call of the port.
#[derive(Debug)]
struct Call {
    path: String,
    has_one_request: bool,
}

/// All calls that the port has.
fn calls() -> Vec<Call> {
    let sets = [
        lograft_proto::CLIENT_FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.map(|set| FileDescriptorSet::decode(set).unwrap().file);
    let mut calls = Vec::new();
    for file in files.iter().flatten() {
        for service in &file.service {
            let methods = service.method.iter().map(|method| Call {
                path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                has_one_request: !method.client_streaming(),
            });
            calls.extend(methods);
        }
    }
    calls
}

/// A connection whose calls are made without a library of gRPC, which would see to what is right.
struct Connection(SendRequest<Body>);

impl Connection {
    async fn open(cluster: &Cluster) -> Self {
        let to = cluster.addresses(0).client;
        let io = TokioIo::new(cluster.open_as("user/admin", to).await);
        let opened = http2::handshake(TokioExecutor::new(), io).await;
        let (sender, connection) = opened.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }
}

/// A request that is sent as it is.
struct Raw {
    method: Method,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Body,
}

fn whole(bytes: &[u8]) -> Body {
    Body::new(Full::new(Bytes::copy_from_slice(bytes)))
}

/// A body that never ends, nor begins.
fn endless() -> Body {
    let frames = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    Body::new(StreamBody::new(frames))
}

impl Raw {
    fn post(path: &str, body: Body) -> Self {
        Self {
            method: Method::POST,
            path: path.to_owned(),
            headers: vec![GRPC],
            body,
        }
    }

    fn with(mut self, header: (&'static str, &'static str)) -> Self {
        self.headers.push(header);
        self
    }

    /// The status of HTTP, and that of gRPC from the headers or the trailers.
    async fn send(self, connection: &Connection) -> (StatusCode, HeaderMap, Status) {
        let uri = format!("https://localhost{}", self.path);
        let mut request = Request::builder().method(self.method).uri(uri);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(self.body).unwrap();
        let mut sender = connection.0.clone();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let whole = body.collect();
        let whole = tokio::time::timeout(Duration::from_secs(20), whole).await;
        let whole = whole.unwrap_or_else(|_| panic!("{} does not end", self.path));
        let trailers = whole.unwrap().trailers().cloned().unwrap_or_default();
        let status = Status::from_header_map(&head.headers)
            .or_else(|| Status::from_header_map(&trailers))
            .unwrap_or_else(|| panic!("{} has no status", self.path));
        (head.status, head.headers, status)
    }
}

/// Checks that a client finds all that the table of reasons promises.
#[track_caller]
fn assert_reason(status: &Status, reason: Reason, what: &str) -> HeaderValues {
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("{what}: no ErrorInfo in {status:?}"));
    assert_eq!(info.reason, reason.as_str(), "{what}: {status:?}");
    assert_eq!(info.domain, "lograft.io", "{what}");
    assert_eq!(status.code() as i32, reason.status() as i32, "{what}");
    let retryable = reason.is_retryable().to_string();
    assert_eq!(info.metadata["retryable"], retryable, "{what}");
    let text = status.message();
    assert!(!text.is_empty(), "{what}");
    for words in ["Error,", "Protobuf", "protocol error"] {
        assert!(!text.contains(words), "{what}: {text}");
    }
    HeaderValues(info.metadata.into_iter().collect())
}

struct HeaderValues(std::collections::BTreeMap<String, String>);

impl HeaderValues {
    #[track_caller]
    fn names(&self, field: &str) {
        assert_eq!(self.0["field"], field);
        assert!(!self.0["bound"].is_empty());
    }
}

async fn one_node() -> (Cluster, Connection) {
    let cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let connection = Connection::open(&cluster).await;
    (cluster, connection)
}

/// Checks that the node still serves on this connection.
async fn serves(connection: &Connection) {
    let message = record_for("t", "value").encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0], &length[..], &message].concat();
    let raw = Raw::post("/lograft.log.v1.LogService/Produce", whole(&body));
    let (_, _, status) = raw.send(connection).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_cannot_be_taken_have_a_reason_whatever_the_call() {
    let (_cluster, connection) = one_node().await;
    let calls = calls();
    assert!(calls.len() > 30, "{calls:?}");
    for Call {
        path,
        has_one_request,
    } in &calls
    {
        let compressed = Raw::post(path, whole(&[1, 0, 0, 0, 1, 0]));
        let compressed = compressed.with(("grpc-encoding", "gzip"));
        let (_, headers, status) = compressed.send(&connection).await;
        let what = format!("{path}: compressed");
        assert_reason(&status, Reason::UnsupportedCompression, &what).names("grpc-encoding");
        assert_eq!(headers["grpc-accept-encoding"], "identity", "{what}");
        // Their library ends a stream with such a message as if the client had.
        if path.contains(".reflection.") {
            continue;
        }
        let malformed: [(&str, &[u8]); 5] = [
            ("garbage", &[0, 0, 0, 0, 2, 0xff, 0xff]),
            ("a compressed message", &[1, 0, 0, 0, 0]),
            ("an unknown flag", &[7, 0, 0, 0, 0]),
            ("a message that is cut off", &[0, 0, 0, 0, 9, 1, 2]),
            ("a frame that is cut off", &[0, 0]),
        ];
        for (what, body) in malformed {
            let (_, _, status) = Raw::post(path, whole(body)).send(&connection).await;
            let what = format!("{path}: {what}");
            assert_reason(&status, Reason::RequestMalformed, &what);
        }
        if *has_one_request {
            let (_, _, status) = Raw::post(path, whole(&[])).send(&connection).await;
            let what = format!("{path}: no message");
            assert_reason(&status, Reason::RequestMalformed, &what);
        }
        let large = whole(&[0, 4, 0, 0, 0, 0]);
        let (_, _, status) = Raw::post(path, large).send(&connection).await;
        let what = format!("{path}: too large");
        assert_reason(&status, Reason::MessageTooLarge, &what).names("request bytes");
    }
    serves(&connection).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_no_call_have_a_reason_whatever_their_path() {
    let (_cluster, connection) = one_node().await;
    let message = || whole(&[0, 0, 0, 0, 0]);
    for Call { path, .. } in calls() {
        for kind in [None, Some("application/json"), Some("application/grpc-web")] {
            let mut raw = Raw::post(&path, message());
            raw.headers.clear();
            raw.headers.extend(kind.map(|kind| ("content-type", kind)));
            let (http, _, status) = raw.send(&connection).await;
            assert_eq!(http, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path} {kind:?}");
            let found = assert_reason(&status, Reason::RequestMalformed, &path);
            found.names("content-type");
        }
        let mut raw = Raw::post(&path, whole(&[]));
        raw.method = Method::GET;
        let (http, headers, status) = raw.send(&connection).await;
        assert_eq!(http, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(headers["allow"], "POST");
        assert_reason(&status, Reason::RequestMalformed, &path).names("method");

        let service = path.rsplit_once('/').unwrap().0;
        let unknown = format!("{service}/NoSuchCall");
        let (_, _, status) = Raw::post(&unknown, message()).send(&connection).await;
        assert_reason(&status, Reason::UnknownCall, &unknown);
        assert!(status.message().contains("NoSuchCall"), "{status:?}");
    }
    for path in [
        "/",
        "/x",
        "/no.such.Service/Call",
        "/lograft.log.v1.LogService",
    ] {
        let (_, _, status) = Raw::post(path, message()).send(&connection).await;
        assert_reason(&status, Reason::UnknownCall, path);
    }
    serves(&connection).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_deadline_passes_has_a_reason() {
    let (_cluster, connection) = one_node().await;
    for Call { path, .. } in calls() {
        let raw = Raw::post(&path, endless()).with(("grpc-timeout", "20m"));
        let (_, _, status) = raw.send(&connection).await;
        assert_reason(&status, Reason::Timeout, &path);
    }
    serves(&connection).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_above_its_limit_and_names_that_no_service_has_are_explained() {
    let cluster = Cluster::of(1).await;
    let channel = cluster.channel_of("user/admin", cluster.addresses(0).client);
    // The answer repeats each name twice.
    let topics: Vec<String> = (0..10_000).map(|n| format!("{n:0>400}")).collect();
    let request = log::GetMetadataRequest {
        topics,
        ..log::GetMetadataRequest::default()
    };
    assert!(request.encoded_len() < LOG_REQUEST_MAX_BYTES);
    let mut client = LogServiceClient::new(channel.clone());
    let refused = client.get_metadata(request).await.unwrap_err();
    assert_reason(&refused, Reason::MessageTooLarge, "GetMetadata").names("reply bytes");

    let mut health = HealthClient::new(channel.clone());
    let request = HealthCheckRequest {
        service: "no.such.Service".into(),
    };
    let refused = health.check(request.clone()).await.unwrap_err();
    assert_reason(&refused, Reason::UnknownService, "Check");
    let refused = health.watch(request).await.unwrap_err();
    assert_reason(&refused, Reason::UnknownService, "Watch");
}
