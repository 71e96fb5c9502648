//! Records of the largest size, by every way in and out, and one byte more.

use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use lograft_core::limits::{BATCH_LEVEL_1_MAX_BYTES, RECORD_HEADERS_MAX_COUNT, RECORD_MAX_BYTES};
use lograft_core::random::SplitMix64;
use lograft_core::{BatchBuilder, Compression, Reason};
use lograft_proto::admin::v1 as admin;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

use crate::cluster::{Cluster, earliest, eventually, follow_request};
use crate::control::{reason, setting};
use crate::http_client::{Answer, HttpClient};

const RECORDS: &str = "/v1/topics/t/records";
const READ: &str = "/v1/topics/t/partitions/0/records";

/// Bytes that no compression makes shorter.
fn noise(bytes: usize, seed: u64) -> Bytes {
    let mut random = SplitMix64::new(seed);
    let words = (0..bytes.div_ceil(8)).flat_map(|_| random.next().to_le_bytes());
    words.take(bytes).collect()
}

/// A value with key and headers that is a record of exactly `bytes`, with the most headers.
pub(crate) fn full(bytes: usize, seed: u64) -> log::Record {
    let headers = (0..RECORD_HEADERS_MAX_COUNT).map(|n| log::Header {
        key: format!("h{n:03}"),
        value: noise(16, n as u64),
    });
    let headers: Vec<_> = headers.collect();
    let taken = 3 + headers.len() * (4 + 16);
    log::Record {
        key: Some(Bytes::from_static(b"key")),
        value: Some(noise(bytes - taken, seed)),
        headers,
        timestamp_ms: Some(1000),
    }
}

fn of_value(value: Bytes) -> log::Record {
    log::Record {
        value: Some(value),
        timestamp_ms: Some(1000),
        ..log::Record::default()
    }
}

pub(crate) fn plain(record: &log::Record) -> log::ProduceRequest {
    log::ProduceRequest {
        topic: "t".to_owned(),
        records: vec![record.clone()],
        timeout_ms: 20_000,
        ..log::ProduceRequest::default()
    }
}

fn batch(record: &log::Record, compression: Compression) -> log::ProduceRequest {
    let mut builder = BatchBuilder::new(compression);
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|h| (&*h.key, &*h.value))
        .collect();
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    builder.push_parts(1000, key, value, headers).unwrap();
    let encoded = builder.finish().unwrap();
    log::ProduceRequest {
        records: Vec::new(),
        batch: Some(log::EncodedBatch {
            crc32c: encoded.crc32c,
            record_count: 1,
            data: encoded.bytes,
        }),
        ..plain(record)
    }
}

/// A client with the limits that gRPC has by default.
pub(crate) fn client(cluster: &Cluster, at: usize) -> LogServiceClient<Channel> {
    LogServiceClient::new(cluster.channel(at))
}

pub(crate) async fn create(
    cluster: &Cluster,
    name: &str,
    rf: u32,
    settings: &[(&str, usize)],
) -> Result<(), Status> {
    let settings = settings
        .iter()
        .map(|(key, bytes)| setting(key, *bytes as u64));
    let request = admin::CreateTopicRequest {
        name: name.to_owned(),
        partitions: 1,
        replication_factor: rf,
        timeout_ms: 30_000,
        settings: settings.collect(),
        ..admin::CreateTopicRequest::default()
    };
    let created = cluster.admin(0).create_topic(request).await?;
    assert!(created.into_inner().ready);
    Ok(())
}

pub(crate) async fn alter(cluster: &Cluster, key: &str, bytes: usize) -> Result<(), Status> {
    let request = admin::AlterTopicRequest {
        name: "t".to_owned(),
        settings: vec![setting(key, bytes as u64)],
        ..admin::AlterTopicRequest::default()
    };
    cluster.admin(0).alter_topic(request).await.map(drop)
}

/// The values of all records, fetched one reply after the other.
async fn fetched(
    log: &mut LogServiceClient<Channel>,
    format: log::FetchFormat,
) -> Result<Vec<Bytes>, Status> {
    let mut values = Vec::new();
    let mut position = earliest();
    loop {
        let request = log::FetchRequest {
            topic: "t".to_owned(),
            position: Some(position),
            max_bytes: u32::MAX,
            format: format.into(),
            ..log::FetchRequest::default()
        };
        let reply = log.fetch(request).await?.into_inner();
        position.at = Some(log::position::At::Offset(reply.next_offset));
        let end = reply.high_watermark;
        let is_end = reply.next_offset == end;
        values.extend(values_of(reply));
        if is_end {
            return Ok(values);
        }
    }
}

fn values_of(reply: log::FetchReply) -> Vec<Bytes> {
    let decoded = reply.batches.into_iter().flat_map(|batch| {
        let view = lograft_core::BatchView::parse(batch.data).unwrap();
        view.records()
            .unwrap()
            .map(|record| record.unwrap().value.unwrap())
    });
    let records = reply.records.into_iter();
    let plain = records.map(|record| record.record.unwrap().value.unwrap());
    decoded.chain(plain).collect()
}

