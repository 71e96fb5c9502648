//! `lograft replica`: reads the files of a replica without a node.

mod export_file;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use lograft_core::Offset;
use lograft_node::salvage::{
    LogGap, LogSurvey, Piece, ReplicaFiles, ReplicaFilesError, SalvagedBatch, StorageError,
};

use crate::error::{CliError, CommandError, PartlyDone};
use crate::exit::Exit;
use crate::output::{OutputError, Paint, plural};
use crate::record_json::{RecordPlace, append_json};
use crate::units;

use export_file::{ExportFile, ExportFileError};

/// Commands on the files of a replica.
#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaCommand {
    /// Write the records in the files of a replica to a file, past damage
    Export(ExportArgs),
}

/// Options of `lograft replica export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Files of the replica: groups/group-ID or groups/group-ID.corrupt-N of a data directory, or
    /// a copy of one; nothing in it is changed
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
    /// File to create, with a JSON object per line for `produce --input json`
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    /// Also write records that the replica does not know as committed: perhaps nobody acknowledged
    /// them
    #[arg(long)]
    all: bool,
}

/// Nothing was exported.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("cannot read {}", dir.display())]
    Directory { dir: PathBuf, source: io::Error },
    #[error(transparent)]
    Files(#[from] ReplicaFilesError),
    #[error("cannot read the files of the replica")]
    Read {
        #[from]
        source: StorageError,
    },
    #[error(transparent)]
    Out(#[from] ExportFileError),
    #[error(transparent)]
    Encode(#[from] OutputError),
    #[error("the batch at offset {0} cannot be decoded")]
    Batch(Offset),
}

impl CommandError for ExportError {
    fn exit(&self) -> Exit {
        match self {
            Self::Directory { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Exit::NotFound
            }
            _ => Exit::Failure,
        }
    }
}

/// Records are missing from the export.
#[derive(Debug, thiserror::Error)]
#[error("records are missing: {gaps}, named above")]
struct Incomplete {
    gaps: String,
}

impl CommandError for Incomplete {
    fn exit(&self) -> Exit {
        Exit::Incomplete
    }
}

/// Runs `lograft replica`.
pub(crate) fn run(command: ReplicaCommand) -> Result<(), CliError> {
    match command {
        ReplicaCommand::Export(args) => export(&args),
    }
}

fn export(args: &ExportArgs) -> Result<(), CliError> {
    let dir = std::fs::canonicalize(&args.dir).map_err(|source| ExportError::Directory {
        dir: args.dir.clone(),
        source,
    })?;
    let files = ReplicaFiles::open(&dir).map_err(ExportError::from)?;
    if let Some(node) = files.live_node() {
        let text = format!(
            "node {node} uses {} while it runs: stop it first, or the newest records may be missing",
            dir.display()
        );
        say(&format!("{} {text}", Paint::stderr().warn("warning:")));
    }
    let survey = files.survey().map_err(ExportError::from)?;
    let mut run = Export {
        survey,
        with_all: args.all,
        out: ExportFile::create(&args.out, &dir).map_err(ExportError::from)?,
        line: Vec::new(),
        records: 0,
        offsets: None,
        uncommitted: 0,
        uncommitted_from: None,
        gaps: 0,
    };
    let read = files.read(&survey, |piece| run.take(piece));
    let done = read.and_then(|()| Ok(run.out.finish()?));
    if let Err(error) = done {
        return Err(PartlyDone {
            done: format!("{} exported records", units::count(run.records)),
            source: error.into(),
        }
        .into());
    }
    run.print_summary(&files, &args.out);
    match run.gaps {
        0 => Ok(()),
        gaps => Err(Incomplete {
            gaps: plural(gaps, "gap"),
        }
        .into()),
    }
}

/// Writes a line to standard error.
fn say(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// A running export.
struct Export {
    survey: LogSurvey,
    with_all: bool,
    out: ExportFile,
    line: Vec<u8>,
    /// Records written.
    records: u64,
    /// First and last offset written.
    offsets: Option<(u64, u64)>,
    /// Records that are not known as committed, and the first of their offsets.
    uncommitted: u64,
    uncommitted_from: Option<u64>,
    gaps: usize,
}

impl Export {
    fn take(&mut self, piece: Piece) -> Result<(), ExportError> {
        match piece {
            Piece::Gap(gap) => {
                self.note(&gap);
                Ok(())
            }
            Piece::Batch(batch) => {
                if !batch.is_committed {
                    self.uncommitted += batch.record_count - batch.deleted_count;
                    self.uncommitted_from.get_or_insert(batch.base_offset.get());
                }
                if batch.is_committed || self.with_all {
                    self.write(&batch)?;
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, batch: &SalvagedBatch) -> Result<(), ExportError> {
        let offsets = batch.base_offset.get()..;
        let kept = offsets.zip(&batch.records);
        for (offset, record) in
            kept.skip(usize::try_from(batch.deleted_count).unwrap_or(usize::MAX))
        {
            let record = record.map_err(|_| ExportError::Batch(batch.base_offset))?;
            let place = RecordPlace {
                topic: None,
                offset,
                append_time_ms: batch.append_time_ms,
            };
            self.line.clear();
            append_json(&place, &record, &mut self.line)?;
            self.line.push(b'\n');
            self.out.write(&self.line)?;
            self.records += 1;
            let first = self.offsets.map_or(offset, |(first, _)| first);
            self.offsets = Some((first, offset));
        }
        Ok(())
    }

    /// Prints a gap as soon as it is found: their number has no limit.
    fn note(&mut self, gap: &LogGap) {
        let start = self.survey.log_start_offset;
        let is_deleted = gap.end_offset.is_some_and(|end| end <= start);
        let costs_records = gap.may_have_records() && !is_deleted;
        let what = if costs_records {
            self.gaps += 1;
            format!("gap: {}", missing(gap))
        } else {
            "damage: no records are missing".to_owned()
        };
        let LogGap {
            path, bytes, why, ..
        } = gap;
        let place = if bytes.is_empty() {
            path.display().to_string()
        } else {
            format!("{}, bytes {} to {}", path.display(), bytes.start, bytes.end)
        };
        say(&format!("{what}: {place}: {why}"));
    }

    fn print_summary(&self, files: &ReplicaFiles, out: &Path) {
        let offsets = self.offsets.map_or_else(String::new, |(first, last)| {
            format!(", offsets {first} to {last}")
        });
        say(&format!(
            "{} group {}: {} records{offsets}, to {}",
            Paint::stderr().good("exported"),
            files.group(),
            units::count(self.records),
            out.display(),
        ));
        if self.survey.log_start_offset > Offset::ZERO {
            let start = self.survey.log_start_offset;
            say(&format!("records below offset {start} were deleted"));
        }
        if let Some(from) = self.uncommitted_from {
            let count = units::count(self.uncommitted);
            say(&if self.with_all {
                format!(
                    "{count} of them, from offset {from} on, are not known as committed: perhaps \
                     nobody acknowledged them"
                )
            } else {
                format!(
                    "{count} more from offset {from} on are not known as committed and were left \
                     out: --all writes them too"
                )
            });
        }
    }
}

/// The offsets and entries of a gap, for people.
fn missing(gap: &LogGap) -> String {
    let offsets = match (gap.first_offset, gap.end_offset) {
        (Some(first), Some(end)) => {
            format!("offsets {first} to {}", end.get().saturating_sub(1))
        }
        (Some(first), None) => format!("from offset {first} on"),
        (None, Some(end)) => format!("offsets up to {}", end.get().saturating_sub(1)),
        (None, None) => "unknown offsets".to_owned(),
    };
    let first = gap.first_index;
    match gap.end_index {
        Some(end) => {
            let last = end.get().saturating_sub(1);
            format!("{offsets} (entries {first} to {last})")
        }
        None => format!("{offsets} (from entry {first} on)"),
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::LogIndex;

    use super::*;

    #[test]
    fn a_gap_has_its_offsets_as_far_as_they_are_known() {
        let mut gap = LogGap {
            path: PathBuf::from("a.seg"),
            bytes: 0..8,
            first_index: LogIndex(3),
            end_index: Some(LogIndex(5)),
            first_offset: Some(Offset(10)),
            end_offset: Some(Offset(12)),
            why: "w",
        };
        assert_eq!(missing(&gap), "offsets 10 to 11 (entries 3 to 4)");
        gap.end_index = None;
        gap.end_offset = None;
        assert_eq!(missing(&gap), "from offset 10 on (from entry 3 on)");
        gap.first_offset = None;
        assert!(missing(&gap).starts_with("unknown offsets"));
    }
}
