//! `lograft produce`: lines of a file or of standard input become records.

mod acks;
mod input;
mod lines;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use lograft_client::{
    Compression, Header, PartitionId, Producer, ProducerConfig, RecordParts, TopicProducer,
};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{Paint, Progress};
use crate::units;

use acks::Acks;
use input::{Block, Input};
use lines::{Splitter, lines};

pub(crate) use input::InputError;

/// Options of `lograft produce`.
#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    /// The topic
    topic: String,
    /// Read this file instead of standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What stands before the first SEP of a line is its key; each line must have one
    #[arg(long, short, value_name = "SEP", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// A header for each record; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<Header>,
    /// How batches are compressed
    #[arg(long, short, value_name = "KIND", default_value = "none")]
    compression: Kind,
    /// Write to this partition only [default: by key, or spread where there is none]
    #[arg(long, short, value_name = "N")]
    partition: Option<u32>,
    /// Print each acknowledgement: partition, offsets, epoch, durability
    #[arg(long)]
    acks: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    None,
    Lz4,
    Zstd,
}

impl From<Kind> for Compression {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::None => Self::None,
            Kind::Lz4 => Self::Lz4,
            Kind::Zstd => Self::Zstd,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a header is NAME=VALUE")]
struct HeaderError;

fn parse_header(text: &str) -> Result<Header, HeaderError> {
    let (key, value) = text.split_once('=').ok_or(HeaderError)?;
    if key.is_empty() {
        return Err(HeaderError);
    }
    Ok(Header {
        key: key.into(),
        value: value.to_owned().into(),
    })
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How reading ended.
enum End {
    OfInput,
    Interrupted,
}

/// Runs `lograft produce`.
pub(crate) async fn run(args: ProduceArgs, global: &Global) -> Result<(), CliError> {
    let mut input = Input::open(args.file.as_deref())?;
    let client = global.connect().await?;
    let action = format!("producing to {:?}", args.topic);
    let config = ProducerConfig {
        compression: args.compression.into(),
        ..ProducerConfig::default()
    };
    let producer = client
        .producer(config)
        .await
        .map_err(CliError::call(action.clone()))?;
    let topic = producer
        .topic(&args.topic)
        .await
        .map_err(CliError::call(action.clone()))?;
    if let Some(partition) = args.partition
        && partition >= topic.partition_count()
    {
        let count = topic.partition_count() as usize;
        return Err(CliError::NoPartition {
            topic: args.topic,
            partition,
            count,
        });
    }
    let mut run = Run {
        acks: Acks::new(args.acks),
        progress: if args.quiet {
            None
        } else {
            Some(Progress::new(input.total_bytes()))
        },
        begun: Instant::now(),
        records: 0,
        bytes: 0,
        args,
        producer,
        topic,
        action,
    };
    let outcome = run.pump(&mut input).await;
    run.finish(outcome).await
}

/// A production under way.
struct Run {
    args: ProduceArgs,
    producer: Producer,
    topic: TopicProducer,
    action: String,
    acks: Acks,
    progress: Option<Progress>,
    begun: Instant,
    /// Taken by the producer.
    records: u64,
    /// Of the input.
    bytes: u64,
}

impl Run {
    /// Hands block after block to the producer.
    async fn pump(&mut self, input: &mut Input) -> Result<End, CliError> {
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            let block = tokio::select! {
                block = input.next() => block,
                _ = &mut interrupt => return Ok(End::Interrupted),
            };
            let Some(block) = block? else {
                return Ok(End::OfInput);
            };
            tokio::select! {
                sent = self.send(&block) => sent?,
                _ = &mut interrupt => return Ok(End::Interrupted),
            }
            input.recycle(block);
        }
    }

    async fn send(&mut self, block: &Block) -> Result<(), CliError> {
        let partition = self.args.partition.map(PartitionId);
        let timestamp_ms = now_ms();
        let headers = self.args.headers.as_slice();
        let splitter = self
            .args
            .key_separator
            .as_deref()
            .map(|text| Splitter::new(text.as_bytes()));
        let mut without_key = None;
        let mut count = 0_u64;
        let records = lines(block.lines()).map_while(|line| {
            let (key, value) = match &splitter {
                None => (None, line),
                Some(splitter) => {
                    let split = splitter.split(line);
                    if split.is_none() {
                        without_key = Some(count);
                    }
                    let (key, value) = split?;
                    (Some(key), value)
                }
            };
            count += 1;
            Some(RecordParts {
                timestamp_ms,
                key,
                value: Some(value),
                headers,
            })
        });
        let sent = self.topic.send_many(records, partition).await;
        let deliveries = sent.map_err(CliError::call(self.action.clone()))?;
        if let Some(count) = without_key {
            let separator = self.args.key_separator.clone().unwrap_or_default();
            return Err(InputError::NoKey {
                line: self.records + count + 1,
                separator,
            }
            .into());
        }
        self.records += count;
        self.bytes += block.lines().len() as u64;
        self.acks.take(deliveries);
        self.acks
            .reap()?
            .map_err(CliError::call(self.action.clone()))?;
        if let Some(progress) = &mut self.progress {
            progress.tick(self.records, self.bytes);
        }
        Ok(())
    }

    /// Waits for all acknowledgements and tells what was done.
    async fn finish(mut self, outcome: Result<End, CliError>) -> Result<(), CliError> {
        let flushed = self.producer.flush().await;
        let reaped = self.acks.reap_all().await?;
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
        let acked = self.producer.stats().acked_records;
        let stored = flushed
            .and(reaped)
            .map_err(CliError::call(self.action.clone()));
        let end = match outcome.and_then(|end| stored.map(|()| end)) {
            Ok(end) => end,
            Err(error) if acked == 0 => return Err(error),
            Err(error) => {
                return Err(CliError::Partly {
                    acked: units::count(acked),
                    source: Box::new(error),
                });
            }
        };
        if !self.args.quiet {
            self.summary(acked);
        }
        match end {
            End::OfInput => Ok(()),
            End::Interrupted => Err(CliError::Interrupted {
                done: format!("{} records acknowledged", units::count(acked)),
            }),
        }
    }

    fn summary(&self, acked: u64) {
        let paint = Paint::stderr();
        let totals = totals(acked, self.bytes, self.begun.elapsed());
        let text = format!(
            "{} to {}: {totals}\n{}",
            paint.good("stored"),
            self.topic.name(),
            self.acks.summary()
        );
        drop(io::stderr().write_all(text.as_bytes()));
    }
}

/// `1,000 records, 1.5 MiB in 1.2 s: 833/s, 1.3 MB/s`.
pub(crate) fn totals(records: u64, bytes: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(1e-9);
    format!(
        "{} records, {} in {}: {} records/s, {:.1} MB/s",
        units::count(records),
        units::size(bytes),
        units::elapsed(time),
        units::rate(units::float(records) / seconds),
        units::float(bytes) / seconds / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_a_name_and_any_value() {
        let header = parse_header("trace=a=b").unwrap();
        assert_eq!(
            (header.key.as_str(), &header.value[..]),
            ("trace", &b"a=b"[..])
        );
        assert_eq!(&parse_header("empty=").unwrap().value[..], b"");
        assert!(parse_header("=x").is_err());
        assert!(parse_header("x").is_err());
    }

    #[test]
    fn totals_tell_count_size_time_and_rates() {
        let text = totals(1_000_000, 256_000_000, Duration::from_millis(1600));
        assert_eq!(
            text,
            "1,000,000 records, 244.1 MiB in 1.6 s: 625k records/s, 160.0 MB/s"
        );
    }
}
