//! Loads on NATS JetStream, with its official Rust client and with a small client for its text
//! protocol, which adds no layer that could slow NATS down.

mod batch;
mod consume;
mod official;
mod options;
mod publish;
mod single;
mod stream;
mod wire;

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::measure::Measured;

use options::LoadArgs;

pub(crate) use stream::{Target, create};

/// Options of the nats-load command.
#[derive(Debug, Args)]
pub(crate) struct NatsLoad {
    /// Client addresses of the servers n1, n2, ... in this order
    #[arg(long, value_delimiter = ',', required = true)]
    servers: Vec<SocketAddr>,
    /// Name of the stream
    #[arg(long, default_value = "BENCH")]
    stream: String,
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Recreate the stream with file storage and a size limit
    Create {
        #[arg(long, default_value_t = 3)]
        replicas: u32,
        #[arg(long, default_value_t = 4 << 30)]
        max_bytes: u64,
    },
    /// Publish with acknowledgements in flight, like an asynchronous JetStream client
    Publish(LoadArgs),
    /// Publish with acknowledgements in flight with the official client
    PublishOfficial(LoadArgs),
    /// Publish as one fast-ingest batch, the fastest way to publish (NATS 2.14 and later)
    FastIngest(LoadArgs),
    /// Publish atomic batches of 1000 records, four in flight
    AtomicBatch(LoadArgs),
    /// Publish one record at a time, each producer with its own connection
    Single {
        #[arg(long, default_value_t = 1)]
        producers: u32,
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Publish one record at a time with the official client, all producers on one connection
    SingleOfficial {
        #[arg(long, default_value_t = 1)]
        producers: u32,
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Read the stream from start to end with a pull consumer without acknowledgements
    Consume(LoadArgs),
}

/// Kind of load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Acknowledgements in flight.
    Publish,
    /// Acknowledgements in flight, with the official client.
    PublishOfficial,
    /// One fast-ingest batch.
    FastIngest,
    /// Atomic batches.
    AtomicBatch,
    /// One record at a time, each producer with its own connection.
    Single,
    /// One record at a time with the official client, on one connection.
    SingleOfficial,
    /// Read from the start.
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
            Work::Single { producers, load } => (Load::Single, producers, load),
            Work::SingleOfficial { producers, load } => (Load::SingleOfficial, producers, load),
            Work::Consume(load) => (Load::Consume, 1, load),
        };
        let target = Target::find(&servers, &stream).await?;
        kind.run(&target, producers, load).await
    }
}

/// Runs a load with the default window.
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
        LoadArgs {
            record_bytes,
            seconds,
            in_flight: 4000,
        },
    )
    .await
}

impl Load {
    async fn run(self, target: &Target, producers: u32, load: LoadArgs) -> Result<Measured> {
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
