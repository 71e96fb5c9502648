//! Output formats of a record.

use super::record::ConsumedRecord;
use super::template::Template;
use crate::error::CliError;
use crate::escapes::{append_visible, make_json_visible};
use crate::record_json::{RecordPlace, append_json};

/// Output format of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The value, optionally after its key, and the end of a record.
    Value {
        key_separator: Option<Vec<u8>>,
        end: Vec<u8>,
    },
    /// One JSON object and the end of a record.
    Json { end: Vec<u8> },
    /// A template, which has the end of a record in itself.
    Template(Template),
}

/// Prints records in a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Printer {
    pub(crate) topic: String,
    pub(crate) format: Format,
    /// Escape control characters in keys, values and headers: a terminal would obey them.
    pub(crate) visible: bool,
}

impl Printer {
    /// Appends the record to `out`.
    pub(crate) fn append(
        &self,
        consumed: &ConsumedRecord<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CliError> {
        let record = consumed.record;
        match &self.format {
            Format::Value { key_separator, end } => {
                if let Some(separator) = key_separator {
                    self.append_bytes(record.key.unwrap_or_default(), out);
                    out.extend_from_slice(separator);
                }
                self.append_bytes(record.value.unwrap_or_default(), out);
                out.extend_from_slice(end);
            }
            Format::Json { end } => {
                let start = out.len();
                let place = RecordPlace {
                    topic: Some((&self.topic, consumed.partition)),
                    offset: consumed.offset,
                    append_time_ms: consumed.append_time_ms,
                };
                append_json(&place, record, out)?;
                if self.visible {
                    make_json_visible(start, out);
                }
                out.extend_from_slice(end);
            }
            Format::Template(template) => {
                template.append(&self.topic, consumed, self.visible, out);
            }
        }
        Ok(())
    }

    fn append_bytes(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.visible {
            append_visible(bytes, out);
        } else {
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::compression::Compression;
    use lograft_core::record::{Header, Record};
    use lograft_core::record_batch::{BatchBuilder, BatchView};

    use super::*;

    fn printed_bytes(format: Format, visible: bool, record: &Record) -> Vec<u8> {
        let printer = Printer {
            topic: "t".into(),
            format,
            visible,
        };
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(record, 0).unwrap();
        let batch = BatchView::parse(builder.finish().unwrap().bytes).unwrap();
        let batch = batch.decode().unwrap();
        let record = batch.iter().next().unwrap().unwrap();
        let consumed = ConsumedRecord {
            partition: 2,
            offset: 9,
            leader_epoch: 7,
            append_time_ms: 5,
            record: &record,
        };
        let mut out = b"> ".to_vec();
        printer.append(&consumed, &mut out).unwrap();
        out.split_off(2)
    }

    fn printed(format: Format, record: &Record) -> String {
        String::from_utf8_lossy(&printed_bytes(format, false, record)).into_owned()
    }

    fn record(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> Record {
        Record {
            timestamp_ms: Some(4),
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: Vec::new(),
        }
    }

    fn value(key_separator: Option<&str>, end: &str) -> Format {
        Format::Value {
            key_separator: key_separator.map(Into::into),
            end: end.into(),
        }
    }

    fn json() -> Format {
        Format::Json {
            end: b"\n".to_vec(),
        }
    }

    fn header(name: &str, value: &'static [u8]) -> Header {
        Header {
            key: name.to_owned(),
            value: value.into(),
        }
    }

    #[test]
    fn values_are_printed_alone_or_after_their_key() {
        let both = record(Some(b"k"), Some(b"v\tw"));
        assert_eq!(printed(value(None, "\n"), &both), "v\tw\n");
        assert_eq!(printed(value(None, "\n"), &record(None, None)), "\n");
        assert_eq!(printed(value(Some("=>"), "\n"), &both), "k=>v\tw\n");
        assert_eq!(printed(value(None, "--\0"), &both), "v\tw--\0");
        assert_eq!(printed(value(None, ""), &both), "v\tw");
    }

    #[test]
    fn json_distinguishes_text_bytes_and_null() {
        let full = Record {
            headers: vec![header("trace", b"x\"y"), header("trace", b"\xff")],
            ..record(Some(b"\xff"), Some(b""))
        };
        assert_eq!(
            printed(json(), &full),
            "{\"topic\":\"t\",\"partition\":2,\"offset\":9,\"timestamp_ms\":4,\
             \"append_time_ms\":5,\"key_base64\":\"/w==\",\"value\":\"\",\
             \"headers\":[{\"name\":\"trace\",\"value\":\"x\\\"y\"},\
             {\"name\":\"trace\",\"value_base64\":\"/w==\"}]}\n"
        );
        let bare = printed(json(), &record(None, None));
        assert!(bare.ends_with("\"key\":null,\"value\":null}\n"), "{bare}");
    }

    #[test]
    fn every_placeholder_has_a_golden_line() {
        let full = Record {
            timestamp_ms: Some(1_700_000_000_250),
            headers: vec![header("a", b"1"), header("b", b""), header("a", b"2")],
            ..record(Some(b"\x01k"), Some(b"v\xff"))
        };
        let bare = record(None, None);
        for (template, of_full, of_bare) in [
            (r"%t %p %o\n", &b"t 2 9\n"[..], &b"t 2 9\n"[..]),
            ("%e", b"7", b"7"),
            ("%d", b"1700000000250", b"4"),
            (
                "%d{rfc3339}",
                b"2023-11-14T22:13:20.25Z",
                b"1970-01-01T00:00:00.004Z",
            ),
            (
                "%a %a{rfc3339}",
                b"5 1970-01-01T00:00:00.005Z",
                b"5 1970-01-01T00:00:00.005Z",
            ),
            ("<%k>", b"<\x01k>", b"<>"),
            ("<%v>", b"<v\xff>", b"<>"),
            ("%k{hex} %v{hex}", b"016b 76ff", b" "),
            ("%k{base64} %v{base64}", b"AWs= dv8=", b" "),
            ("%K %V", b"2 2", b"-1 -1"),
            ("%h", b"a=1,b=,a=2", b""),
            ("[%h{a}][%h{b}][%h{c}]", b"[1][][]", b"[][][]"),
            ("%H", b"3", b"0"),
            (
                r"100%% \\ \x41\0\e\t\r\n",
                b"100% \\ A\0\x1b\t\r\n",
                b"100% \\ A\0\x1b\t\r\n",
            ),
            ("plain", b"plain", b"plain"),
            ("", b"", b""),
        ] {
            let format = Format::Template(template.parse().unwrap());
            let found = printed_bytes(format.clone(), false, &full);
            assert_eq!(found, of_full, "{template}: {}", found.escape_ascii());
            assert_eq!(printed_bytes(format, false, &bare), of_bare, "{template}");
        }
    }

    #[test]
    fn templates_that_are_not_valid_are_refused() {
        for (template, error) in [
            ("%s", "%H and %%, got %s"),
            ("a%", "%H and %%, got %"),
            (
                "%v{utf8}",
                "placeholder %v must be hex or base64, got \"utf8\"",
            ),
            ("%d{hex}", "placeholder %d must be rfc3339, got \"hex\""),
            ("%h{name", "%h must end with a brace"),
            (r"\z", r"got \z"),
        ] {
            let found = template.parse::<Template>().unwrap_err().to_string();
            assert!(found.contains(error), "{template}: {found}");
        }
    }

    #[test]
    fn on_a_terminal_only_the_bytes_of_records_are_escaped() {
        let evil = Record {
            headers: vec![header("n\x07", b"\x1b")],
            ..record(Some(b"\x1bk"), Some(b"v\xff\r"))
        };
        let shown = |format| String::from_utf8(printed_bytes(format, true, &evil)).unwrap();
        assert_eq!(
            shown(value(Some("\x1e"), "\r\n")),
            "\\x1bk\x1ev\\xff\\x0d\r\n"
        );
        let template = Format::Template(r"\e[1m%k\e[0m %v{hex} %h".parse().unwrap());
        assert_eq!(shown(template), "\x1b[1m\\x1bk\x1b[0m 76ff0d n\\x07=\\x1b");
        let line = shown(json());
        let expected = r#""key":"\u001bk","value_base64":"dv8N""#;
        assert!(line.contains(expected), "{line}");
    }
}
