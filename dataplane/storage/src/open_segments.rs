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
}
