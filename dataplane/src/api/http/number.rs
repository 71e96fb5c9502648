//! 64-bit integers in JSON: strings, because many languages read numbers as 64-bit floating point,
//! which changes integers above 2^53. Numbers are accepted too.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// A 64-bit integer that is a string in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Int<T>(pub(crate) T);

impl<T: fmt::Display> Serialize for Int<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr + TryFrom<i64> + TryFrom<u64>> Deserialize<'de> for Int<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor(PhantomData))
    }
}

struct IntVisitor<T>(PhantomData<T>);

impl<T: FromStr + TryFrom<i64> + TryFrom<u64>> Visitor<'_> for IntVisitor<T> {
    type Value = Int<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a 64-bit integer as a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Int<T>, E> {
        let is_number = |text: &str| {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let parsed = is_number(text).then(|| text.parse().ok()).flatten();
        let refused = || E::invalid_value(Unexpected::Str(text), &self);
        parsed.map(Int).ok_or_else(refused)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Int<T>, E> {
        let refused = |_| E::invalid_value(Unexpected::Signed(number), &self);
        T::try_from(number).map(Int).map_err(refused)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Int<T>, E> {
        let refused = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
        T::try_from(number).map(Int).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<u64> {
        serde_json::from_str::<Int<u64>>(text).ok().map(|int| int.0)
    }

    #[test]
    fn integers_are_strings_and_keep_all_their_digits() {
        let max = format!("\"{}\"", u64::MAX);
        assert_eq!(read(&max), Some(u64::MAX));
        assert_eq!(serde_json::to_string(&Int(u64::MAX)).unwrap(), max);
        assert_eq!((read("7"), read("\"7\"")), (Some(7), Some(7)));
        for bad in [
            "\"\"",
            "\"-\"",
            "\"+7\"",
            "\" 7\"",
            "-7",
            "\"-7\"",
            "7.0",
            "\"18446744073709551616\"",
            "null",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let signed: Int<i64> = serde_json::from_str("\"-7\"").unwrap();
        assert_eq!(signed.0, -7);
    }
}
