//! Loads on Lograft, with `lograft dev` and `lograft bench` as a user would run them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::options::RETAINED_BYTES;
use super::work::{Sample, Work};
use crate::cluster::{Cluster, ProveArgs};

/// A running cluster and its folder.
#[derive(Debug)]
pub(crate) struct LograftRun {
    cluster: Cluster,
    folder: PathBuf,
}

impl LograftRun {
    /// Starts three nodes.
    pub(crate) fn start(args: &ProveArgs) -> Result<Self> {
        let folder = args.empty_folder("compare-lograft")?;
        let cluster = Cluster::start(&args.program()?, &folder, 3)?;
        Ok(Self { cluster, folder })
    }

    /// Runs one load with the CLI.
    pub(crate) fn load(&self, work: Work, seconds: u64, partitions: u32) -> Result<Sample> {
        let (bytes, length) = (work.record_bytes().to_string(), format!("{seconds}s"));
        let (partitions, retained) = (partitions.to_string(), RETAINED_BYTES.to_string());
        let words: &[&str] = match work {
            Work::Consume => &["consume", "--fill", "600MiB"],
            Work::One => &["latency", "--producers", "1"],
            Work::Many => &["latency", "--producers", "64"],
            Work::ManyConnections => &["latency", "--producers", "64", "--clients", "64"],
            Work::ManyPacked => &["latency", "--producers", "64", "--pack"],
            _ => &["produce"],
        };
        let size = [
            "--record-size",
            &bytes,
            "--duration",
            &length,
            "--partitions",
            &partitions,
            "--retention-bytes",
            &retained,
        ];
        let args = [&["bench"], words, &size[..], &["--json"]].concat();
        let text = self.cluster.cli(&args)?;
        let report: Value =
            serde_json::from_str(&text).context("cannot parse the JSON of the benchmark")?;
        Ok(sample(&report))
    }

    /// Stops the nodes and deletes their data.
    pub(crate) fn stop(self) -> Result<()> {
        self.cluster.stop()?;
        Ok(std::fs::remove_dir_all(self.folder)?)
    }
}

fn sample(report: &Value) -> Sample {
    let number = |at: &str| report.pointer(at).and_then(Value::as_f64).unwrap_or(0.0);
    let nodes = report["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let ratios: f64 = nodes
        .iter()
        .filter_map(|node| node["written_ratio"].as_f64())
        .sum();
    Sample {
        records_per_second: number("/records_per_second"),
        mb_per_second: number("/mb_per_second"),
        p50_ms: number("/latency_ms/p50"),
        p99_ms: number("/latency_ms/p99"),
        cpu_seconds_per_gb: number("/cpu/all_seconds_per_gb"),
        written_ratio: ratios / 3.0,
    }
}
