//! `lograft consume`: writes the records of a topic to standard output.

mod format;
mod start;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use clap::{Args, ValueEnum};
use futures_util::poll;
use lograft_client::{ConsumedBatch, Consumer, ConsumerConfig, PartitionId, StartAt};

use crate::call_error::{PartitionNotFound, cannot};
use crate::error::{CliError, PartlyDone};
use crate::global::GlobalArgs;
use crate::output::{OutputError, Paint, Progress, throughput_summary};
use crate::units;

use format::{ConsumedRecord, Format};
pub(crate) use start::parse_start;

/// Size of one write to standard output.
const OUTPUT_BLOCK_BYTES: usize = 256 * 1024;

/// Options of `lograft consume`.
#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    /// Topic name
    topic: String,
    /// Start position: earliest, latest, an offset, a time (2026-01-31T08:00:00Z) or an age (15m)
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = parse_start)]
    from: StartAt,
    /// Read only this partition; can be repeated
    #[arg(long = "partition", short, value_name = "N")]
    partitions: Vec<u32>,
    /// Keep waiting for new records at the end of the log
    #[arg(long, short)]
    follow: bool,
    /// Exit after COUNT records
    #[arg(long, short = 'n', value_name = "COUNT")]
    max: Option<u64>,
    /// Print each record as its value or as a JSON object, followed by a newline
    #[arg(long, short, value_name = "FORM", default_value = "value")]
    output: OutputForm,
    /// Print the key and SEP before each value
    #[arg(long, short, value_name = "SEP")]
    key_separator: Option<String>,
    /// Print only records and errors, no progress or summary
    #[arg(long, short)]
    quiet: bool,
}

/// Value of `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    Value,
    Json,
}

/// Runs `lograft consume`.
pub(crate) async fn run(args: ConsumeArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let client = global.connect().await?;
    let action = format!("consume from topic {}", args.topic);
    if !args.partitions.is_empty() {
        let topic = client
            .topic(&args.topic)
            .await
            .map_err(cannot(action.clone()))?;
        let count = topic.partitions.len();
        if let Some(&partition) = args
            .partitions
            .iter()
            .find(|number| **number as usize >= count)
        {
            return Err(PartitionNotFound {
                topic: args.topic,
                partition,
                count,
            }
            .into());
        }
    }
    let config = ConsumerConfig {
        partitions: args.partitions.iter().copied().map(PartitionId).collect(),
        follow: args.follow,
        ..ConsumerConfig::new(&args.topic, args.from)
    };
    let consumer = client
        .consumer(config)
        .await
        .map_err(cannot(action.clone()))?;
    let format = match args.output {
        OutputForm::Value => Format::Value {
            separator: args.key_separator,
        },
        OutputForm::Json => Format::Json { topic: args.topic },
    };
    let mut run = ConsumeRun {
        out: BlockWriter::open()?,
        remaining: args.max.unwrap_or(u64::MAX),
        progress: (!args.quiet && !is_terminal(&io::stdout())).then(|| Progress::new(None)),
        started: Instant::now(),
        records: 0,
        bytes: 0,
        format,
        action,
    };
    let outcome = run.print_records(consumer).await;
    run.finish(outcome, args.quiet)
}

fn is_terminal(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal()
}

/// The state of a running `lograft consume`.
struct ConsumeRun {
    out: BlockWriter,
    format: Format,
    action: String,
    /// Records left until `--max` is reached.
    remaining: u64,
    progress: Option<Progress>,
    started: Instant,
    records: u64,
    bytes: u64,
}

impl ConsumeRun {
    /// Prints records until the end of the log, the maximum count or Ctrl-C.
    async fn print_records(&mut self, mut consumer: Consumer) -> Result<(), CliError> {
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        while self.remaining > 0 {
            let mut next = std::pin::pin!(consumer.next_batch());
            if poll!(&mut interrupt).is_ready() {
                return Ok(());
            }
            let batch = match poll!(&mut next) {
                std::task::Poll::Ready(batch) => batch,
                std::task::Poll::Pending => {
                    // Flush before waiting, so that `--follow` shows records without delay.
                    self.out.flush()?;
                    tokio::select! {
                        batch = next => batch,
                        _ = &mut interrupt => return Ok(()),
                    }
                }
            };
            match batch.map_err(cannot(self.action.clone()))? {
                Some(batch) => self.write(&batch)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: &ConsumedBatch) -> Result<(), CliError> {
        let before = self.out.total_bytes();
        for record in batch.iter() {
            if self.remaining == 0 {
                break;
            }
            let (offset, record) = record.map_err(cannot(self.action.clone()))?;
            let record = ConsumedRecord {
                partition: batch.partition().get(),
                offset: offset.get(),
                append_time_ms: batch.append_time_ms(),
                record: &record,
            };
            self.format.append(&record, &mut self.out.block)?;
            self.out.flush_if_full()?;
            self.remaining -= 1;
            self.records += 1;
        }
        self.bytes += self.out.total_bytes() - before;
        if let Some(progress) = &mut self.progress {
            progress.update(self.records, self.bytes);
        }
        Ok(())
    }

    fn finish(mut self, outcome: Result<(), CliError>, quiet: bool) -> Result<(), CliError> {
        let flushed = self.out.flush();
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
        match outcome {
            Err(error) if error.is_silent() || self.records == 0 => return Err(error),
            Err(error) => {
                return Err(PartlyDone {
                    done: format!("{} records", units::count(self.records)),
                    source: error,
                }
                .into());
            }
            Ok(()) => flushed?,
        }
        if !quiet {
            let text = throughput_summary(self.records, self.bytes, self.started.elapsed());
            drop(writeln!(io::stderr(), "{}", Paint::stderr().faint(text)));
        }
        Ok(())
    }
}

/// Writes standard output in large blocks, without the line buffering of the standard library.
struct BlockWriter {
    file: File,
    block: Vec<u8>,
    written: u64,
}

impl BlockWriter {
    fn open() -> Result<Self, CliError> {
        let output = |source| OutputError::Write { source };
        let file = io::stdout().as_fd().try_clone_to_owned().map_err(output)?;
        Ok(Self {
            file: file.into(),
            block: Vec::with_capacity(2 * OUTPUT_BLOCK_BYTES),
            written: 0,
        })
    }

    /// Bytes written or buffered so far.
    fn total_bytes(&self) -> u64 {
        self.written + self.block.len() as u64
    }

    fn flush_if_full(&mut self) -> Result<(), CliError> {
        if self.block.len() >= OUTPUT_BLOCK_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), CliError> {
        self.file
            .write_all(&self.block)
            .map_err(|source| OutputError::Write { source })?;
        self.written += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }
}
