//! Records above what level 1 can read: refused until level 2 is finalized, and kept from then on.

use std::path::Path;

use anyhow::{Result, ensure};

use super::cli::Version;
use super::nodes::Cluster;

/// The level that brings them.
pub(super) const LEVEL: u64 = 2;
const TOPIC: &str = "large";
const SIZE_BYTES: usize = 3 * 1024 * 1024;

/// Checks that no node creates a topic with larger sizes, through either command line.
pub(super) async fn are_refused(cluster: &Cluster) -> Result<()> {
    for at in 0..cluster.nodes.len() {
        for version in Version::BOTH {
            let cli = cluster.cli_at(version, at);
            for (key, bytes) in [
                ("record.max.bytes", 3_145_728),
                ("batch.max.bytes", 2_097_153),
            ] {
                let setting = format!("{key}={bytes}");
                let create = ["topic", "create", TOPIC, "--config", &setting];
                let error = cli.run_refused(&create).await?;
                // The command line of level 0 has no such option.
                let is_refusal = error.contains(key) || error.contains("--config");
                ensure!(is_refusal, "{setting} at node {at}: {error}");
            }
        }
    }
    Ok(())
}

/// Sends the largest record through a file, and reads it at each node.
pub(super) async fn are_kept(cluster: &Cluster, folder: &Path) -> Result<()> {
    let file = folder.join("large-record");
    let letters = ('a'..='z').cycle();
    let value: String = letters.take(SIZE_BYTES).collect();
    std::fs::write(&file, &value)?;
    let new = cluster.cli(Version::New);
    let setting = format!("record.max.bytes={SIZE_BYTES}");
    let create = ["topic", "create", TOPIC, "-p", "1", "--config", &setting];
    new.run(&create).await?;
    new.wait_healthy().await?;
    let file = file.to_string_lossy();
    new.run(&["produce", TOPIC, "-i", "raw", "-f", &file, "-q"])
        .await?;
    for at in 0..cluster.nodes.len() {
        let cli = cluster.cli_at(Version::New, at);
        let consumed = cli
            .run(&["consume", TOPIC, "-n", "1", "-o", "raw", "-q"])
            .await?;
        ensure!(consumed == value, "node {at}: {} bytes", consumed.len());
    }
    Ok(())
}