#[track_caller]
pub(crate) fn assert_too_large(status: &Status, field: &str, bound: usize) {
    assert_eq!(reason(status), Some(Reason::BatchTooLarge), "{status:?}");
    let text = status.message();
    assert!(
        text.contains(&format!("{field} must be at most {bound}")),
        "{text}"
    );
}

fn bytes_of(value: &Value) -> Bytes {
    BASE64
        .decode(value["base64"].as_str().unwrap())
        .unwrap()
        .into()
}

/// The values of a page, a stream of lines or of events.
async fn read_over_http(client: &HttpClient, count: usize) -> [Vec<Bytes>; 3] {
    let mut pages = Vec::new();
    let mut next = "0".to_owned();
    while pages.len() < count {
        let page = client
            .get(&format!("{READ}?offset={next}&value_as=base64"))
            .await;
        assert_eq!(page.status, 200);
        let page = page.json();
        let records = page["records"].as_array().unwrap();
        pages.extend(records.iter().map(|record| bytes_of(&record["value"])));
        page["next_offset"].as_str().unwrap().clone_into(&mut next);
    }
    let path = format!("{READ}?at=earliest&value_as=base64");
    let lines = client.get_as(&path, "application/x-ndjson").await.lines();
    let lines = lines.iter().map(|line| bytes_of(&line["value"])).collect();
    let path = format!("{path}&max_records={count}");
    let request = client.request(Method::GET, &path);
    let request = request.header("accept", "text/event-stream");
    let events = client.start(request.body(Body::empty()).unwrap()).await;
    let events = tokio::time::timeout(Duration::from_secs(30), events.into_body().collect());
    let events = events.await.unwrap().unwrap().to_bytes();
    let events = std::str::from_utf8(&events).unwrap();
    let data = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let data = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
    let events = data.filter(|data| data["value"].is_object());
    [
        pages,
        lines,
        events.map(|data| bytes_of(&data["value"])).collect(),
    ]
}

/// Appends a value as bytes, in JSON and as a line.
async fn append_over_http(client: &HttpClient, value: &Bytes) -> [Answer; 3] {
    let record = json!({"value": {"base64": BASE64.encode(value)}});
    let post = async |kind, body: Bytes| client.post_as(Method::POST, RECORDS, (kind, body)).await;
    let line = Bytes::from(record.to_string());
    let whole = json!({"records": [record]}).to_string();
    [
        post("application/octet-stream", value.clone()).await,
        post("application/json", whole.into()).await,
        post("application/x-ndjson", line).await,
    ]
}

