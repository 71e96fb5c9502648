//! Nodes as processes: how they find each other by EndpointSlices of a real API server alone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::node_processes::NodeProcesses;
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

const NODES_COUNT: u8 = 3;
/// The node that gets another address, and the number of that address.
const MOVED: u8 = 2;
const MOVED_TO: u8 = 13;
/// How long nodes must not find each other: far longer than they take once the slice is there.
const UNKNOWN: Duration = Duration::from_secs(4);
/// Time from the change of the EndpointSlice until the others reach a node at another address.
const REACHED_MAX: Duration = Duration::from_secs(2);
/// Duration of the load: longer than the move of a node takes.
const LOAD: &str = "20s";
const SLICE: &str = "events-nodes-e2e";
const SERVICE: &str = "events-nodes";

/// Three nodes that know no address of another one form a cluster as soon as there is an
/// EndpointSlice, and reach a node at another address as soon as the slice has it.
pub(super) async fn processes_find_each_other_by_endpoints_alone(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let kubeconfig = operator.kubeconfig().context("no API server of its own")?;
    let discovery = json!({"seeds": "None", "gossip": {"enabled": false}});
    sandbox.create(json!({"discovery": discovery})).await?;
    let what = "certificates and an ID";
    let is_made = |s: &lograft_crds::LogClusterStatus| s.ca.is_some() && s.cluster_id.is_some();
    let status = sandbox.status(what, is_made).await?;
    await_condition("the objects of the nodes", || async {
        let admin = sandbox.api::<Secret>().get_opt("events-admin-tls").await?;
        let binding = sandbox.api::<RoleBinding>().get_opt("events-node").await?;
        Ok(admin.and(binding).map(drop))
    })
    .await?;
    let mut nodes = NodeProcesses::create(sandbox, NODES_COUNT, kubeconfig).await?;
    check_permissions(sandbox, &nodes.token()?, kubeconfig).await?;
    let started = Timestamp::now();
    for ordinal in 0..NODES_COUNT {
        nodes.start(ordinal)?;
    }
    for ordinal in 0..NODES_COUNT {
        let message = "node is listening";
        nodes.await_logged(ordinal, message, None, started).await?;
    }
    nodes
        .bootstrap(&status.cluster_id.context("no ID")?)
        .await?;
    form(sandbox, &nodes).await?;
    let options = ["-p", "6", "-r", "3", "-d", LOAD];
    let load = nodes.load(&options).await?;
    move_a_node(sandbox, &mut nodes).await?;
    let soaked = load.finish().await?;
    sandbox.report_figure(format!(
        "{} records on three nodes acknowledged and read back, longest pause of a partition {:.2} s",
        soaked.acked,
        soaked.longest_pause.as_secs_f32()
    ));
    let words = ["cluster", "status", "--wait", "30s"];
    nodes.run_cli(None, &words).await?;
    for ordinal in 0..NODES_COUNT {
        nodes.stop(ordinal).await?;
    }
    Ok(())
}

/// The token of the nodes is good for EndpointSlices and for nothing else.
async fn check_permissions(
    sandbox: &Sandbox,
    token: &str,
    kubeconfig: &Path,
) -> anyhow::Result<()> {
    let mut config = Kubeconfig::read_from(kubeconfig)?;
    for user in &mut config.auth_infos {
        user.auth_info = Some(AuthInfo {
            token: Some(token.to_owned().into()),
            ..AuthInfo::default()
        });
    }
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await?;
    let (client, space) = (Client::try_from(config)?, &sandbox.namespace);
    let all = ListParams::default();
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), space);
    slices.list(&all).await.context("cannot list the slices")?;
    let elsewhere: Api<EndpointSlice> = Api::all(client.clone());
    let secrets: Api<Secret> = Api::namespaced(client, space);
    let patch = Patch::Merge(json!({"endpoints": []}));
    let refused = [
        elsewhere.list(&all).await.err(),
        secrets.list(&all).await.err(),
        slices
            .patch(SLICE, &PatchParams::default(), &patch)
            .await
            .err(),
    ];
    for error in refused {
        let is_forbidden =
            |error: &kube::Error| matches!(error, kube::Error::Api(s) if s.code == 403);
        ensure!(
            error.as_ref().is_some_and(is_forbidden),
            "the token may do more than read the slices of its namespace: {error:?}"
        );
    }
    Ok(())
}

