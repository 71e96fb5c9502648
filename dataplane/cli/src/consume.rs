//! `lograft consume`: a topic's records on standard output.

mod format;
mod start;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use clap::{Args, ValueEnum};
use futures_util::poll;
use lograft_client::{ConsumedBatch, Consumer, ConsumerConfig, PartitionId, StartAt};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{Paint, Progress};
use crate::produce::totals;
use crate::units;

use format::{Format, Line};
use start::parse_start;

/// Written at once.
const OUTPUT_BLOCK_BYTES: usize = 256 * 1024;

/// Options of `lograft consume`.
#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    /// The topic
    topic: String,
    /// Where to begin: earliest, latest, an offset, a time (2026-01-31T08:00:00Z) or how long ago
    /// (15m)
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = parse_start)]
    from: StartAt,
    /// Read this partition only; may be given several times
    #[arg(long = "partition", short, value_name = "N")]
    partitions: Vec<u32>,
    /// Go on at the end with what comes
    #[arg(long, short)]
    follow: bool,
    /// Stop after so many records
    #[arg(long, short = 'n', value_name = "COUNT")]
    max: Option<u64>,
    /// What to print of a record: the bytes of its value, or a JSON object; then a line end
    #[arg(long, short, value_name = "FORM", default_value = "value")]
    output: OutputForm,
    /// Print key and SEP before the value
    #[arg(long, short, value_name = "SEP")]
    key_separator: Option<String>,
    /// Print no totals at the end
    #[arg(long, short)]
    quiet: bool,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    Value,
    Json,
}

/// Runs `lograft consume`.
pub(crate) async fn run(args: ConsumeArgs, global: &Global) -> Result<(), CliError> {
    let client = global.connect().await?;
    let action = format!("consuming from {:?}", args.topic);
    if !args.partitions.is_empty() {
        let topic = client
            .topic(&args.topic)
            .await
            .map_err(CliError::call(action.clone()))?;
        let count = topic.partitions.len();
        if let Some(&partition) = args
            .partitions
            .iter()
            .find(|number| **number as usize >= count)
        {
            return Err(CliError::NoPartition {
                topic: args.topic,
                partition,
                count,
            });
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
        .map_err(CliError::call(action.clone()))?;
    let format = match args.output {
        OutputForm::Value => Format::Value {
            separator: args.key_separator,
        },
        OutputForm::Json => Format::Json { topic: args.topic },
    };
    let mut run = Run {
        out: Out::open()?,
        left: args.max.unwrap_or(u64::MAX),
        progress: (!args.quiet && !is_terminal(&io::stdout())).then(|| Progress::new(None)),
        begun: Instant::now(),
        records: 0,
        bytes: 0,
        format,
        action,
    };
    let outcome = run.pump(consumer).await;
    run.finish(outcome, args.quiet)
}

fn is_terminal(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal()
}

/// A consumption under way.
struct Run {
    out: Out,
    format: Format,
    action: String,
    /// Records to go.
    left: u64,
    progress: Option<Progress>,
    begun: Instant,
    records: u64,
    bytes: u64,
}

impl Run {
    /// Until the end, the count, or Ctrl-C: all of them are fine.
    async fn pump(&mut self, mut consumer: Consumer) -> Result<(), CliError> {
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        while self.left > 0 {
            let mut next = std::pin::pin!(consumer.next_batch());
            // What is there goes out before waiting for more.
            if poll!(&mut interrupt).is_ready() {
                return Ok(());
            }
            let batch = match poll!(&mut next) {
                std::task::Poll::Ready(batch) => batch,
                std::task::Poll::Pending => {
                    self.out.flush()?;
                    tokio::select! {
                        batch = next => batch,
                        _ = &mut interrupt => return Ok(()),
                    }
                }
            };
            match batch.map_err(CliError::call(self.action.clone()))? {
                Some(batch) => self.write(&batch)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: &ConsumedBatch) -> Result<(), CliError> {
        let before = self.out.total_bytes();
        for record in batch.iter() {
            if self.left == 0 {
                break;
            }
            let (offset, record) = record.map_err(CliError::call(self.action.clone()))?;
            let line = Line {
                partition: batch.partition().get(),
                offset: offset.get(),
                append_time_ms: batch.append_time_ms(),
                record: &record,
            };
            self.format.append(&line, &mut self.out.block)?;
            self.out.make_room()?;
            self.left -= 1;
            self.records += 1;
        }
        self.bytes += self.out.total_bytes() - before;
        if let Some(progress) = &mut self.progress {
            progress.tick(self.records, self.bytes);
        }
        Ok(())
    }

    fn finish(mut self, outcome: Result<(), CliError>, quiet: bool) -> Result<(), CliError> {
        let flushed = self.out.flush();
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
        match outcome {
            Err(error) if error.is_closed_pipe() || self.records == 0 => return Err(error),
            Err(error) => {
                let acked = units::count(self.records);
                return Err(CliError::PartlyRead {
                    read: acked,
                    source: Box::new(error),
                });
            }
            Ok(()) => flushed?,
        }
        if !quiet {
            let text = totals(self.records, self.bytes, self.begun.elapsed());
            drop(writeln!(io::stderr(), "{}", Paint::stderr().faint(text)));
        }
        Ok(())
    }
}

/// Standard output in big blocks, without the line buffer of the standard library.
struct Out {
    file: File,
    block: Vec<u8>,
    written: u64,
}

impl Out {
    fn open() -> Result<Self, CliError> {
        let output = |source| CliError::Output { source };
        let file = io::stdout().as_fd().try_clone_to_owned().map_err(output)?;
        Ok(Self {
            file: file.into(),
            block: Vec::with_capacity(2 * OUTPUT_BLOCK_BYTES),
            written: 0,
        })
    }

    /// Bytes taken so far.
    fn total_bytes(&self) -> u64 {
        self.written + self.block.len() as u64
    }

    fn make_room(&mut self) -> Result<(), CliError> {
        if self.block.len() >= OUTPUT_BLOCK_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), CliError> {
        self.file
            .write_all(&self.block)
            .map_err(|source| CliError::Output { source })?;
        self.written += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }
}
