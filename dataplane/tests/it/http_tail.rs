//! Server-sent events: tails that are resumed without a gap or a double.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use lograft_proto::admin::v1 as admin;
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE, eventually};
use crate::http_client::HttpClient;

/// An event of a stream.
#[derive(Clone, Debug, Default)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

/// A stream of events.
struct Events {
    body: Incoming,
    text: String,
    comments: usize,
}

impl Events {
    async fn open(client: &HttpClient, path: &str, last: Option<&str>) -> Self {
        let mut request = client
            .request(Method::GET, path)
            .header("accept", "text/event-stream");
        if let Some(id) = last {
            request = request.header("last-event-id", id);
        }
        let response = client.start(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-accel-buffering"), "no");
        Self {
            body: response.into_body(),
            text: String::new(),
            comments: 0,
        }
    }

    /// The next event; none at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if block.starts_with(':') {
                    self.comments += 1;
                    continue;
                }
                return Some(parse(&block));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame())
                .await
                .unwrap()?;
            let data = frame.ok()?.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("event", name)) => name.clone_into(&mut event.name),
            Some(("id", id)) => id.clone_into(&mut event.id),
            Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
            Some(("retry", "1000")) => {}
            _ => panic!("{line}"),
        }
    }
    event
}

fn value(event: &Event) -> String {
    event.data["value"]["text"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_resumes_behind_its_last_event() {
    let cluster = Cluster::with_http(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let client = HttpClient::new(&cluster, (0, "user/admin"));
    let path = "/v1/topics/t/partitions/0/records";
    let mut latest = Events::open(&client, &format!("{path}?at=latest"), None).await;
    let open = latest.next().await.unwrap();
    assert_eq!((&*open.name, &*open.id), ("open", "-1"));
    for n in 0..5 {
        cluster.produce(0, 0, &format!("v{n}")).await;
    }
    let first = latest.next().await.unwrap();
    assert_eq!((&*first.name, &*first.id, &*value(&first)), ("", "0", "v0"));
    // A client that lost its connection before the first record starts where it was.
    for (id, expected) in [("-1", "v0"), ("0", "v1"), ("3", "v4")] {
        let mut resumed = Events::open(&client, &format!("{path}?at=latest"), Some(id)).await;
        assert_eq!(resumed.next().await.unwrap().name, "open");
        assert_eq!(value(&resumed.next().await.unwrap()), expected);
    }
    let mut bounded = Events::open(&client, &format!("{path}?max_records=2"), None).await;
    let names: Vec<String> = [(); 4].map(|()| String::new()).to_vec();
    let mut found = Vec::new();
    for _ in &names {
        found.extend(bounded.next().await.map(|event| (event.name, event.id)));
    }
    let expected = [("open", "-1"), ("", "0"), ("", "1"), ("end", "1")];
    assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(bounded.next().await.is_none());
    let refused = client
        .request(Method::GET, path)
        .header("accept", "text/event-stream")
        .header("last-event-id", "x")
        .body(Body::empty())
        .unwrap();
    let details = client.send(refused).await.problem(400, "INVALID_ARGUMENT");
    assert_eq!(details["field"], "Last-Event-ID");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_tail_is_kept_alive() {
    let cluster = Cluster::with_http(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let client = HttpClient::new(&cluster, (0, "user/admin")).http2();
    let path = "/v1/topics/t/partitions/0/records";
    let mut tail = Events::open(&client, path, None).await;
    tail.next().await.unwrap();
    let waiting = tokio::time::sleep(Duration::from_secs(16));
    tokio::select! {
        event = tail.next() => panic!("{event:?}"),
        () = waiting => {}
    }
    assert_eq!(tail.comments, 1);
}

/// The last offset by partition in the id of a stream of a whole topic.
fn offsets(id: &str) -> BTreeMap<String, String> {
    let parts = id.split(',').filter_map(|part| part.split_once(':'));
    parts
        .map(|(at, offset)| (at.to_owned(), offset.to_owned()))
        .collect()
}

/// Reads so many records of a topic, and connects again at each end of the stream. Returns the
/// values, and why the streams have ended.
async fn read_topic(client: HttpClient, count: usize) -> (Vec<String>, Vec<Value>) {
    let (mut last, mut seen, mut ends) = (String::new(), Vec::new(), Vec::new());
    while seen.len() < count {
        let id = (!last.is_empty()).then_some(&*last);
        let mut tail = Events::open(&client, "/v1/topics/t/records", id).await;
        while seen.len() < count
            && let Some(event) = tail.next().await
        {
            last.clone_from(&event.id);
            let data = &event.data;
            match &*event.name {
                "open" => {}
                "end" => {
                    assert_eq!(data["error"]["retryable"], true, "{data}");
                    assert_eq!(data["resume"], last);
                    ends.push(data["error"]["reason"].clone());
                }
                _ => {
                    let at = data["partition"].to_string();
                    assert_eq!(offsets(&event.id)[&at], data["offset"].as_str().unwrap());
                    seen.push(value(&event));
                }
            }
        }
    }
    (seen, ends)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_topic_is_resumed_over_moves_of_its_leaders() {
    let cluster = Cluster::with_http(3).await;
    cluster.create_topic(0, "t", 3, 3).await;
    let client = HttpClient::new(&cluster, (0, "user/admin"));
    let ids = [
        cluster.id_of(0).await,
        cluster.id_of(1).await,
        cluster.id_of(2).await,
    ];
    let reader = tokio::spawn(read_topic(client, 60));
    for n in 0..60_u32 {
        let partition = n % 3;
        cluster
            .produce(0, partition, &format!("{partition}-{n}"))
            .await;
        if n % 10 == 9 {
            let to_node = ids[(n / 10) as usize % 3];
            let request = admin::TransferLeadershipRequest {
                topic: "t".to_owned(),
                partition,
                to_node,
                ..admin::TransferLeadershipRequest::default()
            };
            eventually("the leader to move", async || {
                cluster
                    .admin(0)
                    .transfer_leadership(request.clone())
                    .await
                    .ok()
            })
            .await;
        }
    }
    let (seen, ends) = tokio::time::timeout(PATIENCE, reader)
        .await
        .unwrap()
        .unwrap();
    for partition in 0..3 {
        let of = |text: &&String| text.starts_with(&format!("{partition}-"));
        let found: Vec<&String> = seen.iter().filter(of).collect();
        let expected: Vec<String> = (0..20)
            .map(|n| format!("{partition}-{}", n * 3 + partition))
            .collect();
        assert_eq!(found, expected.iter().collect::<Vec<_>>());
    }
    assert!(!ends.is_empty(), "no leader has moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_ends_its_tails_with_where_to_resume() {
    let mut cluster = Cluster::with_http(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    cluster.produce(0, 0, "a").await;
    let client = HttpClient::new(&cluster, (0, "user/admin"));
    let path = "/v1/topics/t/partitions/0/records";
    let mut tails = Vec::new();
    for client in [client.clone(), client.http2()] {
        let mut tail = Events::open(&client, path, None).await;
        tail.next().await.unwrap();
        tail.next().await.unwrap();
        tails.push(tail);
    }
    cluster.stop(0).await;
    for mut tail in tails {
        let end = tail.next().await.unwrap();
        assert_eq!((&*end.name, &*end.id), ("end", "0"), "{end:?}");
        assert_eq!(end.data["error"]["retryable"], true, "{end:?}");
        assert_eq!(end.data["resume"], "0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_ends_a_stream_of_lines_with_what_it_has_appended() {
    let mut cluster = Cluster::with_http(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let client = HttpClient::new(&cluster, (0, "user/admin"));
    let (lines, body) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(4);
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(body));
    let request = client
        .request(Method::POST, "/v1/topics/t/records")
        .header("content-type", "application/x-ndjson")
        .body(body)
        .unwrap();
    let sent = tokio::spawn(async move { client.send(request).await });
    for line in [
        "{\"value\": {\"text\": \"a\"}}\n",
        "{\"value\": {\"text\": \"b\"}}\n{\"val",
    ] {
        lines.send(Ok(line)).await.unwrap();
        // Nothing waits for the end of the stream.
        let expected = if line.ends_with('\n') { 1 } else { 2 };
        eventually("the lines so far", async || {
            (cluster.read_all(0, 0).await.len() == expected).then_some(())
        })
        .await;
    }
    cluster.stop(0).await;
    let answer = sent.await.unwrap();
    let details = answer.problem(503, "CONNECTION_CLOSING");
    assert_eq!(details["acknowledged_records"], "2", "{details}");
    assert_eq!(details["first_unacknowledged_line"], "3", "{details}");
    drop(lines);
}
