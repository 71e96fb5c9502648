//! Errors that another program sent: they may be of a later version, whose reasons this one does
//! not know. Such an error is passed on as it was received, and its `retryable` decides about
//! retries.

use std::collections::BTreeMap;
use std::fmt;

use super::Reason;
use crate::limits::{
    ERROR_METADATA_KEY_MAX_BYTES, ERROR_METADATA_MAX_BYTES, ERROR_METADATA_MAX_COUNT,
    ERROR_METADATA_VALUE_MAX_BYTES, ERROR_REASON_MAX_BYTES, ERROR_TEXT_MAX_BYTES,
};

/// gRPC's code UNKNOWN.
const CODE_UNKNOWN: i32 = 2;
/// gRPC's code UNIMPLEMENTED.
const CODE_UNIMPLEMENTED: i32 = 12;
/// The greatest code of gRPC.
const CODE_MAX: i32 = 16;

/// The reason of an error that another program sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceivedReason {
    /// A reason of the table.
    Known(Reason),
    /// A reason that this version does not know.
    Newer(NewerReason),
}

/// A reason that this version does not know, as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewerReason {
    text: Box<str>,
    code: i32,
    is_retryable: bool,
}

impl ReceivedReason {
    /// Key of the metadata of an ErrorInfo that says whether a retry may succeed: `true` or
    /// `false`.
    pub const RETRYABLE_KEY: &str = "retryable";

    /// The reason with this text on the wire. `code` is the gRPC status code beside it. Without
    /// `is_retryable`, which version 0.1.0 does not send, the code decides. None if the text cannot
    /// be a reason: it is empty, longer than [`ERROR_REASON_MAX_BYTES`], or has characters other
    /// than `A-Z`, `0-9` and `_`.
    pub fn from_wire(text: &str, code: i32, is_retryable: Option<bool>) -> Option<Self> {
        if let Some(reason) = Reason::from_wire(text) {
            return Some(Self::Known(reason));
        }
        let is_valid =
            |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if text.is_empty() || text.len() > ERROR_REASON_MAX_BYTES || !text.bytes().all(is_valid) {
            return None;
        }
        let code = valid_code(code);
        Some(Self::Newer(NewerReason {
            text: text.into(),
            code,
            is_retryable: is_retryable.unwrap_or_else(|| is_retryable_code(code)),
        }))
    }

    /// The reason in the table of errors, if this version knows it.
    pub const fn known(&self) -> Option<Reason> {
        match self {
            Self::Known(reason) => Some(*reason),
            Self::Newer(_) => None,
        }
    }

    /// The reason's text on the wire.
    pub const fn as_str(&self) -> &str {
        match self {
            Self::Known(reason) => reason.as_str(),
            Self::Newer(newer) => &newer.text,
        }
    }

    /// The gRPC status code of the reason, never 0 (OK).
    pub const fn code(&self) -> i32 {
        match self {
            Self::Known(reason) => reason.status() as i32,
            Self::Newer(newer) => newer.code,
        }
    }

    /// Whether a retry of the same call may succeed.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Known(reason) => reason.is_retryable(),
            Self::Newer(newer) => newer.is_retryable,
        }
    }

    /// The text for labels of metrics. All reasons that this version does not know share one, so
    /// that a peer cannot create series without bound.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Known(reason) => reason.as_str(),
            Self::Newer(_) => "NEWER",
        }
    }
}

impl From<Reason> for ReceivedReason {
    fn from(reason: Reason) -> Self {
        Self::Known(reason)
    }
}

impl fmt::Display for ReceivedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl NewerReason {
    /// Whether the call may have been carried out although it failed. The reason says it, but this
    /// version does not know the reason: gRPC's codes that refuse a request by their definition are
    /// the only ones that exclude it.
    pub const fn may_be_executed(&self) -> bool {
        // INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED,
        // FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, UNAUTHENTICATED.
        !matches!(self.code, 3 | 5..=9 | 11 | CODE_UNIMPLEMENTED | 16)
    }
}

/// The text and the metadata of an error that another program sent, within their limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedDetails {
    /// The sentence for people, cut to [`ERROR_TEXT_MAX_BYTES`].
    pub text: String,
    /// Details for programs. Entries that are too long are left out, because a cut value would be
    /// another value; so are those above the maximum number or size, the last ones by key.
    pub metadata: BTreeMap<String, String>,
    /// The value of [`ReceivedReason::RETRYABLE_KEY`], which is not part of `metadata`.
    pub is_retryable: Option<bool>,
}

impl ReceivedDetails {
    /// Takes what is within the limits.
    pub fn bounded(text: &str, metadata: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut bounded = BTreeMap::new();
        let mut is_retryable = None;
        for (key, value) in metadata {
            if key == ReceivedReason::RETRYABLE_KEY {
                is_retryable = value.parse().ok();
            } else if !key.is_empty()
                && key.len() <= ERROR_METADATA_KEY_MAX_BYTES
                && value.len() <= ERROR_METADATA_VALUE_MAX_BYTES
            {
                bounded.insert(key, value);
                if bounded.len() > ERROR_METADATA_MAX_COUNT {
                    bounded.pop_last();
                }
            }
        }
        let mut left = ERROR_METADATA_MAX_BYTES;
        bounded.retain(|key, value| {
            let rest = left.checked_sub(key.len() + value.len());
            left = rest.unwrap_or(0);
            rest.is_some()
        });
        Self {
            text: cut_text(text).to_owned(),
            metadata: bounded,
            is_retryable,
        }
    }
}

