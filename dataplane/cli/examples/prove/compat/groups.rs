//! Consumer groups: refused until level 2 is finalized; from then on a group goes on while each node
//! is restarted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lograft_client::{GroupConfig, NewTopic, Reason};
use tokio::time::sleep;

use super::cli::Version;
use super::large_records::LEVEL;
use super::nodes::Cluster;
use crate::groups::committed::Following;
use crate::groups::load::Load;
use crate::groups::member::{GROUP, TOPIC};
use crate::groups::reader::{Delivered, Reader};

const PARTITIONS_COUNT: u32 = 6;
const MEMBERS_COUNT: usize = 2;
/// Records per second.
const RATE: u32 = 300;
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// Time to write before the first restart and after the last one.
const QUIET: Duration = Duration::from_secs(5);

/// Checks that each node refuses calls about groups: nodes of the new version name the level that
/// they wait for, those of the old one do not know the calls.
pub(super) async fn are_refused(cluster: &Cluster) -> Result<()> {
    for (at, node) in cluster.nodes.iter().enumerate() {
        let refused = cluster.client_at(at).await?.groups().list().await;
        let error = refused.err().context("groups are listed")?;
        let reason = error.reason();
        let text = format!("{:#}", anyhow::Error::from(error));
        let (expected, part) = match node.version {
            Version::New => (Reason::FeatureNotFinalized, format!("level {LEVEL}")),
            Version::Old => (Reason::VersionTooOld, String::new()),
        };
        ensure!(
            reason == Some(expected) && text.contains(&part),
            "{}: expected {expected} with {part:?}, got {reason:?}: {text}",
            node.name
        );
        let consume = ["consume", "probe", "--group", GROUP, "-n", "1", "-q"];
        let new = cluster.cli_at(Version::New, at);
        let error = new.run_refused(&consume).await?;
        ensure!(error.contains(&part), "{}: {error}", node.name);
    }
    Ok(())
}

/// Two members process a topic that is written all the time, while each node is restarted. Returns
/// a sentence about it.
pub(super) async fn survive_restarts(cluster: &mut Cluster) -> Result<String> {
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        partitions: PARTITIONS_COUNT,
        replication_factor: 3,
        ..NewTopic::default()
    };
    let client = cluster.client.clone();
    client.admin().create_topic(topic).await?;
    let load = Load::start(client.clone(), PARTITIONS_COUNT, RATE);
    let delivered = Delivered::default();
    let mut readers = Vec::new();
    for _ in 0..MEMBERS_COUNT {
        let config = GroupConfig {
            auto_commit: Some(COMMIT_INTERVAL),
            ..GroupConfig::new(GROUP, [TOPIC])
        };
        readers.push(Reader::start(&client, config, &delivered).await?);
    }
    let committed = Following::start(client.clone());
    sleep(QUIET).await;
    for at in 0..cluster.nodes.len() {
        let before = delivered.records();
        cluster.roll(at, Version::New).await?;
        readers.iter().try_for_each(Reader::check_running)?;
        ensure!(
            delivered.records() > before,
            "the group has read nothing while node {at} was restarted"
        );
    }
    sleep(QUIET).await;
    let ends = load.finish().await?;
    delivered.wait_until(&ends).await?;
    committed.finish(&ends).await?;
    for reader in readers {
        reader.close().await?;
    }
    let totals = delivered.check(&ends)?;
    Ok(format!(
        "a group of {MEMBERS_COUNT} processed {} records while {} nodes were restarted, {} of them \
         again; no committed offset went back",
        totals.records,
        cluster.nodes.len(),
        totals.repeated
    ))
}