/// Without a slice the first node stays alone; with it the three form a cluster.
async fn form(sandbox: &Sandbox, nodes: &NodeProcesses) -> anyhow::Result<()> {
    tokio::time::sleep(UNKNOWN).await;
    let status = nodes.status().await?;
    ensure!(members(&status).len() == 1, "not alone: {status}");
    let started = Instant::now();
    write_slice(sandbox, nodes).await?;
    await_condition("three nodes in the metadata", || async {
        let status = nodes.status().await?;
        let count = members(&status).len();
        Ok((count == usize::from(NODES_COUNT)).then_some(()))
    })
    .await
    .context(nodes.last_lines())?;
    sandbox.report_figure(format!(
        "three nodes are one cluster {:.2} s after the slice",
        started.elapsed().as_secs_f32()
    ));
    let words = ["cluster", "status", "--wait", "30s"];
    nodes.run_cli(None, &words).await?;
    check_sources(nodes).await
}

fn members(status: &Value) -> &[Value] {
    status["nodes"].as_array().map_or(&[], Vec::as_slice)
}

/// Every node sees both others at the addresses of the slice, by the endpoints and by nothing else.
async fn check_sources(nodes: &NodeProcesses) -> anyhow::Result<()> {
    let addresses = nodes.addresses();
    for ordinal in 0..NODES_COUNT {
        let words = ["cluster", "members", "--json"];
        let text = nodes.run_cli(Some(ordinal), &words).await?;
        let view: Value = serde_json::from_str(&text).context("members are no JSON")?;
        let others = addresses.iter().enumerate();
        let others = others.filter(|(at, _)| *at != usize::from(ordinal));
        for (_, (pod, address)) in others {
            let mut seen = view["members"].as_array().into_iter().flatten();
            let seen = seen.find(|member| member["name"] == *pod);
            let mut sightings = seen.and_then(|member| member["sightings"].as_array().cloned());
            for sighting in sightings.iter_mut().flatten() {
                sighting["seen_for_ms"] = Value::Null;
            }
            let address = format!("{address}:9401");
            let wanted = json!({
                "source": "endpoints", "addresses": [address], "seen_for_ms": null,
            });
            ensure!(
                sightings == Some(vec![wanted]),
                "{pod} at {address}: {text}"
            );
        }
    }
    Ok(())
}

/// Restarts a node at another address, and changes the slice once it listens there: the others can
/// learn the address from nowhere else.
async fn move_a_node(sandbox: &Sandbox, nodes: &mut NodeProcesses) -> anyhow::Result<()> {
    let status = nodes.status().await?;
    let (name, _) = nodes.addresses().swap_remove(usize::from(MOVED));
    let mut all = members(&status).iter();
    let node = all
        .find(|node| node["name"] == name)
        .context("no such node")?;
    let id = node["node_id"].to_string();
    nodes.stop(MOVED).await?;
    nodes.change_address(MOVED, MOVED_TO)?;
    let started = Timestamp::now();
    nodes.start(MOVED)?;
    let message = "node is listening";
    nodes.await_logged(MOVED, message, None, started).await?;
    let changed = Timestamp::now();
    write_slice(sandbox, nodes).await?;
    let mut longest = Duration::ZERO;
    for other in (0..NODES_COUNT).filter(|other| *other != MOVED) {
        let message = "node became reachable";
        let reached = nodes
            .await_logged(other, message, Some(&id), changed)
            .await?;
        longest = longest.max(reached.duration_since(changed).unsigned_abs());
    }
    sandbox.report_figure(format!(
        "reached at its new address {:.2} s after the change of the slice",
        longest.as_secs_f32()
    ));
    ensure!(longest <= REACHED_MAX, "reached after {longest:?}");
    check_sources(nodes).await
}

/// Writes the EndpointSlice of the nodes as the controller of Kubernetes would, which does not run
/// here.
async fn write_slice(sandbox: &Sandbox, nodes: &NodeProcesses) -> anyhow::Result<()> {
    let service = sandbox.api::<Service>().get(SERVICE).await?;
    let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let ports = ports
        .iter()
        .map(|port| json!({"name": port.name, "port": port.port, "protocol": port.protocol}));
    let endpoints = nodes.addresses().into_iter().map(|(pod, address)| {
        json!({
            "addresses": [address],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "name": pod, "namespace": sandbox.namespace},
        })
    });
    let slice = json!({
        "metadata": {"name": SLICE, "labels": {
            "kubernetes.io/service-name": SERVICE,
            "endpointslice.kubernetes.io/managed-by": "lograft-e2e",
        }},
        "addressType": "IPv4",
        "ports": ports.collect::<Value>(),
        "endpoints": endpoints.collect::<Value>(),
    });
    let api = sandbox.api::<EndpointSlice>();
    if api.get_opt(SLICE).await?.is_some() {
        let params = PatchParams::default();
        api.patch(SLICE, &params, &Patch::Merge(&slice)).await?;
    } else {
        let slice = serde_json::from_value(slice)?;
        api.create(&PostParams::default(), &slice).await?;
    }
    Ok(())
}
