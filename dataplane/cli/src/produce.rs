//! `lograft produce`: writes the lines of a file or of standard input as records.

mod acks;
mod input;
mod lines;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use lograft_client::{Header, PartitionId, Producer, ProducerConfig, RecordParts, TopicProducer};

use crate::call_error::{PartitionNotFound, cannot};
use crate::clock::now_ms;
use crate::compression::CompressionArg;
use crate::error::{CliError, CommandError, PartlyDone};
use crate::exit::Exit;
use crate::global::GlobalArgs;
use crate::output::{Paint, Progress, throughput_summary};
use crate::units;

use acks::Acks;
use input::{Block, Input, InputError};
use lines::{Splitter, lines};

/// Options of `lograft produce`.
#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    /// Topic name
    topic: String,
    /// Read lines from this file instead of standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Split each line at the first SEP into key and value; a line without SEP is an error
    #[arg(long, short, value_name = "SEP", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// Add a header to every record; can be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<Header>,
    /// Compression of batches
    #[arg(long, short, value_name = "KIND", default_value = "none")]
    compression: CompressionArg,
    /// Write to this partition only [default: chosen by key; spread evenly without a key]
    #[arg(long, short, value_name = "N")]
    partition: Option<u32>,
    /// Print each acknowledgement: partition, offsets, leader epoch, durability
    #[arg(long)]
    acks: bool,
    /// Print errors only
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("header must be NAME=VALUE")]
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

/// Why no more input is read.
enum InputEnd {
    EndOfInput,
    Interrupted,
}

/// Ctrl-C ended the command.
#[derive(Debug, thiserror::Error)]
#[error("interrupted after {acked} acknowledged records")]
struct Interrupted {
    acked: String,
}

impl CommandError for Interrupted {
    fn exit(&self) -> Exit {
        Exit::Interrupted
    }
}

/// Runs `lograft produce`.
pub(crate) async fn run(args: ProduceArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let mut input = Input::open(args.file.as_deref())?;
    let client = global.connect().await?;
    let action = format!("produce to topic {}", args.topic);
    let config = ProducerConfig {
        compression: args.compression.into(),
        ..ProducerConfig::default()
    };
    let producer = client
        .producer(config)
        .await
        .map_err(cannot(action.clone()))?;
    let topic = producer
        .topic(&args.topic)
        .await
        .map_err(cannot(action.clone()))?;
    if let Some(partition) = args.partition
        && partition >= topic.partition_count()
    {
        let count = topic.partition_count() as usize;
        return Err(PartitionNotFound {
            topic: args.topic,
            partition,
            count,
        }
        .into());
    }
    let mut run = ProduceRun {
        acks: Acks::new(args.acks),
        progress: if args.quiet {
            None
        } else {
            Some(Progress::new(input.total_bytes()))
        },
        started: Instant::now(),
        records: 0,
        bytes: 0,
        args,
        producer,
        topic,
        action,
    };
    let outcome = run.send_input(&mut input).await;
    run.finish(outcome).await
}

/// The state of a running `lograft produce`.
struct ProduceRun {
    args: ProduceArgs,
    producer: Producer,
    topic: TopicProducer,
    action: String,
    acks: Acks,
    progress: Option<Progress>,
    started: Instant,
    /// Records given to the producer.
    records: u64,
    /// Bytes of input sent so far.
    bytes: u64,
}

impl ProduceRun {
    /// Sends the input block by block, until its end or Ctrl-C.
    async fn send_input(&mut self, input: &mut Input) -> Result<InputEnd, CliError> {
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            let block = tokio::select! {
                block = input.next() => block,
                _ = &mut interrupt => return Ok(InputEnd::Interrupted),
            };
            let Some(block) = block? else {
                return Ok(InputEnd::EndOfInput);
            };
            tokio::select! {
                sent = self.send(&block) => sent?,
                _ = &mut interrupt => return Ok(InputEnd::Interrupted),
            }
            input.recycle(block);
        }
    }

    async fn send(&mut self, block: &Block) -> Result<(), CliError> {
        let partition = self.args.partition.map(PartitionId);
        let timestamp_ms = Some(now_ms());
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
        let deliveries = sent.map_err(cannot(self.action.clone()))?;
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
        self.acks.add(deliveries);
        self.acks
            .collect_ready()?
            .map_err(cannot(self.action.clone()))?;
        if let Some(progress) = &mut self.progress {
            progress.update(self.records, self.bytes);
        }
        Ok(())
    }

    /// Waits for all acknowledgements and prints the summary.
    async fn finish(mut self, outcome: Result<InputEnd, CliError>) -> Result<(), CliError> {
        let flushed = self.producer.flush().await;
        let acked_all = self.acks.collect_all().await?;
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
        let acked = self.producer.stats().acked_records;
        let stored = flushed
            .and(acked_all)
            .map_err(cannot(self.action.clone()))
            .map_err(CliError::from);
        let end = match outcome.and_then(|end| stored.map(|()| end)) {
            Ok(end) => end,
            Err(error) if acked == 0 => return Err(error),
            Err(error) => {
                return Err(PartlyDone {
                    done: format!("{} acknowledged records", units::count(acked)),
                    source: error,
                }
                .into());
            }
        };
        if !self.args.quiet {
            self.print_summary(acked);
        }
        match end {
            InputEnd::EndOfInput => Ok(()),
            InputEnd::Interrupted => Err(Interrupted {
                acked: units::count(acked),
            }
            .into()),
        }
    }

    fn print_summary(&self, acked: u64) {
        let paint = Paint::stderr();
        let totals = throughput_summary(acked, self.bytes, self.started.elapsed());
        let text = format!(
            "{} to {}: {totals}\n{}",
            paint.good("produced"),
            self.topic.name(),
            self.acks.summary()
        );
        drop(io::stderr().write_all(text.as_bytes()));
    }
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
}
