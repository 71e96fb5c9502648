//! Reads the input in large blocks on a separate thread, which reuses the blocks.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lograft_core::limits::RECORD_MAX_BYTES;
use tokio::sync::mpsc;

use super::json::JsonError;
use super::lines::Separator;
use crate::error::CommandError;

/// Size of a block.
const BLOCK_BYTES: usize = 1024 * 1024;
/// Maximum size of a record as a JSON object, in bytes: one of `RECORD_MAX_BYTES` of NUL, each six
/// bytes in JSON, and its other fields.
const JSON_MAX_BYTES: usize = 7 * RECORD_MAX_BYTES;
/// Number of blocks read ahead.
const BLOCKS_AHEAD_COUNT: usize = 3;

/// The input cannot be read or is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read input after {unit} {after}")]
    Read {
        after: u64,
        unit: Unit,
        source: io::Error,
    },
    #[error("cannot start the input thread")]
    Start { source: io::Error },
    #[error("{unit} {number} must be at most {max_bytes} bytes, the maximum size of a record")]
    TooLong {
        unit: Unit,
        number: u64,
        max_bytes: usize,
    },
    #[error("input must be at most {RECORD_MAX_BYTES} bytes, the maximum size of a record")]
    WholeTooLong,
    #[error("{unit} {number} must contain the key separator {separator:?}")]
    NoKey {
        unit: Unit,
        number: u64,
        separator: String,
    },
    #[error("cannot read {unit} {number}")]
    Json {
        unit: Unit,
        number: u64,
        source: JsonError,
    },
}

/// Name of a part of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Line,
    Record,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "line",
            Self::Record => "record",
        })
    }
}

/// How the input is divided into records.
#[derive(Clone, Debug)]
pub(crate) enum Framing {
    /// Values, or keys and values, that end with a separator.
    Values(Separator),
    /// JSON objects that end with a separator.
    Json(Separator),
    /// The whole input is one value.
    Whole,
}

impl Framing {
    /// Name of a record in errors.
    pub(crate) fn unit(&self) -> Unit {
        match self {
            Self::Values(separator) | Self::Json(separator) if separator.is_newline() => Unit::Line,
            Self::Values(_) | Self::Json(_) | Self::Whole => Unit::Record,
        }
    }
}

impl CommandError for InputError {}

/// Whole records of the input. The last record of the input may lack its separator.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    /// End of the whole records. The bytes after it belong to the next block.
    end: usize,
}

