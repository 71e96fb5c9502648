//! Many LogTopics of one cluster: time until all are ready, calls and writes at rest, memory.

use std::time::{Duration, Instant};

use anyhow::ensure;
use lograft_crds::LogTopic;
use lograft_crds::limits::{
    OPERATOR_TOPICS_MEMORY_MAX_BYTES, TOPIC_REQUEUE_SECONDS, TOPICS_FRESH_SECONDS,
};
use serde_json::json;

use super::many::{self, is_ready};
use super::rest::AtRest;
use super::topics::{cluster, create};
use super::users_many::{self, SETTLING, USERS_COUNT};
use crate::operator::Operator;
use crate::sandbox::Sandbox;

const TOPICS_COUNT: usize = 1000;
/// How long the topics are watched at rest.
const REST: Duration = Duration::from_secs(30);
const MIB: u64 = 1024 * 1024;

/// Creates 1,000 LogTopics of one partition.
async fn create_all(sandbox: &Sandbox) -> anyhow::Result<()> {
    for number in 0..TOPICS_COUNT {
        create(sandbox, &format!("t{number:04}"), json!({"partitions": 1})).await?;
    }
    Ok(())
}

/// Waits until all of them are ready.
async fn await_all(sandbox: &Sandbox) -> anyhow::Result<()> {
    let is_ready = |topic: &LogTopic| {
        let status = topic.status.as_ref();
        status.is_some_and(|status| is_ready(&status.conditions))
    };
    many::await_all(sandbox, ("all topics to be ready", TOPICS_COUNT), is_ready).await
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
    create_all(sandbox).await?;
    let created = started.elapsed();
    await_all(sandbox).await?;
    let ready = started.elapsed();
    ensure!(nodes.count() == TOPICS_COUNT, "{} topics", nodes.count());
    ensure!(
        nodes.calls("create") == TOPICS_COUNT,
        "creations were repeated"
    );
    tokio::time::sleep(SETTLING).await;
    let before = AtRest::new(sandbox, operator).await?;
    let (lists, describes) = (nodes.calls("list"), nodes.calls("describe"));
    tokio::time::sleep(REST).await;
    let after = AtRest::new(sandbox, operator).await?;
    let writes = after.since(&before, sandbox);
    let lists = nodes.calls("list") - lists;
    ensure!(
        nodes.calls("describe") == describes,
        "single topics are asked for"
    );
    let reconciles = after.growth(&before, "lograft_operator_topic_reconciles_total")?;
    let (memory, peak) = (operator.memory_bytes()?, operator.peak_memory_bytes()?);
    sandbox.report_figure(format!(
        "{TOPICS_COUNT} LogTopics created in {:.1} s, all ready after {:.1} s; in {} s at rest \
         {reconciles} reconciles, {lists} lists of topics, {} writes; {} MiB, at most {} MiB",
        created.as_secs_f32(),
        ready.as_secs_f32(),
        REST.as_secs(),
        writes.own.len(),
        memory / MIB,
        peak / MIB,
    ));
    writes.report_others(sandbox);
    writes.check_none()?;
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

pub(super) async fn a_thousand_topics_and_two_hundred_users_are_quiet_together(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    operator.stop().await?;
    operator.start()?;
    let started = Instant::now();
    tokio::try_join!(create_all(sandbox), users_many::create_all(sandbox))?;
    let created = started.elapsed();
    await_all(sandbox).await?;
    users_many::await_all(sandbox).await?;
    let ready = started.elapsed();
    let calls =
        || ["create", "change_rules", "alter", "change_revocations"].map(|it| nodes.calls(it));
    ensure!(
        calls() == [TOPICS_COUNT, USERS_COUNT, 0, 0],
        "requests were repeated: {:?}",
        calls()
    );
    tokio::time::sleep(SETTLING).await;
    let before = AtRest::new(sandbox, operator).await?;
    let lists = ["list", "list_rules"].map(|it| nodes.calls(it));
    tokio::time::sleep(REST).await;
    let after = AtRest::new(sandbox, operator).await?;
    let writes = after.since(&before, sandbox);
    let topics = after.growth(&before, "lograft_operator_topic_reconciles_total")?;
    let users = after.growth(&before, "lograft_operator_user_reconciles_total")?;
    let (memory, peak) = (operator.memory_bytes()?, operator.peak_memory_bytes()?);
    sandbox.report_figure(format!(
        "{TOPICS_COUNT} LogTopics and {USERS_COUNT} LogUsers created in {:.1} s, all ready after \
         {:.1} s; in {} s at rest {topics} and {users} reconciles, {} and {} lists, {} writes; \
         {} MiB, at most {} MiB",
        created.as_secs_f32(),
        ready.as_secs_f32(),
        REST.as_secs(),
        nodes.calls("list") - lists[0],
        nodes.calls("list_rules") - lists[1],
        writes.own.len(),
        memory / MIB,
        peak / MIB,
    ));
    writes.report_others(sandbox);
    writes.check_none()?;
    ensure!(
        calls() == [TOPICS_COUNT, USERS_COUNT, 0, 0],
        "requests at rest: {:?}",
        calls()
    );
    ensure!(
        peak < OPERATOR_TOPICS_MEMORY_MAX_BYTES,
        "{peak} bytes of memory"
    );
    Ok(())
}
