//! Gossip keys that are rotated in three steps, again and again, while frames are lost.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::time::{Instant, sleep};

use super::lab::Lab;
use super::links::LOSS_PERCENT;
use super::net::{Fault, Net};
use super::nodes::Nodes;

/// Interval between two rotations.
const ROTATION: Duration = Duration::from_secs(10);
/// Time in which all nodes load a changed file: they read it every 2 s.
const LOADED_MAX: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const KEY_BYTES: usize = 32;

fn new_key() -> Result<String> {
    let mut key = [0_u8; KEY_BYTES];
    let read = getrandom(&mut key, GetRandomFlags::empty())?;
    ensure!(read == KEY_BYTES, "no random bytes");
    let hex = key.iter().map(|byte| format!("{byte:02x}"));
    Ok(hex.collect::<String>() + "\n")
}

/// Writes the keys of all nodes, and waits until all have loaded them. `before` are the ids of the
/// keys that they had loaded; returns the new ones.
async fn write(nodes: &Nodes, text: &str, before: &[String]) -> Result<Vec<String>> {
    for host in nodes.hosts() {
        let path = nodes.keys(host);
        let part = path.with_extension("part");
        fs::write(&part, text)?;
        fs::rename(part, path)?;
    }
    let started = Instant::now();
    loop {
        // Under loss a node may not answer the one that is asked.
        if let Ok(ids) = loaded(nodes).await
            && ids != before
        {
            return Ok(ids);
        }
        ensure!(
            started.elapsed() < LOADED_MAX,
            "the nodes have not loaded the keys after {LOADED_MAX:?}"
        );
        sleep(POLL_INTERVAL).await;
    }
}

/// The ids of the keys that all nodes have loaded. Fails unless they are the same ones.
async fn loaded(nodes: &Nodes) -> Result<Vec<String>> {
    let reply = nodes.client.admin().describe_cluster(true).await?;
    let mut ids = reply.nodes.into_iter().map(|node| node.gossip_key_ids);
    let first = ids.next().context("no nodes")?;
    ensure!(
        ids.all(|ids| ids == first),
        "not all nodes have the same keys"
    );
    Ok(first)
}

/// Rotates the key for a time. No node may lose another one from its view by gossip.
pub(super) async fn rotate(lab: &mut Lab, time: Duration) -> Result<()> {
    Net::set_faults(&[Fault::LossPercent(LOSS_PERCENT)])?;
    let host = lab.nodes.hosts();
    let mut old = fs::read_to_string(lab.nodes.keys(host[0]))?;
    let mut ids = loaded(&lab.nodes).await?;
    let started = Instant::now();
    let (mut count, mut slowest) = (0_u32, Duration::ZERO);
    while started.elapsed() < time {
        let rotation = Instant::now();
        let new = new_key()?;
        for text in [format!("{old}{new}"), format!("{new}{old}"), new.clone()] {
            ids = write(&lab.nodes, &text, &ids).await?;
        }
        old = new;
        count += 1;
        slowest = slowest.max(rotation.elapsed());
        sleep(ROTATION.saturating_sub(rotation.elapsed())).await;
    }
    lab.notes.push(format!(
        "{count} rotations in {} s, the slowest in {:.1} s",
        started.elapsed().as_secs(),
        slowest.as_secs_f64()
    ));
    Ok(())
}
