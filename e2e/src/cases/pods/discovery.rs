//! How pods find each other: each source alone, changed addresses, and the replacement of the
//! gossip key.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use lograft_crds::names::ANNOTATION_ROTATE_GOSSIP_KEY;
use lograft_crds::{LogCluster, LogClusterStatus};
use serde_json::{Value, json};

use super::{CHANGE_MAX, PAUSE_MAX, READY_MAX, await_ready, pod_incarnations, pods, ready};
use crate::chart::Chart;
use crate::load::{Load, run_cli};
use crate::node_log;
use crate::sandbox::{Sandbox, await_for};

/// Time from the start of a node at another address until the others reach it.
const REACHED_MAX: Duration = Duration::from_secs(2);
/// Timeout of a replacement of the gossip key: three steps, each with kubelet's sync.
const ROTATION_MAX: Duration = Duration::from_mins(10);
/// Timeout for a zone on its way to a node: the operator, then kubelet's sync.
const ZONE_MAX: Duration = Duration::from_mins(4);
/// Label of hosts that Kubernetes does not copy to pods.
const RACK: &str = "e2e.lograft.io/rack";

pub(in crate::cases) async fn pods_find_each_other_by_endpoints_alone(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let discovery = json!({"seeds": "None", "gossip": {"enabled": false}});
    form_by(sandbox, chart, discovery, "endpoints").await
}

pub(in crate::cases) async fn pods_find_each_other_by_gossip_alone(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let discovery = json!({"seeds": "None", "endpoints": false});
    form_by(sandbox, chart, discovery, "gossip").await
}

pub(in crate::cases) async fn pods_find_each_other_by_dns_alone(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let discovery = json!({
        "seeds": "Service", "endpoints": false, "gossip": {"enabled": false},
    });
    form_by(sandbox, chart, discovery, "seeds").await
}

/// Forms a cluster whose nodes have this source alone, and moves a node to another address.
async fn form_by(
    sandbox: &Sandbox,
    chart: &Chart,
    discovery: Value,
    source: &str,
) -> anyhow::Result<()> {
    let status = ready(sandbox, json!({"discovery": discovery})).await?;
    let words = ["cluster", "members", "--json"];
    let text = run_cli(sandbox, &chart.node_image, &words).await?;
    let view: Value = serde_json::from_str(&text).context("members are no JSON")?;
    let members = view["members"].as_array().context("no members")?;
    let sources = members.iter().flat_map(|member| {
        let sightings = member["sightings"].as_array();
        sightings.into_iter().flatten().map(|seen| &seen["source"])
    });
    let sources: Vec<&Value> = sources.collect();
    ensure!(
        sources.len() >= 2 && sources.iter().all(|found| **found == source),
        "{text}"
    );
    let load = Load::start(sandbox, &chart.node_image, Duration::from_secs(30), None).await?;
    move_a_pod(sandbox, &status).await?;
    load.finish_within(PAUSE_MAX).await
}

/// A pod that gets another address is reached by the others within two seconds of its start.
pub(in crate::cases) async fn a_pod_at_another_address_is_reached_within_two_seconds(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let status = ready(sandbox, json!({})).await?;
    let load = Load::start(sandbox, &chart.node_image, Duration::from_secs(40), None).await?;
    let reached = move_a_pod(sandbox, &status).await?;
    load.finish_within(PAUSE_MAX).await?;
    ensure!(reached <= REACHED_MAX, "reached after {reached:?}");
    Ok(())
}

/// Deletes the pod of the third node, and returns the time between the start of its node at another
/// address and the moment when both others reach it, by their logs.
async fn move_a_pod(sandbox: &Sandbox, status: &LogClusterStatus) -> anyhow::Result<Duration> {
    const MOVED: &str = "events-2";
    let member = status.members.iter().find(|member| member.name == MOVED);
    let id = member.and_then(|member| member.node_id).context("no id")?;
    let id = id.to_string();
    let address = |pods: &BTreeMap<String, Pod>| {
        let pod = pods.get(MOVED)?;
        let status = pod.status.as_ref()?;
        Some((pod.metadata.uid.clone()?, status.pod_ip.clone()?))
    };
    let (former, _) = address(&pods(sandbox).await?).context("no address")?;
    let api = sandbox.api::<Pod>();
    api.delete(MOVED, &DeleteParams::default()).await?;
    let deleted = Timestamp::now();
    let listening = await_for(CHANGE_MAX, "the moved pod to listen", || async {
        let moved = address(&pods(sandbox).await?).filter(|(uid, _)| *uid != former);
        if moved.is_none() {
            return Ok(None);
        }
        logged(sandbox, MOVED, "node is listening", None, deleted).await
    })
    .await?;
    let mut longest = Duration::ZERO;
    for other in ["events-0", "events-1"] {
        let reached = await_for(READY_MAX, "the moved pod to be reached", || async {
            let message = "node became reachable";
            logged(sandbox, other, message, Some(&id), listening).await
        })
        .await?;
        longest = longest.max(reached.duration_since(listening).unsigned_abs());
    }
    sandbox.report_figure(format!(
        "reached at its new address {:.2} s after it listens",
        longest.as_secs_f32()
    ));
    await_ready(sandbox, CHANGE_MAX).await?;
    Ok(longest)
}

/// When a pod has logged a message after `since`, about the node with this id if one is given.
async fn logged(
    sandbox: &Sandbox,
    pod: &str,
    message: &str,
    node: Option<&str>,
    since: Timestamp,
) -> anyhow::Result<Option<Timestamp>> {
    let text = sandbox.api::<Pod>().logs(pod, &LogParams::default()).await;
    let Ok(text) = text else {
        // Its container has not started.
        return Ok(None);
    };
    Ok(node_log::logged(&text, message, node, since))
}

