//! `lograft topic delete-records`: deletes the oldest records of partitions.

use std::fmt::Write as _;

use clap::Args;
use lograft_client::{Client, DeleteBefore, Offset, PartitionId, PartitionOffsets, StartAt};

use crate::call_error::{PartitionNotFound, cannot};
use crate::consume::parse_start;
use crate::error::{CliError, CommandError};
use crate::exit::Exit;
use crate::output::print;
use crate::units::count;

/// Options of `lograft topic delete-records`.
#[derive(Debug, Args)]
pub(crate) struct DeleteRecordsArgs {
    /// Topic name
    topic: String,
    /// First record to keep: an offset, "now" (delete all), a time (2026-01-31T08:00:00Z) or an age
    /// (30d)
    #[arg(long, value_name = "WHERE", value_parser = parse_before)]
    before: Before,
    /// Delete only from this partition; can be repeated
    #[arg(long = "partition", short, value_name = "N")]
    partitions: Vec<u32>,
    /// Do it; otherwise only show what would be deleted
    #[arg(long)]
    yes: bool,
}

/// Value of `--before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Now,
    Offset(Offset),
    /// Milliseconds since the Unix epoch.
    Time(i64),
}

#[derive(Debug, thiserror::Error)]
#[error("it must be an offset, now, a time (2026-01-31T08:00:00Z) or an age (30d)")]
struct BeforeError;

fn parse_before(text: &str) -> Result<Before, BeforeError> {
    if text == "now" {
        return Ok(Before::Now);
    }
    match parse_start(text) {
        Ok(StartAt::Offset(offset)) => Ok(Before::Offset(offset)),
        Ok(StartAt::Timestamp(time_ms)) => Ok(Before::Time(time_ms)),
        Ok(StartAt::Earliest | StartAt::Latest) | Err(_) => Err(BeforeError),
    }
}

/// The command failed for a reason other than a failed call.
#[derive(Debug, thiserror::Error)]
enum DeleteRecordsError {
    #[error("nothing was deleted")]
    NotConfirmed,
    #[error("an offset is one of a single partition, and topic {topic} has {count}")]
    NoPartition { topic: String, count: usize },
    #[error("--before must be at most {end}, the end of {topic}/{partition}, got {offset}")]
    AboveEnd {
        topic: String,
        partition: PartitionId,
        offset: Offset,
        end: Offset,
    },
}

impl CommandError for DeleteRecordsError {
    fn exit(&self) -> Exit {
        Exit::Failure
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotConfirmed => "add --yes to delete the records; they cannot be restored",
            Self::NoPartition { .. } => "add --partition",
            Self::AboveEnd { .. } => return None,
        };
        Some(text.into())
    }
}

/// The records to delete from a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deletion {
    partition: PartitionId,
    log_start: Offset,
    /// The first record to keep, as of now.
    keep: Offset,
    before: DeleteBefore,
}

pub(super) async fn run(client: &Client, args: DeleteRecordsArgs) -> Result<(), CliError> {
    let partitions = selected(client, &args).await?;
    let time_ms = match args.before {
        Before::Time(time_ms) => Some(time_ms),
        Before::Now | Before::Offset(_) => None,
    };
    let action = || format!("delete records of topic {}", args.topic);
    let found = client.list_offsets(&args.topic, &partitions, time_ms);
    let found = found.await.map_err(cannot(action()))?;
    let plan = found
        .iter()
        .map(|offsets| deletion(&args, offsets))
        .collect::<Result<Vec<_>, _>>()?;
    if !args.yes {
        print(&planned(&args.topic, &plan))?;
        return Err(DeleteRecordsError::NotConfirmed.into());
    }
    let admin = client.admin();
    for deletion in plan {
        let Deletion {
            partition, before, ..
        } = deletion;
        let deleting = admin.delete_records(&args.topic, partition, before);
        let log_start = deleting.await.map_err(cannot(action()))?;
        print(&deleted(&args.topic, deletion, log_start))?;
    }
    Ok(())
}

/// The partitions of the command line, which must exist; all if there are none.
async fn selected(client: &Client, args: &DeleteRecordsArgs) -> Result<Vec<PartitionId>, CliError> {
    let name = &args.topic;
    let action = format!("delete records of topic {name}");
    let topic = client.topic(name).await.map_err(cannot(action))?;
    let count = topic.partitions.len();
    let topic = name.clone();
    if let Some(&partition) = args.partitions.iter().find(|n| **n as usize >= count) {
        let missing = PartitionNotFound {
            topic,
            partition,
            count,
        };
        return Err(missing.into());
    }
    if matches!(args.before, Before::Offset(_)) && args.partitions.is_empty() && count > 1 {
        return Err(DeleteRecordsError::NoPartition { topic, count }.into());
    }
    Ok(args.partitions.iter().copied().map(PartitionId).collect())
}

