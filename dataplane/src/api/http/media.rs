//! Media types: that of a body, and those that a client accepts.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use super::answer::{EVENTS, JSON, NDJSON};
use super::error::HttpError;

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyForm {
    Json,
    Ndjson,
    /// The bytes of one value.
    Raw,
}

/// Media type of raw bytes.
pub(crate) const RAW: &str = "application/octet-stream";

/// The form of the body of a request, one of `allowed`.
pub(crate) fn body_form(
    headers: &HeaderMap,
    allowed: &'static [BodyForm],
) -> Result<BodyForm, HttpError> {
    let value = headers.get(CONTENT_TYPE);
    let value = value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let value = value.unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let form = match &*essence {
        JSON => Some(BodyForm::Json),
        NDJSON | "application/ndjson" | "application/jsonl" => Some(BodyForm::Ndjson),
        RAW => Some(BodyForm::Raw),
        _ => None,
    };
    let Some(form) = form.filter(|form| allowed.contains(form)) else {
        return Err(HttpError::UnsupportedMediaType {
            field: "Content-Type",
            bound: if allowed.len() == 1 {
                "application/json"
            } else {
                "application/json, application/x-ndjson or application/octet-stream"
            },
            found: value,
        });
    };
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    });
    let is_utf8 = |charset: &str| {
        charset
            .trim()
            .trim_matches('"')
            .eq_ignore_ascii_case("utf-8")
    };
    if form != BodyForm::Raw && !charset.is_none_or(is_utf8) {
        return Err(HttpError::UnsupportedMediaType {
            field: "Content-Type",
            bound: "in the charset utf-8",
            found: value,
        });
    }
    Ok(form)
}

/// The form of an answer with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerForm {
    Json,
    Ndjson,
    Events,
}

impl AnswerForm {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Ndjson => NDJSON,
            Self::Events => EVENTS,
        }
    }

    /// The one of `offered` that a client accepts most; the first one if it accepts any.
    pub(crate) fn accepted(
        headers: &HeaderMap,
        offered: &[Self],
        bound: &'static str,
    ) -> Result<Self, HttpError> {
        let values = headers.get_all(ACCEPT).iter();
        let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let accept = values.join(",");
        if accept.trim().is_empty() {
            return offered
                .first()
                .copied()
                .ok_or_else(|| refused(bound, accept));
        }
        let mut best: Option<(Self, f32)> = None;
        for form in offered {
            let weight = weight_of(&accept, form.media_type());
            if weight > best.map_or(0.0, |(_, weight)| weight) {
                best = Some((*form, weight));
            }
        }
        best.map(|(form, _)| form)
            .ok_or_else(|| refused(bound, accept))
    }
}

fn refused(bound: &'static str, found: String) -> HttpError {
    HttpError::NotAcceptable { bound, found }
}

/// The weight of a media type in the header Accept, by its most specific range (RFC 9110, section
/// 12.5.1); 0 if it is not acceptable.
fn weight_of(accept: &str, media_type: &str) -> f32 {
    let kind = media_type.split('/').next().unwrap_or_default();
    let mut found = (0, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specificity = match &*name {
            name if name == media_type => 3,
            name if name.strip_suffix("/*") == Some(kind) => 2,
            "*/*" => 1,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        if specificity > found.0 {
            found = (specificity, weight.unwrap_or(1.0));
        }
    }
    found.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_form_of_a_body_is_named_and_its_charset_is_utf8() {
        const ALL: &[BodyForm] = &[BodyForm::Json, BodyForm::Ndjson, BodyForm::Raw];
        let form = |value| body_form(&headers(CONTENT_TYPE, value), ALL).ok();
        assert_eq!(form("application/json"), Some(BodyForm::Json));
        assert_eq!(
            form("Application/JSON; charset=\"UTF-8\""),
            Some(BodyForm::Json)
        );
        assert_eq!(form("application/x-ndjson"), Some(BodyForm::Ndjson));
        assert_eq!(form("application/octet-stream"), Some(BodyForm::Raw));
        assert_eq!(form("application/json; charset=utf-16"), None);
        assert_eq!(form("text/plain"), None);
        assert!(body_form(&HeaderMap::new(), ALL).is_err());
        let raw = headers(CONTENT_TYPE, RAW);
        assert!(body_form(&raw, &[BodyForm::Json]).is_err());
    }

    #[test]
    fn the_most_wanted_form_is_chosen() {
        const ALL: &[AnswerForm] = &[AnswerForm::Json, AnswerForm::Ndjson, AnswerForm::Events];
        let form = |value| AnswerForm::accepted(&headers(ACCEPT, value), ALL, "x").ok();
        assert_eq!(form("*/*"), Some(AnswerForm::Json));
        assert_eq!(form(""), Some(AnswerForm::Json));
        assert_eq!(form("text/event-stream"), Some(AnswerForm::Events));
        assert_eq!(
            form("application/x-ndjson, */*;q=0.1"),
            Some(AnswerForm::Ndjson)
        );
        assert_eq!(form("application/json;q=0, */*"), Some(AnswerForm::Ndjson));
        assert_eq!(form("text/*"), Some(AnswerForm::Events));
        assert_eq!(form("image/png"), None);
    }
}
