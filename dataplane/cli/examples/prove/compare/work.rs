//! The engines, the loads and the samples that are measured.

use std::fmt;

/// An engine to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Engine {
    /// JetStream with its default configuration, which acknowledges before fsync.
    NatsDefault,
    /// JetStream with `sync_interval: always`.
    NatsAlways,
    /// Lograft with its default configuration: fsync on a majority, mTLS.
    Lograft,
}

impl Engine {
    /// All engines, in the order of a round.
    pub(crate) const ALL: [Self; 3] = [Self::NatsDefault, Self::NatsAlways, Self::Lograft];

    /// Name in the head of the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NatsDefault => "NATS default",
            Self::NatsAlways => "NATS sync always",
            Self::Lograft => "Lograft",
        }
    }
}

/// A load to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Work {
    /// 256 B records, pipelined.
    Small,
    /// The same without the official NATS client.
    SmallByHand,
    /// The same with NATS fast-ingest batches.
    SmallFastIngest,
    /// The same with NATS atomic batches.
    SmallAtomic,
    /// 1 KiB records, pipelined.
    Large,
    /// The same without the official NATS client.
    LargeByHand,
    /// The same with NATS fast-ingest batches.
    LargeFastIngest,
    /// Read from the start what an earlier load has written.
    Consume,
    /// One producer, one record at a time.
    One,
    /// 64 producers, one record at a time each, with their own streams.
    Many,
    /// The same 64 with their own connections.
    ManyConnections,
    /// The same 64 through one producer, which batches their records.
    ManyPacked,
}

impl Work {
    /// All loads, in the order in which they run.
    pub(crate) const ALL: [Self; 12] = [
        Self::Small,
        Self::SmallByHand,
        Self::SmallFastIngest,
        Self::SmallAtomic,
        Self::Large,
        Self::LargeByHand,
        Self::LargeFastIngest,
        Self::Consume,
        Self::One,
        Self::Many,
        Self::ManyConnections,
        Self::ManyPacked,
    ];

    /// Whether the load applies to the engine.
    pub(crate) fn is_for(self, engine: Engine) -> bool {
        match self {
            Self::SmallByHand
            | Self::SmallFastIngest
            | Self::SmallAtomic
            | Self::LargeByHand
            | Self::LargeFastIngest => engine != Engine::Lograft,
            Self::ManyPacked => engine == Engine::Lograft,
            _ => true,
        }
    }

    /// The Lograft load to compare this one with. Lograft always batches, so one of its loads
    /// corresponds to several ways of publishing to NATS.
    pub(crate) const fn counterpart(self) -> Self {
        match self {
            Self::SmallByHand | Self::SmallFastIngest | Self::SmallAtomic => Self::Small,
            Self::LargeByHand | Self::LargeFastIngest => Self::Large,
            other => other,
        }
    }

    /// Name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Small => "256 B pipelined",
            Self::SmallByHand => "256 B, own NATS protocol client",
            Self::SmallFastIngest => "256 B, NATS fast-ingest batch, own client",
            Self::SmallAtomic => "256 B, NATS atomic batches, own client",
            Self::Large => "1 KiB pipelined",
            Self::LargeByHand => "1 KiB, own NATS protocol client",
            Self::LargeFastIngest => "1 KiB, NATS fast-ingest batch, own client",
            Self::Consume => "consume 1 KiB, in page cache",
            Self::One => "one producer, one record at a time",
            Self::Many => "64 producers, one record each, own streams",
            Self::ManyConnections => "the same 64, own connections",
            Self::ManyPacked => "the same 64 through one batching producer",
        }
    }

    /// Size of the records in bytes.
    pub(crate) const fn record_bytes(self) -> usize {
        match self {
            Self::Large | Self::LargeByHand | Self::LargeFastIngest | Self::Consume => 1024,
            _ => 256,
        }
    }
}

/// Result of one load in one round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Records acknowledged, or read, per second.
    pub(crate) records_per_second: f64,
    /// Payload per second in 10^6 bytes.
    pub(crate) mb_per_second: f64,
    /// Median latency in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile of the latency in milliseconds.
    pub(crate) p99_ms: f64,
    /// CPU seconds of client and servers per 10^9 bytes of payload.
    pub(crate) cpu_seconds_per_gb: f64,
    /// Bytes written per node and byte of payload, as the mean of the nodes.
    pub(crate) written_ratio: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            records_per_second,
            mb_per_second,
            p50_ms,
            p99_ms,
            ..
        } = self;
        write!(
            f,
            "{records_per_second:.0} records/s, {mb_per_second:.1} MB/s, p50 {p50_ms:.2} ms, \
             p99 {p99_ms:.2} ms, {:.1} CPU s/GB, {:.2} written per byte and node",
            self.cpu_seconds_per_gb, self.written_ratio
        )
    }
}
