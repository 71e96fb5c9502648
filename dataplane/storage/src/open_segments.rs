//! The limit on open files of sealed segments.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use lograft_core::limits::OPEN_SEGMENTS_MAX_COUNT;
use parking_lot::Mutex;

use crate::segment::Segment;

/// The sealed segments with open files, longest open first.
#[derive(Default)]
pub(crate) struct OpenSegments(Mutex<VecDeque<Weak<Segment>>>);

impl OpenSegments {
    /// Registers a segment whose files were opened; above the limit, closes the files of the
    /// segment that has been open longest.
    pub(crate) fn register(&self, segment: &Arc<Segment>) {
        let mut open = self.0.lock();
        open.push_back(Arc::downgrade(segment));
        let oldest = (open.len() > OPEN_SEGMENTS_MAX_COUNT)
            .then(|| open.pop_front())
            .flatten();
        drop(open);
        if let Some(segment) = oldest.and_then(|segment| segment.upgrade()) {
            segment.close();
        }
    }

    /// Closes the files of all sealed segments, because the process has no descriptor left.
    /// Returns whether there were any. MUST NOT be called under the lock of a segment's files: two
    /// callers would wait for each other.
    pub(crate) fn close_all(&self) -> bool {
        let open = std::mem::take(&mut *self.0.lock());
        let mut any = false;
        for segment in open.iter().filter_map(Weak::upgrade) {
            any |= segment.close();
        }
        any
    }
}
