//! The loads that NATS JetStream gets: through its official client for Rust, and through a small
//! client of our own for its text protocol, which adds no layer that could slow the peer down.

mod batch;
mod consume;
mod official;
mod publish;
mod single;
mod stream;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::measure::Measured;

pub(crate) use stream::{Target, create};

/// One load on a JetStream cluster.
#[derive(Debug, Args)]
pub(crate) struct NatsLoad {
    /// Client addresses of the servers n1, n2, ... in this order.
    #[arg(long, value_delimiter = ',', required = true)]
    servers: Vec<SocketAddr>,
    /// The stream to use.
    #[arg(long, default_value = "BENCH")]
    stream: String,
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Makes the stream anew: file storage, limits by bytes.
    Create {
        #[arg(long, default_value_t = 3)]
        replicas: u32,
        #[arg(long, default_value_t = 4 << 30)]
        max_bytes: u64,
    },
    /// Publishes with acknowledgements in flight, as an asynchronous JetStream client does.
    Publish(Stream),
    /// The same through the official client.
    PublishOfficial(Stream),
    /// Publishes as one fast-ingest batch, the peer's fastest way (NATS 2.14 and later).
    FastIngest(Stream),
    /// Publishes atomic batches of 1000 records, four in flight.
    AtomicBatch(Stream),
    /// Publishes one record at a time, each producer on a connection of its own.
    Single {
        #[arg(long, default_value_t = 1)]
        producers: u32,
        #[command(flatten)]
        stream: Stream,
    },
    /// Publishes one record at a time through the official client, all on one connection.
    SingleOfficial {
        #[arg(long, default_value_t = 1)]
        producers: u32,
        #[command(flatten)]
        stream: Stream,
    },
    /// Reads the stream from its start to its end through a pull consumer without acks.
    Consume(Stream),
}

/// Size and length of a stream of records.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Stream {
    /// Bytes of each record's payload.
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,
    /// How long to send, seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Most records sent and not acknowledged.
    #[arg(long, default_value_t = 4000)]
    in_flight: u64,
}

impl Stream {
    fn length(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// A load without its particulars.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Acknowledgements in flight.
    Publish,
    /// The same through the official client.
    PublishOfficial,
    /// One fast-ingest batch.
    FastIngest,
    /// Atomic batches.
    AtomicBatch,
    /// One record at a time, each producer on a connection of its own.
    Single,
    /// One record at a time through the official client, on one connection.
    SingleOfficial,
    /// Reading from the start.
    Consume,
}

impl NatsLoad {
    /// Runs the load.
    pub(crate) async fn run(self) -> Result<Measured> {
        let Self {
            servers,
            stream,
            work,
        } = self;
        let (kind, producers, load) = match work {
            Work::Create {
                replicas,
                max_bytes,
            } => {
                create(&servers, &stream, replicas, max_bytes).await?;
                return Ok(Measured::default());
            }
            Work::Publish(load) => (Load::Publish, 1, load),
            Work::PublishOfficial(load) => (Load::PublishOfficial, 1, load),
            Work::FastIngest(load) => (Load::FastIngest, 1, load),
            Work::AtomicBatch(load) => (Load::AtomicBatch, 1, load),
            Work::Single { producers, stream } => (Load::Single, producers, stream),
            Work::SingleOfficial { producers, stream } => (Load::SingleOfficial, producers, stream),
            Work::Consume(load) => (Load::Consume, 1, load),
        };
        let target = Target::find(&servers, &stream).await?;
        kind.run(&target, producers, load).await
    }
}

/// Runs a load with the usual window.
pub(crate) async fn load(
    target: &Target,
    kind: Load,
    producers: u32,
    record_bytes: usize,
    seconds: u64,
) -> Result<Measured> {
    kind.run(
        target,
        producers,
        Stream {
            record_bytes,
            seconds,
            in_flight: 4000,
        },
    )
    .await
}

impl Load {
    async fn run(self, target: &Target, producers: u32, load: Stream) -> Result<Measured> {
        match self {
            Self::Publish => publish::run(target, load).await,
            Self::PublishOfficial => official::publish(target, load).await,
            Self::FastIngest => batch::fast_ingest(target, load).await,
            Self::AtomicBatch => batch::atomic(target, load).await,
            Self::Single => single::run(target, producers, load).await,
            Self::SingleOfficial => official::single(target, producers, load).await,
            Self::Consume => consume::run(target, load.seconds).await,
        }
    }
}
