//! Report of a soak run as text and JSON.

use std::fmt::Write as _;

use lograft_client::ClientError;
use serde::Serialize;

use super::group::GroupReport;
use super::ledger::Pause;
use super::reader::FollowReport;
use super::verify::Verdict;
use crate::bench::error::BenchError;
use crate::bench::report::{Percentiles, error_as_text};
use crate::output::{Paint, plural};
use crate::units::count;

/// Result of a soak run.
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
    /// Error of the last failed record.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "error_as_text"
    )]
    pub(super) failure: Option<ClientError>,
    /// Result of following the topic meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) followed: Option<FollowReport>,
    /// Result of the consumer group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<GroupReport>,
    pub(super) partitions: Vec<PartitionReport>,
}

/// Result of one partition.
#[derive(Debug, Serialize)]
pub(super) struct PartitionReport {
    pub(super) partition: u32,
    pub(super) sent: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) longest_pause: Pause,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

impl SoakReport {
    fn sum(&self, of: impl Fn(&PartitionReport) -> u64) -> u64 {
        self.partitions.iter().map(of).sum()
    }

    /// The report as text.
    pub(super) fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            // Writing to a String does not fail.
            let _ = writeln!(out, "  {} {text}", paint.faint(format!("{name:<11}")));
        };
        let partitions = plural(self.partitions.len(), "partition");
        let (rate, size, factor) = (
            self.rate_per_partition,
            self.record_bytes,
            self.replication_factor,
        );
        line(
            "load",
            format!(
                "{rate} records/s of {size} B to each of {partitions}, replication factor {factor}, \
                 for {:.0} s",
                self.seconds
            ),
        );
        let (acked, failed) = (self.sum(|p| p.acked), self.sum(|p| p.failed));
        line(
            "records",
            format!("{} acknowledged, {} failed", count(acked), count(failed)),
        );
        line("latency", self.latency_ms.to_string());
        for partition in &self.partitions {
            let Pause {
                seconds,
                at_unix_ms,
            } = partition.longest_pause;
            let name = format!("pause {}", partition.partition);
            line(
                &name,
                format!("{seconds:.2} s, at Unix time {at_unix_ms} ms"),
            );
        }
        if let Some(followed) = &self.followed {
            let FollowReport {
                read,
                longest_pause_seconds,
                delay_ms,
                ..
            } = followed;
            let read = count(*read);
            line(
                "followed",
                format!("{read} read, longest pause {longest_pause_seconds:.2} s, {delay_ms}"),
            );
        }
        if let Some(group) = &self.group {
            line("group", group.to_string());
        }
        let text = self.log_errors().unwrap_or_else(|| {
            format!(
                "all {} acknowledged records found exactly once and in order ({} read)",
                count(acked),
                count(self.sum(|p| p.verdict.read))
            )
        });
        line("verified", text);
        out
    }

    /// Errors found in the log, if any.
    fn log_errors(&self) -> Option<String> {
        let followed = self.followed.as_ref();
        let group = |of: fn(&GroupReport) -> u64| self.group.as_ref().map_or(0, of);
        let kinds = [
            (
                followed.map_or(0, |read| read.doubled),
                "duplicated or out of order for the reader",
            ),
            (followed.map_or(0, |read| read.missing), "not read in time"),
            (group(|it| it.missing), "not processed by the group"),
            (group(|it| it.disordered), "processed out of order"),
            (group(|it| it.uncommitted), "processed and not committed"),
            (self.sum(|p| p.verdict.lost), "acknowledged records lost"),
            (self.sum(|p| p.verdict.moved), "at the wrong offset"),
            (
                self.sum(|p| p.verdict.doubled),
                "duplicated or out of order",
            ),
        ];
        let found: Vec<_> = kinds
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, kind)| format!("{} {kind}", count(*number)))
            .collect();
        (!found.is_empty()).then(|| found.join(", "))
    }

    /// An error if the log is wrong or some records were not stored.
    pub(super) fn into_failure(self) -> Option<BenchError> {
        if let Some(text) = self.log_errors() {
            return Some(BenchError::Verification { text });
        }
        let failed = count(self.sum(|p| p.failed));
        self.failure
            .map(|source| BenchError::NotStored { failed, source })
    }
}
