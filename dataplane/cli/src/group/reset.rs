//! `lograft group reset`: sets the committed offsets of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use lograft_client::group_wire::PartitionOffset;
use lograft_client::{Client, ClientError, Offset, PartitionOffsets, StartAt};

use super::offsets_file::{self, FileOffset};
use super::partitions::Place;
use crate::call_error::{PartitionNotFound, cannot};
use crate::clock::now_ms;
use crate::consume::parse_start;
use crate::error::{CliError, CommandError};
use crate::output::{Paint, Table, plural, print, print_json};
use crate::units::{count, parse_millis};

pub(crate) const RESET_HELP: &str = "\
Without --yes nothing is changed. The group must have no members. Offsets outside of the log are
moved to its nearest end.

Examples:
  lograft group reset billing --to-earliest --topic orders --yes
  lograft group reset billing --by-duration 2h --topic orders:0,3
  lograft group reset billing --to-current --export csv > billing.csv
  lograft group reset billing --from-file billing.csv --yes";

/// Options of `lograft group reset`.
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {
    /// Group name
    group: String,
    #[command(flatten)]
    target: TargetArgs,
    /// Only this topic, or these of its partitions; can be repeated [default: all partitions with a
    /// committed offset]
    #[arg(long = "topic", value_name = "TOPIC[:N,N]")]
    topics: Vec<TopicArg>,
    /// Print the new offsets as a file for --from-file, and change nothing
    #[arg(long, value_name = "FORM", conflicts_with_all = ["yes", "dry_run"])]
    export: Option<ExportForm>,
    /// Show what would be changed, and succeed
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it; otherwise only show what would be changed
    #[arg(long)]
    yes: bool,
}

/// The new positions; one of these options.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// To this offset
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<u64>,
    /// To the start of the log
    #[arg(long)]
    to_earliest: bool,
    /// To the end of the log
    #[arg(long)]
    to_latest: bool,
    /// To the committed offsets, for --export
    #[arg(long)]
    to_current: bool,
    /// To the first record whose timestamp is at or after TIME, e.g. 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to_time: Option<i64>,
    /// To the first record whose timestamp is at most so long ago, e.g. 2h
    #[arg(long, value_name = "DURATION", value_parser = parse_millis)]
    by_duration: Option<u64>,
    /// By so many records: forward, or back with a minus sign
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To the offsets in a CSV or JSON file, as --export prints them; "-" is standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

/// Value of `--export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportForm {
    Csv,
    Json,
}

/// Value of `--topic`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TopicArg {
    topic: String,
    /// None: all of the topic.
    partitions: Vec<u32>,
}

#[derive(Debug, thiserror::Error)]
#[error("it must be a topic, or a topic and partitions (orders:0,3)")]
struct TopicArgError;

impl FromStr for TopicArg {
    type Err = TopicArgError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (topic, numbers) = text.split_once(':').unwrap_or((text, ""));
        let has_numbers = text.contains(':');
        let partitions = if has_numbers {
            let parsed = numbers.split(',').map(str::parse);
            parsed
                .collect::<Result<_, _>>()
                .map_err(|_| TopicArgError)?
        } else {
            Vec::new()
        };
        if topic.is_empty() {
            return Err(TopicArgError);
        }
        Ok(Self {
            topic: topic.to_owned(),
            partitions,
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it must be a time (2026-01-31T08:00:00Z)")]
struct TimeError;

fn parse_time(text: &str) -> Result<i64, TimeError> {
    let is_age = parse_millis(text).is_ok();
    match parse_start(text) {
        Ok(StartAt::Timestamp(time_ms)) if !is_age => Ok(time_ms),
        _ => Err(TimeError),
    }
}

/// The command failed for a reason other than a failed call.
#[derive(Debug, thiserror::Error)]
enum ResetError {
    #[error("nothing was changed")]
    NotConfirmed,
    #[error("group {group} has no committed offsets")]
    NoOffsets { group: String },
    #[error("group {group} has no committed offset in {topic}/{partition} to start from")]
    NoOffset {
        group: String,
        topic: String,
        partition: u32,
    },
    #[error("cannot set {failed} of {total} offsets of group {group}: {topic}/{partition}")]
    Refused {
        group: String,
        failed: usize,
        total: usize,
        topic: String,
        partition: u32,
        source: Box<ClientError>,
    },
}

impl CommandError for ResetError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotConfirmed => "add --yes to set the offsets",
            Self::NoOffsets { .. } => "add --topic",
            Self::NoOffset { .. } | Self::Refused { .. } => return None,
        };
        Some(text.into())
    }
}

