//! Many LogTopics of one cluster: time until all are ready, calls and writes at rest, memory.

use std::time::{Duration, Instant};

use anyhow::ensure;
use kube::api::ListParams;
use lograft_crds::LogTopic;
use lograft_crds::limits::{
    OPERATOR_TOPICS_MEMORY_MAX_BYTES, TOPIC_REQUEUE_SECONDS, TOPICS_FRESH_SECONDS,
};
use serde_json::json;

use super::many::metric;
use super::topics::{cluster, create};
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_for};

const TOPICS_COUNT: usize = 1000;
/// Timeout for all topics, on a machine with other load.
const TIMEOUT: Duration = Duration::from_mins(5);
/// How long the topics are watched at rest.
const REST: Duration = Duration::from_secs(30);
const MIB: u64 = 1024 * 1024;

async fn versions(sandbox: &Sandbox) -> anyhow::Result<Vec<Option<String>>> {
    let all = sandbox
        .api::<LogTopic>()
        .list(&ListParams::default())
        .await?;
    let versions = all.items.into_iter();
    Ok(versions
        .map(|topic| topic.metadata.resource_version)
        .collect())
}

pub(super) async fn a_thousand_topics_settle_and_are_quiet(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    // A process of its own: its peak shows these topics alone.
    operator.stop().await?;
    operator.start()?;
    let started = Instant::now();
    for number in 0..TOPICS_COUNT {
        create(sandbox, &format!("t{number:04}"), json!({"partitions": 1})).await?;
    }
    let created = started.elapsed();
    let topics = sandbox.api::<LogTopic>();
    await_for(TIMEOUT, "all topics to be ready", || async {
        let all = topics.list(&ListParams::default()).await?;
        let is_ready = |topic: &&LogTopic| {
            let conditions = topic.status.iter().flat_map(|status| &status.conditions);
            let mut ready = conditions.filter(|it| it.type_ == "Ready");
            ready.any(|it| it.status == "True")
        };
        Ok((all.iter().filter(is_ready).count() == TOPICS_COUNT).then_some(()))
    })
    .await?;
    let ready = started.elapsed();
    ensure!(nodes.count() == TOPICS_COUNT, "{} topics", nodes.count());
    ensure!(
        nodes.calls("create") == TOPICS_COUNT,
        "creations were repeated"
    );
    // Lets the status of the last ones be looked at.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = (versions(sandbox).await?, operator.metrics().await?);
    let (lists, describes) = (nodes.calls("list"), nodes.calls("describe"));
    tokio::time::sleep(REST).await;
    let after = (versions(sandbox).await?, operator.metrics().await?);
    ensure!(before.0 == after.0, "writes at rest");
    let lists = nodes.calls("list") - lists;
    ensure!(
        nodes.calls("describe") == describes,
        "single topics are asked for"
    );
    let count = |name: &str| anyhow::Ok(metric(&after.1, name)? - metric(&before.1, name)?);
    let reconciles = count("lograft_operator_topic_reconciles_total")?;
    let writes = count("lograft_operator_writes_total")?;
    let (memory, peak) = (operator.memory_bytes()?, operator.peak_memory_bytes()?);
    sandbox.report_figure(format!(
        "{TOPICS_COUNT} LogTopics created in {:.1} s, all ready after {:.1} s; in {} s at rest \
         {reconciles} reconciles, {lists} lists of topics, {writes} writes; {} MiB, at most {} MiB",
        created.as_secs_f32(),
        ready.as_secs_f32(),
        REST.as_secs(),
        memory / MIB,
        peak / MIB,
    ));
    ensure!(
        peak < OPERATOR_TOPICS_MEMORY_MAX_BYTES,
        "{peak} bytes of memory"
    );
    ensure!(
        u64::try_from(lists)? <= 1 + REST.as_secs() / TOPICS_FRESH_SECONDS,
        "{lists} lists"
    );
    let rounds = REST.as_secs_f64() / Duration::from_secs(TOPIC_REQUEUE_SECONDS).as_secs_f64();
    let fair = f64::from(u32::try_from(TOPICS_COUNT)?) * (rounds + 1.0);
    ensure!(reconciles <= fair, "{reconciles} reconciles at rest");
    Ok(())
}
