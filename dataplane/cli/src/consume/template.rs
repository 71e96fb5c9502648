//! Output templates: `%t %p %o %k %v\n`.

use std::io::Write as _;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::record::ConsumedRecord;
use crate::clock;
use crate::escapes::{EscapeError, append_visible, take_escape};

/// The placeholders, shown by `consume --help`.
pub(crate) const TEMPLATE_HELP: &str = r"Placeholders of --format:
  %t            topic
  %p            partition
  %o            offset
  %e            leader epoch in which the record was appended
  %d            timestamp, milliseconds since the Unix epoch; %d{rfc3339} as text, in UTC
  %a            time at which the leader appended the record, like %d
  %k %v         key, value: their bytes; nothing for a record without. Also %k{hex}, %v{base64}
  %K %V         length of the key, of the value in bytes; -1 for a record without
  %h            headers: NAME=VALUE,NAME=VALUE. %h{NAME}: value of the first header NAME
  %H            number of headers
  %%            percent sign
Escapes of --format and of separators: \n, \r, \t, \0, \e, \\ and \xNN, a byte in hexadecimal";

/// The template is not valid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    #[error(transparent)]
    Escape(#[from] EscapeError),
    #[error(
        "placeholder must be one of %t, %p, %o, %e, %d, %a, %k, %v, %K, %V, %h, %H and %%, got \
         %{found}"
    )]
    Unknown { found: String },
    #[error("placeholder %{name} must end with a brace, as in %h{{NAME}}")]
    NoBrace { name: char },
    #[error("form of placeholder %{name} must be {forms}, got {found:?}")]
    Form {
        name: char,
        forms: &'static str,
        found: String,
    },
}

/// Encoding of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Plain,
    Hex,
    Base64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeForm {
    Millis,
    Rfc3339,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    LeaderEpoch,
    Timestamp(TimeForm),
    AppendTime(TimeForm),
    Key(Encoding),
    Value(Encoding),
    KeyLength,
    ValueLength,
    Headers,
    Header(String),
    HeaderCount,
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['%', '\\']) {
            literal.extend_from_slice(&rest.as_bytes()[..at]);
            let after = &rest[at + 1..];
            if rest.as_bytes()[at] == b'\\' {
                let (byte, after) = take_escape(after)?;
                literal.push(byte);
                rest = after;
            } else if let Some(after) = after.strip_prefix('%') {
                literal.push(b'%');
                rest = after;
            } else {
                let (part, after) = take_placeholder(after)?;
                push_text(&mut parts, &mut literal);
                parts.push(part);
                rest = after;
            }
        }
        literal.extend_from_slice(rest.as_bytes());
        push_text(&mut parts, &mut literal);
        Ok(Self { parts })
    }
}

fn push_text(parts: &mut Vec<Part>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal)));
    }
}

/// The placeholder at the start of `text`, which lacks its percent sign, and the text after it.
fn take_placeholder(text: &str) -> Result<(Part, &str), TemplateError> {
    let mut chars = text.chars();
    let name = chars.next();
    let after = chars.as_str();
    let plain = match name {
        Some('t') => Part::Topic,
        Some('p') => Part::Partition,
        Some('o') => Part::Offset,
        Some('e') => Part::LeaderEpoch,
        Some('K') => Part::KeyLength,
        Some('V') => Part::ValueLength,
        Some('H') => Part::HeaderCount,
        Some(name @ ('d' | 'a' | 'k' | 'v' | 'h')) => return take_with_form(name, after),
        found => {
            let found = found.map(String::from).unwrap_or_default();
            return Err(TemplateError::Unknown { found });
        }
    };
    Ok((plain, after))
}

/// A placeholder that may be followed by a form in braces.
fn take_with_form(name: char, after: &str) -> Result<(Part, &str), TemplateError> {
    let (form, after) = match after.strip_prefix('{') {
        None => (None, after),
        Some(inner) => {
            let (form, after) = inner
                .split_once('}')
                .ok_or(TemplateError::NoBrace { name })?;
            (Some(form), after)
        }
    };
    let part = match name {
        'd' => Part::Timestamp(time_form(name, form)?),
        'a' => Part::AppendTime(time_form(name, form)?),
        'k' => Part::Key(encoding(name, form)?),
        'v' => Part::Value(encoding(name, form)?),
        _ => form.map_or(Part::Headers, |name| Part::Header(name.to_owned())),
    };
    Ok((part, after))
}