/// The new position in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Offset(u64),
    Earliest,
    Latest,
    Current,
    /// The first record at or after this time, milliseconds since the Unix epoch.
    Time(i64),
    Shift(i64),
}

impl TargetArgs {
    /// The target, the same for all partitions; none if a file has one for each.
    fn target(&self) -> Option<Target> {
        if let Some(offset) = self.to_offset {
            return Some(Target::Offset(offset));
        }
        if let Some(time_ms) = self.to_time {
            return Some(Target::Time(time_ms));
        }
        if let Some(age_ms) = self.by_duration {
            let age_ms = i64::try_from(age_ms).unwrap_or(i64::MAX);
            return Some(Target::Time(now_ms().saturating_sub(age_ms)));
        }
        if let Some(shift) = self.shift_by {
            return Some(Target::Shift(shift));
        }
        match (self.to_earliest, self.to_latest, self.to_current) {
            (true, _, _) => Some(Target::Earliest),
            (_, true, _) => Some(Target::Latest),
            (_, _, true) => Some(Target::Current),
            _ => None,
        }
    }
}

/// A change of a committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    place: Place,
    committed: Option<u64>,
    offset: u64,
    log_end: u64,
    /// Whether the target was outside of the log.
    is_moved: bool,
}

pub(super) async fn run(client: &Client, args: ResetArgs) -> Result<(), CliError> {
    let group = args.group.clone();
    let action = || format!("reset group {group}");
    let admin = client.groups();
    let committed = admin.fetch_offsets(&group, &[]).await;
    let committed = committed.map_err(cannot(action()))?;
    let committed: BTreeMap<Place, u64> = committed
        .into_iter()
        .map(|found| ((found.topic, found.partition), found.offset))
        .collect();
    let targets = targets(client, &args, &committed).await?;
    let mut changes = Vec::new();
    for (topic, targets) in by_topic(targets) {
        let bounds = bounds(client, &topic, &targets).await;
        let bounds = bounds.map_err(cannot(action()))?;
        for (partition, target) in targets {
            let place = (topic.clone(), partition);
            let found = bounds.get(&partition);
            let found = found.ok_or_else(|| missing(&place, bounds.len()))?;
            let was = committed.get(&place).copied();
            changes.push(change(&args.group, place, (target, was), found)?);
        }
    }
    if let Some(form) = args.export {
        return export(&changes, form);
    }
    print(&table(&changes, Paint::stdout()))?;
    if args.dry_run {
        return Ok(());
    }
    if !args.yes {
        return Err(ResetError::NotConfirmed.into());
    }
    let offsets: Vec<PartitionOffset> = changes.iter().map(wire_offset).collect();
    let outcomes = admin.set_offsets(&group, &offsets).await;
    let outcomes = outcomes.map_err(cannot(action()))?;
    check_outcomes(&group, &changes, outcomes)?;
    let offsets = plural(changes.len(), "committed offset");
    print(&format!("group {group}: {offsets} set\n"))
}

fn missing((topic, partition): &Place, count: usize) -> PartitionNotFound {
    PartitionNotFound {
        topic: topic.clone(),
        partition: *partition,
        count,
    }
}

