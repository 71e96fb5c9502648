//! Reads in big blocks on a thread of its own; blocks go back to it to be filled again.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lograft_core::limits::RECORD_MAX_BYTES;
use tokio::sync::mpsc;

/// Read at once.
const BLOCK_BYTES: usize = 1024 * 1024;
/// Blocks read ahead.
const BLOCKS_AHEAD_COUNT: usize = 3;

/// What can be wrong with the input.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("opening {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("reading the input after line {after}")]
    Read { after: u64, source: io::Error },
    #[error("starting to read the input")]
    Start { source: io::Error },
    #[error("line {line} is longer than the {RECORD_MAX_BYTES} bytes that a record may have")]
    TooLong { line: u64 },
    #[error("line {line} has no {separator:?} after a key")]
    NoKey { line: u64, separator: String },
}

/// Whole lines, the last of the input perhaps without an end.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    /// Up to here they are whole lines; what follows belongs to the next block.
    end: usize,
}

impl Block {
    /// The lines, with their ends.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}

/// The input.
#[derive(Debug)]
pub(crate) struct Input {
    total_bytes: Option<u64>,
    full: mpsc::Receiver<Result<Block, InputError>>,
    empty: mpsc::UnboundedSender<Block>,
}

impl Input {
    /// Opens a file, or standard input.
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

    /// How long the input is, where that is known.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// The next lines; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>, InputError> {
        self.full.recv().await.transpose()
    }

    /// Gives a block back to be filled again.
    pub(crate) fn recycle(&self, block: Block) {
        // The reader may be done.
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

/// Fills a block with whole lines: `carried` first, which then takes what is cut off. False at the
/// end of the input. Sends on what there is rather than waiting for a full block, so that lines
/// typed by hand go out one by one.
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
        // No line ends in here. A record holds its value and perhaps a key: never more than this.
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

    /// Gives out at most `step` bytes at a time.
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
    fn a_line_of_the_greatest_length_passes_and_a_longer_one_does_not() {
        let mut text = vec![b'x'; RECORD_MAX_BYTES];
        assert_eq!(
            blocks(&text, 65_536).unwrap().concat().len(),
            RECORD_MAX_BYTES
        );
        text.push(b'x');
        assert!(blocks(&text, 65_536).is_none());
    }

    #[tokio::test]
    async fn a_long_line_is_named_by_its_number() {
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
            error.starts_with("line 3 is longer than the 1048576 bytes"),
            "{error}"
        );
    }
}
