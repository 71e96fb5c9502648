//! Errors with their causes as texts of bounded length.

use std::error::Error;

use lograft_crds::limits::CAUSE_TEXT_MAX_BYTES;
use lograft_proto::error_text::error_chain;

/// The error and its causes, cut to the length that an event or a status may hold.
pub(crate) fn error_text(error: &dyn Error) -> String {
    let mut text = error_chain(error);
    let mut end = CAUSE_TEXT_MAX_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let error = std::io::Error::other("ä".repeat(CAUSE_TEXT_MAX_BYTES));
        let text = error_text(&error);
        assert_eq!(text.len(), CAUSE_TEXT_MAX_BYTES);
        let error = std::io::Error::other(format!("a{}", "ä".repeat(CAUSE_TEXT_MAX_BYTES)));
        assert_eq!(error_text(&error).len(), CAUSE_TEXT_MAX_BYTES - 1);
    }
}
