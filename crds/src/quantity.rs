//! Sizes and durations in text form: `10Gi`, `90m`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::limits::QUANTITY_TEXT_MAX_BYTES;

/// Why a size or a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a size.
    #[error("size must be a whole number and a unit, like 512Mi, 10Gi or 2Ti, got {text:?}")]
    Size {
        /// The refused text.
        text: String,
    },
    /// Not a duration.
    #[error("duration must be a whole number and h, m or s, like 90s or 720h, got {text:?}")]
    Time {
        /// The refused text.
        text: String,
    },
}

/// A number of bytes: a whole number above 0 and `k`, `M`, `G`, `T`, `P` (powers of 1000), `Ki`,
/// `Mi`, `Gi`, `Ti`, `Pi` (powers of 1024) or nothing. A subset of Kubernetes quantities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub String);

/// A duration: a whole number above 0 and `h`, `m` or `s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Period(pub String);

/// The pattern of a [`ByteSize`].
pub const BYTE_SIZE_PATTERN: &str = "^[1-9][0-9]{0,12}([kMGTP]|[KMGTP]i)?$";
/// The pattern of a [`Period`].
pub const PERIOD_PATTERN: &str = "^[1-9][0-9]{0,5}[hms]$";

impl ByteSize {
    /// The number of bytes.
    pub fn bytes(&self) -> Result<u64, QuantityError> {
        let refused = || QuantityError::Size {
            text: self.0.clone(),
        };
        let end = self.0.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = self.0.split_at(end.unwrap_or(self.0.len()));
        let power = |base: u64, exponent: u32| base.pow(exponent);
        let factor = match unit {
            "" => 1,
            "k" => power(1000, 1),
            "M" => power(1000, 2),
            "G" => power(1000, 3),
            "T" => power(1000, 4),
            "P" => power(1000, 5),
            "Ki" => power(1024, 1),
            "Mi" => power(1024, 2),
            "Gi" => power(1024, 3),
            "Ti" => power(1024, 4),
            "Pi" => power(1024, 5),
            _ => return Err(refused()),
        };
        let number: u64 = number.parse().map_err(|_| refused())?;
        let bytes = number.checked_mul(factor).filter(|bytes| *bytes > 0);
        bytes.ok_or_else(refused)
    }
}

impl Period {
    /// The number of seconds.
    pub fn seconds(&self) -> Result<u64, QuantityError> {
        let refused = || QuantityError::Time {
            text: self.0.clone(),
        };
        let end = self.0.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = self.0.split_at(end.unwrap_or(self.0.len()));
        let factor = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(refused()),
        };
        let number: u64 = number.parse().map_err(|_| refused())?;
        let seconds = number.checked_mul(factor).filter(|seconds| *seconds > 0);
        seconds.ok_or_else(refused)
    }
}

impl From<&str> for ByteSize {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&str> for Period {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": BYTE_SIZE_PATTERN,
            "maxLength": QUANTITY_TEXT_MAX_BYTES,
        })
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PERIOD_PATTERN,
            "maxLength": QUANTITY_TEXT_MAX_BYTES,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let bytes = |text: &str| ByteSize::from(text).bytes();
        assert_eq!(bytes("1"), Ok(1));
        assert_eq!(bytes("3k"), Ok(3000));
        assert_eq!(bytes("10Gi"), Ok(10 * 1024 * 1024 * 1024));
        assert_eq!(bytes("2P"), Ok(2_000_000_000_000_000));
        for bad in [
            "",
            "0",
            "0Gi",
            "Gi",
            "1.5Gi",
            "-1",
            "1gb",
            "1 Gi",
            "9999999999999Pi",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read() {
        let seconds = |text: &str| Period::from(text).seconds();
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("720h"), Ok(2_592_000));
        for bad in ["", "5", "0s", "1d", "-5m", "1h30m", "s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        let error = ByteSize::from("lots").bytes().unwrap_err().to_string();
        assert!(
            error.contains("\"lots\"") && error.contains("10Gi"),
            "{error}"
        );
    }
}
