//! Options that benchmarks share, and the setup that their reports include.

use std::time::Duration;

use clap::Args;
use lograft_core::limits::RECORD_MAX_BYTES;
use serde::Serialize;

use crate::compression::CompressionArg;
use crate::units::{parse_duration, parse_size};

/// Options for the topic of a benchmark.
#[derive(Clone, Debug, Args)]
pub(crate) struct TopicArgs {
    /// Use this topic [default: a new topic, deleted at the end]
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// Keep the new topic
    #[arg(long)]
    pub(crate) keep: bool,
    /// Number of partitions of the new topic
    #[arg(long, short, value_name = "N", default_value_t = 3)]
    pub(crate) partitions: u32,
    /// Replication factor of the new topic [default: set by the cluster, else 3 or the number of
    /// nodes if fewer]
    #[arg(long, short, value_name = "R")]
    pub(crate) replication_factor: Option<u32>,
    /// Maximum size per partition of the new topic
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = parse_size)]
    pub(crate) retention_bytes: u64,
}

/// Options of the benchmarks that measure throughput or latency.
#[derive(Clone, Debug, Args)]
pub(crate) struct MeasureArgs {
    #[command(flatten)]
    pub(crate) topic: TopicArgs,
    /// Size of each record value
    #[arg(long, short = 's', value_name = "BYTES", default_value = "256", value_parser = parse_record_size)]
    pub(crate) record_size: usize,
    /// Duration of the measurement
    #[arg(long, short, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// Time to run before the measurement
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub(crate) warm_up: Duration,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options for batches.
#[derive(Clone, Debug, Args)]
pub(crate) struct BatchArgs {
    /// Maximum size of a batch [default: client default]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub(crate) batch_size: Option<u64>,
    /// Maximum unacknowledged bytes per leader [default: client default]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub(crate) in_flight: Option<u64>,
    /// Compression of batches; record values are random bytes
    #[arg(long, value_name = "KIND", default_value = "none")]
    pub(crate) compression: CompressionArg,
}

/// Smallest record value of a benchmark.
const RECORD_SIZE_MIN_BYTES: usize = 8;
/// Largest record value of a benchmark.
pub(crate) const RECORD_SIZE_MAX_BYTES: usize = RECORD_MAX_BYTES - RECORD_SIZE_MARGIN_BYTES;
/// Bytes that a record of a benchmark may take besides its value.
pub(crate) const RECORD_SIZE_MARGIN_BYTES: usize = 1024;

#[derive(Debug, thiserror::Error)]
#[error("record size must be between {RECORD_SIZE_MIN_BYTES} and {RECORD_SIZE_MAX_BYTES} bytes")]
struct RecordSizeError;

fn parse_record_size(text: &str) -> Result<usize, RecordSizeError> {
    let size = parse_size(text)
        .ok()
        .and_then(|size| usize::try_from(size).ok());
    size.filter(|size| (RECORD_SIZE_MIN_BYTES..=RECORD_SIZE_MAX_BYTES).contains(size))
        .ok_or(RecordSizeError)
}

/// The setup of a measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setup {
    pub(crate) topic: String,
    pub(crate) partitions: usize,
    pub(crate) replication_factor: usize,
    pub(crate) record_bytes: usize,
    /// Number of clients, each with its own connections.
    pub(crate) clients: usize,
    /// Number of producers or consumers.
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
        assert_eq!(parse_record_size("2MiB").unwrap(), 2 << 20);
        for bad in ["7", "3MiB", "x"] {
            assert!(parse_record_size(bad).is_err(), "{bad}");
        }
    }
}
