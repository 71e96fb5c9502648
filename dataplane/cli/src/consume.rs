//! `lograft consume`: writes the records of a topic to standard output.

mod block_writer;
mod filter;
mod format;
mod group;
mod range;
mod record;
mod start;
mod template;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures_util::poll;
use lograft_client::{
    Client, ConsumedBatch, Consumer, ConsumerConfig, Offset, PartitionId, StartAt,
};

use crate::call_error::{PartitionNotFound, cannot};
use crate::error::{CliError, PartlyDone};
use crate::escapes::Escaped;
use crate::global::GlobalArgs;
use crate::output::{Paint, Progress, throughput_summary};
use crate::replica::ReplicaArgs;
use crate::units;

use block_writer::BlockWriter;
use filter::{Filter, FilterArgs};
use format::{Format, Printer};
use group::GroupArgs;
use range::{EndAt, Range, parse_end};
use record::ConsumedRecord;
pub(crate) use start::parse_start;
pub(crate) use template::TEMPLATE_HELP;
use template::Template;

/// Options of `lograft consume`.
#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    /// Topic name
    topic: String,
    /// Start position: earliest, latest, an offset, a time (2026-01-31T08:00:00Z) or an age (15m)
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = parse_start)]
    from: StartAt,
    /// End position, exclusive: now, an offset, a time or an age [default: now]
    #[arg(long, value_name = "WHERE", value_parser = parse_end, conflicts_with = "follow")]
    to: Option<EndAt>,
    /// Read only this partition; can be repeated
    #[arg(long = "partition", short, value_name = "N")]
    partitions: Vec<u32>,
    /// Keep waiting for new records at the end of the log
    #[arg(long, short)]
    follow: bool,
    /// Exit after COUNT records
    #[arg(long, short = 'n', value_name = "COUNT")]
    max: Option<u64>,
    /// Print each record as its value, as a JSON object, or as the bytes of its value alone
    #[arg(long, short, value_name = "FORM", default_value = "value")]
    output: OutputForm,
    /// Print each record by a template, also as -f: '%t %p %o %k %v\n'; --help lists placeholders
    #[arg(
        long,
        value_name = "TEMPLATE",
        conflicts_with_all = ["output", "key_separator", "record_separator"]
    )]
    format: Option<Template>,
    /// Print the key and SEP before each value
    #[arg(long, short, value_name = "SEP")]
    key_separator: Option<Escaped>,
    /// Print SEP after each record [default: \n, with --output raw nothing]
    #[arg(long, short = 's', value_name = "SEP")]
    record_separator: Option<Escaped>,
    /// Print only records and errors, no progress or summary
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    replica: ReplicaArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    group: GroupArgs,
}

/// Value of `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    Value,
    Json,
    Raw,
}

impl ConsumeArgs {
    fn format(&self) -> Format {
        if let Some(template) = &self.format {
            return Format::Template(template.clone());
        }
        let end = match (&self.record_separator, self.output) {
            (Some(separator), _) => separator.0.clone(),
            (None, OutputForm::Raw) => Vec::new(),
            (None, OutputForm::Value | OutputForm::Json) => b"\n".to_vec(),
        };
        match self.output {
            OutputForm::Json => Format::Json { end },
            OutputForm::Value | OutputForm::Raw => Format::Value {
                key_separator: self.key_separator.as_ref().map(|text| text.0.clone()),
                end,
            },
        }
    }

    fn consumer_config(&self) -> ConsumerConfig {
        ConsumerConfig {
            partitions: self.partitions.iter().copied().map(PartitionId).collect(),
            follow: self.follow,
            replica: self.replica.replica(),
            ..ConsumerConfig::new(&self.topic, self.from)
        }
    }
}

/// Runs `lograft consume`.
pub(crate) async fn run(args: ConsumeArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let client = global.connect_in(args.replica.zone()).await?;
    let action = format!("consume from topic {}", args.topic);
    if let Some(group) = args.group.group.clone() {
        let action = format!("{action} in group {group}");
        let config = group::config(&args, &group)?;
        let quiet = args.quiet;
        let mut run = ConsumeRun::open(args, action, None)?;
        let outcome = group::print_records(&mut run, &client, config).await;
        return run.finish(outcome, quiet);
    }
    check_partitions(&client, &args, &action).await?;
    let opened = client.consumer(args.consumer_config()).await;
    let consumer = opened.map_err(cannot(action.clone()))?;
    let filter = Filter::from(args.filter.clone());
    let is_scan = args.to.is_some() || !filter.is_open();
    let range = if is_scan && !args.follow {
        let end = args.to.unwrap_or_default();
        let range = Range::resolve(&client, &args.topic, &consumer.positions(), end).await;
        Some(range.map_err(cannot(action.clone()))?)
    } else {
        None
    };
    let quiet = args.quiet;
    let mut run = ConsumeRun::open(args, action, range)?;
    let outcome = run.print_records(consumer).await;
    run.finish(outcome, quiet)
}

async fn check_partitions(
    client: &Client,
    args: &ConsumeArgs,
    action: &str,
) -> Result<(), CliError> {
    if args.partitions.is_empty() {
        return Ok(());
    }
    let topic = client.topic(&args.topic).await.map_err(cannot(action))?;
    let count = topic.partitions.len();
    let mut partitions = args.partitions.iter().copied();
    match partitions.find(|number| *number as usize >= count) {
        None => Ok(()),
        Some(partition) => Err(PartitionNotFound {
            topic: args.topic.clone(),
            partition,
            count,
        }
        .into()),
    }
}

