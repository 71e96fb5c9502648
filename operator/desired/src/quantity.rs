//! Kubernetes quantities (`500m`, `1.5Gi`, `12e6`), compared by value.
//!
//! Own code and not `kube_quantity`: version 0.9 rejects `E` and `Ei`, computes through `f64`, and
//! converts `1.5Gi` to the bytes of `1Gi`.

/// The value of a quantity in billionths, the precision of the API server, which rounds finer
/// values up; none if the text is not a quantity or is too large.
pub(crate) fn billionths(text: &str) -> Option<i128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let fraction_digits = i32::try_from(fraction.len()).ok()?;
    let (binary_factor, exponent) = suffix_factor(suffix)?;
    let value = digits.checked_mul(binary_factor)?;
    let shift = exponent.checked_sub(fraction_digits)?.checked_add(9)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs())?;
    if shift >= 0 {
        value.checked_mul(power)
    } else {
        Some(value / power + i128::from(value % power != 0))
    }
}

/// A suffix as a binary factor and a power of ten; none if there is no such suffix.
fn suffix_factor(suffix: &str) -> Option<(i128, i32)> {
    let factors = match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        other => (1, other.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(factors)
}

/// The whole bytes of a quantity; none if the text is not a quantity.
pub fn bytes_of(text: &str) -> Option<u64> {
    billionths(text).and_then(|value| u64::try_from(value / 1_000_000_000).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_and_exponents_have_their_value() {
        let equal = [
            ("1", "1000m"),
            ("100n", "0.1u"),
            ("1u", "1000n"),
            ("1500m", "1.5"),
            (".5", "500m"),
            ("1.", "1"),
            ("+1", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1E", "1000P"),
            ("1Ei", "1024Pi"),
            ("1e3", "1k"),
            ("1E3", "1k"),
            ("12E-1", "1200m"),
            ("1e+3", "1k"),
            ("1e-3", "1m"),
            // Finer values are rounded up, as the API server does.
            ("0.1n", "1n"),
        ];
        for (one, other) in equal {
            assert!(billionths(one).is_some(), "{one}");
            assert_eq!(billionths(one), billionths(other), "{one} {other}");
        }
        assert_ne!(billionths("1G"), billionths("1Gi"));
    }

    #[test]
    fn other_texts_are_no_quantities() {
        for text in ["", "x", "1 ", "1KB", "1e", "1.2.3", "-1", "1e99", "e3"] {
            assert_eq!(billionths(text), None, "{text:?}");
        }
    }

    #[test]
    fn bytes_are_whole() {
        assert_eq!(bytes_of("1.5Gi"), Some(1536 << 20));
        assert_eq!(bytes_of("500m"), Some(0));
        assert_eq!(bytes_of("much"), None);
    }
}
