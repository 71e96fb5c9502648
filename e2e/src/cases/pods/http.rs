//! HTTP through the Service of a cluster, from pods with the certificate of a LogUser.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use lograft_crds::LogClusterStatus;
use serde_json::{Value, json};

use super::users::{allow, create_topics, create_user};
use super::versions::{former_node, lacks_former_images, tag};
use super::{CHANGE_MAX, PAUSE_MAX, Replacement, await_ready, pod_incarnations, ready};
use crate::chart::Chart;
use crate::curl_pod::{ACCESS_LABEL, CurlPod, Ended, lacks_curl, url};
use crate::load::Load;
use crate::pod_client::Credentials;
use crate::sandbox::{Sandbox, await_for};
use crate::user_load::{Writer, check_written};

/// The user, and the topic that it may read and write.
const USER: &str = "web";
const TOPIC: &str = "clicks";
/// Duration of the load: three replacements of all pods.
const LOAD: Duration = Duration::from_mins(3);
/// Time for which no further pod may be replaced after a change.
const SETTLED: Duration = Duration::from_secs(10);
/// Records that are read before the pods are replaced, and after it.
const RECORDS_COUNT: u64 = 50;

fn on() -> Value {
    json!({"listeners": {"http": {}}})
}

async fn create_topic_and_user(sandbox: &Sandbox) -> anyhow::Result<Credentials> {
    create_topics(sandbox, &[TOPIC]).await?;
    let rules = json!([allow(&["read", "write"], &format!("topic:{TOPIC}"))]);
    create_user(sandbox, USER, rules).await
}

fn has_address(status: &LogClusterStatus) -> bool {
    let endpoints = status.endpoints.as_ref();
    endpoints.is_some_and(|endpoints| endpoints.http.is_some())
}

/// Appends a record with this number, and reads all records of the partition. A pod that has just
/// become ready may not be in the rules of every host yet.
async fn produce_and_fetch(
    sandbox: &Sandbox,
    has_access: bool,
    number: u32,
) -> anyhow::Result<Ended> {
    let records = url(&format!("/v1/topics/{TOPIC}/records"));
    let partition = url(&format!("/v1/topics/{TOPIC}/partitions/0/records"));
    let script = format!(
        "lcurl --retry 10 --retry-delay 1 --retry-connrefused {records} \
         -H 'Content-Type: application/json' \
         -d '{{\"records\": [{{\"value\": {{\"json\": {{\"n\": {number}}}}}}}]}}' || exit $?\n\
         lcurl -H 'Accept: application/json' '{partition}?value_as=json'"
    );
    CurlPod::run(sandbox, USER, has_access, &script).await
}

/// One request without a retry.
async fn connect(sandbox: &Sandbox, user: &str, has_access: bool) -> anyhow::Result<Ended> {
    let script = format!("lcurl {}", url("/v1/topics"));
    CurlPod::run(sandbox, user, has_access, &script).await
}

/// Changes the spec, and fails unless each pod is replaced once, one at a time.
async fn replace_once(sandbox: &Sandbox, spec: Value) -> anyhow::Result<()> {
    let replacement = Replacement::start(sandbox).await?;
    sandbox.change(spec).await?;
    replacement.finish(sandbox).await?;
    let after = pod_incarnations(sandbox).await?;
    tokio::time::sleep(SETTLED).await;
    let later = pod_incarnations(sandbox).await?;
    ensure!(after == later, "replaced again: {after:?}, {later:?}");
    Ok(())
}