/// The partitions to change, and the target of each.
async fn targets(
    client: &Client,
    args: &ResetArgs,
    committed: &BTreeMap<Place, u64>,
) -> Result<BTreeMap<Place, Target>, CliError> {
    let Some(target) = args.target.target() else {
        let Some(path) = &args.target.from_file else {
            return Ok(BTreeMap::new());
        };
        let offsets = offsets_file::read(path)?.into_iter();
        let targets = offsets.map(|offset| {
            let FileOffset {
                topic,
                partition,
                offset,
            } = offset;
            ((topic, partition), Target::Offset(offset))
        });
        let is_selected = |(topic, partition): &Place| {
            let has = |arg: &TopicArg| {
                arg.topic == *topic
                    && (arg.partitions.is_empty() || arg.partitions.contains(partition))
            };
            args.topics.is_empty() || args.topics.iter().any(has)
        };
        return Ok(targets.filter(|(place, _)| is_selected(place)).collect());
    };
    let mut places: BTreeSet<Place> = BTreeSet::new();
    if args.topics.is_empty() {
        places.extend(committed.keys().cloned());
        if places.is_empty() {
            let group = args.group.clone();
            return Err(ResetError::NoOffsets { group }.into());
        }
    }
    for TopicArg { topic, partitions } in &args.topics {
        let action = format!("reset group {}", args.group);
        let found = client.topic(topic).await.map_err(cannot(action))?;
        let all: Vec<u32> = found.partitions.iter().map(|p| p.partition.get()).collect();
        let selected = if partitions.is_empty() {
            &all
        } else {
            partitions
        };
        places.extend(selected.iter().map(|partition| (topic.clone(), *partition)));
    }
    Ok(places
        .into_iter()
        .map(|place| (place, target.clone()))
        .collect())
}

fn by_topic(targets: BTreeMap<Place, Target>) -> BTreeMap<String, BTreeMap<u32, Target>> {
    let mut topics: BTreeMap<String, BTreeMap<u32, Target>> = BTreeMap::new();
    for ((topic, partition), target) in targets {
        topics.entry(topic).or_default().insert(partition, target);
    }
    topics
}

/// The bounds of a topic's partitions, with the offset at the time of the targets, if they have
/// one: all have the same.
async fn bounds(
    client: &Client,
    topic: &str,
    targets: &BTreeMap<u32, Target>,
) -> Result<BTreeMap<u32, PartitionOffsets>, ClientError> {
    let time_ms = targets.values().find_map(|target| match target {
        Target::Time(time_ms) => Some(*time_ms),
        _ => None,
    });
    let found = client.list_offsets(topic, &[], time_ms).await?;
    let by_partition = found
        .into_iter()
        .map(|found| (found.partition.get(), found));
    Ok(by_partition.collect())
}

fn change(
    group: &str,
    place: Place,
    (target, committed): (Target, Option<u64>),
    bounds: &PartitionOffsets,
) -> Result<Change, ResetError> {
    let (log_start, log_end) = (bounds.log_start_offset.get(), bounds.high_watermark.get());
    let committed_or_fail = || {
        committed.ok_or_else(|| ResetError::NoOffset {
            group: group.to_owned(),
            topic: place.0.clone(),
            partition: place.1,
        })
    };
    let in_log = |offset: u64| offset.clamp(log_start, log_end.max(log_start));
    let (offset, is_moved) = match target {
        // An export of the present state changes nothing.
        Target::Current => (committed_or_fail()?, false),
        Target::Offset(offset) => (in_log(offset), offset != in_log(offset)),
        Target::Earliest => (log_start, false),
        Target::Latest => (log_end, false),
        Target::Time(_) => {
            let offset = bounds.offset_at_timestamp.map_or(log_end, Offset::get);
            (offset, false)
        }
        Target::Shift(shift) => {
            let committed = committed_or_fail()?;
            let offset = in_log(committed.saturating_add_signed(shift));
            (offset, committed.checked_add_signed(shift) != Some(offset))
        }
    };
    Ok(Change {
        place,
        committed,
        offset,
        log_end,
        is_moved,
    })
}

fn wire_offset(change: &Change) -> PartitionOffset {
    PartitionOffset {
        topic: change.place.0.clone(),
        partition: change.place.1,
        offset: change.offset,
        ..PartitionOffset::default()
    }
}

fn check_outcomes(
    group: &str,
    changes: &[Change],
    outcomes: Vec<Result<(), ClientError>>,
) -> Result<(), ResetError> {
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    let first = outcomes
        .into_iter()
        .zip(changes)
        .find_map(|(outcome, change)| Some((outcome.err()?, change)));
    match first {
        None => Ok(()),
        Some((source, change)) => Err(ResetError::Refused {
            group: group.to_owned(),
            failed,
            total: changes.len(),
            topic: change.place.0.clone(),
            partition: change.place.1,
            source: Box::new(source),
        }),
    }
}

