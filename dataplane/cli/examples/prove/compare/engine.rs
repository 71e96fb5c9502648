//! The engines and the loads.

use std::fmt;

use anyhow::Result;

use super::Compare;
use super::lograft::LograftRun;
use super::nats_cluster::NatsRun;
use crate::cluster::Place;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Engine {
    /// JetStream as it comes: acknowledged before it is on disk.
    NatsDefault,
    /// JetStream with `sync_interval: always`.
    NatsAlways,
    /// Lograft as it comes: fsync on a majority, mTLS.
    Lograft,
}

impl Engine {
    /// In the order of their turns.
    pub(crate) const ALL: [Self; 3] = [Self::NatsDefault, Self::NatsAlways, Self::Lograft];

    /// For the table's head.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NatsDefault => "NATS default",
            Self::NatsAlways => "NATS sync always",
            Self::Lograft => "Lograft",
        }
    }
}

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Work {
    /// 256 B records, pipelined.
    Small,
    /// The same without the peer's official client.
    SmallByHand,
    /// The same through the peer's fast-ingest batch.
    SmallFastIngest,
    /// The same through the peer's atomic batches.
    SmallAtomic,
    /// 1 KiB records, pipelined.
    Large,
    /// The same without the peer's official client.
    LargeByHand,
    /// The same through the peer's fast-ingest batch.
    LargeFastIngest,
    /// What a load before wrote, read from its start.
    Consume,
    /// One producer, one record at a time.
    One,
    /// 64 producers, one record at a time each, streams of their own.
    Many,
    /// The same 64, connections of their own.
    ManyConnections,
    /// The same 64 through one producer, which packs.
    ManyPacked,
}

impl Work {
    /// In the order in which each engine gets them.
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

    /// Whether the engine has it.
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

    /// The load of Lograft's that answers this one: it packs by itself, so one stands against all
    /// of the peer's ways to publish.
    pub(crate) const fn counterpart(self) -> Self {
        match self {
            Self::SmallByHand | Self::SmallFastIngest | Self::SmallAtomic => Self::Small,
            Self::LargeByHand | Self::LargeFastIngest => Self::Large,
            other => other,
        }
    }

    /// For the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Small => "256 B pipelined",
            Self::SmallByHand => "256 B, NATS's protocol by hand",
            Self::SmallFastIngest => "256 B, NATS fast-ingest batch by hand",
            Self::SmallAtomic => "256 B, NATS atomic batches by hand",
            Self::Large => "1 KiB pipelined",
            Self::LargeByHand => "1 KiB, NATS's protocol by hand",
            Self::LargeFastIngest => "1 KiB, NATS fast-ingest batch by hand",
            Self::Consume => "consume 1 KiB, in page cache",
            Self::One => "one producer, one record at a time",
            Self::Many => "64 producers, one record each, own streams",
            Self::ManyConnections => "the same 64, own connections",
            Self::ManyPacked => "the same 64 through one producer that packs",
        }
    }

    /// Bytes of its records.
    pub(crate) const fn record_bytes(self) -> usize {
        match self {
            Self::Large | Self::LargeByHand | Self::LargeFastIngest | Self::Consume => 1024,
            _ => 256,
        }
    }
}

/// What one load of one turn came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Records acknowledged, or read, per second.
    pub(crate) records_per_second: f64,
    /// Payload per second, 10^6 bytes.
    pub(crate) mb_per_second: f64,
    /// Send to ack, milliseconds.
    pub(crate) p50_ms: f64,
    /// Send to ack, milliseconds.
    pub(crate) p99_ms: f64,
    /// CPU of client and servers for each 10^9 bytes of payload, seconds.
    pub(crate) cpu_seconds_per_gb: f64,
    /// Bytes that one node wrote for each byte of payload, the mean of the nodes.
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

/// An engine that has its turn.
#[derive(Debug)]
pub(crate) enum Running {
    /// Three nats-server processes.
    Nats(NatsRun),
    /// `lograft dev`.
    Lograft(LograftRun),
}

impl Running {
    /// Starts three nodes with empty disks; returns once they are ready.
    pub(crate) async fn start(engine: Engine, compare: &Compare, place: &Place) -> Result<Self> {
        Ok(match engine {
            Engine::Lograft => Self::Lograft(LograftRun::start(place)?),
            Engine::NatsDefault | Engine::NatsAlways => {
                let always = engine == Engine::NatsAlways;
                Self::Nats(NatsRun::start(compare.nats_server()?, always, place).await?)
            }
        })
    }

    /// Runs one load.
    pub(crate) async fn load(&mut self, work: Work, compare: &Compare) -> Result<Sample> {
        match self {
            Self::Nats(run) => run.load(work, compare.seconds, compare.partitions).await,
            Self::Lograft(run) => run.load(work, compare.seconds, compare.partitions),
        }
    }

    /// Stops it and removes its data.
    pub(crate) fn stop(self) -> Result<()> {
        match self {
            Self::Nats(run) => run.stop(),
            Self::Lograft(run) => run.stop(),
        }
    }
}
