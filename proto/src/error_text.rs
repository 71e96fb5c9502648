//! Errors as text: in the messages of gRPC statuses, in logs, conditions and terminal output.
//!
//! It lives in this crate because the nodes, the operator, the client and the CLI all use it.

use std::error::Error;

/// An error and its causes on one line, separated by `: `.
///
/// A cause that the text already contains is left out, because some libraries repeat their
/// source in their own `Display`.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Failure(&'static str, Option<Box<Failure>>);

    impl fmt::Display for Failure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failure {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    fn chain(texts: &[&'static str]) -> Failure {
        let (first, rest) = texts.split_first().unwrap();
        let cause = (!rest.is_empty()).then(|| Box::new(chain(rest)));
        Failure(first, cause)
    }

    #[test]
    fn causes_follow_their_error() {
        let error = chain(&["cannot read a.yaml", "permission denied"]);
        assert_eq!(error_chain(&error), "cannot read a.yaml: permission denied");
    }

    #[test]
    fn a_cause_is_printed_once() {
        let error = chain(&[
            "cannot connect: refused (os error 111)",
            "refused",
            "refused",
        ]);
        assert_eq!(
            error_chain(&error),
            "cannot connect: refused (os error 111)"
        );
        let error = chain(&["transport error", "", "broken pipe"]);
        assert_eq!(error_chain(&error), "transport error: broken pipe");
    }
}
