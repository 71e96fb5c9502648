//! One record whose value is the body, with its key and headers in HTTP headers.

use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use lograft_core::limits::RECORD_HEADERS_MAX_COUNT;
use lograft_core::record::Header;
use utoipa::IntoParams;

use super::ProduceCall;
use super::batch::StampFields;
use super::json::append_all;
use crate::api::http::body::read_whole;
use crate::api::http::error::HttpError;
use crate::api::http::number::Int;
use crate::api::http::parts::HttpApi;
use crate::api::http::record::NewRecord;
use crate::error::ApiError;

const KEY: &str = "lograft-key";
const KEY_BASE64: &str = "lograft-key-base64";
const NULL_VALUE: &str = "lograft-null-value";
const HEADER: &str = "lograft-header";
const HEADER_BASE64: &str = "lograft-header-base64";
const PARTITION: &str = "lograft-partition";
const TIMESTAMP_MS: &str = "lograft-timestamp-ms";
const PRODUCER_ID: &str = "lograft-producer-id";
const EPOCH: &str = "lograft-epoch";
const SEQUENCE: &str = "lograft-sequence";

/// HTTP headers of a record whose value is the body (application/octet-stream).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the parameters of a raw record")]
pub(super) struct RawHeaders {
    /// The key, as text in UTF-8.
    #[param(rename = "Lograft-Key")]
    key: Option<String>,
    /// The key in base64, instead of Lograft-Key.
    #[param(rename = "Lograft-Key-Base64")]
    key_base64: Option<String>,
    /// A header of the record, `name=value` as text; may repeat.
    #[param(rename = "Lograft-Header", pattern = "^[^=]+=.*$")]
    header: Option<String>,
    /// The same with the value in base64.
    #[param(rename = "Lograft-Header-Base64", pattern = "^[^=]+=[A-Za-z0-9+/]*=*$")]
    header_base64: Option<String>,
    /// `true`: the record has no value, and the body must be empty.
    #[param(rename = "Lograft-Null-Value")]
    null_value: Option<bool>,
    /// The partition.
    #[param(rename = "Lograft-Partition")]
    partition: Option<u32>,
    /// Milliseconds since the Unix epoch; without it, the time of the append.
    #[param(rename = "Lograft-Timestamp-Ms")]
    timestamp_ms: Option<i64>,
    /// Id of an idempotent producer.
    #[param(rename = "Lograft-Producer-Id")]
    producer_id: Option<u64>,
    /// Epoch of the producer.
    #[param(rename = "Lograft-Epoch")]
    epoch: Option<u32>,
    /// Sequence of the record.
    #[param(rename = "Lograft-Sequence")]
    sequence: Option<u64>,
}

pub(super) async fn produce(
    api: &HttpApi,
    call: ProduceCall,
    request: Request,
) -> Result<Response, HttpError> {
    let headers = request.headers();
    let stamp = StampFields {
        producer_id: number(headers, PRODUCER_ID)?.map(Int),
        epoch: number(headers, EPOCH)?,
        sequence: number(headers, SEQUENCE)?.map(Int),
    };
    let stamp = stamp.stamp()?;
    let partition = number(headers, PARTITION)?;
    let timestamp_ms = number(headers, TIMESTAMP_MS)?;
    let (key, headers_of_record) = (key(headers)?, record_headers(headers)?);
    let is_null = single(headers, NULL_VALUE)?.map(|value| parse(NULL_VALUE, value));
    let is_null: bool = is_null.transpose()?.unwrap_or(false);
    let (body, held) = read_whole(&api.bodies, request).await?;
    if is_null && !body.is_empty() {
        let bound = "false, because the body is not empty";
        return Err(ApiError::invalid(NULL_VALUE, bound).into());
    }
    let value = (!is_null).then_some(body);
    let record = NewRecord::raw(partition, (key, value), headers_of_record, timestamp_ms);
    let outcome = append_all(&call, vec![record], stamp).await;
    drop(held);
    outcome
}

/// The value of a header that may occur once.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a HeaderValue>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(ApiError::invalid(name, "set once"));
    }
    Ok(first)
}

fn parse<T: std::str::FromStr>(name: &'static str, value: &HeaderValue) -> Result<T, ApiError> {
    let parsed = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    parsed.ok_or_else(|| ApiError::invalid(name, std::any::type_name::<T>()))
}

fn number<T: std::str::FromStr>(
    headers: &HeaderMap,
    name: &'static str,
) -> Result<Option<T>, ApiError> {
    let value = single(headers, name)?;
    value.map(|value| parse(name, value)).transpose()
}

fn key(headers: &HeaderMap) -> Result<Option<Bytes>, ApiError> {
    let text = single(headers, KEY)?;
    let base64 = single(headers, KEY_BASE64)?;
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(text), None) => utf8(KEY, text.as_bytes()).map(|key| Some(key.to_owned().into())),
        (None, Some(base64)) => decode(KEY_BASE64, base64.as_bytes()).map(Some),
        (Some(_), Some(_)) => Err(ApiError::invalid(
            KEY,
            "set, or Lograft-Key-Base64, but not both",
        )),
    }
}

fn record_headers(headers: &HeaderMap) -> Result<Vec<Header>, ApiError> {
    // Those of each kind are in their order; base64 ones come last.
    let text = headers.get_all(HEADER).iter().map(|value| {
        let (name, value) = named(HEADER, value)?;
        let value = utf8(HEADER, value)?.to_owned().into();
        Ok(Header { key: name, value })
    });
    let base64 = headers.get_all(HEADER_BASE64).iter().map(|value| {
        let (name, value) = named(HEADER_BASE64, value)?;
        let value = decode(HEADER_BASE64, value)?;
        Ok(Header { key: name, value })
    });
    let found: Vec<Header> = text.chain(base64).collect::<Result<_, ApiError>>()?;
    if found.len() > RECORD_HEADERS_MAX_COUNT {
        let bound = format_args!("at most {RECORD_HEADERS_MAX_COUNT}, got {}", found.len());
        return Err(ApiError::invalid(HEADER, bound));
    }
    Ok(found)
}

/// The two sides of `name=value`.
fn named<'a>(field: &'static str, value: &'a HeaderValue) -> Result<(String, &'a [u8]), ApiError> {
    let bytes = value.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=');
    let at = at.ok_or_else(|| ApiError::invalid(field, "name=value"))?;
    let name = utf8(field, &bytes[..at])?;
    Ok((name.to_owned(), &bytes[at + 1..]))
}

fn utf8<'a>(field: &'static str, bytes: &'a [u8]) -> Result<&'a str, ApiError> {
    std::str::from_utf8(bytes).map_err(|_| ApiError::invalid(field, "UTF-8"))
}

fn decode(field: &'static str, bytes: &[u8]) -> Result<Bytes, ApiError> {
    let decoded = STANDARD.decode(bytes);
    decoded
        .map(Bytes::from)
        .map_err(|error| ApiError::invalid(field, format_args!("base64: {error}")))
}