/// The state of a running `lograft consume`.
struct ConsumeRun {
    out: BlockWriter,
    printer: Printer,
    filter: Filter,
    /// The end, if it is not just the end of the log.
    range: Option<Range>,
    action: String,
    /// Records left until `--max` is reached.
    remaining: u64,
    /// The first record of the last batch that was not printed because `--max` was reached.
    unread_from: Option<Offset>,
    quiet: bool,
    progress: Option<Progress>,
    started: Instant,
    /// Records read.
    scanned: u64,
    /// Records printed.
    records: u64,
    bytes: u64,
}

impl ConsumeRun {
    fn open(args: ConsumeArgs, action: String, range: Option<Range>) -> Result<Self, CliError> {
        let filter = Filter::from(args.filter.clone());
        let is_scan = args.to.is_some() || !filter.is_open();
        let out = BlockWriter::open()?;
        let shows_progress = !args.quiet && (!out.is_terminal() || (is_scan && !args.follow));
        Ok(Self {
            printer: Printer {
                format: args.format(),
                visible: out.is_terminal(),
                topic: args.topic,
            },
            out,
            filter,
            range,
            remaining: args.max.unwrap_or(u64::MAX),
            unread_from: None,
            quiet: args.quiet,
            progress: shows_progress.then(|| Progress::new(None)),
            started: Instant::now(),
            scanned: 0,
            records: 0,
            bytes: 0,
            action,
        })
    }

    /// Prints a line to standard error, unless `--quiet` is set.
    fn note(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
        drop(writeln!(io::stderr(), "{}", Paint::stderr().faint(text)));
    }

    /// Prints records until the end of the range, the maximum count or Ctrl-C.
    async fn print_records(&mut self, mut consumer: Consumer) -> Result<(), CliError> {
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        while self.remaining > 0 && !self.range.as_ref().is_some_and(Range::is_done) {
            let mut next = std::pin::pin!(consumer.next_batch());
            if poll!(&mut interrupt).is_ready() {
                return Ok(());
            }
            let batch = match poll!(&mut next) {
                std::task::Poll::Ready(batch) => batch,
                std::task::Poll::Pending => {
                    // Flush before waiting, so that `--follow` shows records without delay.
                    self.flush()?;
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
        let partition = batch.partition();
        for record in batch.iter() {
            let (offset, record) = record.map_err(cannot(self.action.clone()))?;
            if self.remaining == 0 {
                self.unread_from = Some(offset);
                break;
            }
            if let Some(range) = &self.range
                && !range.contains(partition, offset)
            {
                break;
            }
            self.scanned += 1;
            if !self.filter.passes(&record) {
                continue;
            }
            let record = ConsumedRecord {
                partition: partition.get(),
                offset: offset.get(),
                leader_epoch: batch.leader_epoch().get(),
                append_time_ms: batch.append_time_ms(),
                record: &record,
            };
            self.printer.append(&record, &mut self.out.block)?;
            if self.out.is_full() {
                self.flush()?;
            }
            self.remaining -= 1;
            self.records += 1;
        }
        if let Some(range) = &mut self.range {
            range.advance(partition, batch.next_offset());
        }
        self.bytes += self.out.total_bytes() - before;
        if self.out.is_terminal() {
            self.flush()?;
        }
        self.update_progress();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CliError> {
        if let Some(progress) = &mut self.progress
            && self.out.is_terminal()
            && !self.out.block.is_empty()
        {
            progress.clear();
        }
        self.out.flush()
    }

    fn update_progress(&mut self) {
        let (scanned, records, bytes) = (self.scanned, self.records, self.bytes);
        match (&mut self.progress, &self.range) {
            (Some(_), _) if self.out.is_line_open() => {}
            (Some(progress), Some(range)) => {
                let total = range.total_records();
                progress.update_with(|time| scan_line(scanned, total, records, time));
            }
            (Some(progress), None) => progress.update(records, bytes),
            (None, _) => {}
        }
    }

    fn finish(mut self, outcome: Result<(), CliError>, quiet: bool) -> Result<(), CliError> {
        let flushed = self.flush();
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
            let mut text = throughput_summary(self.records, self.bytes, self.started.elapsed());
            if !self.filter.is_open() {
                text = format!("{} records scanned; {text}", units::count(self.scanned));
            }
            drop(writeln!(io::stderr(), "{}", Paint::stderr().faint(text)));
        }
        Ok(())
    }
}

/// `1,000 of 4,000 records scanned ( 25%), 12 found, 93k/s`.
fn scan_line(scanned: u64, total: u64, found: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(1e-9);
    let percent = scanned.saturating_mul(100) / total.max(1);
    format!(
        "{} of {} records scanned ({:>3}%), {} found, {}/s",
        units::count(scanned),
        units::count(total),
        percent.min(100),
        units::count(found),
        units::rate(units::float(scanned) / seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_shows_how_far_it_is() {
        assert_eq!(
            scan_line(1000, 4000, 12, Duration::from_millis(100)),
            "1,000 of 4,000 records scanned ( 25%), 12 found, 10k/s"
        );
        assert!(scan_line(0, 0, 0, Duration::ZERO).contains("(  0%)"));
    }
}
