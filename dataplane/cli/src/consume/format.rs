//! Output formats of a record.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lograft_client::RecordRef;
use serde::Serialize;

use crate::error::CliError;
use crate::output::OutputError;

/// Output format of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The value, optionally after its key, and a line end.
    Value { separator: Option<String> },
    /// One JSON object and a line end.
    Json { topic: String },
}

/// A record with its partition and offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConsumedRecord<'a> {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) append_time_ms: i64,
    pub(crate) record: &'a RecordRef<'a>,
}

impl Format {
    /// Appends the record to `out`.
    pub(crate) fn append(
        &self,
        consumed: &ConsumedRecord<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CliError> {
        let record = consumed.record;
        match self {
            Self::Value { separator } => {
                if let Some(separator) = separator {
                    out.extend_from_slice(record.key.unwrap_or_default());
                    out.extend_from_slice(separator.as_bytes());
                }
                out.extend_from_slice(record.value.unwrap_or_default());
            }
            Self::Json { topic } => append_json(topic, consumed, out)?,
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

fn append_json(
    topic: &str,
    consumed: &ConsumedRecord<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CliError> {
    let record = consumed.record;
    let key = match json_value(record.key) {
        JsonValue::Text(text) => JsonKey::Text(text),
        JsonValue::Bytes(text) => JsonKey::Bytes(text),
    };
    let json = JsonRecord {
        topic,
        partition: consumed.partition,
        offset: consumed.offset,
        timestamp_ms: record.timestamp_ms,
        append_time_ms: consumed.append_time_ms,
        key,
        value: json_value(record.value),
        // Decoding the batch has validated the headers, so none is skipped here.
        headers: record
            .headers()
            .filter_map(Result::ok)
            .map(|(name, value)| JsonHeader {
                name,
                value: json_value(Some(value)),
            })
            .collect(),
    };
    serde_json::to_writer(out.by_ref(), &json)
        .map_err(|source| OutputError::Encode { source }.into())
}

#[cfg(test)]
mod tests {
    use lograft_core::compression::Compression;
    use lograft_core::record::{Header, Record};
    use lograft_core::record_batch::{BatchBuilder, BatchView};

    use super::*;

    fn printed(format: &Format, record: &Record) -> String {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(record, 0).unwrap();
        let batch = BatchView::parse(builder.finish().unwrap().bytes).unwrap();
        let batch = batch.decode().unwrap();
        let record = batch.iter().next().unwrap().unwrap();
        let consumed = ConsumedRecord {
            partition: 2,
            offset: 9,
            append_time_ms: 5,
            record: &record,
        };
        let mut out = b"before ".to_vec();
        format.append(&consumed, &mut out).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    fn record(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> Record {
        Record {
            timestamp_ms: Some(4),
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: Vec::new(),
        }
    }

    #[test]
    fn values_are_printed_alone_or_after_their_key() {
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
    fn json_distinguishes_text_bytes_and_null() {
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
