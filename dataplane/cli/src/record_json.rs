//! A record as a JSON object: `produce --input json` reads the same form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lograft_client::RecordRef;
use serde::Serialize;

use crate::output::OutputError;

/// Where a record is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordPlace<'a> {
    /// Topic and partition; unknown to the files of a replica.
    pub(crate) topic: Option<(&'a str, u32)>,
    pub(crate) offset: u64,
    pub(crate) append_time_ms: i64,
}

#[derive(Serialize)]
struct JsonRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
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

/// Appends the record as a JSON object on one line, without a line end.
pub(crate) fn append_json(
    place: &RecordPlace<'_>,
    record: &RecordRef<'_>,
    out: &mut Vec<u8>,
) -> Result<(), OutputError> {
    let key = match json_value(record.key) {
        JsonValue::Text(text) => JsonKey::Text(text),
        JsonValue::Bytes(text) => JsonKey::Bytes(text),
    };
    let json = JsonRecord {
        topic: place.topic.map(|(topic, _)| topic),
        partition: place.topic.map(|(_, partition)| partition),
        offset: place.offset,
        timestamp_ms: record.timestamp_ms,
        append_time_ms: place.append_time_ms,
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
    serde_json::to_writer(out, &json).map_err(|source| OutputError::Encode { source })
}