fn deletion(
    args: &DeleteRecordsArgs,
    offsets: &PartitionOffsets,
) -> Result<Deletion, DeleteRecordsError> {
    let PartitionOffsets {
        partition,
        log_start_offset,
        high_watermark,
        offset_at_timestamp,
    } = *offsets;
    let (keep, before) = match args.before {
        Before::Now => (high_watermark, DeleteBefore::HighWatermark),
        Before::Offset(offset) if offset > high_watermark => {
            return Err(DeleteRecordsError::AboveEnd {
                topic: args.topic.clone(),
                partition,
                offset,
                end: high_watermark,
            });
        }
        Before::Offset(offset) => (offset, DeleteBefore::Offset(offset)),
        Before::Time(_) => {
            let offset = offset_at_timestamp.unwrap_or(high_watermark);
            (offset, DeleteBefore::Offset(offset))
        }
    };
    Ok(Deletion {
        partition,
        log_start: log_start_offset,
        keep,
        before,
    })
}

fn planned(topic: &str, plan: &[Deletion]) -> String {
    let mut text = String::new();
    for deletion in plan {
        let Deletion {
            partition,
            log_start,
            keep,
            ..
        } = deletion;
        let records = records(keep.since(*log_start));
        let first = keep.max(log_start);
        let _ = writeln!(
            text,
            "{topic}/{partition}: would delete {records}, the first one left at offset {first}"
        );
    }
    text
}

fn records(number: u64) -> String {
    match number {
        1 => "1 record".to_owned(),
        _ => format!("{} records", count(number)),
    }
}

fn deleted(topic: &str, deletion: Deletion, log_start: Offset) -> String {
    let records = records(log_start.since(deletion.log_start));
    let partition = deletion.partition;
    format!("{topic}/{partition}: deleted {records}, log start offset {log_start}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(before: Before) -> DeleteRecordsArgs {
        DeleteRecordsArgs {
            topic: "clicks".into(),
            before,
            partitions: Vec::new(),
            yes: false,
        }
    }

    fn offsets(at_time: Option<u64>) -> PartitionOffsets {
        PartitionOffsets {
            partition: PartitionId(2),
            log_start_offset: Offset(10),
            high_watermark: Offset(2050),
            offset_at_timestamp: at_time.map(Offset),
        }
    }

    #[test]
    fn the_first_record_to_keep_is_given_in_several_ways() {
        let keeps = |before, at_time| {
            let found = deletion(&args(before), &offsets(at_time)).unwrap();
            (found.keep.get(), found.before)
        };
        let at = |offset| (offset, DeleteBefore::Offset(Offset(offset)));
        assert_eq!(
            keeps(Before::Now, None),
            (2050, DeleteBefore::HighWatermark)
        );
        assert_eq!(keeps(Before::Offset(Offset(7)), None), at(7));
        assert_eq!(keeps(Before::Time(5), Some(20)), at(20));
        // All records are older.
        assert_eq!(keeps(Before::Time(5), None), at(2050));
        let refused = deletion(&args(Before::Offset(Offset(2051))), &offsets(None)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "--before must be at most 2050, the end of clicks/2, got 2051"
        );
    }

    #[test]
    fn forms_of_before() {
        assert_eq!(parse_before("now").unwrap(), Before::Now);
        assert_eq!(parse_before("17").unwrap(), Before::Offset(Offset(17)));
        let time = parse_before("1970-01-01T00:00:01Z").unwrap();
        assert_eq!(time, Before::Time(1000));
        assert!(matches!(parse_before("30d").unwrap(), Before::Time(_)));
        for bad in ["", "earliest", "latest", "-1", "yesterday"] {
            assert!(parse_before(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn it_says_how_many_records_go() {
        let all = deletion(&args(Before::Now), &offsets(None)).unwrap();
        let none = deletion(&args(Before::Offset(Offset(3))), &offsets(None)).unwrap();
        assert_eq!(
            planned("clicks", &[all, none]),
            "clicks/2: would delete 2,040 records, the first one left at offset 2050\n\
             clicks/2: would delete 0 records, the first one left at offset 10\n"
        );
        assert_eq!(
            deleted("clicks", all, Offset(2050)),
            "clicks/2: deleted 2,040 records, log start offset 2050\n"
        );
    }
}
