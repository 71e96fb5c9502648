//! Filters of records: by key, header, timestamp, and the content of the value.

use clap::Args;
use lograft_client::{RecordRef, StartAt};
use memchr::memmem;
use regex::bytes::{Regex, RegexBuilder};

use super::start::parse_start;
use crate::clock::now_ms;

/// Maximum memory of a compiled regular expression, in bytes.
const REGEX_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Options that select records. A record must pass all that are given.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Only records with this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only records with this header; can be repeated, then all must be there
    #[arg(long = "header", short = 'H', value_name = "NAME[=VALUE]", value_parser = parse_header)]
    headers: Vec<HeaderFilter>,
    /// Only records whose value contains TEXT
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Only records whose value matches the regular expression, anywhere in it
    #[arg(long, short = 'e', value_name = "REGEX", value_parser = parse_regex)]
    regex: Option<Regex>,
    /// Only records whose timestamp is at or after TIME (2026-01-31T08:00:00Z, 15m, now)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<i64>,
    /// Only records whose timestamp is before TIME
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<i64>,
}

/// A header that a record must have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HeaderFilter {
    name: String,
    /// Any value if `None`.
    value: Option<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
#[error("header must be NAME or NAME=VALUE")]
struct HeaderFilterError;

#[derive(Debug, thiserror::Error)]
#[error("time must be a time (2026-01-31T08:00:00Z), an age (15m) or now")]
struct TimeError;

fn parse_header(text: &str) -> Result<HeaderFilter, HeaderFilterError> {
    let (name, value) = match text.split_once('=') {
        None => (text, None),
        Some((name, value)) => (name, Some(value.as_bytes().to_vec())),
    };
    if name.is_empty() {
        return Err(HeaderFilterError);
    }
    let name = name.to_owned();
    Ok(HeaderFilter { name, value })
}

fn parse_regex(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(REGEX_MAX_BYTES).build()
}

fn parse_time(text: &str) -> Result<i64, TimeError> {
    if text == "now" {
        return Ok(now_ms());
    }
    match parse_start(text) {
        Ok(StartAt::Timestamp(time)) => Ok(time),
        _ => Err(TimeError),
    }
}

/// Selects records.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    args: FilterArgs,
    contains: Option<memmem::Finder<'static>>,
}

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Self {
        let contains = args.contains.as_ref();
        Self {
            contains: contains.map(|text| memmem::Finder::new(text).into_owned()),
            args,
        }
    }
}

impl Filter {
    /// Whether every record passes.
    pub(crate) const fn is_open(&self) -> bool {
        let args = &self.args;
        args.key.is_none()
            && args.headers.is_empty()
            && args.contains.is_none()
            && args.regex.is_none()
            && args.since.is_none()
            && args.until.is_none()
    }

    /// Whether the record passes. A record without a value has none that contains or matches
    /// anything.
    pub(crate) fn passes(&self, record: &RecordRef<'_>) -> bool {
        let args = &self.args;
        let has_key = |key: &String| record.key == Some(key.as_bytes());
        let contains = |finder: &memmem::Finder<'_>| {
            let found = record.value.and_then(|value| finder.find(value));
            found.is_some()
        };
        let matches = |regex: &Regex| record.value.is_some_and(|value| regex.is_match(value));
        args.since.is_none_or(|since| record.timestamp_ms >= since)
            && args.until.is_none_or(|until| record.timestamp_ms < until)
            && args.key.as_ref().is_none_or(has_key)
            && args.headers.iter().all(|header| header.is_in(record))
            && self.contains.as_ref().is_none_or(contains)
            && args.regex.as_ref().is_none_or(matches)
    }
}

impl HeaderFilter {
    fn is_in(&self, record: &RecordRef<'_>) -> bool {
        let mut headers = record.headers().filter_map(Result::ok);
        headers.any(|(name, value)| {
            let expected = self.value.as_deref();
            name == self.name && expected.is_none_or(|expected| expected == value)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use lograft_core::compression::Compression;
    use lograft_core::record::{Header, Record};
    use lograft_core::record_batch::{BatchBuilder, BatchView};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: FilterArgs,
    }

    /// Offsets of the sample records that pass.
    fn passing(options: &[&str]) -> Vec<usize> {
        let args = [&["consume"], options].concat();
        let filter = Filter::from(Line::try_parse_from(args).unwrap().filter);
        let header = |name: &str, value: &'static str| Header {
            key: name.to_owned(),
            value: value.into(),
        };
        let record =
            |key: Option<&'static str>, value: Option<&'static [u8]>, timestamp_ms| Record {
                timestamp_ms: Some(timestamp_ms),
                key: key.map(Into::into),
                value: value.map(Into::into),
                headers: Vec::new(),
            };
        let mut traced = record(Some("ann"), Some(b"order 17 shipped"), 1000);
        traced.headers = vec![header("trace", "1"), header("trace", "2"), header("x", "")];
        let records = [
            traced,
            record(Some("ann"), None, 3000),
            record(Some(""), Some(b""), 2000),
            record(None, Some(b"\xff order 4\nlast"), 4000),
        ];
        let mut builder = BatchBuilder::new(Compression::None);
        for record in &records {
            builder.push(record, 0).unwrap();
        }
        let batch = BatchView::parse(builder.finish().unwrap().bytes).unwrap();
        let batch = batch.decode().unwrap();
        let records = batch.iter().map(Result::unwrap).enumerate();
        records
            .filter(|(_, record)| filter.passes(record))
            .map(|(offset, _)| offset)
            .collect()
    }

    #[test]
    fn each_filter_selects_its_records() {
        for (options, expected) in [
            (&[][..], &[0, 1, 2, 3][..]),
            (&["--key", "ann"], &[0, 1]),
            (&["--key", ""], &[2]),
            (&["-H", "trace"], &[0]),
            (&["-H", "trace=2"], &[0]),
            (&["-H", "trace=2", "-H", "x="], &[0]),
            (&["-H", "trace=3"], &[]),
            (&["-H", "trace", "-H", "y"], &[]),
            (&["--contains", "order"], &[0, 3]),
            (&["--contains", ""], &[0, 2, 3]),
            (&["--regex", r"order \d\d"], &[0]),
            (&["-e", "(?-u)^\\xff"], &[3]),
            (&["-e", "(?m)^last$"], &[3]),
            (&["-e", "ORDER"], &[]),
            (&["-e", "(?i)ORDER"], &[0, 3]),
            (&["-e", ""], &[0, 2, 3]),
            (&["--since", "1970-01-01T00:00:03Z"], &[1, 3]),
            (&["--until", "1970-01-01T00:00:03Z"], &[0, 2]),
            (&["--since", "1m"], &[]),
            (&["--until", "now"], &[0, 1, 2, 3]),
            (&["--key", "ann", "--contains", "order"], &[0]),
        ] {
            assert_eq!(passing(options), expected, "{options:?}");
        }
    }

    #[test]
    fn only_a_filter_without_options_is_open() {
        assert!(Filter::from(FilterArgs::default()).is_open());
        let args = FilterArgs {
            until: Some(3),
            ..FilterArgs::default()
        };
        assert!(!Filter::from(args).is_open());
    }

    #[test]
    fn filters_that_are_not_valid_are_refused() {
        assert!(parse_header("=x").is_err());
        assert!(parse_header("").is_err());
        assert!(parse_time("17").is_err());
        assert!(parse_time("latest").is_err());
        assert!(parse_regex("(").is_err());
        assert!(parse_regex(r"\w{9999}{9999}").is_err());
    }
}
