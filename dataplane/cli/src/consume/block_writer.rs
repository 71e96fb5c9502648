//! Writes standard output in large blocks, without the line buffering of the standard library.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use crate::error::CliError;
use crate::output::OutputError;

/// Size of one write to standard output.
const OUTPUT_BLOCK_BYTES: usize = 256 * 1024;

/// Standard output and the bytes that are not written yet.
pub(crate) struct BlockWriter {
    file: File,
    pub(crate) block: Vec<u8>,
    written: u64,
    is_terminal: bool,
    is_line_open: bool,
}

impl BlockWriter {
    /// Writes to standard output.
    pub(crate) fn open() -> Result<Self, CliError> {
        let output = |source| OutputError::Write { source };
        let file = io::stdout().as_fd().try_clone_to_owned().map_err(output)?;
        Ok(Self {
            file: file.into(),
            block: Vec::with_capacity(2 * OUTPUT_BLOCK_BYTES),
            written: 0,
            is_terminal: io::stdout().is_terminal(),
            is_line_open: false,
        })
    }

    /// Whether a person reads the output.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether a progress line would overwrite the end of the output.
    pub(crate) const fn is_line_open(&self) -> bool {
        self.is_terminal && self.is_line_open
    }

    /// Bytes written or buffered so far.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.written + self.block.len() as u64
    }

    /// Whether the block should be written before more is added to it.
    pub(crate) fn is_full(&self) -> bool {
        self.block.len() >= OUTPUT_BLOCK_BYTES
    }

    /// Writes the block.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.file
            .write_all(&self.block)
            .map_err(|source| OutputError::Write { source })?;
        self.written += self.block.len() as u64;
        if let Some(last) = self.block.last() {
            self.is_line_open = *last != b'\n';
        }
        self.block.clear();
        Ok(())
    }
}
