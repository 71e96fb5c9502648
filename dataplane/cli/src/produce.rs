//! `lograft produce`: writes the lines of a file or of standard input as records.

mod acks;
mod input;
mod json;
mod lines;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use lograft_client::{Header, PartitionId, Producer, ProducerConfig, RecordParts, TopicProducer};

use crate::call_error::{PartitionNotFound, cannot};
use crate::clock::now_ms;
use crate::compression::CompressionArg;
use crate::error::{CliError, CommandError, PartlyDone};
use crate::escapes::{Escaped, parse_separator};
use crate::exit::Exit;
use crate::global::GlobalArgs;
use crate::output::{Paint, Progress, throughput_summary};
use crate::units;

use acks::Acks;
use input::{Block, Framing, Input, InputError};
use json::{InputRecord, JsonError, parse_record};
use lines::{Separator, Splitter};

/// Options of `lograft produce`.
#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    /// Topic name
    topic: String,
    /// Read this file instead of standard input
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Form of the input: a value per line, a JSON object per line as `consume -o json` prints it,
    /// or one value that is the whole input
    #[arg(long, short, value_name = "FORM", default_value = "value")]
    input: InputForm,
    /// Separator of records [default: \n]
    #[arg(long, short = 's', value_name = "SEP", value_parser = parse_separator)]
    record_separator: Option<Escaped>,
    /// Split each line at the first SEP into key and value; a line without SEP is an error
    #[arg(long, short, value_name = "SEP", value_parser = parse_separator)]
    key_separator: Option<Escaped>,
    /// Key of every record
    #[arg(long, value_name = "KEY", conflicts_with = "key_separator")]
    key: Option<String>,
    /// Add a header to every record; can be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<Header>,
    /// Compression of batches
    #[arg(long, short, value_name = "KIND", default_value = "none")]
    compression: CompressionArg,
    /// Write to this partition only [default: chosen by key; spread evenly without a key]
    #[arg(long, short, value_name = "N")]
    partition: Option<u32>,
    /// With --input json: write each record to the partition that its JSON object names
    #[arg(long, conflicts_with = "partition")]
    keep_partitions: bool,
    /// Print each acknowledgement: partition, offsets, leader epoch, durability
    #[arg(long)]
    acks: bool,
    /// Print errors only
    #[arg(long, short)]
    quiet: bool,
}

/// Value of `--input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InputForm {
    Value,
    Json,
    Raw,
}

impl InputForm {
    const fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Json => "json",
            Self::Raw => "raw",
        }
    }
}

/// An option does not fit the form of the input.
#[derive(Debug, thiserror::Error)]
#[error("{option} must not be used with --input {form}")]
struct OptionError {
    option: &'static str,
    form: &'static str,
}

impl CommandError for OptionError {}

