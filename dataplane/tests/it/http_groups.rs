//! Consumer groups over HTTP, as a loop of polls uses them: members that share partitions, are cut
//! off and return, and offsets that nobody may set but they.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Method;
use lograft_core::limits::{
    COMMIT_OFFSETS_MAX_COUNT, GROUP_CUT_CALL_MAX, GROUP_SUBSCRIBED_TOPICS_MAX_COUNT,
    POLL_PARTITIONS_MAX_COUNT,
};
use lograft_node::config::{AuthorizationMode, AuthorizationSettings, HttpSettings};
use lograft_proto::admin::v1 as admin;
use lograft_proto::admin::v1::access_service_client::AccessServiceClient;
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{CLUSTER_ID, Cluster, PATIENCE, eventually};
use crate::http_client::{Answer, HttpClient, is_ok};

const GROUP: &str = "/v1/groups/billing";
const MEMBERS: &str = "/v1/groups/billing/members";
const OFFSETS: &str = "/v1/groups/billing/offsets";

/// A member that polls.
#[derive(Clone)]
struct Member {
    client: HttpClient,
    path: String,
    /// The last answer.
    last: Value,
}

impl Member {
    async fn join(client: &HttpClient, body: Value) -> Self {
        let joined = post(client, MEMBERS, &body).await;
        assert_eq!(joined.status, 200, "{joined:?}");
        let last = joined.json();
        Self {
            client: client.clone(),
            path: format!("{MEMBERS}/{}", last["member_id"].as_str().unwrap()),
            last,
        }
    }