/// Appends a record of the greatest size in every way over gRPC. Returns the values.
async fn append_over_grpc(log: &mut LogServiceClient<Channel>) -> Vec<Bytes> {
    let records = [
        of_value(noise(RECORD_MAX_BYTES, 1)),
        full(RECORD_MAX_BYTES, 2),
        full(RECORD_MAX_BYTES, 3),
        of_value(noise(RECORD_MAX_BYTES, 4)),
        full(RECORD_MAX_BYTES, 5),
    ];
    let [value, headers, raw, packed, streamed] = &records;
    for request in [
        plain(value),
        plain(headers),
        batch(raw, Compression::None),
        batch(packed, Compression::Zstd),
    ] {
        log.produce(request).await.unwrap();
    }
    let stream = tokio_stream::once(batch(streamed, Compression::None));
    let mut replies = log.produce_stream(stream).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap();
    assert_eq!(reply.error, None);
    records
        .iter()
        .map(|record| record.value.clone().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_records_go_in_and_out_on_every_way() {
    let cluster = Cluster::with_http(1).await;
    let size = ("record.max.bytes", RECORD_MAX_BYTES);
    create(&cluster, "t", 1, &[size]).await.unwrap();
    let mut log = client(&cluster, 0);
    let mut values = append_over_grpc(&mut log).await;
    let http = HttpClient::new(&cluster, (0, "user/admin"));
    for (seed, http) in [http.clone(), http.http2()].iter().enumerate() {
        let value = noise(RECORD_MAX_BYTES, 100 + seed as u64);
        for answer in append_over_http(http, &value).await {
            assert_eq!(answer.status, 200, "{:?}", answer.json());
            values.push(value.clone());
        }
    }
    for format in [log::FetchFormat::Records, log::FetchFormat::Batches] {
        assert!(
            fetched(&mut log, format).await.unwrap() == values,
            "{format:?}"
        );
        let request = log::ConsumeRequest {
            follow: false,
            format: format.into(),
            max_bytes: u32::MAX,
            ..follow_request("t")
        };
        let mut replies = log.consume(request).await.unwrap().into_inner();
        let mut consumed = Vec::new();
        while let Some(reply) = replies.message().await.unwrap() {
            consumed.extend(values_of(reply));
        }
        assert!(consumed == values, "{format:?}");
    }
    for read in read_over_http(&http, values.len()).await {
        assert!(read == values, "{} of {}", read.len(), values.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_more_is_refused_on_every_way() {
    let cluster = Cluster::with_http(1).await;
    // No batch of the client's can have a record above the greatest size.
    let bound = RECORD_MAX_BYTES - 1000;
    create(&cluster, "t", 1, &[("record.max.bytes", bound)])
        .await
        .unwrap();
    let mut log = client(&cluster, 0);
    let field = "record.max.bytes";
    for record in [of_value(noise(bound + 1, 1)), full(bound + 1, 2)] {
        for request in [
            plain(&record),
            batch(&record, Compression::None),
            batch(&record, Compression::Zstd),
        ] {
            let stream = tokio_stream::once(request.clone());
            let refused = log.produce(request).await.unwrap_err();
            assert_too_large(&refused, field, bound);
            let mut replies = log.produce_stream(stream).await.unwrap().into_inner();
            let reply = replies.message().await.unwrap().unwrap();
            let error = reply.error.unwrap();
            assert_eq!(error.reason, "BATCH_TOO_LARGE");
            assert_eq!(error.metadata["field"], field);
            assert_eq!(error.metadata["bound"], bound.to_string());
        }
    }
    let http = HttpClient::new(&cluster, (0, "user/admin"));
    for answer in append_over_http(&http, &noise(bound + 1, 3)).await {
        let details = answer.problem(413, "BATCH_TOO_LARGE");
        assert_eq!(details["field"], field);
        assert_eq!(details["bound"], bound.to_string());
    }
    alter(&cluster, field, RECORD_MAX_BYTES).await.unwrap();
    let refused = plain(&of_value(noise(RECORD_MAX_BYTES + 1, 1)));
    let refused = log.produce(refused).await.unwrap_err();
    assert_too_large(&refused, field, RECORD_MAX_BYTES);
    for answer in append_over_http(&http, &noise(RECORD_MAX_BYTES + 1, 3)).await {
        assert_eq!(answer.problem(413, "BATCH_TOO_LARGE")["field"], field);
    }
    assert!(
        fetched(&mut log, log::FetchFormat::Records)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_the_setting_has_the_limits_of_level_1() {
    let cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let mut log = client(&cluster, 0);
    let default = 1024 * 1024;
    log.produce(plain(&full(default, 1))).await.unwrap();
    for request in [plain, |record: &_| batch(record, Compression::None)] {
        let refused = log
            .produce(request(&full(default + 1, 2)))
            .await
            .unwrap_err();
        assert_too_large(&refused, "record bytes", default);
    }
    let many = log::ProduceRequest {
        records: vec![full(default, 3), full(default, 4)],
        ..plain(&full(1 << 16, 3))
    };
    let refused = log.produce(many).await.unwrap_err();
    assert_too_large(&refused, "batch bytes", BATCH_LEVEL_1_MAX_BYTES);
    let refused = alter(&cluster, "record.max.bytes", RECORD_MAX_BYTES + 1).await;
    assert_eq!(reason(&refused.unwrap_err()), Some(Reason::InvalidArgument));
    alter(&cluster, "batch.max.bytes", 1 << 20).await.unwrap();
    let refused = alter(&cluster, "record.max.bytes", 1 << 20)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::InvalidArgument));
    assert!(
        refused
            .message()
            .contains("batch.max.bytes of the topic is 1048576")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_survive_restarts_and_reach_replicas_that_were_away() {
    let mut cluster = Cluster::of(3).await;
    let size = ("record.max.bytes", RECORD_MAX_BYTES);
    create(&cluster, "t", 3, &[size]).await.unwrap();
    cluster.healthy(0, 3).await;
    cluster.stop(2).await;
    let mut values = Vec::new();
    let mut append = async |cluster: &Cluster, seed| {
        let record = full(RECORD_MAX_BYTES, seed);
        eventually("a produce to go through", async || {
            client(cluster, 0).produce(plain(&record)).await.ok()
        })
        .await;
        values.push(record.value.unwrap());
    };
    for seed in 0..6 {
        append(&cluster, seed).await;
    }
    cluster.restart(2).await;
    cluster.ready(2).await;
    cluster.healthy(2, 3).await;
    // All from the disk, and a majority has none but the late replica's copy beside its own.
    cluster.stop(1).await;
    cluster.stop(0).await;
    cluster.restart(0).await;
    cluster.ready(0).await;
    append(&cluster, 6).await;
    cluster.restart(1).await;
    cluster.ready(1).await;
    cluster.healthy(1, 3).await;
    for at in 0..3 {
        let read = eventually("a read to go through", async || {
            fetched(&mut client(&cluster, at), log::FetchFormat::Batches)
                .await
                .ok()
        });
        let mut read = read.await;
        // An attempt that was repeated may be there twice.
        read.dedup();
        assert!(read == values, "node {at}");
    }
}
