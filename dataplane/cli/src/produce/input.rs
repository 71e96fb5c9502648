//! Reads the input in large blocks on a separate thread, which reuses the blocks.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lograft_core::limits::RECORD_MAX_BYTES;
use tokio::sync::mpsc;

use crate::error::CommandError;

/// Size of a block.
const BLOCK_BYTES: usize = 1024 * 1024;
/// Number of blocks read ahead.
const BLOCKS_AHEAD_COUNT: usize = 3;

/// The input cannot be read or is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read input after line {after}")]
    Read { after: u64, source: io::Error },
    #[error("cannot start the input thread")]
    Start { source: io::Error },
    #[error("line {line} must be at most {RECORD_MAX_BYTES} bytes, the maximum size of a record")]
    TooLong { line: u64 },
    #[error("line {line} must contain the key separator {separator:?}")]
    NoKey { line: u64, separator: String },
}

impl CommandError for InputError {}

/// Whole lines of the input. The last line of the input may lack its line end.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    /// End of the whole lines. The bytes after it belong to the next block.
    end: usize,
}

impl Block {
    /// The lines with their line ends.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}

/// The input as a sequence of blocks.
#[derive(Debug)]
pub(crate) struct Input {
    total_bytes: Option<u64>,
    full: mpsc::Receiver<Result<Block, InputError>>,
    empty: mpsc::UnboundedSender<Block>,
}

impl Input {
    /// Opens a file, or standard input if `path` is `None`.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, InputError> {
        let mut total_bytes = None;
        let source: Box<dyn Read + Send> = match path {
            Some(path) => {
                let file = File::open(path).map_err(|source| InputError::Open {
                    path: path.into(),
                    source,
                })?;
                let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file);
                total_bytes = metadata.map(|metadata| metadata.len());
                Box::new(file)
            }
            None => Box::new(io::stdin()),
        };
        let (full_send, full) = mpsc::channel(BLOCKS_AHEAD_COUNT);
        let (empty, empty_receive) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("input".into())
            .spawn(move || read_all(source, &full_send, empty_receive))
            .map_err(|source| InputError::Start { source })?;
        Ok(Self {
            total_bytes,
            full,
            empty,
        })
    }

    /// Size of the input, if it is a regular file.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// The next block, or `None` at the end of the input.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>, InputError> {
        self.full.recv().await.transpose()
    }

    /// Returns a block to the input thread for reuse.
    pub(crate) fn recycle(&self, block: Block) {
        // The input thread may have ended.
        drop(self.empty.send(block));
    }
}

fn read_all(
    mut source: Box<dyn Read + Send>,
    full: &mpsc::Sender<Result<Block, InputError>>,
    mut empty: mpsc::UnboundedReceiver<Block>,
) {
    let mut carried = Vec::new();
    let mut lines = 0;
    loop {
        let mut block = empty.try_recv().unwrap_or_default();
        match fill(&mut source, &mut block, &mut carried) {
            Ok(false) => return,
            Ok(true) => {}
            Err(FillError::Read(source)) => {
                drop(full.blocking_send(Err(InputError::Read {
                    after: lines,
                    source,
                })));
                return;
            }
            Err(FillError::TooLong) => {
                drop(full.blocking_send(Err(InputError::TooLong { line: lines + 1 })));
                return;
            }
        }
        lines += memchr::memchr_iter(b'\n', block.lines()).count() as u64;
        if full.blocking_send(Ok(block)).is_err() {
            return;
        }
    }
}

enum FillError {
    Read(io::Error),
    TooLong,
}

/// Fills a block with whole lines, starting with the partial line in `carried`, and moves the
/// partial line at the end of the block to `carried`. Returns false at the end of the input.
///
/// A block is returned as soon as it has one whole line, so that lines typed by hand are sent one
/// by one.
fn fill(
    source: &mut impl Read,
    block: &mut Block,
    carried: &mut Vec<u8>,
) -> Result<bool, FillError> {
    let bytes = &mut block.bytes;
    bytes.resize(BLOCK_BYTES.max(carried.len() * 2), 0);
    bytes[..carried.len()].copy_from_slice(carried);
    let mut length = carried.len();
    carried.clear();
    loop {
        if length == bytes.len() {
            bytes.resize(length * 2, 0);
        }
        let count = match source.read(&mut bytes[length..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FillError::Read(error)),
        };
        let new = &bytes[length..length + count];
        let end = memchr::memrchr(b'\n', new).map(|at| length + at + 1);
        length += count;
        if let Some(end) = end {
            carried.extend_from_slice(&bytes[end..length]);
            block.end = end;
            return Ok(true);
        }
        // The block is one partial line. Key and value of a record together are at most this long.
        if length > RECORD_MAX_BYTES {
            return Err(FillError::TooLong);
        }
        if count == 0 {
            block.end = length;
            return Ok(length > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns at most `step` bytes per read.
    struct Slow<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.step.min(buffer.len());
            Read::read(&mut self.bytes, &mut buffer[..count])
        }
    }

    fn blocks(bytes: &[u8], step: usize) -> Option<Vec<Vec<u8>>> {
        let mut source = Slow { bytes, step };
        let (mut carried, mut out) = (Vec::new(), Vec::new());
        loop {
            let mut block = Block::default();
            match fill(&mut source, &mut block, &mut carried) {
                Ok(true) => out.push(block.lines().to_vec()),
                Ok(false) => return Some(out),
                Err(_) => return None,
            }
        }
    }

    #[test]
    fn blocks_end_with_lines_and_lose_nothing() {
        let text = b"one\ntwo\n\nthree and more\nlast";
        for step in [1, 2, 5, 100] {
            let blocks = blocks(text, step).unwrap();
            assert_eq!(blocks.concat(), text, "step {step}");
            for block in &blocks[..blocks.len() - 1] {
                assert_eq!(block.last(), Some(&b'\n'), "step {step}");
            }
        }
        assert_eq!(blocks(b"", 3).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_line_of_the_maximum_length_is_accepted_and_a_longer_one_is_not() {
        let mut text = vec![b'x'; RECORD_MAX_BYTES];
        assert_eq!(
            blocks(&text, 65_536).unwrap().concat().len(),
            RECORD_MAX_BYTES
        );
        text.push(b'x');
        assert!(blocks(&text, 65_536).is_none());
    }

    #[tokio::test]
    async fn the_error_for_a_long_line_has_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        let mut text = b"a\nb\n".to_vec();
        text.resize(RECORD_MAX_BYTES + 10, b'x');
        std::fs::write(&path, &text).unwrap();
        let mut input = Input::open(Some(&path)).unwrap();
        assert_eq!(input.total_bytes(), Some(text.len() as u64));
        let first = input.next().await.unwrap().unwrap();
        assert_eq!(first.lines(), b"a\nb\n");
        input.recycle(first);
        let error = input.next().await.unwrap_err().to_string();
        assert!(
            error.starts_with("line 3 must be at most 1048576 bytes"),
            "{error}"
        );
    }
}
