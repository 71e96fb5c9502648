//! An error with its causes, as one sentence.

use std::error::Error;

use lograft_crds::limits::CAUSE_TEXT_MAX_BYTES;

/// The error and its causes, cut to what an event or a status may hold. A cause that its error
/// tells already is not told again.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    let mut end = CAUSE_TEXT_MAX_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
