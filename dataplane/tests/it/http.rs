//! HTTP and JSON: records, topics and the cluster, over real TLS connections.

use std::io::Write as _;

use axum::body::Body;
use http::Method;
use lograft_core::limits::PRODUCER_BATCHES_MAX_COUNT;
use lograft_core::partitioner::partition_for_key;
use lograft_node::config::{AuthorizationMode, AuthorizationSettings, HttpSettings};
use lograft_proto::admin::v1::BootstrapRequest;
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use serde_json::{Value, json};

use crate::cluster::{CLUSTER_ID, Cluster, eventually};
use crate::http_client::{Answer, HttpClient, is_ok};
use crate::revocation::suspend;

const ADMIN: (usize, &str) = (0, "user/admin");

/// A cluster of one node with a topic of three partitions, and its client.
async fn one_node() -> (Cluster, HttpClient) {
    let cluster = Cluster::with_http(1).await;
    cluster.create_topic(0, "t", 3, 1).await;
    let client = HttpClient::new(&cluster, ADMIN);
    (cluster, client)
}

fn values(answer: &Answer) -> Vec<Value> {
    let records = answer.json()["records"].clone();
    let records = records
        .as_array()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .clone();
    records
        .iter()
        .map(|record| record["value"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_back_as_they_went_in() {
    let (_cluster, client) = one_node().await;
    for client in [client.clone(), client.http2()] {
        let records = json!([
            {"partition": 1, "key": {"text": "k"}, "value": {"json": {"b": [1, 2.50]}},
             "headers": [{"key": "a", "value": {"base64": "AP8="}}, {"key": "a", "value": {"text": ""}}],
             "timestamp_ms": "1767225600000"},
            {"partition": 1, "key": {"base64": "AP8="}, "value": {"text": "l1\nü\u{0}"}},
            {"partition": 1, "value": {"text": ""}},
            {"partition": 1, "key": null, "value": null},
        ]);
        let produced = client
            .post("/v1/topics/t/records", &json!({"records": records}))
            .await;
        assert_eq!(produced.status, 200, "{produced:?}");
        let answer = produced.json();
        assert_eq!(answer["durability"], "MAJORITY_FSYNC");
        assert_eq!(answer["partitions"][0]["record_count"], 4);
        let base: u64 = answer["records"][0]["offset"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(answer["records"][3]["offset"], (base + 3).to_string());

        let path = format!("/v1/topics/t/partitions/1/records?offset={base}&value_as=json");
        let fetched = client.get(&path).await;
        assert_eq!(fetched.status, 200, "{fetched:?}");
        let page = fetched.json();
        assert_eq!(page["next_offset"], (base + 4).to_string());
        assert_eq!(page["high_watermark"], (base + 4).to_string());
        let first = &page["records"][0];
        assert_eq!(first["key"], json!({"text": "k"}));
        assert_eq!(first["value"], json!({"json": {"b": [1, 2.50]}}));
        assert_eq!(
            first["headers"][0],
            json!({"key": "a", "value": {"base64": "AP8="}})
        );
        assert_eq!(first["timestamp_ms"], "1767225600000");
        let expected = [
            json!({"text": "l1\nü\u{0}"}),
            json!({"text": ""}),
            Value::Null,
        ];
        assert_eq!(values(&fetched)[1..], expected);
        assert_eq!(page["records"][1]["key"], json!({"base64": "AP8="}));

        // What was fetched can be sent again as it is.
        let again = client
            .post("/v1/topics/t/records", &json!({"records": page["records"]}))
            .await;
        assert_eq!(again.status, 200, "{again:?}");
        let path = format!(
            "/v1/topics/t/partitions/1/records?offset={}&value_as=json",
            base + 4
        );
        assert_eq!(values(&client.get(&path).await), values(&fetched));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_choose_the_partition_that_every_client_chooses() {
    let (_cluster, client) = one_node().await;
    let keys: Vec<String> = (0..20).map(|n| format!("key-{n}")).collect();
    let records: Vec<Value> = keys
        .iter()
        .map(|key| json!({"key": {"text": key}}))
        .collect();
    let produced = client
        .post("/v1/topics/t/records", &json!({"records": records}))
        .await;
    let results = produced.json()["records"].clone();
    for (at, key) in keys.iter().enumerate() {
        let expected = partition_for_key(key.as_bytes(), 3).get();
        assert_eq!(results[at]["partition"], expected, "{key}");
    }
    let keyless = json!({"records": [{"value": {"text": "a"}}, {"value": {"text": "b"}}]});
    let produced = client.post("/v1/topics/t/records", &keyless).await.json();
    assert_eq!(
        produced["partitions"].as_array().unwrap().len(),
        1,
        "{produced}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_of_a_producer_is_appended_once() {
    let (_cluster, client) = one_node().await;
    let producer = client.post("/v1/producers", &json!({})).await;
    assert_eq!(producer.status, 200, "{producer:?}");
    let producer = producer.json();
    let request = json!({
        "records": [{"partition": 2, "value": {"text": "a"}}, {"partition": 2, "value": {"text": "b"}}],
        "producer_id": producer["producer_id"], "epoch": producer["epoch"], "sequence": "0",
    });
    let first = client.post("/v1/topics/t/records", &request).await.json();
    let second = client.post("/v1/topics/t/records", &request).await.json();
    assert_eq!(first["partitions"][0]["duplicate"], false);
    assert_eq!(second["partitions"][0]["duplicate"], true);
    assert_eq!(first["records"], second["records"]);
    // It is stored also when nobody knows its offset any more.
    for batch in 1..=PRODUCER_BATCHES_MAX_COUNT {
        let mut next = request.clone();
        next["sequence"] = json!((2 * batch).to_string());
        assert_eq!(client.post("/v1/topics/t/records", &next).await.status, 200);
    }
    let forgotten = client.post("/v1/topics/t/records", &request).await;
    assert_eq!(forgotten.status, 200, "{forgotten:?}");
    let forgotten = forgotten.json();
    assert_eq!(forgotten["partitions"][0]["duplicate"], true);
    assert_eq!(forgotten["partitions"][0]["record_count"], 2);
    assert_eq!(forgotten["partitions"][0]["base_offset"], Value::Null);
    let record = json!({"partition": 2, "offset": null});
    assert_eq!(forgotten["records"], json!([record, record]));
    let mut gap = request.clone();
    gap["sequence"] = json!("77");
    let refused = client.post("/v1/topics/t/records", &gap).await;
    let details = refused.problem(409, "OUT_OF_ORDER_SEQUENCE");
    let expected = (2 * (PRODUCER_BATCHES_MAX_COUNT + 1)).to_string();
    assert_eq!(details["expected_sequence"], expected);
    let mut partial = request;
    partial["epoch"] = Value::Null;
    let refused = client.post("/v1/topics/t/records", &partial).await;
    assert_eq!(refused.problem(400, "INVALID_ARGUMENT")["field"], "epoch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_bytes_have_their_key_and_headers_in_http_headers() {
    let (_cluster, client) = one_node().await;
    let request = client
        .request(Method::POST, "/v1/topics/t/records")
        .header("content-type", "application/octet-stream")
        .header("lograft-key", "schlüssel")
        .header("lograft-partition", "0")
        .header("lograft-header", "Source=a=b")
        .header("lograft-header-base64", "bin=AP8=")
        .header("lograft-timestamp-ms", "1767225600000")
        .body(Body::from(&b"\x00\xff\r\n"[..]))
        .unwrap();
    let produced = client.send(request).await;
    assert_eq!(produced.status, 200, "{produced:?}");
    let record = client
        .get("/v1/topics/t/partitions/0/records?value_as=base64")
        .await
        .json();
    let record = &record["records"][0];
    assert_eq!(record["key"], json!({"text": "schlüssel"}));
    assert_eq!(record["value"], json!({"base64": "AP8NCg=="}));
    assert_eq!(record["timestamp_ms"], "1767225600000");
    let headers = json!([
        {"key": "Source", "value": {"base64": "YT1i"}}, {"key": "bin", "value": {"base64": "AP8="}},
    ]);
    assert_eq!(record["headers"], headers);
    for (name, value, field) in [
        ("lograft-partition", "-1", "lograft-partition"),
        ("lograft-key-base64", "x", "lograft-key-base64"),
        ("lograft-header", "no value", "lograft-header"),
        ("lograft-null-value", "true", "lograft-null-value"),
    ] {
        let request = client
            .request(Method::POST, "/v1/topics/t/records")
            .header("content-type", "application/octet-stream")
            .header(name, value)
            .body(Body::from("v"))
            .unwrap();
        let details = client.send(request).await.problem(400, "INVALID_ARGUMENT");
        assert_eq!(details["field"], field);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_lines_is_appended_and_read_back() {
    let (_cluster, client) = one_node().await;
    let line = |n: u32| json!({"key": {"text": format!("k{n}")}, "value": {"json": {"n": n}}});
    let lines: String = (0..30_000).map(|n| line(n).to_string() + "\n").collect();
    let path = "/v1/topics/t/records";
    let gzipped = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(lines.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(lines.as_bytes(), 1).unwrap();
    let bodies = [
        ("identity", lines.clone().into_bytes()),
        ("gzip", gzipped),
        ("zstd", zstd),
    ];
    for (encoding, body) in bodies {
        let request = client
            .request(Method::POST, path)
            .header("content-type", "application/x-ndjson")
            .header("content-encoding", encoding)
            .body(Body::from(body))
            .unwrap();
        let sent = client.send(request).await;
        assert_eq!(sent.status, 200, "{sent:?}");
        assert_eq!(sent.json()["record_count"], "30000");
    }
    let accepts = [
        ("identity", client.clone()),
        ("gzip", client.http2()),
        ("zstd", client.clone()),
    ];
    for (encoding, client) in accepts {
        let request = client
            .request(Method::GET, "/v1/topics/t/records?value_as=json")
            .header("accept", "application/x-ndjson")
            .header("accept-encoding", encoding)
            .body(Body::empty())
            .unwrap();
        let mut read = client.send(request).await;
        assert_eq!(read.status, 200, "{read:?}");
        read.body = decoded(encoding, &read).into();
        let mut found: Vec<u64> = read
            .lines()
            .iter()
            .map(|line| line["value"]["json"]["n"].as_u64().unwrap())
            .collect();
        found.sort_unstable();
        let expected: Vec<u64> = (0..90_000).map(|n| n / 3).collect();
        assert!(found == expected, "{} records", found.len());
    }
    let bad = format!("{}\n{}\nnot json\n{}\n", line(1), line(2), line(3));
    let refused = client
        .post_as(Method::POST, path, ("application/x-ndjson", bad.into()))
        .await;
    let details = refused.problem(400, "BODY_MALFORMED");
    assert_eq!(details["field"], "line 3");
    let first: u64 = details["first_unacknowledged_line"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=3).contains(&first), "{details}");
}

fn decoded(encoding: &str, answer: &Answer) -> Vec<u8> {
    use std::io::Read as _;
    let mut plain = Vec::new();
    if encoding == "identity" {
        assert_eq!(answer.header("content-encoding"), "");
        return answer.body.to_vec();
    }
    assert_eq!(answer.header("content-encoding"), encoding);
    assert_eq!(answer.header("vary"), "accept-encoding");
    if encoding == "gzip" {
        flate2::read::GzDecoder::new(&*answer.body)
            .read_to_end(&mut plain)
            .unwrap();
    } else {
        plain = zstd::decode_all(&*answer.body).unwrap();
    }
    plain
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_waits_for_records_and_has_bounds() {
    let (cluster, client) = one_node().await;
    let path = "/v1/topics/t/partitions/0/records";
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get(&format!("{path}?at=latest&wait_ms=30000")).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    cluster.produce(0, 0, "a").await;
    assert_eq!(values(&waiting.await.unwrap()), [json!({"text": "a"})]);
    for n in 1..5 {
        cluster.produce(0, 0, &format!("v{n}")).await;
    }
    let two = client.get(&format!("{path}?offset=1&max_records=2")).await;
    assert_eq!(values(&two), [json!({"text": "v1"}), json!({"text": "v2"})]);
    assert_eq!(two.json()["next_offset"], "3");
    let refused = client.get(&format!("{path}?offset=9")).await;
    let details = refused.problem(416, "OFFSET_OUT_OF_RANGE");
    assert_eq!(details["high_watermark"], "5");
    for (query, field) in [
        ("max_records=0", "max_records"),
        ("max_records=100001", "max_records"),
        ("at=latest&offset=1", "at"),
        ("consistency=eventual", "query"),
        ("offset=x", "query"),
        ("value_as=xml", "query"),
        ("follow=true", "follow"),
    ] {
        let refused = client.get(&format!("{path}?{query}")).await;
        let details = refused.problem(400, "INVALID_ARGUMENT");
        assert_eq!(details["field"], field, "{query}");
        assert!(details["bound"].is_string(), "{query}");
    }
    client
        .get("/v1/topics/none/partitions/0/records")
        .await
        .problem(404, "UNKNOWN_TOPIC");
    client
        .get("/v1/topics/t/partitions/3/records")
        .await
        .problem(404, "UNKNOWN_PARTITION");
    let details = client.get("/v1/topics/t/partitions/x/records").await;
    assert_eq!(details.problem(400, "INVALID_ARGUMENT")["field"], "path");
    client.get("/v1/none").await.problem(404, "ROUTE_NOT_FOUND");
    let refused = client.call(Method::PUT, "/v1/topics/t", &json!({})).await;
    refused.problem(405, "METHOD_NOT_ALLOWED");
    assert!(refused.header("allow").contains("PATCH"), "{refused:?}");
    client
        .get_as(path, "image/png")
        .await
        .problem(406, "NOT_ACCEPTABLE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_administered() {
    let (_cluster, client) = one_node().await;
    let created = client
        .post(
            "/v1/topics",
            &json!({"name": "orders", "partitions": 2, "settings": {"retention.ms": "60000"}}),
        )
        .await;
    assert_eq!(created.status, 201, "{created:?}");
    let topic = created.json();
    assert_eq!(
        (&topic["ready"], &topic["topic"]["name"]),
        (&json!(true), &json!("orders"))
    );
    assert_eq!(topic["topic"]["settings"]["retention.ms"], "60000");
    let again = client.post("/v1/topics", &json!({"name": "orders"})).await;
    again.problem(409, "TOPIC_EXISTS");
    let altered = client
        .call(
            Method::PATCH,
            "/v1/topics/orders",
            &json!({"partitions": 3, "reset_settings": ["retention.ms"]}),
        )
        .await;
    assert_eq!(altered.status, 200, "{altered:?}");
    let described = client.get("/v1/topics/orders").await.json();
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(described["partitions"][2]["health"], "HEALTHY");
    let page = client.get("/v1/topics?page_size=1").await.json();
    assert_eq!(page["topics"][0]["name"], "orders");
    assert_eq!(page["next_page_token"], "orders");
    let page = client.get("/v1/topics?page_token=orders").await.json();
    assert_eq!(page["topics"][0]["name"], "t");
    assert_eq!(page["next_page_token"], Value::Null);
    for (body, reason, field) in [
        (json!({"name": "a b"}), "INVALID_TOPIC_NAME", "name"),
        (
            json!({"name": "a", "partitions": 0}),
            "INVALID_PARTITION_COUNT",
            "partitions",
        ),
        (
            json!({"name": "a", "settings": {"no.such": 1}}),
            "INVALID_ARGUMENT",
            "no.such",
        ),
        (
            json!({"name": "a", "settings": {"retention.ms": [1]}}),
            "INVALID_ARGUMENT",
            "retention.ms",
        ),
        (json!({"name": "a", "extra": 1}), "BODY_MALFORMED", "body"),
    ] {
        let details = client.post("/v1/topics", &body).await.problem(400, reason);
        assert_eq!(details["field"], field, "{body}");
    }
    let deleted = client
        .call(Method::DELETE, "/v1/topics/orders", &json!({}))
        .await;
    assert_eq!(
        (deleted.status, deleted.body.len()),
        (204, 0),
        "{deleted:?}"
    );
    client
        .get("/v1/topics/orders")
        .await
        .problem(404, "UNKNOWN_TOPIC");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_deleted_up_to_an_offset() {
    let (_cluster, client) = one_node().await;
    let records: Vec<Value> = (0..5)
        .map(|n| json!({"partition": 0, "value": {"text": n.to_string()}}))
        .collect();
    let body = json!({"records": records});
    assert!(is_ok(&client.post("/v1/topics/t/records", &body).await));
    let path = "/v1/topics/t/partitions/0/records";
    let delete = async |before: &str| {
        let uri = format!("{path}?before={before}");
        client.call(Method::DELETE, &uri, &json!({})).await
    };
    let deleted = delete("3").await;
    assert_eq!(deleted.json()["log_start_offset"], "3", "{deleted:?}");
    let below = client.get(&format!("{path}?offset=0")).await;
    let details = below.problem(416, "OFFSET_OUT_OF_RANGE");
    assert_eq!(details["log_start_offset"], "3");
    let left = client.get(&format!("{path}?at=earliest")).await;
    assert_eq!(values(&left), [json!({"text": "3"}), json!({"text": "4"})]);
    delete("6").await.problem(416, "OFFSET_OUT_OF_RANGE");
    for bad in ["", "-1", "all"] {
        let details = delete(bad).await.problem(400, "INVALID_ARGUMENT");
        assert_eq!(details["field"], "before", "{bad:?}");
    }
    let all = delete("high_watermark").await;
    assert_eq!(all.json()["log_start_offset"], "5", "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_a_former_topic_is_refused() {
    let (_cluster, client) = one_node().await;
    let (path, none) = ("/v1/topics/t", json!({}));
    let id = client.get(path).await.json()["topic_id"].clone();
    let former = json!({"topic_id": "999"});
    let altered = client.call(Method::PATCH, path, &former).await;
    let details = altered.problem(409, "TOPIC_RECREATED");
    assert_eq!(details["topic_id"], id);
    let of = |id: &str| format!("{path}?topic_id={id}");
    let deleted = client.call(Method::DELETE, &of("999"), &none).await;
    deleted.problem(409, "TOPIC_RECREATED");
    let deleted = client
        .call(Method::DELETE, &of(id.as_str().unwrap()), &none)
        .await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_user_is_told_so() {
    let (cluster, _) = one_node().await;
    let client = HttpClient::new(&cluster, (0, "user/a"));
    suspend(&cluster).await;
    eventually("the suspension to be heard of", async || {
        let answer = client.get("/v1/topics").await;
        (answer.status == 401).then_some(())
    })
    .await;
    for client in [client.clone(), client.http2()] {
        let refused = client.get("/v1/topics").await;
        refused.problem(401, "CERTIFICATE_REVOKED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_and_the_cluster_are_described() {
    let (cluster, client) = one_node().await;
    cluster.produce(0, 1, "a").await;
    let offsets = client
        .get("/v1/topics/t/offsets?timestamp_ms=0")
        .await
        .json();
    let of = |at: usize, name: &str| offsets["partitions"][at][name].clone();
    assert_eq!(of(1, "high_watermark"), "1");
    assert_eq!(of(1, "offset_at_timestamp"), "0");
    assert_eq!(of(0, "offset_at_timestamp"), Value::Null);
    let some = client
        .get("/v1/topics/t/offsets?partitions=2,0")
        .await
        .json();
    assert_eq!(some["partitions"].as_array().unwrap().len(), 2);
    let refused = client.get("/v1/topics/t/offsets?partitions=a").await;
    assert_eq!(
        refused.problem(400, "INVALID_ARGUMENT")["field"],
        "partitions"
    );
    let status = eventually("a healthy cluster", async || {
        let status = client.get("/v1/cluster").await.json();
        (status["healthy"] == true).then_some(status)
    })
    .await;
    assert_eq!(
        (&status["node_count"], &status["topic_count"]),
        (&json!(1), &json!(1))
    );
    let members = client.get("/v1/cluster/members").await.json();
    assert_eq!(members["members"][0]["name"], "n0");
    assert_eq!(members["members"][0]["state"], "ACTIVE");
    let metrics = cluster.get(0, "/metrics").await;
    for line in [
        "lograft_http_requests_total{method=\"GET\",route=\"/v1/cluster/members\",status=\"2xx\"} 1",
        "lograft_http_requests_total{method=\"GET\",route=\"/v1/topics/{topic}/offsets\",status=\"4xx\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_answers_for_any_partition() {
    let cluster = Cluster::with_http(3).await;
    cluster.create_topic(0, "t", 6, 3).await;
    for at in 0..3 {
        let client = HttpClient::new(&cluster, (at, "user/admin"));
        for partition in 0..6 {
            let record =
                json!({"records": [{"partition": partition, "value": {"text": at.to_string()}}]});
            // On a busy machine a leader may change meanwhile.
            let produced = eventually("the record to be appended", async || {
                let produced = client.post("/v1/topics/t/records", &record).await;
                assert!(matches!(produced.status, 200 | 503), "{produced:?}");
                (produced.status == 200).then_some(produced)
            })
            .await;
            let offset = produced.json()["records"][0]["offset"].clone();
            let path = format!("/v1/topics/t/partitions/{partition}/records?offset=");
            let path = path + offset.as_str().unwrap() + "&max_records=1";
            let fetched = eventually("the record to be read", async || {
                let fetched = client.get(&path).await;
                (fetched.status == 200).then_some(fetched)
            })
            .await;
            assert_eq!(values(&fetched), [json!({"text": at.to_string()})]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_those_of_grpc() {
    let mut cluster = Cluster::new();
    cluster.http = Some(HttpSettings::default());
    cluster.authorization = AuthorizationSettings {
        mode: AuthorizationMode::Enforced,
        super_users: vec!["user/admin".to_owned()],
        ..AuthorizationSettings::default()
    };
    cluster.add().await;
    let operator = cluster.channel_of("operator", cluster.addresses(0).client);
    let request = BootstrapRequest {
        cluster_id: CLUSTER_ID.to_owned(),
    };
    let bootstrapped = AdminServiceClient::new(operator).bootstrap(request).await;
    bootstrapped.unwrap();
    let admin = HttpClient::new(&cluster, ADMIN);
    eventually("the rules to hold", async || {
        let created = admin
            .post("/v1/topics", &json!({"name": "t", "partitions": 1}))
            .await;
        is_ok(&created).then_some(())
    })
    .await;
    let ann = HttpClient::new(&cluster, (0, "user/ann"));
    let denied = "PERMISSION_DENIED";
    let record = json!({"records": [{"value": {"text": "a"}}]});
    ann.post("/v1/topics/t/records", &record)
        .await
        .problem(403, denied);
    ann.get("/v1/topics/t/partitions/0/records")
        .await
        .problem(403, denied);
    ann.get_as("/v1/topics/t/records", "text/event-stream")
        .await
        .problem(403, denied);
    ann.get("/v1/topics/t/offsets").await.problem(403, denied);
    ann.get("/v1/topics/t").await.problem(403, denied);
    // Whether a topic exists is not told.
    ann.get("/v1/topics/none").await.problem(403, denied);
    ann.post("/v1/topics", &json!({"name": "x"}))
        .await
        .problem(403, denied);
    ann.call(Method::PATCH, "/v1/topics/t", &json!({}))
        .await
        .problem(403, denied);
    ann.call(Method::DELETE, "/v1/topics/t", &json!({}))
        .await
        .problem(403, denied);
    ann.post("/v1/producers", &json!({}))
        .await
        .problem(403, denied);
    ann.get("/v1/cluster").await.problem(403, denied);
    ann.get("/v1/cluster/members").await.problem(403, denied);
    assert_eq!(ann.get("/v1/topics").await.json()["topics"], json!([]));
    assert_eq!(ann.get("/openapi.json").await.status, 200);
    assert_eq!(
        admin.post("/v1/topics/t/records", &record).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_cluster_says_so() {
    let mut cluster = Cluster::new();
    cluster.http = Some(HttpSettings::default());
    cluster.add().await;
    let client = HttpClient::new(&cluster, ADMIN);
    client
        .get("/v1/topics")
        .await
        .problem(503, "NOT_BOOTSTRAPPED");
    client
        .get("/v1/topics/t/partitions/0/records")
        .await
        .problem(503, "NOT_BOOTSTRAPPED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_configured_origins_are_answered() {
    let asked = async |client: &HttpClient, method: Method, origin: &str| {
        let request = client
            .request(method, "/v1/topics")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .body(Body::empty())
            .unwrap();
        let answer = client.send(request).await;
        let allowed = answer.header("access-control-allow-origin").to_owned();
        (answer.status, allowed)
    };
    let (_cluster, client) = one_node().await;
    let origin = "https://console.example";
    assert_eq!(
        asked(&client, Method::GET, origin).await,
        (200, String::new())
    );
    assert_eq!(asked(&client, Method::OPTIONS, origin).await.0, 405);
    let mut cluster = Cluster::new();
    cluster.http = Some(HttpSettings {
        allowed_origins: vec![origin.to_owned()],
    });
    let cluster = cluster.with_nodes(1).await;
    let client = HttpClient::new(&cluster, ADMIN);
    assert_eq!(
        asked(&client, Method::OPTIONS, origin).await,
        (204, origin.to_owned())
    );
    assert_eq!(
        asked(&client, Method::GET, origin).await,
        (200, origin.to_owned())
    );
    let other = "https://other.example";
    assert_eq!(
        asked(&client, Method::OPTIONS, other).await,
        (204, String::new())
    );
    assert_eq!(
        asked(&client, Method::GET, other).await,
        (200, String::new())
    );
}