impl ProduceArgs {
    fn framing(&self) -> Result<Framing, OptionError> {
        let (has_separator, has_key_separator) = (
            self.record_separator.is_some(),
            self.key_separator.is_some(),
        );
        let misfit = match self.input {
            InputForm::Json | InputForm::Raw if has_key_separator => Some("--key-separator"),
            InputForm::Json if self.key.is_some() => Some("--key"),
            InputForm::Raw if has_separator => Some("--record-separator"),
            InputForm::Value | InputForm::Raw if self.keep_partitions => Some("--keep-partitions"),
            InputForm::Value | InputForm::Json | InputForm::Raw => None,
        };
        if let Some(option) = misfit {
            let form = self.input.name();
            return Err(OptionError { option, form });
        }
        let separator = self.record_separator.as_ref();
        let separator = Separator::new(separator.map_or(b"\n", |text| &text.0));
        Ok(match self.input {
            InputForm::Value => Framing::Values(separator),
            InputForm::Json => Framing::Json(separator),
            InputForm::Raw => Framing::Whole,
        })
    }
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
    let framing = args.framing()?;
    let mut input = Input::open(args.file.as_deref(), framing.clone())?;
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
        input_records: 0,
        bytes: 0,
        framing,
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
    framing: Framing,
    producer: Producer,
    topic: TopicProducer,
    action: String,
    acks: Acks,
    progress: Option<Progress>,
    started: Instant,
    /// Records given to the producer.
    records: u64,
    /// JSON objects read, including empty lines.
    input_records: u64,
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
        match &self.framing {
            Framing::Json(separator) => {
                let separator = separator.clone();
                self.send_json(&separator, block).await?;
            }
            Framing::Values(separator) => {
                let separator = separator.clone();
                self.send_values(separator.split(block.bytes())).await?;
            }
            Framing::Whole => self.send_values(std::iter::once(block.bytes())).await?,
        }
        self.bytes += block.bytes().len() as u64;
        self.acks
            .collect_ready()?
            .map_err(cannot(self.action.clone()))?;
        if let Some(progress) = &mut self.progress {
            progress.update(self.records, self.bytes);
        }
        Ok(())
    }

    async fn send_values(&mut self, values: impl Iterator<Item = &[u8]>) -> Result<(), CliError> {
        let timestamp_ms = Some(now_ms());
        let headers = self.args.headers.as_slice();
        let fixed_key = self.args.key.as_deref().map(str::as_bytes);
        let separator = self.args.key_separator.as_ref();
        let splitter = separator.map(|text| Splitter::new(&text.0));
        let mut without_key = None;
        let mut count = 0_u64;
        let records = values.map_while(|record| {
            let (key, value) = match &splitter {
                None => (fixed_key, record),
                Some(splitter) => {
                    let split = splitter.split(record);
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
        let partition = self.args.partition.map(PartitionId);
        let sent = self.topic.send_many(records, partition).await;
        let deliveries = sent.map_err(cannot(self.action.clone()))?;
        if let Some(count) = without_key {
            let separator = separator.map(|text| text.0.as_slice()).unwrap_or_default();
            return Err(InputError::NoKey {
                unit: self.framing.unit(),
                number: self.records + count + 1,
                separator: String::from_utf8_lossy(separator).into_owned(),
            }
            .into());
        }
        self.records += count;
        self.acks.add(deliveries);
        Ok(())
    }

    /// Sends the records before the first one that is not valid, and fails with it.
    async fn send_json(&mut self, separator: &Separator, block: &Block) -> Result<(), CliError> {
        let mut records = Vec::new();
        let mut failed = None;
        for json in separator.split(block.bytes()) {
            self.input_records += 1;
            if json.trim_ascii().is_empty() {
                continue;
            }
            match self.parse_json(json) {
                Ok(record) => records.push(record),
                Err(source) => {
                    failed = Some(InputError::Json {
                        unit: self.framing.unit(),
                        number: self.input_records,
                        source,
                    });
                    break;
                }
            }
        }
        for run in records.chunk_by(|a, b| a.partition == b.partition) {
            self.send_run(run).await?;
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn parse_json(&self, json: &[u8]) -> Result<InputRecord, JsonError> {
        let mut record = parse_record(json)?;
        record.headers.extend_from_slice(&self.args.headers);
        record.timestamp_ms = record.timestamp_ms.or_else(|| Some(now_ms()));
        record.partition = match (self.args.keep_partitions, record.partition) {
            (true, None) => return Err(JsonError::NoPartition),
            (true, partition) => partition,
            (false, _) => self.args.partition,
        };
        Ok(record)
    }

    /// Sends consecutive records with the same partition.
    async fn send_run(&mut self, run: &[InputRecord]) -> Result<(), CliError> {
        let partition = run.first().and_then(|record| record.partition);
        let count = self.topic.partition_count();
        if let Some(partition) = partition.filter(|partition| *partition >= count) {
            return Err(PartitionNotFound {
                topic: self.args.topic.clone(),
                partition,
                count: count as usize,
            }
            .into());
        }
        let parts = run.iter().map(|record| RecordParts {
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        });
        let sent = self.topic.send_many(parts, partition.map(PartitionId));
        let deliveries = sent.await.map_err(cannot(self.action.clone()))?;
        self.records += run.len() as u64;
        self.acks.add(deliveries);
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
