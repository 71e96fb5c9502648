//! LEB128 variable-length integers, and zigzag for signed ones.

/// Maximum length of a 64-bit varint, bytes.
pub const MAX_BYTES: usize = 10;

/// Appends `value` to `out`.
#[inline]
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// Writes `value` into `out` at `at` and returns the position after it. Panics if `out` is too
/// short.
#[inline]
pub fn write(out: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        out[at] = low_byte(value) | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = low_byte(value);
    at + 1
}

#[inline]
const fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Splits a varint off the front of `input`; `None` if it is truncated or has more than 64 bits.
#[inline]
pub fn take(input: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = input.split_first()?;
    if first < 0x80 {
        *input = rest;
        return Some(u64::from(first));
    }
    take_long(input)
}

#[inline]
fn take_long(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (at, &byte) in input.iter().take(MAX_BYTES).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if at == MAX_BYTES - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * at);
        if byte < 0x80 {
            *input = &input[at + 1..];
            return Some(value);
        }
    }
    None
}

/// Maps signed to unsigned integers so that small magnitudes give small numbers.
#[inline]
pub const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// The inverse of [`zigzag`].
#[inline]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_at_every_length() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put(&mut out, value);
                let mut array = [0; MAX_BYTES];
                let end = write(&mut array, 0, value);
                assert_eq!(&array[..end], out);
                let mut input = out.as_slice();
                assert_eq!(take(&mut input), Some(value));
                assert!(input.is_empty());
                let signed = value.cast_signed();
                assert_eq!(unzigzag(zigzag(signed)), signed);
            }
        }
        assert_eq!(zigzag(-1), 1);
        assert_eq!(zigzag(1), 2);
    }

    #[test]
    fn truncated_and_too_long_varints_are_rejected() {
        assert_eq!(take(&mut [0x80_u8].as_slice()), None);
        assert_eq!(take(&mut [].as_slice()), None);
        assert_eq!(take(&mut [0xff_u8; 10].as_slice()), None);
        assert_eq!(take(&mut [0xff_u8; 11].as_slice()), None);
    }
}
