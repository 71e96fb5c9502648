//! The error that ends a command: a line of text, a hint and an exit code.
//!
//! Each module defines its own errors and implements [`CommandError`] for them, so this file
//! knows no command.

use std::error::Error;
use std::fmt;

use lograft_proto::error_text::error_chain;

use crate::exit::Exit;

/// An error that can end a command.
pub(crate) trait CommandError: Error + Send + Sync + 'static {
    /// Exit code of the process.
    fn exit(&self) -> Exit {
        Exit::Failure
    }

    /// What the user can do about the error.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Whether the exit code alone reports the error, without a line on standard error.
    fn is_silent(&self) -> bool {
        false
    }
}

/// Any error that ends a command.
#[derive(Debug)]
pub(crate) struct CliError(Box<dyn CommandError>);

impl<E: CommandError> From<E> for CliError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for CliError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl CliError {
    /// Exit code of the process.
    pub(crate) fn exit(&self) -> Exit {
        self.0.exit()
    }

    /// Whether the exit code alone reports the error.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.is_silent()
    }

    /// The error, its causes and the hint on one line; `None` for a silent error.
    pub(crate) fn line(&self) -> Option<String> {
        if self.is_silent() {
            return None;
        }
        let text = error_chain(self);
        Some(match self.0.hint() {
            Some(hint) => format!("{text}; {hint}"),
            None => text,
        })
    }
}

/// A command failed after it had done a part of its work.
#[derive(Debug, thiserror::Error)]
#[error("stopped after {done}")]
pub(crate) struct PartlyDone {
    /// The completed part, e.g. `7 records`.
    pub(crate) done: String,
    pub(crate) source: CliError,
}

impl CommandError for PartlyDone {
    /// Even a closed pipe, by itself a success, is a failure here: the rest was not done.
    fn exit(&self) -> Exit {
        match self.source.exit() {
            Exit::Ok => Exit::Failure,
            exit => exit,
        }
    }

    fn hint(&self) -> Option<String> {
        self.source.0.hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open a.txt")]
    struct OpenError {
        source: std::io::Error,
    }

    impl CommandError for OpenError {
        fn exit(&self) -> Exit {
            Exit::NotFound
        }

        fn hint(&self) -> Option<String> {
            Some("check the path".into())
        }
    }

    #[test]
    fn a_line_has_the_error_its_causes_and_the_hint() {
        let source = std::io::ErrorKind::NotFound.into();
        let error = CliError::from(PartlyDone {
            done: "7 records".into(),
            source: OpenError { source }.into(),
        });
        assert_eq!(
            error.line().unwrap(),
            "stopped after 7 records: cannot open a.txt: entity not found; check the path"
        );
        assert_eq!(error.exit(), Exit::NotFound);
    }
}
