//! Parsing and formatting of sizes, durations and rates.

use std::time::Duration;

/// An invalid size or duration on the command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum UnitError {
    #[error(
        "size must be a number of bytes, optionally with a unit (KiB, MiB, GiB, TiB, kB, MB, GB, \
         TB), got {text:?}"
    )]
    Size { text: String },
    #[error("duration must be a number with a unit (ms, s, m, h, d), got {text:?}")]
    Duration { text: String },
    #[error("value must fit in 64 bits, got {text:?}")]
    TooLarge { text: String },
}

/// Splits `64 MiB` into the number and the unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text.get(..digits)?.parse().ok()?;
    Some((number, text.get(digits..)?.trim_start()))
}

/// Parses `1048576`, `64MiB` or `10 GB` into bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::Size { text: text.into() };
    let (number, unit) = split(text).ok_or_else(bad)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(bad()),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| UnitError::TooLarge { text: text.into() })
}

/// Parses `90s` or `7d` into milliseconds. A number without a unit is in milliseconds.
pub(crate) fn parse_millis(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::Duration { text: text.into() };
    let (number, unit) = split(text).ok_or_else(bad)?;
    let factor: u64 = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| UnitError::TooLarge { text: text.into() })
}

/// Parses `250ms` or `1h`. A number without a unit is in seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let millis = if bare {
        parse_millis(&format!("{text}s"))?
    } else {
        parse_millis(text)?
    };
    Ok(Duration::from_millis(millis))
}

/// Formats `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Converts to `f64`. Beyond 2^53 this loses precision that a printed rate does not show.
#[expect(
    clippy::cast_precision_loss,
    reason = "printed with at most four digits"
)]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

/// Formats bytes in powers of 1024: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = float(bytes);
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Formats a rate: `12`, `93k`, `1.56M`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 1e6 => format!("{:.2}M", r / 1e6),
        r if r >= 1e4 => format!("{:.0}k", r / 1e3),
        r if r >= 1e3 => format!("{:.1}k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

/// Formats milliseconds in the largest unit that divides them: `7 d`, `15 s`, `1500 ms`.
pub(crate) fn millis(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
    ];
    for (length, name) in UNITS {
        if ms >= length && ms.is_multiple_of(length) {
            return format!("{} {name}", ms / length);
        }
    }
    format!("{ms} ms")
}

/// Formats elapsed time: `850 ms`, `12.3 s`, `3 min 20 s`.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 60 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else if time.as_millis() >= 1000 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} ms", time.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("64MiB", 64 << 20),
            ("10 GB", 10_000_000_000),
            ("2k", 2048),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "3 apples"] {
            assert!(
                matches!(parse_size(text), Err(UnitError::Size { .. })),
                "{text}"
            );
        }
        assert!(matches!(
            parse_size("99999999999TiB"),
            Err(UnitError::TooLarge { .. })
        ));
    }

    #[test]
    fn bare_numbers_are_milliseconds_for_retention_and_seconds_for_durations() {
        assert_eq!(parse_millis("90000"), Ok(90_000));
        assert_eq!(parse_millis("7d"), Ok(7 * 86_400_000));
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("").is_err());
    }

    #[test]
    fn numbers_are_formatted() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(rate(1_560_000.0), "1.56M");
        assert_eq!(rate(93_400.0), "93k");
        assert_eq!(rate(12.4), "12");
        assert_eq!(millis(604_800_000), "7 d");
        assert_eq!(millis(1500), "1500 ms");
        assert_eq!(elapsed(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(elapsed(Duration::from_secs(200)), "3 min 20 s");
    }
}
