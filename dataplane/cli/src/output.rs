//! Terminal output: colors, tables and a progress line. Output to a pipe is plain text.

pub(crate) mod paint;
pub(crate) mod progress;
pub(crate) mod table;

use std::io::{self, Write};

use crate::error::{CliError, CommandError};
use crate::exit::Exit;

pub(crate) use paint::Paint;
pub(crate) use progress::{Progress, StatusLine, throughput_summary};
pub(crate) use table::{Cell, Table, Tone};

/// Standard output failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("cannot write output")]
    Write { source: io::Error },
    #[error("cannot encode output as JSON")]
    Encode { source: serde_json::Error },
}

impl OutputError {
    /// The reader closed the pipe, as `head` does. That is not an error of this program.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Write { source } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl CommandError for OutputError {
    fn exit(&self) -> Exit {
        if self.is_closed_pipe() {
            Exit::Ok
        } else {
            Exit::Failure
        }
    }

    fn is_silent(&self) -> bool {
        self.is_closed_pipe()
    }
}

/// Writes text to standard output and flushes it.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to standard output and flushes it.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|source| OutputError::Write { source }.into())
}

/// Writes a value as indented JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let text =
        serde_json::to_string_pretty(value).map_err(|source| OutputError::Encode { source })?;
    print(&(text + "\n"))
}

/// `1 node`, `2 nodes`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_error(kind: io::ErrorKind) -> CliError {
        OutputError::Write {
            source: kind.into(),
        }
        .into()
    }

    #[test]
    fn a_closed_pipe_is_silent_and_a_success() {
        let closed = write_error(io::ErrorKind::BrokenPipe);
        assert_eq!((closed.line(), closed.exit()), (None, Exit::Ok));
        let full = write_error(io::ErrorKind::StorageFull);
        assert_eq!(
            full.line().unwrap(),
            "cannot write output: no storage space"
        );
        assert_eq!(full.exit(), Exit::Failure);
    }
}