/// The start of a sentence for people, at most [`ERROR_TEXT_MAX_BYTES`] long.
pub fn cut_text(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_TEXT_MAX_BYTES)]
}

/// Whether a retry may succeed after an error of which nothing but its gRPC status code is known.
pub const fn is_retryable_code(code: i32) -> bool {
    // DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, UNAVAILABLE.
    matches!(code, 4 | 8 | 10 | 14)
}

/// The code, or UNKNOWN for one that is none of an error: a status with the code OK would be read
/// as success.
const fn valid_code(code: i32) -> i32 {
    if code >= 1 && code <= CODE_MAX {
        code
    } else {
        CODE_UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newer(code: i32, is_retryable: Option<bool>) -> ReceivedReason {
        ReceivedReason::from_wire("OF_A_LATER_VERSION", code, is_retryable).unwrap()
    }

    #[test]
    fn a_known_reason_is_the_one_of_the_table() {
        for reason in Reason::ALL {
            let received = ReceivedReason::from_wire(reason.as_str(), 2, None).unwrap();
            assert_eq!(received.known(), Some(*reason));
            assert_eq!(received.code(), reason.status() as i32);
            assert_eq!(received.is_retryable(), reason.is_retryable());
            assert_eq!(received.label(), reason.as_str());
        }
    }

    #[test]
    fn a_newer_reason_keeps_its_text_code_and_retryable() {
        let received = newer(9, Some(true));
        assert_eq!(received.known(), None);
        assert_eq!(received.to_string(), "OF_A_LATER_VERSION");
        assert_eq!((received.code(), received.is_retryable()), (9, true));
        assert_eq!(received.label(), "NEWER");
        assert!(!newer(14, Some(false)).is_retryable());
    }

    #[test]
    fn without_retryable_the_code_decides() {
        let retryable: Vec<i32> = (1..=CODE_MAX)
            .filter(|code| newer(*code, None).is_retryable())
            .collect();
        assert_eq!(retryable, [4, 8, 10, 14]);
    }

    #[test]
    fn a_code_that_is_none_of_an_error_becomes_unknown() {
        for code in [0, -1, 17, i32::MAX] {
            assert_eq!(newer(code, None).code(), CODE_UNKNOWN);
        }
    }

    #[test]
    fn only_codes_of_refusals_exclude_that_the_call_was_carried_out() {
        let is_open = |code: i32| match newer(code, None) {
            ReceivedReason::Newer(newer) => newer.may_be_executed(),
            ReceivedReason::Known(_) => unreachable!(),
        };
        let open: Vec<i32> = (1..=CODE_MAX).filter(|code| is_open(*code)).collect();
        assert_eq!(open, [1, 2, 4, 10, 13, 14, 15]);
    }

    #[test]
    fn a_text_that_cannot_be_a_reason_is_none() {
        let longest = "X".repeat(ERROR_REASON_MAX_BYTES);
        assert!(ReceivedReason::from_wire(&longest, 3, None).is_some());
        let too_long = "X".repeat(ERROR_REASON_MAX_BYTES + 1);
        for text in ["", "lower", "WITH SPACE", "Ü", &too_long] {
            assert_eq!(ReceivedReason::from_wire(text, 3, None), None, "{text}");
        }
    }

    #[test]
    fn text_and_metadata_are_bounded() {
        let entry = |n: usize| (format!("key{n:03}"), n.to_string());
        let long_key = ("k".repeat(ERROR_METADATA_KEY_MAX_BYTES + 1), String::new());
        let long_value = ("k".into(), "v".repeat(ERROR_METADATA_VALUE_MAX_BYTES + 1));
        let retryable = ("retryable".to_owned(), "true".to_owned());
        let all = (0..100).map(entry).chain([long_key, long_value, retryable]);
        let details = ReceivedDetails::bounded(&"ü".repeat(ERROR_TEXT_MAX_BYTES), all);
        assert!(details.text.len() <= ERROR_TEXT_MAX_BYTES);
        let kept: BTreeMap<_, _> = (0..ERROR_METADATA_MAX_COUNT).map(entry).collect();
        assert_eq!(details.metadata, kept);
        assert_eq!(details.is_retryable, Some(true));
        let large = |n: usize| (n.to_string(), "v".repeat(ERROR_METADATA_VALUE_MAX_BYTES));
        let kept = ReceivedDetails::bounded("", (0..9).map(large)).metadata;
        assert_eq!(
            kept.len(),
            ERROR_METADATA_MAX_BYTES / (ERROR_METADATA_VALUE_MAX_BYTES + 1)
        );
        let odd = ("retryable".to_owned(), "perhaps".to_owned());
        assert_eq!(ReceivedDetails::bounded("", [odd]).is_retryable, None);
    }
}
