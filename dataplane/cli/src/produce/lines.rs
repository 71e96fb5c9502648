//! Splits a block into lines, and a line into key and value.

use memchr::{memchr_iter, memmem};

/// The lines of a block without their line ends, including a last line that lacks one.
pub(crate) fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let tail = match memchr::memrchr(b'\n', block) {
        Some(last) => &block[last + 1..],
        None => block,
    };
    let mut from = 0;
    let full = memchr_iter(b'\n', block).map(move |at| {
        let line = &block[from..at];
        from = at + 1;
        line
    });
    full.chain((!tail.is_empty()).then_some(tail))
}

/// Splits lines at a key separator.
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

    /// Key and value, or `None` if the line does not contain the separator.
    pub(crate) fn split<'l>(&self, line: &'l [u8]) -> Option<(&'l [u8], &'l [u8])> {
        let at = self.finder.find(line)?;
        Some((&line[..at], &line[at + self.finder.needle().len()..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(block: &[u8]) -> Vec<&[u8]> {
        lines(block).collect()
    }

    #[test]
    fn lines_keep_every_byte_except_the_line_end() {
        assert_eq!(all(b""), Vec::<&[u8]>::new());
        assert_eq!(all(b"\n"), [b""]);
        assert_eq!(all(b"a\r\n\n\xff\0b"), [&b"a\r"[..], b"", b"\xff\0b"]);
        assert_eq!(all(b"a\nb\n"), [b"a", b"b"]);
    }

    #[test]
    fn the_key_ends_at_the_first_separator() {
        let splitter = Splitter::new(b"::");
        assert_eq!(splitter.split(b"k::v::w"), Some((&b"k"[..], &b"v::w"[..])));
        assert_eq!(splitter.split(b"::v"), Some((&b""[..], &b"v"[..])));
        assert_eq!(splitter.split(b"k:v"), None);
    }
}
