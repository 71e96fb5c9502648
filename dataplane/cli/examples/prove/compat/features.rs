//! Every feature that both versions have, through one command line at one node.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::cli::Version;
use super::nodes::Cluster;

/// Number of records of one round.
const RECORDS_COUNT: usize = 200;
const KEYS_COUNT: usize = 20;

/// Creates a topic, alters it, produces with keys, consumes, reads by time, transfers a leadership
/// and deletes the topic. `round` makes the topic's name unique.
pub(super) async fn use_all(
    cluster: &Cluster,
    version: Version,
    at: usize,
    round: &str,
) -> Result<()> {
    let cli = cluster.cli_at(version, at);
    let topic = format!("features-{round}-{}-{at}", version.name());
    let topic = topic.as_str();
    cli.run(&["topic", "create", topic, "-p", "2", "-r", "3"])
        .await?;
    // On a slow machine a new partition may not have a leader yet.
    cli.wait_healthy().await?;
    let alter = [
        "topic",
        "alter",
        topic,
        "-p",
        "3",
        "--retention-bytes",
        "64MiB",
    ];
    cli.run(&alter).await?;
    cli.wait_healthy().await?;
    let described = cli.json(&["topic", "describe", topic, "--json"]).await?;
    ensure!(described["partition_count"] == 3, "{topic}: {described}");
    ensure!(
        described["retention_bytes"] == 64 << 20,
        "{topic}: {described}"
    );
    let list = cli.json(&["topic", "list", "--json"]).await?;
    let mut names = list.as_array().into_iter().flatten().map(|t| &t["name"]);
    ensure!(names.any(|name| name == topic), "{topic} is not listed");

    let mut sent = produce(cluster, version, at, topic, "a").await?;
    check_consumed(cluster, version, at, topic, &sent).await?;
    transfer(cluster, version, at, topic).await?;
    sent.extend(produce(cluster, version, at, topic, "b").await?);
    check_consumed(cluster, version, at, topic, &sent).await?;
    let latest = ["consume", topic, "--from", "1h", "-n", "1", "-q"];
    let by_time = cli.run(&latest).await?;
    ensure!(
        by_time.lines().count() == 1,
        "{topic}: by time: {by_time:?}"
    );

    cli.run(&["topic", "delete", topic]).await?;
    cli.run_refused(&["topic", "describe", topic]).await?;
    let status = cli.status().await?;
    ensure!(status["nodes"].is_array(), "status without nodes");
    Ok(())
}

/// Produces lines with keys and returns them.
async fn produce(
    cluster: &Cluster,
    version: Version,
    at: usize,
    topic: &str,
    part: &str,
) -> Result<BTreeSet<String>> {
    let lines: BTreeSet<String> = (0..RECORDS_COUNT)
        .map(|number| format!("key-{}:{part}-{number:04}", number % KEYS_COUNT))
        .collect();
    let mut text = String::new();
    for line in &lines {
        writeln!(text, "{line}")?;
    }
    let file = cluster.folder.join("lines");
    std::fs::write(&file, text)?;
    let file = file.to_str().context("path")?;
    let args = ["produce", topic, "-f", file, "-k", ":", "-q"];
    cluster.cli_at(version, at).run(&args).await?;
    Ok(lines)
}

/// Consumes the topic and compares it with the lines that were produced: each once.
async fn check_consumed(
    cluster: &Cluster,
    version: Version,
    at: usize,
    topic: &str,
    sent: &BTreeSet<String>,
) -> Result<()> {
    let cli = cluster.cli_at(version, at);
    let out = cli.run(&["consume", topic, "-k", ":", "-q"]).await?;
    let count = out.lines().count();
    let found: BTreeSet<String> = out.lines().map(str::to_owned).collect();
    ensure!(
        found == *sent && count == sent.len(),
        "{topic}: produced {} records, consumed {count}, {} different",
        sent.len(),
        found.len()
    );
    Ok(())
}

/// Transfers the leadership of partition 0 to another replica.
async fn transfer(cluster: &Cluster, version: Version, at: usize, topic: &str) -> Result<()> {
    let cli = cluster.cli_at(version, at);
    let described = cli.json(&["topic", "describe", topic, "--json"]).await?;
    let partition = &described["partitions"][0];
    let leader = partition["leader_node"].as_u64();
    let replicas = partition["replicas"].as_array().context("no replicas")?;
    let mut ids = replicas
        .iter()
        .filter_map(|replica| replica["node_id"].as_u64());
    let to = ids.find(|id| Some(*id) != leader).context("one replica")?;
    let group = format!("{topic}/0");
    cli.run(&["cluster", "transfer", &group, "--to", &to.to_string()])
        .await?;
    Ok(())
}

/// Transfers the leadership of the metadata group to a node.
pub(super) async fn transfer_meta(cluster: &Cluster, version: Version, to: usize) -> Result<()> {
    let id = cluster.node_id(to).await?;
    if cluster.status().await?["meta_leader_node"] == id {
        return Ok(());
    }
    let args = ["cluster", "transfer", "meta", "--to", &id.to_string()];
    cluster.cli(version).run(&args).await?;
    Ok(())
}