    /// The next poll: it commits what the last answer says.
    fn body(&self, with: &Value) -> Value {
        let commit = match &self.last["commit"] {
            Value::Null => json!([]),
            commit => commit.clone(),
        };
        let mut body = json!({
            "generation": self.last["generation"], "commit": commit, "max_wait_ms": 0,
        });
        if let Some(sequence) = self.last.get("sequence") {
            body["sequence"] = sequence.clone();
        }
        for (key, value) in with.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    async fn try_poll(&self, with: &Value) -> Answer {
        let path = format!("{}/poll", self.path);
        post(&self.client, &path, &self.body(with)).await
    }

    async fn poll_with(&mut self, with: &Value) {
        let answer = self.try_poll(with).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.last = answer.json();
        for committed in self.last["committed"].as_array().unwrap() {
            assert_eq!(committed["error"], Value::Null, "{}", self.last);
        }
    }

    async fn poll(&mut self) {
        self.poll_with(&json!({})).await;
    }

    /// A poll that waits, in the background.
    fn wait(&self) -> tokio::task::JoinHandle<Self> {
        let mut waiting = self.clone();
        tokio::spawn(async move {
            waiting.poll_with(&json!({"max_wait_ms": 20_000})).await;
            waiting
        })
    }

    fn partitions(&self) -> BTreeSet<u64> {
        let partitions = self.last["partitions"].as_array().unwrap();
        let numbers = partitions.iter().map(|p| p["partition"].as_u64().unwrap());
        numbers.collect()
    }

    /// The records of the last answer: partition, offset, value.
    fn records(&self) -> Vec<(u64, String, String)> {
        let records = self.last["records"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let record = |record: &Value| {
            assert_eq!(record["topic"], "t");
            let partition = record["partition"].as_u64().unwrap();
            let value = text(&record["value"]["text"]);
            (partition, text(&record["offset"]), value)
        };
        records.iter().map(record).collect()
    }
}

/// Posts until it does not fail for a reason that says to repeat the request.
async fn post(client: &HttpClient, path: &str, body: &Value) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.post(path, body).await;
        let is_refused = answer.status == 503 && answer.json()["retryable"] == true;
        if !is_refused || Instant::now() > deadline {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn nodes(count: usize, partitions: u32) -> (Cluster, HttpClient) {
    let cluster = Cluster::with_http(count).await;
    let replicas = u32::try_from(count).unwrap();
    cluster.create_topic(0, "t", partitions, replicas).await;
    let client = HttpClient::new(&cluster, (0, "user/admin"));
    (cluster, client)
}

/// The committed offsets of the group by partition.
async fn committed(client: &HttpClient) -> BTreeMap<u64, String> {
    let answer = eventually("the offsets", async || {
        Some(client.get(OFFSETS).await).filter(|answer| answer.status != 503)
    })
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let offsets = answer.json()["offsets"].as_array().unwrap().clone();
    let offset = |offset: &Value| {
        let text = offset["offset"].as_str().unwrap().to_owned();
        (offset["partition"].as_u64().unwrap(), text)
    };
    offsets.iter().map(offset).collect()
}

fn all(count: u64) -> BTreeSet<u64> {
    (0..count).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_return_each_record_until_it_is_committed() {
    let (cluster, client) = nodes(1, 3).await;
    for partition in 0..3 {
        for n in 0..4 {
            cluster
                .produce(0, partition, &format!("{partition}/{n}"))
                .await;
        }
    }
    let mut member = Member::join(&client, json!({"topics": ["t"]})).await;
    let id = member.last["member_id"].as_str().unwrap();
    assert_eq!(id.len(), 36, "a UUID: {id}");
    assert_eq!(member.partitions(), all(3));
    let mut again = member.clone();
    again.poll_with(&json!({"max_records": 5})).await;
    assert_eq!(again.records().len(), 5);
    // Without a commit the same records come again; a repeated poll changes nothing.
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        member.poll_with(&json!({"max_records": 5})).await;
        for record in member.records() {
            assert!(seen.insert(record.clone()), "{record:?} came twice");
        }
        if member.records().is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 12, "{seen:?}");
    let four: BTreeMap<u64, String> = (0..3).map(|p| (p, "4".to_owned())).collect();
    assert_eq!(committed(&client).await, four);
    // In the forms that are asked for.
    let waiting = {
        let mut waiting = member.clone();
        tokio::spawn(async move {
            let asked = json!({"max_wait_ms": 20_000, "value_as": "base64"});
            waiting.poll_with(&asked).await;
            waiting
        })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let since = Instant::now();
    cluster.produce(0, 1, "late").await;
    let woken = waiting.await.unwrap();
    assert!(since.elapsed() < PATIENCE / 3);
    let record = &woken.last["records"][0];
    assert_eq!(
        (&record["offset"], &record["value"]["base64"]),
        (&json!("4"), &json!("bGF0ZQ=="))
    );
    // While the records are processed, the call that waited does not count as cut off.
    tokio::time::sleep(GROUP_CUT_CALL_MAX * 2).await;
    let mut member = woken;
    member.poll().await;
    assert_eq!(committed(&client).await[&1], "5");
    let left = client.call(Method::DELETE, &member.path, &json!({})).await;
    assert_eq!((left.status, left.body.len()), (204, 0));
    let gone = member.try_poll(&json!({})).await;
    gone.problem(404, "UNKNOWN_MEMBER");
}

/// A poll that hung in a node arrives after the member has repeated it and has gone on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_poll_does_not_set_the_offset_back() {
    let (_cluster, client) = nodes(1, 1).await;
    let mut member = Member::join(&client, json!({"topics": ["t"]})).await;
    member.poll().await;
    let path = format!("{}/poll", member.path);
    let commit = |offset: u64| json!({"commit": [{"topic": "t", "partition": 0, "offset": offset.to_string()}]});
    let late = member.body(&commit(10));
    for body in [late.clone(), late.clone(), member.body(&json!({}))] {
        let answer = post(&client, &path, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        member.last = answer.json();
    }
    member.poll_with(&commit(20)).await;
    let answer = post(&client, &path, &late).await.json();
    let refused = &answer["committed"][0]["error"];
    assert_eq!(refused["reason"], "COMMIT_SUPERSEDED", "{answer}");
    assert_eq!(committed(&client).await, [(0, "20".to_owned())].into());
    // The numbers of a clock that is behind are left behind, too.
    member.last = answer;
    member.poll_with(&commit(30)).await;
    assert_eq!(committed(&client).await, [(0, "30".to_owned())].into());

    let page = client.get(&format!("{OFFSETS}?page_size=1")).await.json();
    assert_eq!(page["next_page_token"], Value::Null, "{page}");
    let group = client.get(&format!("{GROUP}?page_size=1")).await.json();
    let members = group["members"].as_array().unwrap().len();
    assert_eq!(
        (members, group["offsets"].as_array().unwrap().len()),
        (1, 0)
    );
    let token = group["next_page_token"].as_str().unwrap();
    let next = client.get(&format!("{GROUP}?page_token={token}")).await;
    let next = next.json();
    assert_eq!(next["offsets"].as_array().unwrap().len(), 1, "{next}");
    assert_eq!(next["members"], json!([]));
    for bad in ["page_size=0", "page_size=10001", "page_token=x"] {
        for path in [GROUP, OFFSETS] {
            let refused = client.get(&format!("{path}?{bad}")).await;
            assert_eq!(refused.status, 400, "{refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_partitions_and_zombies_commit_nothing() {
    let (cluster, first) = nodes(3, 4).await;
    let second = HttpClient::new(&cluster, (1, "user/admin"));
    let third = HttpClient::new(&cluster, (2, "user/admin")).http2();
    for partition in 0..4 {
        cluster.produce(0, partition, "a").await;
    }
    let mut a = Member::join(&first, json!({"topics": ["t"], "member_id": "a"})).await;
    while committed(&first).await.len() < 4 {
        a.poll().await;
    }
    // A new member ends the poll that waits, and gets its partitions once they are given up.
    let waiting = a.wait();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut b = Member::join(&second, json!({"topics": ["t"], "member_id": "b"})).await;
    assert_eq!(
        (b.partitions().len(), &b.last["incomplete"]),
        (0, &json!(true))
    );
    let before = a.clone();
    a = waiting.await.unwrap();
    assert_eq!(a.partitions().len(), 2, "{}", a.last);
    let waiting = b.wait();
    a.poll().await;
    b = waiting.await.unwrap();
    while b.partitions().len() < 2 {
        b.poll_with(&json!({"max_wait_ms": 1000})).await;
    }
    let both: BTreeSet<u64> = a.partitions().union(&b.partitions()).copied().collect();
    assert_eq!(both, all(4));

    // A commit for a partition that has moved is refused, the others are not. Any node serves.
    let moved = *b.partitions().first().unwrap();
    let kept = *a.partitions().first().unwrap();
    let offset = |partition: u64, offset: u64| json!({"topic": "t", "partition": partition, "offset": offset.to_string()});
    let late = json!({
        "member_id": "a", "generation": before.last["generation"],
        "offsets": [offset(moved, 0), offset(kept, 1)],
    });
    let refused = post(&third, OFFSETS, &late).await;
    assert_eq!(refused.status, 207, "{refused:?}");
    let results = refused.json()["results"].clone();
    assert_eq!(results[0]["error"]["reason"], "NOT_ASSIGNED");
    assert_eq!(results[1]["error"], Value::Null);
    let zombie = json!({"commit": [offset(moved, 0)]});
    let polled = Member {
        client: third.clone(),
        ..a.clone()
    };
    let polled = polled.try_poll(&zombie).await;
    assert_eq!(polled.status, 200, "{polled:?}");
    let result = &polled.json()["committed"][0];
    assert_eq!(result["error"]["reason"], "NOT_ASSIGNED");
    let as_before: BTreeMap<u64, String> = (0..4).map(|p| (p, "1".to_owned())).collect();
    assert_eq!(committed(&first).await, as_before);
    // Another user does not speak for a member.
    let other = HttpClient::new(&cluster, (0, "user/other"));
    let stranger = Member {
        client: other,
        ..a.clone()
    };
    let refused = stranger.try_poll(&json!({})).await;
    refused.problem(404, "UNKNOWN_MEMBER");

    // A poll that is cut off and not repeated: the member has left.
    let cut = b.wait();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cut.abort();
    let since = Instant::now();
    while a.partitions() != all(4) {
        a.poll_with(&json!({"max_wait_ms": 20_000})).await;
    }
    let took = since.elapsed();
    assert!(took < GROUP_CUT_CALL_MAX * 6, "{took:?}");
    let zombie = b.try_poll(&json!({"commit": [offset(moved, 0)]})).await;
    zombie.problem(404, "UNKNOWN_MEMBER");
    assert_eq!(committed(&second).await, as_before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_polls_on_after_a_restart_of_all_nodes() {
    let (mut cluster, client) = nodes(3, 2).await;
    cluster.produce(0, 0, "a").await;
    let mut member = Member::join(&client, json!({"topics": ["t"]})).await;
    while committed(&client).await.is_empty() {
        member.poll().await;
    }
    for at in 0..3 {
        cluster.stop(at).await;
    }
    for at in 0..3 {
        cluster.restart(at).await;
    }
    for at in 0..3 {
        cluster.ready(at).await;
    }
    cluster.produce(1, 1, "b").await;
    let mut member = Member {
        client: HttpClient::new(&cluster, (2, "user/admin")),
        ..member
    };
    let found = eventually("a poll with records", async || {
        member.poll_with(&json!({"max_wait_ms": 1000})).await;
        Some(member.records()).filter(|records| !records.is_empty())
    })
    .await;
    assert_eq!(found, [(1, "0".to_owned(), "b".to_owned())]);
    member.poll().await;
    let both: BTreeMap<u64, String> = [(0, "1".to_owned()), (1, "1".to_owned())].into();
    assert_eq!(committed(&member.client).await, both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_is_used_where_no_offset_can_be_read() {
    let (cluster, client) = nodes(1, 2).await;
    cluster.produce(0, 0, "old").await;
    let mut member = Member::join(&client, json!({"topics": ["t"]})).await;
    let error = member.try_poll(&json!({"start": "error"})).await.json();
    let errors = error["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{error}");
    assert_eq!(errors[0]["error"]["reason"], "OFFSET_OUT_OF_RANGE");
    assert_eq!(error["records"], json!([]));
    // The end of the log is answered at once, and kept by the next poll.
    member
        .poll_with(&json!({"start": "latest", "max_wait_ms": 20_000}))
        .await;
    while committed(&client).await.len() < 2 {
        member.poll_with(&json!({"start": "latest"})).await;
        assert_eq!(member.records(), []);
    }
    cluster.produce(0, 0, "new").await;
    member.poll_with(&json!({"start": "latest"})).await;
    assert_eq!(member.records(), [(0, "1".to_owned(), "new".to_owned())]);
    // What is committed is deleted.
    member.poll().await;
    cluster.produce(0, 0, "newest").await;
    let end = committed(&client).await[&0].clone();
    let back = json!({"commit": [{"topic": "t", "partition": 0, "offset": "0"}]});
    member.poll_with(&back).await;
    let path = format!("/v1/topics/t/partitions/0/records?before={end}");
    let deleted = client.call(Method::DELETE, &path, &json!({})).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    let none = json!({"commit": [], "start": "error"});
    let error = member.try_poll(&none).await.json();
    let problem = &error["errors"][0]["error"];
    assert_eq!(
        problem["details"]["log_start_offset"],
        json!(end),
        "{error}"
    );
    member.poll_with(&json!({"commit": []})).await;
    assert_eq!(member.records(), [(0, end, "newest".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_may_have_more_partitions_than_are_read_at_once() {
    let count = u32::try_from(POLL_PARTITIONS_MAX_COUNT).unwrap() + 6;
    let (cluster, client) = nodes(1, count).await;
    let mut member = Member::join(&client, json!({"topics": ["t"]})).await;
    let last = count - 1;
    for partition in [0, last] {
        cluster.produce(0, partition, "a").await;
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        member.poll_with(&json!({"max_wait_ms": 20_000})).await;
        seen.extend(member.records().into_iter().map(|record| record.0));
    }
    assert_eq!(seen, [0, u64::from(last)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_listed_described_reset_and_deleted() {
    let (_cluster, client) = nodes(1, 2).await;
    client.get(GROUP).await.problem(404, "UNKNOWN_GROUP");
    assert_eq!(client.get("/v1/groups").await.json()["groups"], json!([]));
    let max = u64::MAX.to_string();
    let offsets = json!([
        {"topic": "t", "partition": 0, "offset": max, "metadata": "ü"},
        {"topic": "t", "partition": 1, "offset": 7},
    ]);
    let set = post(&client, OFFSETS, &json!({"offsets": offsets})).await;
    assert_eq!(set.status, 200, "{set:?}");
    let found = client.get(&format!("{OFFSETS}?topics=none,t")).await.json();
    assert_eq!(found["offsets"][0]["offset"], json!(max));
    assert_eq!(found["offsets"][0]["metadata"], "ü");
    // What was read may be sent as it is.
    assert_eq!(client.post(OFFSETS, &found).await.status, 200);
    let other = "/v1/groups/other/members";
    assert_eq!(
        client.post(other, &json!({"topics": ["t"]})).await.status,
        200
    );

    let page = client.get("/v1/groups?page_size=1").await.json();
    assert_eq!(page["groups"][0]["group"], "billing");
    assert_eq!(page["groups"][0]["state"], "EMPTY");
    let next = page["next_page_token"].as_str().unwrap();
    let page = client
        .get(&format!("/v1/groups?page_token={next}"))
        .await
        .json();
    let listed = json!([{"group": "other", "state": "STABLE", "member_count": 1}]);
    assert_eq!(
        (&page["groups"], &page["next_page_token"]),
        (&listed, &Value::Null)
    );

    let member = Member::join(
        &client,
        json!({"topic_pattern": "t.*", "assignor": "range"}),
    )
    .await;
    let described = client.get(GROUP).await.json();
    assert_eq!(described["assignor"], "range");
    assert_eq!(described["members"][0]["principal"], "user/admin");
    assert_eq!(described["members"][0]["topic_pattern"], "t.*");
    assert_eq!(described["offsets"][0]["offset"], json!(max));
    assert_eq!(described["offsets"][1]["offset"], "7");
    let refused = client.post(OFFSETS, &json!({"offsets": offsets})).await;
    assert_eq!(refused.status, 207);
    assert_eq!(
        refused.json()["results"][1]["error"]["reason"],
        "GROUP_NOT_EMPTY"
    );
    let none = json!({});
    let refused = client.call(Method::DELETE, GROUP, &none).await;
    refused.problem(409, "GROUP_NOT_EMPTY");
    assert_eq!(
        client
            .call(Method::DELETE, &member.path, &none)
            .await
            .status,
        204
    );
    let path = format!("{OFFSETS}?topic=t&partitions=1");
    let forgotten = client.call(Method::DELETE, &path, &none).await.json();
    assert_eq!(forgotten["deleted_count"], 1);
    assert_eq!(committed(&client).await.len(), 1);
    assert_eq!(client.call(Method::DELETE, GROUP, &none).await.status, 204);
    client.get(GROUP).await.problem(404, "UNKNOWN_GROUP");
}

/// Bad requests, and the field that the answer names.
const BAD_REQUESTS: &[(&str, &str, &str)] = &[
    ("billing/members", "{}", "topics"),
    ("billing/members", r#"{"topics": "t"}"#, "body"),
    ("billing/members", r#"{"topics": [7]}"#, "body"),
    (
        "billing/members",
        r#"{"topics": ["t"], "assignor": 1}"#,
        "body",
    ),
    (
        "billing/members",
        r#"{"topics": ["t"], "forwarded": true}"#,
        "body",
    ),
    (
        "billing/members",
        r#"{"topics": ["t"], "principal": "a"}"#,
        "body",
    ),
    (
        "billing/members",
        r#"{"topics": ["t"], "member_id": ""}"#,
        "member_id",
    ),
    (
        "billing/members",
        r#"{"topics": ["t"], "member_id": "a b"}"#,
        "member_id",
    ),
    (
        "billing/members",
        r#"{"topics": ["t"], "instance_id": "/"}"#,
        "instance_id",
    ),
    (
        "billing/members",
        r#"{"topics": ["t"], "session_timeout_ms": 0}"#,
        "session_timeout_ms",
    ),
    (
        "billing/members",
        r#"{"topic_pattern": "("}"#,
        "topic_pattern",
    ),
    ("a%20b/members", r#"{"topics": ["t"]}"#, "group"),
    ("%2e%2e%2fx/members", r#"{"topics": ["t"]}"#, "group"),
    ("billing/members/a/poll", "{}", "body"),
    ("billing/members/a/poll", r#"{"generation": -1}"#, "body"),
    ("billing/members/a/poll", r#"{"generation": 1.5}"#, "body"),
    (
        "billing/members/a/poll",
        r#"{"generation": "18446744073709551616"}"#,
        "body",
    ),
    (
        "billing/members/a/poll",
        r#"{"generation": 1, "start": "middle"}"#,
        "body",
    ),
    (
        "billing/members/a/poll",
        r#"{"generation": 1, "max_records": 0}"#,
        "max_records",
    ),
    (
        "billing/members/a/poll",
        r#"{"generation": 1, "max_records": 100001}"#,
        "max_records",
    ),
    (
        "billing/members/a/heartbeat",
        r#"{"max_wait_ms": 1}"#,
        "body",
    ),
    (
        "billing/members/a%2Fb/heartbeat",
        r#"{"generation": 1}"#,
        "member_id",
    ),
    ("billing/offsets", r#"{"offsets": []}"#, "offsets"),
    (
        "billing/offsets",
        r#"{"offsets": [{"topic": "t", "partition": -1, "offset": 0}]}"#,
        "body",
    ),
    (
        "billing/offsets",
        r#"{"offsets": [{"topic": "t", "partition": 0, "offset": 0}], "member_id": "a"}"#,
        "generation",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_are_refused_and_make_no_group() {
    let (_cluster, client) = nodes(1, 1).await;
    for (path, body, field) in BAD_REQUESTS {
        let reason = match *field {
            "body" => "BODY_MALFORMED",
            _ => "INVALID_ARGUMENT",
        };
        let body: Value = serde_json::from_str(body).unwrap();
        let refused = client.post(&format!("/v1/groups/{path}"), &body).await;
        let details = refused.problem(400, reason);
        assert_eq!(details["field"], *field, "{path} {body}");
    }
    let offset = json!({"topic": "t", "partition": 0, "offset": "0"});
    let many = vec![offset; COMMIT_OFFSETS_MAX_COUNT + 1];
    let poll = json!({"generation": 1, "commit": many});
    let names = vec!["t"; GROUP_SUBSCRIBED_TOPICS_MAX_COUNT + 1];
    for (path, body) in [
        (MEMBERS.to_owned(), json!({"topics": names})),
        (format!("{MEMBERS}/a/poll"), poll),
        (OFFSETS.to_owned(), json!({"offsets": many})),
    ] {
        let refused = client.post(&path, &body).await;
        refused.problem(400, "BODY_MALFORMED");
    }
    for (path, field) in [
        ("/v1/groups?page_size=0", "page_size"),
        ("/v1/groups?page_size=1001", "page_size"),
        ("/v1/groups?x=1", "query"),
        ("/v1/groups/billing/offsets?topic=t", "query"),
    ] {
        let details = client.get(path).await.problem(400, "INVALID_ARGUMENT");
        assert_eq!(details["field"], field, "{path}");
    }
    for path in [
        OFFSETS.to_owned(),
        format!("{OFFSETS}?topic=t&partitions=x"),
    ] {
        let refused = client.call(Method::DELETE, &path, &json!({})).await;
        refused.problem(400, "INVALID_ARGUMENT");
    }
    let path = format!("{MEMBERS}/nobody/poll");
    let text = ("text/plain", Bytes::from_static(b"{\"generation\": 1}"));
    let refused = client.post_as(Method::POST, &path, text).await;
    refused.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    let request = client.request(Method::POST, &path);
    let request = request
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    let refused = client.send(request.body(Body::from("{}")).unwrap()).await;
    refused.problem(400, "BODY_MALFORMED");
    let unknown = client.post(&path, &json!({"generation": u64::MAX})).await;
    unknown.problem(404, "UNKNOWN_MEMBER");
    assert_eq!(client.get("/v1/groups").await.json()["groups"], json!([]));
    // The node serves on.
    let mut member = Member::join(&client, json!({"topics": ["t"]})).await;
    member.poll().await;
    // A generation from nowhere does no harm.
    let far = json!({"generation": u64::MAX.to_string()});
    member.try_poll(&far).await;
    let member = Member::join(&client, json!({"topics": ["t"], "member_id": "b"})).await;
    assert_eq!(member.partitions(), all(0), "the first one keeps it");
}

/// Adds or removes a right of user/ann.
async fn change_right(cluster: &Cluster, (operation, resource): (&str, &str), remove: bool) {
    let change = admin::AccessRuleChange {
        rule: Some(admin::AccessRule {
            principal: "user/ann".to_owned(),
            effect: admin::RuleEffect::Allow.into(),
            operations: vec![operation.to_owned()],
            resource: resource.to_owned(),
        }),
        remove,
    };
    let request = admin::ChangeRulesRequest {
        changes: vec![change],
    };
    let channel = cluster.channel_of("user/admin", cluster.addresses(0).client);
    let changed = AccessServiceClient::new(channel)
        .change_rules(request)
        .await;
    changed.unwrap();
}

/// A node that enforces rules, which give user/ann none.
async fn with_rules() -> (Cluster, HttpClient) {
    let mut cluster = Cluster::new();
    cluster.http = Some(HttpSettings::default());
    cluster.authorization = AuthorizationSettings {
        mode: AuthorizationMode::Enforced,
        super_users: vec!["user/admin".to_owned()],
        ..AuthorizationSettings::default()
    };
    cluster.add().await;
    let operator = cluster.channel_of("operator", cluster.addresses(0).client);
    let request = admin::BootstrapRequest {
        cluster_id: CLUSTER_ID.to_owned(),
    };
    let bootstrapped = AdminServiceClient::new(operator).bootstrap(request).await;
    bootstrapped.unwrap();
    let client = HttpClient::new(&cluster, (0, "user/admin"));
    for topic in ["t", "secret"] {
        eventually("a topic", async || {
            let topic = json!({"name": topic, "partitions": 1});
            is_ok(&client.post("/v1/topics", &topic).await).then_some(())
        })
        .await;
    }
    (cluster, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_need_rights_on_the_group_and_its_topics() {
    let (cluster, client) = with_rules().await;
    let ann = HttpClient::new(&cluster, (0, "user/ann"));
    let denied = "PERMISSION_DENIED";
    let join = json!({"topics": ["t"], "member_id": "ann"});
    let (read_group, read_topic) = (("read", "group:billing"), ("read", "topic:t"));
    change_right(&cluster, read_topic, false).await;
    ann.post(MEMBERS, &join).await.problem(403, denied);
    for path in ["heartbeat", "poll"] {
        let path = format!("{MEMBERS}/ann/{path}");
        let call = ann.post(&path, &json!({"generation": 1})).await;
        call.problem(403, denied);
    }
    for (method, path) in [
        (Method::GET, GROUP),
        (Method::GET, OFFSETS),
        (Method::DELETE, GROUP),
        (Method::DELETE, "/v1/groups/billing/members/ann"),
        (Method::DELETE, "/v1/groups/billing/offsets?topic=t"),
    ] {
        let call = ann.call(method, path, &json!({})).await;
        call.problem(403, denied);
    }
    change_right(&cluster, read_group, false).await;
    change_right(&cluster, read_topic, true).await;
    ann.post(MEMBERS, &join).await.problem(403, denied);
    change_right(&cluster, read_topic, false).await;
    let secret = json!({"topics": ["t", "secret"]});
    ann.post(MEMBERS, &secret).await.problem(403, denied);

    let record = json!({"records": [{"value": {"text": "a"}}]});
    let produced = client.post("/v1/topics/t/records", &record).await;
    assert_eq!(produced.status, 200, "{produced:?}");
    let mut member = Member::join(&ann, join).await;
    member.poll().await;
    assert_eq!(member.records().len(), 1);
    let stolen = json!({"commit": [{"topic": "secret", "partition": 0, "offset": "9"}]});
    member.try_poll(&stolen).await.problem(403, denied);
    // From outside more is needed than a member has.
    let outside = json!({"offsets": [{"topic": "t", "partition": 0, "offset": "0"}]});
    ann.post(OFFSETS, &outside).await.problem(403, denied);
    ann.call(Method::DELETE, GROUP, &json!({}))
        .await
        .problem(403, denied);
    // Without the right to the topic there are no records of it any more.
    change_right(&cluster, read_topic, true).await;
    let polled = member.try_poll(&json!({"commit": []})).await;
    assert_eq!(polled.status, 200, "{polled:?}");
    assert_eq!(polled.json()["records"], json!([]));
    change_right(&cluster, read_group, true).await;
    let polled = member.try_poll(&json!({"commit": []})).await;
    polled.problem(403, denied);
    assert_eq!(ann.get("/v1/groups").await.json()["groups"], json!([]));
}