fn time_form(name: char, form: Option<&str>) -> Result<TimeForm, TemplateError> {
    match form {
        None => Ok(TimeForm::Millis),
        Some("rfc3339") => Ok(TimeForm::Rfc3339),
        Some(found) => Err(TemplateError::Form {
            name,
            forms: "rfc3339",
            found: found.to_owned(),
        }),
    }
}

fn encoding(name: char, form: Option<&str>) -> Result<Encoding, TemplateError> {
    match form {
        None => Ok(Encoding::Plain),
        Some("hex") => Ok(Encoding::Hex),
        Some("base64") => Ok(Encoding::Base64),
        Some(found) => Err(TemplateError::Form {
            name,
            forms: "hex or base64",
            found: found.to_owned(),
        }),
    }
}

impl Template {
    /// Appends the record to `out`, its own bytes with control characters escaped if `visible`.
    pub(crate) fn append(
        &self,
        topic: &str,
        consumed: &ConsumedRecord<'_>,
        visible: bool,
        out: &mut Vec<u8>,
    ) {
        let record = consumed.record;
        for part in &self.parts {
            // Writing to a vector does not fail.
            let _ = match part {
                Part::Text(text) => out.write_all(text),
                Part::Topic => out.write_all(topic.as_bytes()),
                Part::Partition => write!(out, "{}", consumed.partition),
                Part::Offset => write!(out, "{}", consumed.offset),
                Part::LeaderEpoch => write!(out, "{}", consumed.leader_epoch),
                Part::Timestamp(form) => write_time(*form, record.timestamp_ms, out),
                Part::AppendTime(form) => write_time(*form, consumed.append_time_ms, out),
                Part::Key(encoding) => write_bytes(*encoding, record.key, visible, out),
                Part::Value(encoding) => write_bytes(*encoding, record.value, visible, out),
                Part::KeyLength => write_length(record.key, out),
                Part::ValueLength => write_length(record.value, out),
                Part::Headers => write_headers(consumed, visible, out),
                Part::Header(name) => {
                    let mut headers = record.headers().filter_map(Result::ok);
                    let value = headers.find(|(found, _)| found == name).map(|(_, v)| v);
                    write_bytes(Encoding::Plain, value, visible, out)
                }
                Part::HeaderCount => write!(out, "{}", record.headers().count()),
            };
        }
    }
}

fn write_time(form: TimeForm, millis: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
    match form {
        TimeForm::Millis => write!(out, "{millis}"),
        TimeForm::Rfc3339 => write!(out, "{}", clock::format_ms(millis)),
    }
}

fn write_length(bytes: Option<&[u8]>, out: &mut Vec<u8>) -> std::io::Result<()> {
    match bytes {
        None => write!(out, "-1"),
        Some(bytes) => write!(out, "{}", bytes.len()),
    }
}

fn write_bytes(
    encoding: Encoding,
    bytes: Option<&[u8]>,
    visible: bool,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    let bytes = bytes.unwrap_or_default();
    match encoding {
        Encoding::Plain if visible => append_visible(bytes, out),
        Encoding::Plain => out.extend_from_slice(bytes),
        Encoding::Hex => {
            for byte in bytes {
                write!(out, "{byte:02x}")?;
            }
        }
        Encoding::Base64 => out.extend_from_slice(STANDARD.encode(bytes).as_bytes()),
    }
    Ok(())
}

fn write_headers(
    consumed: &ConsumedRecord<'_>,
    visible: bool,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    let headers = consumed.record.headers().filter_map(Result::ok);
    for (index, (name, value)) in headers.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_bytes(Encoding::Plain, Some(name.as_bytes()), visible, out)?;
        out.push(b'=');
        write_bytes(Encoding::Plain, Some(value), visible, out)?;
    }
    Ok(())
}
