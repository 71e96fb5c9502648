//! What became of a run, for people and for programs.

use std::fmt::Write as _;

use lograft_client::ClientError;
use serde::Serialize;

use super::ledger::Longest;
use super::verify::Verdict;
use crate::bench::report::{Percentiles, in_words};
use crate::error::CliError;
use crate::output::Paint;
use crate::units::count;

/// What became of a run.
#[derive(Debug, Serialize)]
pub(super) struct SoakReport {
    pub(super) bench: &'static str,
    pub(super) topic: String,
    pub(super) replication_factor: usize,
    pub(super) record_bytes: usize,
    pub(super) rate_per_partition: u32,
    pub(super) seconds: f64,
    pub(super) interrupted: bool,
    pub(super) longest_pause_seconds: f64,
    pub(super) latency_ms: Percentiles,
    /// Why the last of the records that failed did.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_words")]
    pub(super) failure: Option<ClientError>,
    pub(super) partitions: Vec<PartitionReport>,
}

/// What became of one partition.
#[derive(Debug, Serialize)]
pub(super) struct PartitionReport {
    pub(super) partition: u32,
    pub(super) sent: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    #[serde(rename = "longest_pause")]
    pub(super) longest: Longest,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

impl SoakReport {
    fn sum(&self, of: impl Fn(&PartitionReport) -> u64) -> u64 {
        self.partitions.iter().map(of).sum()
    }

    pub(super) fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            // Writing to a String does not fail.
            let _ = writeln!(out, "  {} {text}", paint.faint(format!("{name:<11}")));
        };
        let partitions = self.partitions.len();
        let (rate, size, factor) = (
            self.rate_per_partition,
            self.record_bytes,
            self.replication_factor,
        );
        line(
            "load",
            format!(
                "{rate} records/s of {size} B to each of {partitions} partitions, replicated \
                 {factor} times, for {:.0} s",
                self.seconds
            ),
        );
        let (acked, failed) = (self.sum(|p| p.acked), self.sum(|p| p.failed));
        line(
            "records",
            format!("{} acknowledged, {} failed", count(acked), count(failed)),
        );
        line("latency", self.latency_ms.to_string());
        for found in &self.partitions {
            let Longest {
                seconds,
                at_unix_ms,
            } = found.longest;
            let name = format!("pause {}", found.partition);
            line(&name, format!("{seconds:.2} s, from {at_unix_ms} ms"));
        }
        let text = self.damage().unwrap_or_else(|| {
            let read = count(self.sum(|p| p.verdict.read));
            format!(
                "all {} acknowledged of {read} read are there, once, in order",
                count(acked)
            )
        });
        line("read back", text);
        out
    }

    /// What is wrong with the log, if anything is.
    fn damage(&self) -> Option<String> {
        let kinds = [
            (self.sum(|p| p.verdict.lost), "acknowledged records lost"),
            (self.sum(|p| p.verdict.moved), "not at their offset"),
            (self.sum(|p| p.verdict.doubled), "twice or out of order"),
        ];
        let bad = kinds.iter().filter(|(number, _)| *number > 0);
        let bad: Vec<_> = bad
            .map(|(number, what)| format!("{} {what}", count(*number)))
            .collect();
        (!bad.is_empty()).then(|| bad.join(", "))
    }

    pub(super) fn into_failure(self) -> Option<CliError> {
        if let Some(text) = self.damage() {
            return Some(CliError::Damaged { text });
        }
        let failed = count(self.sum(|p| p.failed));
        self.failure
            .map(|source| CliError::NotStored { failed, source })
    }
}
