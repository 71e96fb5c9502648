//! Keys, values and headers in JSON. Bytes have no form of their own in JSON, so the field that
//! holds them names the form: `json`, `text` or `base64`. Nothing is guessed from the bytes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use lograft_core::limits::RECORD_HEADERS_MAX_COUNT;
use lograft_core::record::Header;

use super::bounded_list::BoundedList;

/// Bytes of a key, a value or a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content(pub(crate) Bytes);

/// Bytes of a key, a value or a header, in one of three forms.
#[derive(ToSchema)]
#[schema(as = Content)]
#[expect(dead_code, reason = "the schema of Content")]
pub(crate) enum ContentForms {
    /// Any JSON. Its text is stored as it was sent, without the white space around it.
    #[schema(rename = "json")]
    Json(serde_json::Value),
    /// A text, stored in UTF-8.
    #[schema(rename = "text")]
    Text(String),
    /// Any bytes, in base64 (RFC 4648, section 4, with padding).
    #[schema(rename = "base64")]
    Base64(String),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key, value or header value: an object with one of json, text and base64")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let Some(form) = map.next_key::<Text>()? else {
            return Err(A::Error::invalid_length(0, &self));
        };
        let bytes = match &*form.0 {
            b"json" => {
                let raw: &RawValue = map.next_value()?;
                Bytes::copy_from_slice(raw.get().as_bytes())
            }
            b"text" => map.next_value::<Text>()?.0,
            b"base64" => {
                let Text(text) = map.next_value()?;
                let decoded = STANDARD.decode(&text);
                decoded
                    .map_err(|error| A::Error::custom(format_args!("base64: {error}")))?
                    .into()
            }
            _ => {
                let form = String::from_utf8_lossy(&form.0);
                return Err(A::Error::unknown_field(&form, &["json", "text", "base64"]));
            }
        };
        if map.next_key::<Text>()?.is_some() {
            return Err(A::Error::invalid_length(2, &self));
        }
        Ok(Content(bytes))
    }
}

/// A string without a second copy.
struct Text(Bytes);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Bytes::copy_from_slice(text.as_bytes())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// The headers of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<Header>);

/// A header of a record. Names may repeat.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Header)]
pub(crate) struct HeaderField {
    /// The name.
    key: String,
    /// The value.
    #[schema(value_type = ContentForms)]
    value: Content,
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = "objects with key and value";
        let list = BoundedList::new(("headers", what), RECORD_HEADERS_MAX_COUNT);
        let fields: Vec<HeaderField> = deserializer.deserialize_seq(list)?;
        let header = |HeaderField { key, value }| Header {
            key,
            value: value.0,
        };
        Ok(Self(fields.into_iter().map(header).collect()))
    }
}

/// The form in which bytes are returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// As text; bytes that are no UTF-8 in base64.
    #[default]
    Text,
    /// As JSON without line breaks; other bytes as with `text`.
    Json,
    /// All in base64.
    Base64,
}

/// Bytes that are returned, in the form that was asked for, if they have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Formed<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) form: Form,
}

impl Serialize for Formed<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let Self { bytes, form } = *self;
        let mut map = serializer.serialize_map(Some(1))?;
        match form {
            Form::Json if let Some(raw) = as_json(bytes) => map.serialize_entry("json", raw)?,
            Form::Json | Form::Text if let Ok(text) = std::str::from_utf8(bytes) => {
                map.serialize_entry("text", text)?;
            }
            _ => map.serialize_entry("base64", &STANDARD.encode(bytes))?,
        }
        map.end()
    }
}

/// JSON that fits on a line. White space around it would be lost on the way back.
fn as_json(bytes: &[u8]) -> Option<&RawValue> {
    let is_one_line = !bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    let raw: &RawValue = is_one_line.then(|| serde_json::from_slice(bytes).ok())??;
    (raw.get().len() == bytes.len()).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Bytes, String> {
        let content: Result<Content, _> = serde_json::from_str(text);
        content
            .map(|content| content.0)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_form_gives_its_bytes() {
        for (text, bytes) in [
            (
                r#"{"json": {"b" : 1, "a":1.50} }"#,
                &br#"{"b" : 1, "a":1.50}"#[..],
            ),
            (r#"{"json":null}"#, b"null"),
            (r#"{"text":"ü\u0000\n"}"#, "ü\0\n".as_bytes()),
            (r#"{"text":""}"#, b""),
            (r#"{"base64":"AP8="}"#, b"\x00\xff"),
        ] {
            assert_eq!(read(text).unwrap(), bytes, "{text}");
        }
        for bad in [
            "{}",
            "7",
            "\"a\"",
            r#"{"text":7}"#,
            r#"{"base64":"AP8"}"#,
            r#"{"base64":"A-_="}"#,
            r#"{"hex":"00"}"#,
            r#"{"text":"a","json":1}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_come_back_as_they_went_in() {
        let values: [&[u8]; 9] = [
            b"",
            b"a",
            b"\x00\r\n\xff",
            "ü".as_bytes(),
            b"{\"a\": 1}",
            b" {} ",
            b"[1,\n2]",
            b"1e400",
            b"\"\\ud800\"",
        ];
        for bytes in values {
            for form in [Form::Text, Form::Json, Form::Base64] {
                let written = serde_json::to_string(&Formed { bytes, form }).unwrap();
                assert!(!written.contains('\n'), "{written}");
                assert_eq!(read(&written).unwrap(), bytes, "{written}");
            }
        }
        let formed = |bytes, form| serde_json::to_string(&Formed { bytes, form }).unwrap();
        assert_eq!(formed(b"{\"a\": 1}", Form::Json), r#"{"json":{"a": 1}}"#);
        assert_eq!(formed(b"a", Form::Json), r#"{"text":"a"}"#);
        assert_eq!(formed(b"a", Form::Base64), r#"{"base64":"YQ=="}"#);
    }
}
