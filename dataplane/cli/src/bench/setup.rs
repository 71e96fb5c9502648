//! Options that all benchmarks share.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::produce::Kind;
use crate::units::{parse_duration, parse_size};

/// The topic that a benchmark works on.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArgs {
    /// Use this topic [default: a new one, deleted at the end]
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// Keep the new topic
    #[arg(long)]
    pub(crate) keep: bool,
    /// Partitions of a new topic
    #[arg(long, short, value_name = "N", default_value_t = 3)]
    pub(crate) partitions: u32,
    /// Replicas of a new topic [default: 3, or all nodes if there are fewer]
    #[arg(long, short, value_name = "R")]
    pub(crate) replication_factor: Option<u32>,
    /// The most kept of each partition of a new topic
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = parse_size)]
    pub(crate) retention_bytes: u64,
}

/// Options of every benchmark that measures speed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Shared {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Bytes of one record's value
    #[arg(long, short = 's', value_name = "BYTES", default_value = "256", value_parser = parse_record_size)]
    pub(crate) record_size: usize,
    /// How long to measure
    #[arg(long, short, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// How long to run before measuring
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub(crate) warm_up: Duration,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of those that write in batches.
#[derive(Clone, Debug, Args)]
pub(crate) struct Packing {
    /// At which size a batch is closed [default: the client's]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub(crate) batch_size: Option<u64>,
    /// Unacknowledged bytes at one leader [default: the client's]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub(crate) in_flight: Option<u64>,
    /// How batches are compressed; the records are random bytes
    #[arg(long, value_name = "KIND", default_value = "none")]
    pub(crate) compression: Kind,
}

#[derive(Debug, thiserror::Error)]
#[error("a record's size is 8 bytes to 1 MiB less 1 KiB")]
struct RecordSizeError;

fn parse_record_size(text: &str) -> Result<usize, RecordSizeError> {
    let max = lograft_core::limits::RECORD_MAX_BYTES - 1024;
    let size = parse_size(text)
        .ok()
        .and_then(|size| usize::try_from(size).ok());
    size.filter(|size| (8..=max).contains(size))
        .ok_or(RecordSizeError)
}

/// What was measured, for the reader of the figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setup {
    pub(crate) topic: String,
    pub(crate) partitions: usize,
    pub(crate) replication_factor: usize,
    pub(crate) record_bytes: usize,
    /// Connections of their own.
    pub(crate) clients: usize,
    /// Producers or consumers at work.
    pub(crate) workers: usize,
    pub(crate) batch_max_bytes: Option<usize>,
    pub(crate) in_flight_max_bytes: Option<usize>,
    pub(crate) compression: Option<&'static str>,
    pub(crate) warm_up_seconds: f64,
    pub(crate) duration_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_sizes_have_bounds() {
        assert_eq!(parse_record_size("256").unwrap(), 256);
        assert_eq!(parse_record_size("64KiB").unwrap(), 65_536);
        for bad in ["7", "1MiB", "x"] {
            assert!(parse_record_size(bad).is_err(), "{bad}");
        }
    }
}
