//! What people see: colours on a terminal, tables, a progress line. Piped, all of it is plain.

pub(crate) mod paint;
pub(crate) mod progress;
pub(crate) mod table;

use std::io::{self, Write};

use crate::error::CliError;

pub(crate) use paint::Paint;
pub(crate) use progress::{Progress, Status};
pub(crate) use table::{Cell, Table, Tone};

/// Writes to standard output, at once and whole.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|source| CliError::Output { source })
}

/// Writes a value as JSON over several lines.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|source| CliError::Encode { source })?;
    print(&(text + "\n"))
}