fn export(changes: &[Change], form: ExportForm) -> Result<(), CliError> {
    let offset = |change: &Change| FileOffset {
        topic: change.place.0.clone(),
        partition: change.place.1,
        offset: change.offset,
    };
    let offsets: Vec<FileOffset> = changes.iter().map(offset).collect();
    match form {
        ExportForm::Csv => print(&offsets_file::to_csv(&offsets)),
        ExportForm::Json => print_json(&offsets),
    }
}

fn table(changes: &[Change], paint: Paint) -> String {
    let mut table = Table::new(&["TOPIC", ">PARTITION", ">COMMITTED", ">NEW", ">LAG", ""]);
    for change in changes {
        let Change {
            place: (topic, partition),
            committed,
            offset,
            log_end,
            is_moved,
        } = change;
        let note = if *is_moved { "moved into the log" } else { "" };
        table.row([
            topic.clone(),
            partition.to_string(),
            committed.map_or_else(|| "-".to_owned(), count),
            count(*offset),
            count(log_end.saturating_sub(*offset)),
            note.to_owned(),
        ]);
    }
    table.render(paint, 0)
}

#[cfg(test)]
mod tests {
    use lograft_client::PartitionId;

    use super::*;

    fn bounds(at_time: Option<u64>) -> PartitionOffsets {
        PartitionOffsets {
            partition: PartitionId(2),
            log_start_offset: Offset(10),
            high_watermark: Offset(2050),
            offset_at_timestamp: at_time.map(Offset),
        }
    }

    fn changed(target: Target, committed: Option<u64>, at_time: Option<u64>) -> Change {
        let place = ("orders".to_owned(), 2);
        change("g", place, (target, committed), &bounds(at_time)).unwrap()
    }

    #[test]
    fn targets_are_offsets_in_the_log() {
        let offset = |target, committed, at_time| {
            let change = changed(target, committed, at_time);
            (change.offset, change.is_moved)
        };
        assert_eq!(offset(Target::Offset(7), None, None), (10, true));
        assert_eq!(offset(Target::Offset(70), None, None), (70, false));
        assert_eq!(offset(Target::Offset(9999), None, None), (2050, true));
        assert_eq!(offset(Target::Earliest, Some(50), None), (10, false));
        assert_eq!(offset(Target::Latest, Some(50), None), (2050, false));
        assert_eq!(offset(Target::Time(5), None, Some(20)), (20, false));
        assert_eq!(offset(Target::Time(5), None, None), (2050, false));
        assert_eq!(offset(Target::Shift(-30), Some(50), None), (20, false));
        assert_eq!(offset(Target::Shift(-60), Some(50), None), (10, true));
        assert_eq!(
            offset(Target::Shift(i64::MAX), Some(50), None),
            (2050, true)
        );
        assert_eq!(offset(Target::Current, Some(5), None), (5, false));
        let place = ("orders".to_owned(), 2);
        let error = change("g", place, (Target::Shift(1), None), &bounds(None)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "group g has no committed offset in orders/2 to start from"
        );
    }

    #[test]
    fn partitions_of_a_topic_are_selected() {
        let parsed = |text: &str| text.parse::<TopicArg>().ok();
        let arg = |partitions: &[u32]| TopicArg {
            topic: "orders".into(),
            partitions: partitions.to_vec(),
        };
        assert_eq!(parsed("orders"), Some(arg(&[])));
        assert_eq!(parsed("orders:0,3"), Some(arg(&[0, 3])));
        for bad in ["", ":1", "orders:", "orders:a", "orders:1,"] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_time_is_not_an_age_or_an_offset() {
        assert_eq!(parse_time("1970-01-01T00:00:01Z").unwrap(), 1000);
        for bad in ["2h", "17", "earliest", ""] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_table_shows_the_change() {
        let changes = [
            changed(Target::Earliest, Some(1050), None),
            changed(Target::Offset(9999), None, None),
        ];
        assert_eq!(
            table(&changes, Paint::plain()),
            "TOPIC   PARTITION  COMMITTED    NEW    LAG\n\
             orders          2      1,050     10  2,040\n\
             orders          2          -  2,050      0  moved into the log\n"
        );
    }
}
