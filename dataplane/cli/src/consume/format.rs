//! One record as bytes of the output.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lograft_client::RecordRef;
use serde::Serialize;

use crate::error::CliError;

/// How records are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The value, perhaps after its key, and a line end.
    Value { separator: Option<String> },
    /// One JSON object and a line end.
    Json { topic: String },
}

/// A record and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) append_time_ms: i64,
    pub(crate) record: &'a RecordRef<'a>,
}

impl Format {
    /// Puts the record behind what `out` holds.
    pub(crate) fn append(&self, line: &Line<'_>, out: &mut Vec<u8>) -> Result<(), CliError> {
        match self {
            Self::Value { separator } => {
                if let Some(separator) = separator {
                    out.extend_from_slice(line.record.key.unwrap_or_default());
                    out.extend_from_slice(separator.as_bytes());
                }
                out.extend_from_slice(line.record.value.unwrap_or_default());
            }
            Self::Json { topic } => append_json(topic, line, out)?,
        }
        out.push(b'\n');
        Ok(())
    }
}

#[derive(Serialize)]
struct JsonRecord<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    timestamp_ms: i64,
    append_time_ms: i64,
    #[serde(flatten)]
    key: JsonKey<'a>,
    #[serde(flatten)]
    value: JsonValue<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Serialize)]
enum JsonKey<'a> {
    #[serde(rename = "key")]
    Text(Option<&'a str>),
    #[serde(rename = "key_base64")]
    Bytes(String),
}

#[derive(Serialize)]
enum JsonValue<'a> {
    #[serde(rename = "value")]
    Text(Option<&'a str>),
    #[serde(rename = "value_base64")]
    Bytes(String),
}

#[derive(Serialize)]
struct JsonHeader<'a> {
    name: &'a str,
    #[serde(flatten)]
    value: JsonValue<'a>,
}

fn json_value(bytes: Option<&[u8]>) -> JsonValue<'_> {
    match bytes.map(std::str::from_utf8) {
        None => JsonValue::Text(None),
        Some(Ok(text)) => JsonValue::Text(Some(text)),
        Some(Err(_)) => JsonValue::Bytes(STANDARD.encode(bytes.unwrap_or_default())),
    }
}

fn append_json(topic: &str, line: &Line<'_>, out: &mut Vec<u8>) -> Result<(), CliError> {
    let record = line.record;
    let key = match json_value(record.key) {
        JsonValue::Text(text) => JsonKey::Text(text),
        JsonValue::Bytes(text) => JsonKey::Bytes(text),
    };
    let json = JsonRecord {
        topic,
        partition: line.partition,
        offset: line.offset,
        timestamp_ms: record.timestamp_ms,
        append_time_ms: line.append_time_ms,
        key,
        value: json_value(record.value),
        // The batch was checked when it was decoded: no header is damaged.
        headers: record
            .headers()
            .filter_map(Result::ok)
            .map(|(name, value)| JsonHeader {
                name,
                value: json_value(Some(value)),
            })
            .collect(),
    };
    serde_json::to_writer(out.by_ref(), &json).map_err(|source| CliError::Encode { source })
}

#[cfg(test)]
mod tests {
    use lograft_core::compression::Compression;
    use lograft_core::record::{Header, Record};
    use lograft_core::record_batch::{BatchBuilder, BatchView};

    use super::*;

    fn printed(format: &Format, record: &Record) -> String {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(record).unwrap();
        let batch = BatchView::parse(builder.finish().unwrap().bytes).unwrap();
        let batch = batch.decode().unwrap();
        let record = batch.iter().next().unwrap().unwrap();
        let line = Line {
            partition: 2,
            offset: 9,
            append_time_ms: 5,
            record: &record,
        };
        let mut out = b"before ".to_vec();
        format.append(&line, &mut out).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    fn record(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> Record {
        Record {
            timestamp_ms: 4,
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: Vec::new(),
        }
    }

    #[test]
    fn values_stand_alone_or_behind_their_key() {
        let plain = Format::Value { separator: None };
        assert_eq!(
            printed(&plain, &record(Some(b"k"), Some(b"v\tw"))),
            "before v\tw\n"
        );
        assert_eq!(printed(&plain, &record(None, None)), "before \n");
        let keyed = Format::Value {
            separator: Some("=>".into()),
        };
        assert_eq!(
            printed(&keyed, &record(Some(b"k"), Some(b"v"))),
            "before k=>v\n"
        );
    }

    #[test]
    fn json_tells_text_bytes_and_nothing_apart() {
        let json = Format::Json { topic: "t".into() };
        let header = Header {
            key: "trace".into(),
            value: "x\"y".into(),
        };
        let full = Record {
            headers: vec![header],
            ..record(Some(b"\xff"), Some(b""))
        };
        assert_eq!(
            printed(&json, &full),
            "before {\"topic\":\"t\",\"partition\":2,\"offset\":9,\"timestamp_ms\":4,\
             \"append_time_ms\":5,\"key_base64\":\"/w==\",\"value\":\"\",\
             \"headers\":[{\"name\":\"trace\",\"value\":\"x\\\"y\"}]}\n"
        );
        let bare = printed(&json, &record(None, None));
        assert!(bare.ends_with("\"key\":null,\"value\":null}\n"), "{bare}");
    }
}