pub(in crate::cases) async fn http_is_switched_on_and_off_under_load(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let status = ready(sandbox, json!({})).await?;
    ensure!(!has_address(&status), "{:?}", status.endpoints);
    create_topic_and_user(sandbox).await?;
    connect(sandbox, USER, true).await?.check_no_connection()?;
    let load = Load::start(sandbox, &chart.node_image, LOAD, None).await?;
    replace_once(sandbox, on()).await?;
    let status = sandbox.status("the address", has_address).await?;
    let address = status.endpoints.and_then(|endpoints| endpoints.http);
    let service = format!("events-client.{}.svc:9402", sandbox.namespace);
    ensure!(address.as_ref() == Some(&service), "{address:?}");
    let first = produce_and_fetch(sandbox, true, 1).await?;
    first.check(&["MAJORITY_FSYNC", r#"{"json":{"n": 1}}"#])?;
    check_rights(sandbox).await?;
    replace_once(sandbox, json!({"listeners": {"http": {"enabled": false}}})).await?;
    connect(sandbox, USER, true).await?.check_no_connection()?;
    replace_once(sandbox, json!({"listeners": {"http": {"enabled": true}}})).await?;
    let second = produce_and_fetch(sandbox, true, 2).await?;
    second.check(&[r#"{"json":{"n": 1}}"#, r#"{"json":{"n": 2}}"#])?;
    load.finish_within(PAUSE_MAX).await
}

/// Certificates and rules count as over gRPC.
async fn check_rights(sandbox: &Sandbox) -> anyhow::Result<()> {
    create_user(sandbox, "nobody", json!([])).await?;
    let records = url(&format!("/v1/topics/{TOPIC}/partitions/0/records"));
    let script = format!("lcurl -o - -w ' %{{http_code}}' {records}");
    let refused = CurlPod::run(sandbox, "nobody", true, &script).await?;
    let is_refused = refused.text.contains("PERMISSION_DENIED") && refused.text.ends_with(" 403");
    ensure!(is_refused, "{refused:?}");
    let script = format!("curl -sS --cacert /tls/ca.crt {records}");
    let unknown = CurlPod::run(sandbox, USER, true, &script).await?;
    ensure!(
        unknown.code != 0 && !unknown.text.contains("records"),
        "served without a certificate: {unknown:?}"
    );
    Ok(())
}

/// The tail prints each event, and `connect` whenever it connects.
fn tail() -> String {
    let records = url(&format!("/v1/topics/{TOPIC}/records"));
    format!(
        "set --\n\
         while true; do\n\
         echo connect\n\
         if [ -s /state/id ]; then set -- -H \"Last-Event-ID: $(cat /state/id)\"; fi\n\
         lcurl -N -H 'Accept: text/event-stream' \"$@\" {records} 2>/dev/null |\n\
         while IFS= read -r line; do case \"$line\" in\n\
         'id: '*) echo \"${{line#id: }}\" > /state/id ;;\n\
         'data: '*) echo \"$line\" ;;\n\
         esac; done\n\
         sleep 1\n\
         done"
    )
}

/// The values of records in the output of a tail.
fn values(text: &str) -> anyhow::Result<Vec<String>> {
    let mut values = Vec::new();
    for event in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        // The last line may not be complete yet.
        let Ok(event) = serde_json::from_str::<Value>(event) else {
            continue;
        };
        // The first and the last event of a stream are no records.
        if event["offset"].is_string() {
            let value = event["value"]["text"].as_str();
            values.push(value.context("a record without a text")?.to_owned());
        }
    }
    Ok(values)
}

async fn await_values(pod: &CurlPod<'_>, count: u64) -> anyhow::Result<Vec<String>> {
    await_for(
        CHANGE_MAX,
        &format!("{count} records in the tail"),
        || async {
            let values = values(&pod.text().await?)?;
            let is_there = u64::try_from(values.len()).is_ok_and(|found| found >= count);
            Ok(is_there.then_some(values))
        },
    )
    .await
}

pub(in crate::cases) async fn a_tail_over_http_resumes_while_all_pods_are_replaced(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, on()).await?;
    let credentials = create_topic_and_user(sandbox).await?;
    let client = credentials.connect().await?;
    let writer = Writer::start(&client, TOPIC, USER).await?;
    let pod = CurlPod::start(sandbox, "tail", USER, true, &tail()).await?;
    await_values(&pod, RECORDS_COUNT).await?;
    let first = pod.text().await?.matches("connect").count();
    replace_once(sandbox, json!({"observability": {"logLevel": "debug"}})).await?;
    let during = writer.acked().count;
    writer.await_acked(during + RECORDS_COUNT).await?;
    let acked = writer.finish().await?.count;
    let values = await_values(&pod, acked).await?;
    check_written(&values, USER, acked)?;
    let text = pod.text().await?;
    let connections = text.matches("connect").count();
    sandbox.report_figure(format!(
        "{acked} records acknowledged, each once and in order in a tail of {connections} connections"
    ));
    ensure!(connections > first, "the tail was not interrupted: {text}");
    pod.remove().await
}

pub(in crate::cases) async fn the_network_policy_covers_http(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    let mut spec = on();
    let allowed = json!({"podSelector": {"matchLabels": {ACCESS_LABEL: "true"}}});
    spec["networkPolicy"] = json!({"clients": [allowed]});
    ready(sandbox, spec).await?;
    create_topics(sandbox, &[TOPIC]).await?;
    let rules = json!([allow(&["read", "write"], &format!("topic:{TOPIC}"))]);
    create_user(sandbox, USER, rules).await?;
    let parts = ["MAJORITY_FSYNC", "offset"];
    produce_and_fetch(sandbox, true, 1).await?.check(&parts)?;
    connect(sandbox, USER, false).await?.check_no_connection()?;
    // It was the policy: without peers everybody may connect, and no pod is replaced for that.
    let before = pod_incarnations(sandbox).await?;
    sandbox
        .change(json!({"networkPolicy": {"clients": null}}))
        .await?;
    await_for(CHANGE_MAX, "the policy to let everybody in", || async {
        Ok((connect(sandbox, USER, false).await?.code == 0).then_some(()))
    })
    .await?;
    produce_and_fetch(sandbox, false, 2).await?.check(&parts)?;
    ensure!(pod_incarnations(sandbox).await? == before, "pods replaced");
    Ok(())
}

/// The missing requirement for both versions and `curl` in pods.
pub(in crate::cases) fn lacks_curl_or_former_images() -> Option<String> {
    lacks_curl().or_else(lacks_former_images)
}

/// Nodes of the former version are not touched; an upgrade opens it, and the way back closes it.
pub(in crate::cases) async fn nodes_of_the_former_version_get_http_with_their_upgrade(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let former_image = former_node()?;
    let (former, present) = (tag(&former_image)?, tag(&chart.node_image)?);
    let spec = json!({"version": former, "update": {"finalize": "Manual", "allowDowngrade": true}});
    ready(sandbox, spec).await?;
    let before = pod_incarnations(sandbox).await?;
    sandbox.change(on()).await?;
    await_not_served(sandbox).await?;
    tokio::time::sleep(SETTLED).await;
    ensure!(pod_incarnations(sandbox).await? == before, "pods replaced");
    create_topics(sandbox, &[TOPIC]).await?;
    // Before level 2 is finalized there are no rules.
    crate::cases::users::create(sandbox, USER, json!({"rules": []})).await?;
    Credentials::of(sandbox, USER).await?;
    let load = Load::start(sandbox, &former_image, LOAD, None).await?;
    replace_once(sandbox, json!({"version": present})).await?;
    let first = produce_and_fetch(sandbox, true, 1).await?;
    first.check(&["MAJORITY_FSYNC", r#"{"json":{"n": 1}}"#])?;
    replace_once(sandbox, json!({"version": former})).await?;
    await_not_served(sandbox).await?;
    connect(sandbox, USER, true).await?.check_no_connection()?;
    load.finish().await?;
    await_ready(sandbox, CHANGE_MAX).await?;
    Ok(())
}

async fn await_not_served(sandbox: &Sandbox) -> anyhow::Result<()> {
    let is_said = |status: &LogClusterStatus| {
        let mut blocked = status.blocked.iter();
        blocked.any(|it| it.reason == "HttpNotServed") && !has_address(status)
    };
    sandbox
        .status("the word that HTTP is not served", is_said)
        .await?;
    Ok(())
}
