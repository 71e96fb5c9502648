//! Hostile requests over HTTP: each gets a clear answer, and others are served meanwhile.

use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Method;
use lograft_core::limits::{HTTP_BODY_MAX_BYTES, HTTP_LINE_MAX_BYTES};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::Cluster;
use crate::http_client::HttpClient;

const RECORDS: &str = "/v1/topics/t/records";

async fn one_node() -> (Cluster, HttpClient) {
    let cluster = Cluster::with_http(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let client = HttpClient::new(&cluster, (0, "user/admin"));
    (cluster, client)
}

/// Checks that the node serves others.
async fn serves(client: &HttpClient) {
    let record = json!({"records": [{"value": {"text": "a"}}]});
    assert_eq!(client.post(RECORDS, &record).await.status, 200);
    assert_eq!(client.http2().get("/v1/topics/t").await.status, 200);
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// Bodies that are no JSON of a produce.
const MALFORMED: [&[u8]; 9] = [
    b"{",
    b"",
    b"[]",
    b"{\"records\": 7}",
    b"{\"records\": [], \"x\": 1}",
    b"{\"records\": [{\"value\": \"text\"}]}",
    b"{\"records\": [{\"value\": {\"text\": \"\xff\"}}]}",
    b"{\"records\": [{\"value\": {\"text\": \"\\ud800\"}}]}",
    b"\xff\xfe{\x00}\x00",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_in_no_form_of_theirs_are_refused() {
    let (_cluster, client) = one_node().await;
    let json = "application/json";
    let refused = async |kind: &str, body: Bytes, (code, reason, field): (u16, &str, &str)| {
        let refused = client.post_as(Method::POST, RECORDS, (kind, body)).await;
        let details = refused.problem(code, reason);
        assert_eq!(details["field"], field, "{kind}");
        assert!(details["bound"].is_string(), "{kind}");
    };
    let malformed = (400, "BODY_MALFORMED", "body");
    for body in MALFORMED {
        refused(json, Bytes::from_static(body), malformed).await;
    }
    let empty = Bytes::from_static(b"{\"records\": []}");
    refused(json, empty.clone(), (400, "INVALID_ARGUMENT", "records")).await;
    for kind in ["application/json; charset=utf-16", "text/plain"] {
        let unsupported = (415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type");
        refused(kind, empty.clone(), unsupported).await;
    }
    let line = Bytes::from_static(b"{\"value\": 7}");
    let malformed_line = (400, "BODY_MALFORMED", "line 1");
    refused("application/x-ndjson", line, malformed_line).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(json, deep.into(), malformed).await;
    let many = format!("{{\"records\": [{}{{}}]}}", "{},".repeat(100_000));
    refused(json, many.into(), malformed).await;
    serves(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_above_their_limits_are_refused() {
    let (_cluster, client) = one_node().await;
    for client in [client.clone(), client.http2()] {
        let large = Bytes::from(vec![b'x'; HTTP_BODY_MAX_BYTES + 1]);
        for kind in ["application/json", "application/octet-stream"] {
            let refused = client
                .post_as(Method::POST, RECORDS, (kind, large.clone()))
                .await;
            let details = refused.problem(413, "BODY_TOO_LARGE");
            assert_eq!(details["field"], "body");
        }
        // A line of 100 MiB, of which the node reads no more than its limit.
        let pieces = (0..100).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 1 << 20])));
        let request = client
            .request(Method::POST, RECORDS)
            .header("content-type", "application/x-ndjson")
            .body(Body::from_stream(tokio_stream::iter(pieces)))
            .unwrap();
        let refused = client.send(request).await;
        let details = refused.problem(413, "BODY_TOO_LARGE");
        assert_eq!(details["field"], "line");
        assert_eq!(
            details["bound"],
            format!("at most {HTTP_LINE_MAX_BYTES} bytes")
        );
        let record =
            json!({"records": [{"value": {"text": "x".repeat(1 << 20)}, "key": {"text": "k"}}]});
        let refused = client.post(RECORDS, &record).await;
        assert!(refused.problem(413, "BATCH_TOO_LARGE")["bound"].is_string());
    }
    serves(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_bodies_are_bounded_and_whole() {
    let (_cluster, client) = one_node().await;
    let zeros = vec![b' '; 512 << 20];
    let gzip = |data: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let bombs = [
        ("gzip", gzip(&zeros)),
        ("zstd", zstd::encode_all(&*zeros, 1).unwrap()),
    ];
    drop(zeros);
    let send = async |kind: &str, encoding: &str, body: Vec<u8>| {
        let request = client
            .request(Method::POST, RECORDS)
            .header("content-type", kind)
            .header("content-encoding", encoding)
            .body(Body::from(body))
            .unwrap();
        client.send(request).await
    };
    for (encoding, bomb) in bombs {
        let refused = send("application/json", encoding, bomb.clone()).await;
        assert_eq!(refused.problem(413, "BODY_TOO_LARGE")["field"], "body");
        let refused = send("application/x-ndjson", encoding, bomb).await;
        assert_eq!(refused.problem(413, "BODY_TOO_LARGE")["field"], "line");
        serves(&client).await;
    }
    let record = json!({"records": [{"value": {"text": "a"}}]}).to_string();
    let whole = [
        ("gzip", gzip(record.as_bytes())),
        ("zstd", zstd::encode_all(record.as_bytes(), 1).unwrap()),
    ];
    for (encoding, body) in whole {
        let cut = body[..body.len() - 3].to_vec();
        let refused = send("application/json", encoding, cut).await;
        let details = refused.problem(400, "BODY_MALFORMED");
        assert!(
            details["bound"].as_str().unwrap().contains(encoding),
            "{details}"
        );
        assert_eq!(send("application/json", encoding, body).await.status, 200);
    }
    let refused = send("application/json", "br", vec![0]).await;
    assert_eq!(
        refused.problem(415, "UNSUPPORTED_MEDIA_TYPE")["field"],
        "Content-Encoding"
    );
    assert_eq!(refused.header("accept-encoding"), "gzip, zstd");
}

/// Requests behind `HEAD`: `LEN` and `HEX` are the length of `BODY`, `CHUNKED` is the same in chunks.
const AMBIGUOUS: [&str; 20] = [
    "Content-Length: LEN\r\nTransfer-Encoding: chunked\r\n\r\nCHUNKED",
    "Transfer-Encoding: chunked\r\nContent-Length: LEN\r\n\r\nCHUNKED",
    "Content-Length: LEN\r\nContent-Length: 7\r\n\r\nBODY",
    "Content-Length: LEN\r\nContent-Length: LEN\r\n\r\nBODY",
    "Content-Length: LEN, LEN\r\n\r\nBODY",
    "Content-Length: +LEN\r\n\r\nBODY",
    "Transfer-Encoding: gzip, chunked\r\n\r\nCHUNKED",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\nCHUNKED",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\nCHUNKED",
    "Content-Length : LEN\r\n\r\nBODY",
    "X-A: a\r\n b\r\nContent-Length: LEN\r\n\r\nBODY",
    "Content-Length: LEN\n\nBODY",
    "Content-Length: LEN\n\r\nBODY",
    "X-A: a\rb\r\nContent-Length: LEN\r\n\r\nBODY",
    "X-A: a\0b\r\nContent-Length: LEN\r\n\r\nBODY",
    "Transfer-Encoding: chunked\r\n\r\nHEX\nBODY\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n+HEX\r\nBODY\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nBODY",
    "Transfer-Encoding: chunked\r\n\r\nHEX;EXTENSION\r\nBODY\r\n0\r\n\r\n",
    "Host: y\r\nContent-Length: LEN\r\n\r\nBODY",
];
const HEAD: &str =
    "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

fn filled(template: &str) -> String {
    let body = json!({"records": [{"value": {"text": "smuggled"}}]}).to_string();
    let (length, hex) = (body.len().to_string(), format!("{:x}", body.len()));
    let chunked = format!("{hex}\r\n{body}\r\n0\r\n\r\n");
    template
        .replace("CHUNKED", &chunked)
        .replace("LEN", &length)
        .replace("HEX", &hex)
        .replace("BODY", &body)
        .replace("EXTENSION", &"e".repeat(64 << 10))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_framing_is_refused() {
    let (_cluster, client) = one_node().await;
    let one_host = AMBIGUOUS.map(|template| filled(&format!("{HEAD}{template}")));
    let no_host = filled(&HEAD.replace("Host: x\r\n", "Content-Length: LEN\r\n")) + "\r\n";
    let bare_lf = filled(&(HEAD.replace("\r\n", "\n") + "Content-Length: LEN\r\n\r\nBODY"));
    for request in one_host.into_iter().chain([no_host, bare_lf]) {
        let answer = client.raw(request.as_bytes()).await;
        assert!(
            (400..500).contains(&status(&answer)),
            "{request:?}: {answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{request:?}: {answer}"
        );
    }
    let appended = client.get("/v1/topics/t/partitions/0/records").await.json();
    assert_eq!(appended["high_watermark"], "0", "{appended}");
    // Small extensions are legal, and mean nothing.
    let legal =
        "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\nHEX;a=b\r\nBODY\r\n0\r\n\r\n";
    let legal = filled(&format!("{HEAD}{legal}"));
    assert_eq!(status(&client.raw(legal.as_bytes()).await), 200);
    let refused = client
        .raw(filled(&format!("{HEAD}{}", AMBIGUOUS[0])).as_bytes())
        .await;
    assert!(
        refused.contains("BODY_MALFORMED") && refused.contains("\"head\""),
        "{refused}"
    );
    serves(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_heads_are_refused() {
    let (_cluster, client) = one_node().await;
    let many = "X-A: a\r\n".repeat(300);
    for (what, request) in [
        (
            "a huge header",
            format!(
                "GET /v1/topics HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n",
                "a".repeat(200 << 10)
            ),
        ),
        (
            "many headers",
            format!("GET /v1/topics HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
        ),
        (
            "a huge path",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200 << 10)),
        ),
        ("no HTTP", "\0\u{1}\u{2}garbage\r\n\r\n".to_owned()),
    ] {
        let answer = client.raw(request.as_bytes()).await;
        assert!((400..500).contains(&status(&answer)), "{what}: {answer}");
    }
    serves(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_do_not_hold_up_others() {
    let (_cluster, client) = one_node().await;
    let head = "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut io = client.open().await;
        io.write_all(head.as_bytes()).await.unwrap();
        io.flush().await.unwrap();
        slow.push(io);
    }
    serves(&client).await;
    // One byte at a time does not extend the time that a body has.
    let mut io = slow.remove(0);
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if io.write_all(b" ").await.is_err() || io.flush().await.is_err() {
                break;
            }
            let mut answer = [0; 4096];
            let read = tokio::time::timeout(Duration::from_millis(1), io.read(&mut answer)).await;
            if let Ok(Ok(count)) = read {
                return String::from_utf8_lossy(&answer[..count]).into_owned();
            }
        }
        String::new()
    };
    let answer = tokio::time::timeout(Duration::from_secs(45), dripping)
        .await
        .unwrap();
    assert_eq!(status(&answer), 408, "{answer}");
    assert!(answer.contains("BODY_TIMEOUT"), "{answer}");
    serves(&client).await;
}
