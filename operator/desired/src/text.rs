//! Texts of bounded length, and their hashes.

use twox_hash::XxHash64;

/// What follows a text that was cut.
const CUT: &str = " ...";

/// The text, or its start if it has more than `max_bytes` bytes: cut between words, and marked.
pub fn cut_words(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max_bytes.saturating_sub(CUT.len()));
    let start = &text[..end];
    // A text without spaces, such as a long name, is cut within.
    let whole = start.rsplit_once(' ').map_or(start, |(words, _)| words);
    format!("{whole}{CUT}")
}

/// The text, or its end if it has more than `max_bytes` bytes: cut between words, and marked.
pub fn end_words(text: &str, max_bytes: usize) -> String {
    const CUT: &str = "... ";
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let start = text.ceil_char_boundary(text.len() - max_bytes.saturating_sub(CUT.len()));
    let end = &text[start..];
    let whole = end.split_once(' ').map_or(end, |(_, words)| words);
    format!("{CUT}{whole}")
}

/// Sixteen hexadecimal digits: xxh64 of the text.
pub fn hash_text(text: &str) -> String {
    format!("{:016x}", XxHash64::oneshot(0, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_cut_between_words_too() {
        let text = "starting, then: cannot open the disk";
        assert_eq!(end_words(text, text.len()), text);
        assert_eq!(end_words(text, 20), "... open the disk");
        for max_bytes in 5..text.len() {
            assert!(end_words(text, max_bytes).len() <= max_bytes);
        }
        let cut = end_words(&"ä".repeat(100), 51);
        assert!(cut.len() <= 51 && cut.starts_with("... ä"), "{cut}");
    }

    #[test]
    fn texts_are_cut_between_words_and_never_exceed_their_bound() {
        let text = "pods are forbidden: exceeded quota";
        assert_eq!(cut_words(text, text.len()), text);
        assert_eq!(cut_words(text, 20), "pods are ...");
        for max_bytes in 4..text.len() {
            assert!(cut_words(text, max_bytes).len() <= max_bytes);
        }
        let long = "ä".repeat(100);
        let cut = cut_words(&long, 51);
        assert!(cut.len() <= 51 && cut.ends_with("ä ..."), "{cut}");
    }
}
