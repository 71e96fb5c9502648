//! Many clusters on one API server: duration of a reconcile, memory, and that all settle.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::api::ListParams;
use lograft_crds::LogCluster;
use lograft_crds::limits::OPERATOR_MEMORY_MAX_BYTES;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::life::WHOLE;
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition, await_for};

const CLUSTERS_COUNT: usize = 100;
/// Timeout for the objects of all clusters, on a machine with other load.
const TIMEOUT: Duration = Duration::from_mins(5);
/// How long the clusters are watched at rest.
const REST: Duration = Duration::from_secs(30);

/// Timeout for many objects of one cluster, on a machine with other load.
const OBJECTS_TIMEOUT: Duration = Duration::from_mins(5);

/// Waits until so many objects of a kind, in the namespace of the case, are done.
pub(super) async fn await_all<K>(
    sandbox: &Sandbox,
    (what, count): (&str, usize),
    is_done: impl Fn(&K) -> bool,
) -> anyhow::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + fmt::Debug
        + DeserializeOwned,
{
    let objects = sandbox.api::<K>();
    await_for(OBJECTS_TIMEOUT, what, || async {
        let all = objects.list(&ListParams::default()).await?;
        let done = all.iter().filter(|object| is_done(object)).count();
        Ok((done == count).then_some(()))
    })
    .await
}

/// Whether the condition `Ready` is true.
pub(super) fn is_ready(conditions: &[Condition]) -> bool {
    let mut ready = conditions.iter().filter(|it| it.type_ == "Ready");
    ready.any(|it| it.status == "True")
}

/// The sum of a metric of the operator over its labels.
pub(super) fn metric(text: &str, name: &str) -> anyhow::Result<f64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    let all: Vec<f64> = values.collect();
    ensure!(!all.is_empty(), "no metric {name}");
    Ok(all.iter().sum())
}

/// The smallest bucket bound of the histogram that covers this share of its samples, seconds.
fn quantile(text: &str, name: &str, share: f64) -> anyhow::Result<String> {
    let count = metric(text, &format!("{name}_count"))?;
    let bucket = format!("{name}_bucket{{le=\"");
    let buckets = text.lines().filter_map(|line| line.strip_prefix(&bucket));
    for line in buckets {
        let (bound, rest) = line.split_once('"').context("a bucket")?;
        let below: f64 = rest.rsplit(' ').next().unwrap_or_default().parse()?;
        if below >= share * count {
            return Ok(bound.to_owned());
        }
    }
    Ok("more".to_owned())
}

pub(super) async fn a_hundred_clusters_settle(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    // The operator may have been started a moment ago.
    let before = await_condition("metrics", || async { Ok(operator.metrics().await.ok()) }).await?;
    let started = Instant::now();
    for number in 0..CLUSTERS_COUNT {
        sandbox
            .create_as(&format!("c{number:03}"), json!({}))
            .await?;
    }
    let clusters = sandbox.api::<LogCluster>();
    await_for(
        TIMEOUT,
        "all clusters to have their CA and status",
        || async {
            let all = clusters.list(&ListParams::default()).await?;
            let is_made = |cluster: &&LogCluster| {
                let status = cluster.status.as_ref();
                status.is_some_and(|status| status.cluster_id.is_some() && status.ca.is_some())
            };
            Ok((all.iter().filter(is_made).count() == CLUSTERS_COUNT).then_some(()))
        },
    )
    .await?;
    let made = started.elapsed();
    let versions = || async { sandbox.objects("resourceVersion").await };
    await_for(TIMEOUT, "all objects to exist and to rest", || async {
        let first = versions().await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let is_whole = first.len() == CLUSTERS_COUNT * WHOLE;
        Ok((is_whole && versions().await? == first).then_some(()))
    })
    .await?;
    let at_rest = operator.metrics().await?;
    let first = versions().await?;
    tokio::time::sleep(REST).await;
    ensure!(versions().await? == first, "writes at rest");
    let after = operator.metrics().await?;
    let count = |text: &str| metric(text, "lograft_operator_reconcile_duration_seconds_count");
    let spent = |text: &str| metric(text, "lograft_operator_reconcile_duration_seconds_sum");
    let (busy, idle) = (
        count(&at_rest)? - count(&before)?,
        count(&after)? - count(&at_rest)?,
    );
    let mean_ms = (spent(&at_rest)? - spent(&before)?) / busy.max(1.0) * 1000.0;
    let p99 = quantile(&after, "lograft_operator_reconcile_duration_seconds", 0.99)?;
    let memory = operator.memory_bytes()?;
    sandbox.report_figure(format!(
        "{CLUSTERS_COUNT} clusters created in {:.1} s by {busy} reconciles of {mean_ms:.0} ms \
         on average, 99 % below {p99} s; {idle} reconciles in {} s at rest; {} MiB",
        made.as_secs_f32(),
        REST.as_secs(),
        memory / 1024 / 1024,
    ));
    ensure!(
        memory < OPERATOR_MEMORY_MAX_BYTES,
        "{memory} bytes of memory"
    );
    // Each cluster is reconciled once a minute.
    let fair = 2.0 * 100.0 * REST.as_secs_f64() / 60.0;
    ensure!(idle <= fair, "{idle} reconciles at rest");
    Ok(())
}
