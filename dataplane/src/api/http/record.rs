//! Records in JSON, as clients send them and as they are returned.

use bytes::Bytes;
use lograft_core::limits::BATCH_RECORDS_MAX_COUNT;
use lograft_core::record::Header;
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::bounded_list::BoundedList;
use super::content::{Content, ContentForms, Form, Formed, HeaderField, Headers};
use super::number::Int;
use crate::serving::request::{FetchedRecord, PlainRecord};

/// A record to append. A fetched record may be sent as it is.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRecord {
    /// The partition. Without one it follows from the key; records of a request without a key go to
    /// one partition.
    #[serde(default)]
    pub(crate) partition: Option<u32>,
    /// The key; null for none.
    #[serde(default)]
    #[schema(value_type = Option<ContentForms>)]
    key: Option<Content>,
    /// The value; null for none.
    #[serde(default)]
    #[schema(value_type = Option<ContentForms>)]
    value: Option<Content>,
    /// The headers, in their order.
    #[serde(default)]
    #[schema(value_type = Vec<HeaderField>, max_items = 128)]
    headers: Headers,
    /// Milliseconds since the Unix epoch; without it, the time of the append.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^-?[0-9]{1,18}$", example = "1767225600000")]
    timestamp_ms: Option<Int<i64>>,
    /// Ignored.
    #[serde(default, rename = "offset")]
    #[schema(value_type = Option<String>)]
    _offset: Option<IgnoredAny>,
    /// Ignored.
    #[serde(default, rename = "append_time_ms")]
    #[schema(value_type = Option<String>)]
    _append_time_ms: Option<IgnoredAny>,
}

impl NewRecord {
    /// The key, which decides the partition.
    pub(crate) fn key(&self) -> Option<&Bytes> {
        self.key.as_ref().map(|content| &content.0)
    }

    /// A record that is not from JSON.
    pub(crate) fn raw(
        partition: Option<u32>,
        (key, value): (Option<Bytes>, Option<Bytes>),
        headers: Vec<Header>,
        timestamp_ms: Option<i64>,
    ) -> Self {
        Self {
            partition,
            key: key.map(Content),
            value: value.map(Content),
            headers: Headers(headers),
            timestamp_ms: timestamp_ms.map(Int),
            _offset: None,
            _append_time_ms: None,
        }
    }

    pub(crate) fn into_plain(self) -> PlainRecord {
        PlainRecord {
            key: self.key.map(|content| content.0),
            value: self.value.map(|content| content.0),
            headers: self.headers.0,
            timestamp_ms: self.timestamp_ms.map(|time| time.0),
        }
    }
}

/// The records of a request, as many as a batch may have.
#[derive(Debug)]
pub(crate) struct NewRecords(pub(crate) Vec<NewRecord>);

impl<'de> Deserialize<'de> for NewRecords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = BoundedList::new(("records", "records"), BATCH_RECORDS_MAX_COUNT as usize);
        deserializer.deserialize_seq(list).map(Self)
    }
}

/// A record that is returned.
pub(crate) struct ReturnedRecord<'a> {
    pub(crate) partition: u32,
    pub(crate) fetched: &'a FetchedRecord,
    pub(crate) forms: Forms,
}

/// The forms in which keys and values are returned. Header values have that of the values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Forms {
    pub(crate) key: Form,
    pub(crate) value: Form,
}

/// A record of the log.
#[derive(ToSchema)]
#[schema(as = Record)]
#[expect(dead_code, reason = "the schema of ReturnedRecord")]
pub(crate) struct RecordFields {
    partition: u32,
    #[schema(pattern = "^[0-9]+$", example = "42")]
    offset: String,
    /// The producer's timestamp, milliseconds since the Unix epoch.
    #[schema(pattern = "^-?[0-9]+$", example = "1767225600000")]
    timestamp_ms: Option<String>,
    /// Time of the append by the leader's clock, milliseconds since the Unix epoch.
    #[schema(pattern = "^-?[0-9]+$", example = "1767225600000")]
    append_time_ms: String,
    /// The key; null if there is none.
    key: Option<ContentForms>,
    /// The value; null if there is none.
    value: Option<ContentForms>,
    headers: Vec<HeaderField>,
}

impl Serialize for ReturnedRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let FetchedRecord {
            offset,
            record,
            append_time_ms,
        } = self.fetched;
        let Forms { key, value } = self.forms;
        let mut map = serializer.serialize_struct("Record", 7)?;
        map.serialize_field("partition", &self.partition)?;
        map.serialize_field("offset", &Int(offset.get()))?;
        map.serialize_field("timestamp_ms", &record.timestamp_ms.map(Int))?;
        map.serialize_field("append_time_ms", &Int(*append_time_ms))?;
        map.serialize_field("key", &formed_option(record.key.as_ref(), key))?;
        map.serialize_field("value", &formed_option(record.value.as_ref(), value))?;
        let headers = ReturnedHeaders(&record.headers, value);
        map.serialize_field("headers", &headers)?;
        map.end()
    }
}

fn formed_option(bytes: Option<&Bytes>, form: Form) -> Option<Formed<'_>> {
    bytes.map(|bytes| Formed { bytes, form })
}

struct ReturnedHeaders<'a>(&'a [Header], Form);

impl Serialize for ReturnedHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Returned<'a> {
            key: &'a str,
            value: Formed<'a>,
        }
        let Self(headers, form) = *self;
        let mut list = serializer.serialize_seq(Some(headers.len()))?;
        for Header { key, value } in headers {
            let value = Formed { bytes: value, form };
            list.serialize_element(&Returned { key, value })?;
        }
        list.end()
    }
}