/// The key is replaced while records are written: no pod restarts, and the nodes hear each other
/// all the time.
pub(in crate::cases) async fn the_gossip_key_is_replaced_under_load(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let incarnations = pod_incarnations(sandbox).await?;
    let key = gossip_keys(sandbox).await?;
    ensure!(key.len() == 1, "{} keys", key.len());
    let load = Load::start(sandbox, &chart.node_image, Duration::from_mins(4), None).await?;
    let request = json!({"metadata": {"annotations": {ANNOTATION_ROTATE_GOSSIP_KEY: "now"}}});
    let clusters = sandbox.api::<LogCluster>();
    let params = PatchParams::default();
    clusters
        .patch("events", &params, &Patch::Merge(&request))
        .await?;
    let started = std::time::Instant::now();
    let mut heard = 0_usize;
    await_for(ROTATION_MAX, "the new key to be alone", || async {
        let keys = gossip_keys(sandbox).await?;
        Ok((keys.len() == 1 && keys != key).then_some(()))
    })
    .await?;
    let words = ["cluster", "members", "--json"];
    let text = run_cli(sandbox, &chart.node_image, &words).await?;
    let view: Value = serde_json::from_str(&text).context("members are no JSON")?;
    for member in view["members"].as_array().into_iter().flatten() {
        heard += usize::from(member["gossip"]["reachable"] == true);
    }
    ensure!(heard == 2, "{text}");
    sandbox.report_figure(format!(
        "replaced in {:.0} s",
        started.elapsed().as_secs_f32()
    ));
    await_ready(sandbox, CHANGE_MAX).await?;
    let after = pod_incarnations(sandbox).await?;
    ensure!(after == incarnations, "pods were restarted or replaced");
    load.finish_within(PAUSE_MAX).await
}

async fn gossip_keys(sandbox: &Sandbox) -> anyhow::Result<Vec<String>> {
    let secret = sandbox.api::<Secret>().get("events-gossip-keys").await?;
    let data = secret.data.unwrap_or_default();
    let text = data.get("keys").context("no field keys")?;
    let text = String::from_utf8(text.0.clone())?;
    let keys = text.lines().filter(|line| !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}

/// Zones by a label that pods do not get: status and nodes have it all the same, without a restart.
/// Status says where and by which sources each node is seen.
pub(in crate::cases) async fn a_zone_that_pods_have_no_label_for_is_that_of_the_host(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    let hosts: Api<Node> = Api::all(sandbox.client.clone());
    let names = hosts.list(&ListParams::default()).await?.items;
    let names: Vec<String> = names
        .into_iter()
        .filter_map(|host| host.metadata.name)
        .collect();
    label_hosts(&hosts, &names, |host| json!(format!("rack-of-{host}"))).await?;
    let found = zones_of_racks(sandbox, chart).await;
    label_hosts(&hosts, &names, |_| Value::Null).await?;
    found
}

async fn label_hosts(
    hosts: &Api<Node>,
    names: &[String],
    rack: impl Fn(&str) -> Value,
) -> anyhow::Result<()> {
    for name in names {
        let labels = json!({"metadata": {"labels": {RACK: rack(name)}}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&labels));
        hosts.patch_metadata(name, &params, &patch).await?;
    }
    Ok(())
}

async fn zones_of_racks(sandbox: &Sandbox, chart: &Chart) -> anyhow::Result<()> {
    ready(sandbox, json!({"topology": {"zoneKey": RACK}})).await?;
    let before = pod_incarnations(sandbox).await?;
    let pods = pods(sandbox).await?;
    let zone = |name: &str| {
        let spec = pods.get(name)?.spec.as_ref()?;
        Some(format!("rack-of-{}", spec.node_name.as_ref()?))
    };
    let is_told = |status: &LogClusterStatus| {
        let mut members = status.members.iter();
        members.all(|member| {
            let is_seen = ["endpoints", "gossip", "seeds"]
                .iter()
                .all(|source| member.seen_by.iter().any(|seen| seen == source));
            let is_placed = member.zone.is_some() && member.zone == zone(&member.name);
            let is_at = member.address.as_ref();
            let is_found = is_at.is_some_and(|address| address.ends_with(":9401"));
            let has_started = member.incarnation.is_some_and(|number| number >= 1);
            is_seen && is_placed && is_found && has_started && member.since.is_some()
        })
    };
    let what = "status to say the zones, and where nodes are seen";
    sandbox.status_for(CHANGE_MAX, what, is_told).await?;
    let started = std::time::Instant::now();
    await_for(ZONE_MAX, "the nodes to know their zones", || async {
        let words = ["cluster", "status", "--json"];
        let text = run_cli(sandbox, &chart.node_image, &words).await?;
        let view: Value = serde_json::from_str(&text).context("status is no JSON")?;
        let nodes = view["nodes"].as_array().context("no nodes")?;
        let knows = |node: &Value| {
            let name = node["name"].as_str();
            name.and_then(zone).is_some_and(|zone| node["zone"] == zone)
        };
        Ok(nodes.iter().all(knows).then_some(()))
    })
    .await?;
    sandbox.report_figure(format!(
        "the nodes know their zones {:.0} s after the operator",
        started.elapsed().as_secs_f32()
    ));
    let after = pod_incarnations(sandbox).await?;
    ensure!(after == before, "pods were restarted or replaced");
    Ok(())
}