impl Block {
    /// The records with their separators.
    pub(crate) fn bytes(&self) -> &[u8] {
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
    pub(crate) fn open(path: Option<&Path>, framing: Framing) -> Result<Self, InputError> {
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
            .spawn(move || read_all(source, &framing, &full_send, empty_receive))
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

type BlockSender = mpsc::Sender<Result<Block, InputError>>;

fn read_all(
    source: Box<dyn Read + Send>,
    framing: &Framing,
    full: &BlockSender,
    empty: mpsc::UnboundedReceiver<Block>,
) {
    let unit = framing.unit();
    match framing {
        Framing::Values(separator) => {
            let max_bytes = RECORD_MAX_BYTES;
            Cutter {
                separator,
                max_bytes,
                unit,
            }
            .read(source, full, empty);
        }
        Framing::Json(separator) => {
            let max_bytes = JSON_MAX_BYTES;
            Cutter {
                separator,
                max_bytes,
                unit,
            }
            .read(source, full, empty);
        }
        // The receiver may have ended.
        Framing::Whole => drop(full.blocking_send(read_whole(source))),
    }
}

fn read_whole(source: impl Read) -> Result<Block, InputError> {
    let mut bytes = Vec::new();
    let read = source
        .take(RECORD_MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes);
    read.map_err(|source| InputError::Read {
        after: 0,
        unit: Unit::Record,
        source,
    })?;
    if bytes.len() > RECORD_MAX_BYTES {
        return Err(InputError::WholeTooLong);
    }
    let end = bytes.len();
    Ok(Block { bytes, end })
}

/// Reads blocks of whole records.
struct Cutter<'a> {
    separator: &'a Separator,
    /// Maximum size of a record without its separator.
    max_bytes: usize,
    unit: Unit,
}

enum FillError {
    Read(io::Error),
    TooLong,
}

impl Cutter<'_> {
    fn read(
        &self,
        mut source: impl Read,
        full: &BlockSender,
        mut empty: mpsc::UnboundedReceiver<Block>,
    ) {
        let (unit, max_bytes) = (self.unit, self.max_bytes);
        let mut carried = Vec::new();
        let mut records = 0;
        loop {
            let mut block = empty.try_recv().unwrap_or_default();
            let error = match self.fill(&mut source, &mut block, &mut carried) {
                Ok(true) => None,
                Ok(false) => return,
                Err(FillError::Read(source)) => Some(InputError::Read {
                    after: records,
                    unit,
                    source,
                }),
                Err(FillError::TooLong) => Some(InputError::TooLong {
                    unit,
                    number: records + 1,
                    max_bytes,
                }),
            };
            if let Some(error) = error {
                // The receiver may have ended.
                drop(full.blocking_send(Err(error)));
                return;
            }
            records += self.separator.split(block.bytes()).count() as u64;
            if full.blocking_send(Ok(block)).is_err() {
                return;
            }
        }
    }

    /// Fills a block with whole records, starting with the partial record in `carried`, and moves
    /// the partial record at the end of the block to `carried`. Returns false at the end of the
    /// input.
    ///
    /// A block is returned as soon as it has one whole record, so that lines typed by hand are sent
    /// one by one.
    fn fill(
        &self,
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
            let searched = length;
            length += count;
            let end = self.separator.end_of_last(&bytes[..length], searched);
            if let Some(end) = end {
                carried.extend_from_slice(&bytes[end..length]);
                block.end = end;
                return Ok(true);
            }
            // The block is one partial record, perhaps with a part of its separator.
            if length >= self.max_bytes + self.separator.len() {
                return Err(FillError::TooLong);
            }
            if count == 0 {
                block.end = length;
                return Ok(length > 0);
            }
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

    fn lines() -> Framing {
        Framing::Values(Separator::new(b"\n"))
    }

    fn blocks(bytes: &[u8], step: usize) -> Option<Vec<Vec<u8>>> {
        blocks_of(b"\n", bytes, step)
    }

    fn blocks_of(separator: &[u8], bytes: &[u8], step: usize) -> Option<Vec<Vec<u8>>> {
        let separator = &Separator::new(separator);
        let max_bytes = RECORD_MAX_BYTES;
        let cutter = Cutter {
            separator,
            max_bytes,
            unit: Unit::Line,
        };
        let mut source = Slow { bytes, step };
        let (mut carried, mut out) = (Vec::new(), Vec::new());
        loop {
            let mut block = Block::default();
            match cutter.fill(&mut source, &mut block, &mut carried) {
                Ok(true) => out.push(block.bytes().to_vec()),
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
    fn separators_are_found_across_reads_and_blocks() {
        let text = b"one\r\n--\r\ntwo\r\n-\r\n--\r\n\r\n--\r\nlast";
        for step in [1, 2, 5, 7, 100] {
            let blocks = blocks_of(b"\r\n--\r\n", text, step).unwrap();
            assert_eq!(blocks.concat(), text, "step {step}");
            for block in &blocks[..blocks.len() - 1] {
                assert!(block.ends_with(b"\r\n--\r\n"), "step {step}");
            }
        }
        // One cut, wherever the reads end: x, then a.
        for step in [1, 2, 3, 4] {
            let blocks = blocks_of(b"aa", b"xaaa", step).unwrap();
            assert_eq!(blocks, [&b"xaa"[..], b"a"], "step {step}");
        }
    }

    #[test]
    fn the_whole_input_is_one_record_up_to_the_maximum() {
        let text = vec![b'\n'; RECORD_MAX_BYTES];
        assert_eq!(read_whole(&text[..]).unwrap().bytes(), text);
        assert_eq!(read_whole(&b""[..]).unwrap().bytes(), b"");
        let error = read_whole(&[text, b"x".to_vec()].concat()[..]).unwrap_err();
        assert!(matches!(error, InputError::WholeTooLong), "{error}");
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
        let mut input = Input::open(Some(&path), lines()).unwrap();
        assert_eq!(input.total_bytes(), Some(text.len() as u64));
        let first = input.next().await.unwrap().unwrap();
        assert_eq!(first.bytes(), b"a\nb\n");
        input.recycle(first);
        let error = input.next().await.unwrap_err().to_string();
        assert!(
            error.starts_with("line 3 must be at most 3145728 bytes"),
            "{error}"
        );
    }
}
