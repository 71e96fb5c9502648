//! Errors with their causes as texts of bounded length.

use std::error::Error;

use lograft_crds::limits::CAUSE_TEXT_MAX_BYTES;
use lograft_operator_desired::cut_words;

/// The error and its causes, cut to the length that an event or a status may hold. A cause that the
/// text already contains is left out.
pub(crate) fn error_text(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let refusal = refusal(error);
        let cause = refusal.map_or_else(|| error.to_string(), ToOwned::to_owned);
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        // The cause of a refusal is the refusal once more.
        next = error.source().filter(|_| refusal.is_none());
    }
    cut_words(&text, CAUSE_TEXT_MAX_BYTES)
}

/// The words of the API server, if the error is its answer. The text that kube makes of it has all
/// fields of the answer in the notation of Rust.
fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    let boxed = error
        .downcast_ref::<Box<kube::Error>>()
        .map(|error| &**error);
    match error.downcast_ref().or(boxed)? {
        kube::Error::Api(status) if !status.message.is_empty() => Some(&status.message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn long_texts_are_cut() {
        let error = std::io::Error::other("word ".repeat(CAUSE_TEXT_MAX_BYTES));
        let text = error_text(&error);
        assert!(
            text.len() <= CAUSE_TEXT_MAX_BYTES && text.ends_with("word ..."),
            "{text}"
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the pods")]
    struct Outer(#[source] Box<kube::Error>);

    #[test]
    fn a_refusal_of_the_api_server_has_its_words_alone() {
        let status = Status::failure("pods is forbidden: no access", "Forbidden").with_code(403);
        let error = || kube::Error::Api(Box::new(status.clone()));
        assert_eq!(error_text(&error()), "pods is forbidden: no access");
        let outer = Outer(Box::new(error()));
        let text = "cannot read the pods: pods is forbidden: no access";
        assert_eq!(error_text(&outer), text);
    }
}
