//! Reads everything back through each node, and compares it with what was acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lograft_client::{Client, ClientError, NodeId, PartitionId};
use tokio::time::{sleep, timeout};

use super::TOPIC;
use crate::ledger::{Ledger, PARTITION, verify};

/// Time in which a node must lead, and everything be read.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The result of reading through one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReadBack {
    /// All acknowledged records, and no others, in their order.
    Right,
    /// The node does not lead, or records cannot be read now.
    NotNow(String),
    /// A record is missing, doubled, at another offset or has other bytes.
    Wrong(String),
}

/// Makes a node the leader of the partition, and reads it from the start. The reads that miss the
/// cache come from its disk.
pub(super) async fn read_through(client: &Client, node: NodeId, ledger: &Ledger) -> ReadBack {
    let started = Instant::now();
    loop {
        let attempt = timeout(READ_TIMEOUT, read_once(client, node, ledger)).await;
        let error = match attempt {
            Ok(Ok(())) => return ReadBack::Right,
            Ok(Err(error)) => error,
            Err(_) => return ReadBack::NotNow(format!("not read within {READ_TIMEOUT:?}")),
        };
        // A failed call says nothing about the records.
        if error.downcast_ref::<ClientError>().is_none() {
            return ReadBack::Wrong(format!("{error:#}"));
        }
        if started.elapsed() > READ_TIMEOUT {
            return ReadBack::NotNow(format!("{error:#}"));
        }
        sleep(POLL_INTERVAL).await;
    }
}

async fn read_once(client: &Client, node: NodeId, ledger: &Ledger) -> Result<()> {
    lead(client, PARTITION, node).await?;
    verify(client, TOPIC, 0, 0, ledger).await?;
    Ok(())
}

/// Makes a node the leader of a partition of the topic.
pub(super) async fn lead(
    client: &Client,
    partition: PartitionId,
    node: NodeId,
) -> Result<(), ClientError> {
    let admin = client.admin();
    admin.transfer_leadership(TOPIC, partition, node).await?;
    Ok(())
}

/// The metadata as a node has them: all topics with their settings.
pub(super) async fn metadata_at(client: &Client) -> Result<String> {
    let topics = client.admin().list_topics().await;
    let topics = topics.context("cannot list the topics")?;
    Ok(format!("{topics:?}"))
}
