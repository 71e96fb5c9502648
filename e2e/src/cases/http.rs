//! `spec.listeners.http` of a LogCluster: what it opens, and that nothing of it stays.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use lograft_crds::{LogCluster, LogClusterStatus};
use serde_json::{Value, json};

use super::life::{quiet, whole};
use super::refusals::refused;
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

/// What the cluster opens for HTTP; null for what it does not.
async fn opened(sandbox: &Sandbox) -> anyhow::Result<[Value; 5]> {
    let service = sandbox.api::<Service>().get("events-client").await?;
    let service = serde_json::to_value(service)?["spec"]["ports"][1].clone();
    let policy = sandbox.api::<NetworkPolicy>().get("events-nodes").await?;
    let policy = serde_json::to_value(policy)?["spec"]["ingress"][0]["ports"][1].clone();
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let set = serde_json::to_value(set)?;
    let ports = &set["spec"]["template"]["spec"]["containers"][0]["ports"];
    let mut ports = ports.as_array().into_iter().flatten();
    let port = ports.find(|port| port["name"] == "http").cloned();
    let config = sandbox.api::<ConfigMap>().get("events-config").await?;
    let config = config.data.unwrap_or_default();
    let file = config.get("events-0.yaml").context("events-0.yaml")?;
    let file: Value = serde_yaml::from_str(file)?;
    Ok([
        service,
        policy["port"].clone(),
        port.unwrap_or_default()["containerPort"].clone(),
        file["listen"]["http"].clone(),
        file["http"]["allowed_origins"].clone(),
    ])
}

async fn await_opened(sandbox: &Sandbox, wanted: &[Value; 5]) -> anyhow::Result<()> {
    await_condition(&format!("{wanted:?}"), || async {
        Ok((opened(sandbox).await? == *wanted).then_some(()))
    })
    .await
}

/// The spec of the StatefulSet without what the API server adds to it.
async fn template(sandbox: &Sandbox) -> anyhow::Result<Value> {
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    Ok(serde_json::to_value(set)?["spec"]["template"].clone())
}

pub(super) async fn http_is_opened_on_request_and_nothing_of_it_stays(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    for bad in ["a.example", "https://a.example/", "*"] {
        let spec = json!({"listeners": {"http": {"corsAllowedOrigins": [bad]}}});
        refused(sandbox.create(spec).await, "without a path")?;
    }
    let origins: Vec<String> = (0..65).map(|at| format!("https://a{at}")).collect();
    let many = json!({"listeners": {"http": {"corsAllowedOrigins": origins}}});
    refused(sandbox.create(many).await, "64")?;
    whole(sandbox).await?;
    let none = [const { Value::Null }; 5];
    await_opened(sandbox, &none).await?;
    let before = template(sandbox).await?;
    // An empty section is a request.
    sandbox.change(json!({"listeners": {"http": {}}})).await?;
    let service = json!({
        "name": "http", "port": 9402, "targetPort": "http", "protocol": "TCP",
        "appProtocol": "https",
    });
    let mut wanted = [
        service,
        json!(9402),
        json!(9402),
        json!("0.0.0.0:9402"),
        Value::Null,
    ];
    await_opened(sandbox, &wanted).await?;
    let stored = sandbox.api::<LogCluster>().get("events").await?;
    let http = stored.spec.listeners.http.context("listeners.http")?;
    ensure!(http.enabled, "{http:?}");
    let address = format!("events-client.{}.svc:9402", sandbox.namespace);
    let has_address = |status: &LogClusterStatus| {
        let endpoints = status.endpoints.as_ref();
        endpoints.and_then(|endpoints| endpoints.http.as_ref()) == Some(&address)
    };
    sandbox.status("the address for HTTP", has_address).await?;
    let origin = "https://app.example.com:8443";
    let spec = json!({"listeners": {"http": {"corsAllowedOrigins": [origin]}}});
    sandbox.change(spec).await?;
    wanted[4] = json!([origin]);
    await_opened(sandbox, &wanted).await?;
    quiet(sandbox).await?;
    let off = json!({"listeners": {"http": {"enabled": false}}});
    sandbox.change(off).await?;
    await_opened(sandbox, &none).await?;
    sandbox.change(json!({"listeners": {"http": null}})).await?;
    quiet(sandbox).await?;
    await_opened(sandbox, &none).await?;
    let has_none = |status: &LogClusterStatus| {
        let endpoints = status.endpoints.as_ref();
        endpoints.is_some_and(|endpoints| endpoints.http.is_none())
    };
    sandbox.status("no address for HTTP", has_none).await?;
    let after = template(sandbox).await?;
    ensure!(before == after, "{before:#} became {after:#}");
    Ok(())
}

/// The former version does not serve it.
pub(super) async fn nodes_that_do_not_serve_http_are_left_alone(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({"version": "0.2.0"})).await?;
    let has_id = |status: &LogClusterStatus| status.cluster_id.is_some();
    sandbox.status("an id", has_id).await?;
    quiet(sandbox).await?;
    let before = template(sandbox).await?;
    sandbox.change(json!({"listeners": {"http": {}}})).await?;
    let is_said = |status: &LogClusterStatus| {
        let mut blocked = status.blocked.iter();
        blocked.any(|it| it.reason == "HttpNotServed" && it.message.contains("0.3.0 or later"))
    };
    sandbox.status("that HTTP is not served", is_said).await?;
    await_opened(sandbox, &[const { Value::Null }; 5]).await?;
    ensure!(
        template(sandbox).await? == before,
        "the template has changed"
    );
    sandbox.change(json!({"version": "0.3.0"})).await?;
    await_condition("HTTP with the version that serves it", || async {
        Ok((opened(sandbox).await?[3] == "0.0.0.0:9402").then_some(()))
    })
    .await
}
