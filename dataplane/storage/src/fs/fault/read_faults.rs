//! The faults of reads on a simulated disk.

use std::io;
use std::ops::Range;

use bytes::Bytes;

pub(super) const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// Runs while a read is under way.
pub(super) type DuringRead = Box<dyn FnOnce() + Send>;

/// The faults that reads and opens of files meet.
#[derive(Default)]
pub(super) struct ReadFaults {
    /// The number of reads so far.
    pub(super) reads: u64,
    /// Unreadable bytes of files, by inode.
    bad_ranges: Vec<(u64, Range<u64>)>,
    /// Reads that still succeed before one fails.
    pub(super) fail_read: Option<u64>,
    /// Reads that still succeed before one returns a flipped bit.
    pub(super) flip_read: Option<u64>,
    /// Reads that still pass before one is so slow that the function runs meanwhile.
    pub(super) during_read: Option<(u64, DuringRead)>,
    /// Opens that still succeed, and the number of those that fail then.
    pub(super) refuse_opens: Option<(u64, u64)>,
    /// The most files that may be open.
    pub(super) open_max: Option<u64>,
    /// The files that are open.
    pub(super) open_count: u64,
}

/// Counts down; true once, when the count is at zero.
fn is_due(left: &mut Option<u64>) -> bool {
    match left {
        Some(0) => {
            *left = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl ReadFaults {
    /// Ends the faults of the process and of the way to the disk; bad sectors stay.
    pub(super) fn crash(&mut self) {
        let bad_ranges = std::mem::take(&mut self.bad_ranges);
        *self = Self {
            bad_ranges,
            reads: self.reads,
            ..Self::default()
        };
    }

    pub(super) fn add_bad_range(&mut self, inode: u64, range: Range<u64>) {
        self.bad_ranges.push((inode, range));
    }

    /// A write over the whole of a bad range repairs it: the disk replaces the sectors.
    pub(super) fn written(&mut self, inode: u64, range: &Range<u64>) {
        self.bad_ranges.retain(|(bad, bytes)| {
            *bad != inode || bytes.start < range.start || range.end < bytes.end
        });
    }

    /// Starts a read. Returns what happens meanwhile.
    pub(super) fn begin_read(&mut self) -> Option<DuringRead> {
        self.reads += 1;
        match &mut self.during_read {
            Some((0, _)) => self.during_read.take().map(|(_, during)| during),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }

    /// Ends a read of these bytes at `position`.
    pub(super) fn end_read(
        &mut self,
        inode: u64,
        position: u64,
        bytes: Bytes,
    ) -> io::Result<Bytes> {
        let end = position + bytes.len() as u64;
        let is_bad = self.bad_ranges.iter().any(|(bad, range)| {
            *bad == inode && range.start < end.max(position + 1) && position < range.end
        });
        if is_due(&mut self.fail_read) || is_bad {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if bytes.is_empty() || !is_due(&mut self.flip_read) {
            return Ok(bytes);
        }
        let mut flipped = bytes.to_vec();
        let at = usize::try_from(self.reads).unwrap_or(0) % flipped.len();
        flipped[at] ^= 1 << (self.reads % 8);
        Ok(flipped.into())
    }

    /// Takes a descriptor for a moment, if `keep` is not set.
    pub(super) fn open(&mut self, keep: bool) -> io::Result<()> {
        if let Some((after, count)) = &mut self.refuse_opens {
            if *after > 0 {
                *after -= 1;
            } else if *count > 0 {
                *count -= 1;
                return Err(io::Error::from_raw_os_error(EMFILE));
            }
        }
        if self.open_max.is_some_and(|max| self.open_count >= max) {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        self.open_count += u64::from(keep);
        Ok(())
    }
}
