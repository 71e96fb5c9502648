//! Splits a block into records at a separator, and a record into key and value.

use memchr::{memchr, memmem, memrchr};

/// The separator of records, one or more bytes.
#[derive(Clone, Debug)]
pub(crate) struct Separator {
    finder: memmem::Finder<'static>,
}

impl Separator {
    /// `bytes` must not be empty.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            finder: memmem::Finder::new(bytes).into_owned(),
        }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.finder.needle().len()
    }

    /// Whether records are lines.
    pub(crate) fn is_newline(&self) -> bool {
        self.finder.needle() == b"\n"
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        match self.finder.needle() {
            [byte] => memchr(*byte, bytes),
            _ => self.finder.find(bytes),
        }
    }

    /// End of the last separator in `bytes`, of which those before `new` have none. Separators are
    /// found from the start of `bytes`, as [`Separator::split`] finds them: with a separator like
    /// `aa`, a search from the end would cut elsewhere.
    pub(crate) fn end_of_last(&self, bytes: &[u8], new: usize) -> Option<usize> {
        let from = (new + 1).saturating_sub(self.len());
        let bytes = &bytes[from..];
        let at = match self.finder.needle() {
            [byte] => memrchr(*byte, bytes),
            _ => self.finder.find_iter(bytes).last(),
        };
        at.map(|at| from + at + self.len())
    }

    /// The records of a block without their separators, including a last record that lacks one.
    pub(crate) fn split<'b>(&'b self, block: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let mut rest = block;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let Some(at) = self.find(rest) else {
                return Some(std::mem::take(&mut rest));
            };
            let record = &rest[..at];
            rest = &rest[at + self.len()..];
            Some(record)
        })
    }
}

/// Splits records at a key separator.
pub(crate) struct Splitter<'a> {
    finder: memmem::Finder<'a>,
}

impl<'a> Splitter<'a> {
    /// Splits at the first occurrence of `separator`.
    pub(crate) fn new(separator: &'a [u8]) -> Self {
        Self {
            finder: memmem::Finder::new(separator),
        }
    }

    /// Key and value, or `None` if the record does not contain the separator.
    pub(crate) fn split<'l>(&self, record: &'l [u8]) -> Option<(&'l [u8], &'l [u8])> {
        let at = self.finder.find(record)?;
        Some((&record[..at], &record[at + self.finder.needle().len()..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'b>(separator: &'b Separator, block: &'b [u8]) -> Vec<&'b [u8]> {
        separator.split(block).collect()
    }

    #[test]
    fn lines_keep_every_byte_except_the_line_end() {
        let lines = Separator::new(b"\n");
        assert_eq!(all(&lines, b""), Vec::<&[u8]>::new());
        assert_eq!(all(&lines, b"\n"), [b""]);
        assert_eq!(
            all(&lines, b"a\r\n\n\xff\0b"),
            [&b"a\r"[..], b"", b"\xff\0b"]
        );
        assert_eq!(all(&lines, b"a\nb\n"), [b"a", b"b"]);
    }

    #[test]
    fn a_separator_may_have_several_bytes() {
        let separator = Separator::new(b"--\n");
        assert_eq!(
            all(&separator, b"a\n--\n--\n-b-\n--"),
            [&b"a\n"[..], b"", b"-b-\n--"]
        );
        assert_eq!(separator.end_of_last(b"a--\nb-", 0), Some(4));
        assert_eq!(separator.end_of_last(b"a--", 0), None);
        // The last byte of the separator is new.
        assert_eq!(separator.end_of_last(b"a--\n", 3), Some(4));
    }

    #[test]
    fn the_last_separator_is_the_one_that_splitting_finds() {
        let separator = Separator::new(b"aa");
        assert_eq!(separator.end_of_last(b"xaaa", 0), Some(3));
        assert_eq!(all(&separator, b"xaaa"), [b"x", b"a"]);
        assert_eq!(separator.end_of_last(b"xaaaa", 0), Some(5));
    }

    #[test]
    fn the_key_ends_at_the_first_separator() {
        let splitter = Splitter::new(b"::");
        assert_eq!(splitter.split(b"k::v::w"), Some((&b"k"[..], &b"v::w"[..])));
        assert_eq!(splitter.split(b"::v"), Some((&b""[..], &b"v"[..])));
        assert_eq!(splitter.split(b"k:v"), None);
    }
}
