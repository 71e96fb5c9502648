//! Records as JSON objects, in the form that `consume --output json` prints.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lograft_client::Header;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// A JSON object is not a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("invalid JSON record")]
    Syntax { source: serde_json::Error },
    #[error("invalid base64 in {field}")]
    Base64 {
        field: &'static str,
        source: base64::DecodeError,
    },
    #[error("{field} and {field}_base64 must not both be set")]
    Both { field: &'static str },
    #[error("value or value_base64 must be set (\"value\":null is a record without a value)")]
    NoValue,
    #[error("value or value_base64 of header {name:?} must be set")]
    NoHeaderValue { name: String },
    #[error("partition must be set with --keep-partitions")]
    NoPartition,
}

/// An object as it is read. What the log decides is ignored: topic, offset and append time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRecord {
    #[serde(default, rename = "topic")]
    _topic: IgnoredAny,
    #[serde(default, rename = "offset")]
    _offset: IgnoredAny,
    #[serde(default, rename = "append_time_ms")]
    _append_time_ms: IgnoredAny,
    #[serde(default)]
    partition: Option<u32>,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    key_base64: Option<String>,
    #[serde(default)]
    value: MaybeText,
    #[serde(default)]
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<JsonHeader>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonHeader {
    name: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_base64: Option<String>,
}

/// A field that may be missing, which is not the same as null.
#[derive(Debug, Default)]
enum MaybeText {
    #[default]
    Missing,
    Given(Option<String>),
}

impl<'de> Deserialize<'de> for MaybeText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(Self::Given)
    }
}

/// A record to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InputRecord {
    pub(crate) partition: Option<u32>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
}

/// Parses one object.
pub(crate) fn parse_record(json: &[u8]) -> Result<InputRecord, JsonError> {
    let record: JsonRecord =
        serde_json::from_slice(json).map_err(|source| JsonError::Syntax { source })?;
    let value = match (record.value, record.value_base64) {
        (MaybeText::Missing, None) => return Err(JsonError::NoValue),
        (MaybeText::Given(_), Some(_)) => return Err(JsonError::Both { field: "value" }),
        (MaybeText::Given(text), None) => text.map(String::into_bytes),
        (MaybeText::Missing, base64) => bytes("value", None, base64)?,
    };
    let headers = record.headers.into_iter().map(header);
    Ok(InputRecord {
        partition: record.partition,
        timestamp_ms: record.timestamp_ms,
        key: bytes("key", record.key, record.key_base64)?,
        value,
        headers: headers.collect::<Result<_, _>>()?,
    })
}

fn header(json: JsonHeader) -> Result<Header, JsonError> {
    let Some(value) = bytes("value", json.value, json.value_base64)? else {
        return Err(JsonError::NoHeaderValue { name: json.name });
    };
    Ok(Header {
        key: json.name,
        value: value.into(),
    })
}

fn bytes(
    field: &'static str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Vec<u8>>, JsonError> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(JsonError::Both { field }),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(text)) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) => Err(JsonError::Base64 { field, source }),
        },
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use lograft_proto::error_text::error_chain;

    use super::*;

    fn parsed(json: &str) -> InputRecord {
        parse_record(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_form_of_consume_is_read() {
        let record = parsed(
            r#"{"topic":"t","partition":2,"offset":9,"timestamp_ms":-4,"append_time_ms":5,
                "key_base64":"/w==","value":"a\u0000\r\n","headers":[
                {"name":"a","value":""},{"name":"a","value_base64":"AP8="}]}"#,
        );
        let header = |value: &'static [u8]| Header {
            key: "a".into(),
            value: value.into(),
        };
        let expected = InputRecord {
            partition: Some(2),
            timestamp_ms: Some(-4),
            key: Some(b"\xff".to_vec()),
            value: Some(b"a\0\r\n".to_vec()),
            headers: vec![header(b""), header(b"\0\xff")],
        };
        assert_eq!(record, expected);
    }

    #[test]
    fn null_and_empty_are_different() {
        assert_eq!(parsed(r#"{"value":null}"#), InputRecord::default());
        let record = parsed(r#"{"key":"","value_base64":""}"#);
        assert_eq!((record.key, record.value), (Some(vec![]), Some(vec![])));
        assert_eq!(parsed(r#"{"key":null,"value":""}"#).key, None);
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        for (json, error) in [
            ("{}", "value or value_base64 must be set"),
            (
                r#"{"value":null,"value_base64":""}"#,
                "must not both be set",
            ),
            (
                r#"{"key":"","key_base64":"","value":""}"#,
                "key and key_base64",
            ),
            (r#"{"value_base64":"AP8"}"#, "invalid base64 in value"),
            (r#"{"value_base64":"A-_="}"#, "invalid base64 in value"),
            (r#"{"value":7}"#, "invalid type: integer `7`"),
            (r#"{"value":{"a":1}}"#, "invalid type: map"),
            (r#"{"value":"","vaule":""}"#, "unknown field `vaule`"),
            (r#"{"value":"","value":""}"#, "duplicate field"),
            (
                r#"{"value":"","headers":[{"name":"a"}]}"#,
                "header \"a\" must be set",
            ),
            (r#"{"value":""} {"value":""}"#, "trailing characters"),
            (r#"{"value":"\ud800"}"#, "invalid JSON record"),
            (r#""text""#, "invalid JSON record"),
            ("", "EOF while parsing"),
        ] {
            let found = error_chain(&parse_record(json.as_bytes()).unwrap_err());
            assert!(found.contains(error), "{json}: {found}");
        }
        assert!(parse_record(b"{\"value\":\"\xff\"}").is_err());
    }
}
