//! Backslash escapes in arguments, and control characters in what a terminal shows.

use std::fmt::Write as _;
use std::str::FromStr;

/// An argument has an invalid escape.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EscapeError {
    #[error(r"escape must be one of \n, \r, \t, \0, \e, \\ and \xNN, got \{found}")]
    Unknown { found: String },
    #[error("separator must not be empty")]
    Empty,
}

/// Bytes that were written with escapes on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Escaped(pub(crate) Vec<u8>);

impl FromStr for Escaped {
    type Err = EscapeError;

    fn from_str(text: &str) -> Result<Self, EscapeError> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            bytes.extend_from_slice(before.as_bytes());
            let (byte, after) = take_escape(after)?;
            bytes.push(byte);
            rest = after;
        }
        bytes.extend_from_slice(rest.as_bytes());
        Ok(Self(bytes))
    }
}

/// Parses a separator that must not be empty.
pub(crate) fn parse_separator(text: &str) -> Result<Escaped, EscapeError> {
    let separator: Escaped = text.parse()?;
    if separator.0.is_empty() {
        return Err(EscapeError::Empty);
    }
    Ok(separator)
}

/// The byte of the escape at the start of `text`, which lacks its backslash, and the text after it.
pub(crate) fn take_escape(text: &str) -> Result<(u8, &str), EscapeError> {
    let mut chars = text.chars();
    let byte = match chars.next() {
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('e') => 0x1b,
        Some('\\') => b'\\',
        Some('x') => return take_hex(text),
        _ => return Err(unknown(text, 1)),
    };
    Ok((byte, chars.as_str()))
}

fn take_hex(text: &str) -> Result<(u8, &str), EscapeError> {
    let byte = text
        .get(1..3)
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u8::from_str_radix(digits, 16).ok());
    match (byte, text.get(3..)) {
        (Some(byte), Some(after)) => Ok((byte, after)),
        _ => Err(unknown(text, 3)),
    }
}

fn unknown(text: &str, char_count: usize) -> EscapeError {
    EscapeError::Unknown {
        found: text.chars().take(char_count).collect(),
    }
}

/// Whether a terminal would obey the character instead of showing it, or would reorder the text
/// around it. Tab and line feed are shown.
fn is_control(c: char) -> bool {
    let reorders =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && !matches!(c, '\n' | '\t')) || reorders
}

/// Appends bytes with escapes in place of control characters and of bytes that are not UTF-8.
pub(crate) fn append_visible(bytes: &[u8], out: &mut Vec<u8>) {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Writing to a String does not fail.
            let _ = match u32::from(c) {
                code @ 0..=0x7f if is_control(c) => write!(text, "\\x{code:02x}"),
                code if is_control(c) => write!(text, "\\u{{{code:x}}}"),
                _ => text.write_char(c),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Replaces control characters in the JSON text after `start` by escapes of JSON.
pub(crate) fn make_json_visible(start: usize, out: &mut Vec<u8>) {
    let json = out.split_off(start);
    let mut text = String::with_capacity(json.len());
    for c in String::from_utf8_lossy(&json).chars() {
        let _ = if is_control(c) {
            write!(text, "\\u{:04x}", u32::from(c))
        } else {
            text.write_char(c)
        };
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<u8>, EscapeError> {
        text.parse().map(|escaped: Escaped| escaped.0)
    }

    #[test]
    fn escapes_are_single_bytes() {
        assert_eq!(parsed(r"a\n\r\t\0\e\\b").unwrap(), b"a\n\r\t\0\x1b\\b");
        assert_eq!(parsed(r"\x00\xFf\x1E-").unwrap(), b"\x00\xff\x1e-");
        assert_eq!(parsed("é").unwrap(), "é".as_bytes());
        assert_eq!(parsed("").unwrap(), b"");
    }

    #[test]
    fn unknown_escapes_are_refused() {
        for (text, found) in [
            (r"\", ""),
            (r"\q", "q"),
            (r"\x1", "x1"),
            (r"\x+1", "x+1"),
            (r"\x1é", "x1é"),
            (r"\é", "é"),
        ] {
            let found = found.to_owned();
            assert_eq!(parsed(text), Err(EscapeError::Unknown { found }), "{text}");
        }
        let error = parsed(r"\q").unwrap_err().to_string();
        assert!(error.ends_with(r"and \xNN, got \q"), "{error}");
        assert_eq!(parse_separator(""), Err(EscapeError::Empty));
    }

    #[test]
    fn control_characters_are_visible_and_text_stays() {
        let mut out = b"> ".to_vec();
        append_visible(
            "\x1b[31mred\r\x07\0\x7f\t\n \u{9b}2J \u{202e}é漢".as_bytes(),
            &mut out,
        );
        append_visible(b"\xff\xe6\xbc", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "> \\x1b[31mred\\x0d\\x07\\x00\\x7f\t\n \\u{9b}2J \\u{202e}é漢\\xff\\xe6\\xbc"
        );
    }

    #[test]
    fn json_keeps_its_meaning() {
        let mut out = b"[ ".to_vec();
        let text = "a\u{7f}\u{9b}\u{202e}é";
        serde_json::to_writer(&mut out, text).unwrap();
        make_json_visible(2, &mut out);
        assert_eq!(
            out,
            br#"[ "a\u007f\u009b\u202e"#.iter().copied().chain("é\"".bytes()).collect::<Vec<u8>>()
        );
        assert_eq!(serde_json::from_slice::<String>(&out[2..]).unwrap(), text);
    }
}
