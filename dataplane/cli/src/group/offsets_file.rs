//! Offsets of a group in a file: CSV or JSON.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// The first line of a CSV file.
pub(super) const CSV_HEAD: &str = "topic,partition,offset";

/// An offset in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileOffset {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) offset: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OffsetsFileError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("line {line} of {path} must be {CSV_HEAD}, got {text:?}")]
    Line {
        path: PathBuf,
        /// From 1.
        line: usize,
        text: String,
    },
    #[error("cannot parse the JSON in {path}")]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} has {topic}/{partition} twice")]
    Twice {
        path: PathBuf,
        topic: String,
        partition: u32,
    },
}

impl CommandError for OffsetsFileError {}

/// Reads a file, or standard input if it is `-`.
pub(super) fn read(path: &Path) -> Result<Vec<FileOffset>, OffsetsFileError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|source| OffsetsFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, path)
}

/// A file that starts with a bracket is JSON: a list of objects with the fields of a CSV line.
fn parse(text: &str, path: &Path) -> Result<Vec<FileOffset>, OffsetsFileError> {
    let offsets = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|source| OffsetsFileError::Json {
            path: path.to_owned(),
            source,
        })?
    } else {
        parse_csv(text, path)?
    };
    let mut seen = std::collections::BTreeSet::new();
    for offset in &offsets {
        if !seen.insert((&offset.topic, offset.partition)) {
            return Err(OffsetsFileError::Twice {
                path: path.to_owned(),
                topic: offset.topic.clone(),
                partition: offset.partition,
            });
        }
    }
    Ok(offsets)
}

fn parse_csv(text: &str, path: &Path) -> Result<Vec<FileOffset>, OffsetsFileError> {
    let mut offsets = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || (at == 0 && line == CSV_HEAD) {
            continue;
        }
        let offset = parse_line(line).ok_or_else(|| OffsetsFileError::Line {
            path: path.to_owned(),
            line: at + 1,
            text: line.to_owned(),
        })?;
        offsets.push(offset);
    }
    Ok(offsets)
}

fn parse_line(line: &str) -> Option<FileOffset> {
    let mut cells = line.split(',').map(str::trim);
    let offset = FileOffset {
        topic: cells.next().filter(|topic| !topic.is_empty())?.to_owned(),
        partition: cells.next()?.parse().ok()?,
        offset: cells.next()?.parse().ok()?,
    };
    cells.next().is_none().then_some(offset)
}

/// Offsets as CSV. Names of topics have no commas.
pub(super) fn to_csv(offsets: &[FileOffset]) -> String {
    let mut text = format!("{CSV_HEAD}\n");
    for offset in offsets {
        let FileOffset {
            topic,
            partition,
            offset,
        } = offset;
        let _ = writeln!(text, "{topic},{partition},{offset}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets() -> Vec<FileOffset> {
        let offset = |partition, offset| FileOffset {
            topic: "orders".into(),
            partition,
            offset,
        };
        vec![offset(0, 7), offset(1, 1000)]
    }

    #[test]
    fn an_export_is_read_back() {
        let path = Path::new("a.csv");
        assert_eq!(parse(&to_csv(&offsets()), path).unwrap(), offsets());
        let json = serde_json::to_string_pretty(&offsets()).unwrap();
        assert_eq!(parse(&json, path).unwrap(), offsets());
        assert_eq!(
            parse("orders, 0, 7\r\n\norders,1,1000", path).unwrap(),
            offsets()
        );
    }

    #[test]
    fn bad_lines_are_named() {
        let error = |text: &str| parse(text, Path::new("a.csv")).unwrap_err().to_string();
        assert_eq!(
            error("topic,partition,offset\norders,x,1"),
            "line 2 of a.csv must be topic,partition,offset, got \"orders,x,1\""
        );
        assert!(error("orders,1").starts_with("line 1"));
        assert!(error("orders,1,2,3").starts_with("line 1"));
        assert!(error(",1,2").starts_with("line 1"));
        assert_eq!(error("a,1,2\na,1,3"), "a.csv has a/1 twice");
        assert!(error("[{\"topic\":\"a\"}]").starts_with("cannot parse the JSON"));
    }
}
