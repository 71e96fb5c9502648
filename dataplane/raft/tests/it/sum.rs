//! A state machine with a digest of the applied entries, in order.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lograft_core::{Entry, EntryKind, LogId, Offset};
use lograft_raft::{BoxError, Response, StateMachine};

/// A summary of the entries that a [`SumMachine`] has applied, to compare replicas and find gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) batches: u64,
    pub(crate) next_offset: Offset,
    /// A hash over the CRCs of all batches, in order.
    pub(crate) digest: u64,
}

/// The state that `batch_done` has published, with the last applied entry.
pub(crate) type Published = Arc<Mutex<(Option<LogId>, Sum)>>;

#[derive(Default)]
pub(crate) struct SumMachine {
    sum: Sum,
    last: Option<LogId>,
    published: Published,
}

impl SumMachine {
    pub(crate) fn new() -> (Self, Published) {
        let machine = Self::default();
        let published = machine.published.clone();
        (machine, published)
    }
}

impl StateMachine for SumMachine {
    fn apply(&mut self, entry: &Entry) -> Response {
        if let Some(last) = self.last {
            assert_eq!(entry.id.index, last.index.next(), "an entry is missing");
            assert!(entry.id.term >= last.term);
        }
        self.last = Some(entry.id);
        assert_eq!(entry.base_offset, self.sum.next_offset);
        if entry.proposal.kind != EntryKind::Records {
            return Response::None;
        }
        self.sum.batches += 1;
        self.sum.next_offset = entry.next_offset();
        self.sum.digest = self
            .sum
            .digest
            .wrapping_mul(31)
            .wrapping_add(u64::from(entry.proposal.payload_crc32c));
        Response::Records {
            base_offset: entry.base_offset,
            record_count: entry.proposal.record_count,
        }
    }

    fn batch_done(&mut self, applied: LogId) {
        *self.published.lock().unwrap() = (Some(applied), self.sum);
    }

    fn checkpoint(&self) -> Bytes {
        let Sum {
            batches,
            next_offset,
            digest,
        } = self.sum;
        [batches, next_offset.get(), digest]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), BoxError> {
        self.last = None;
        let mut numbers = state
            .chunks_exact(8)
            .map(|b| u64::from_le_bytes(b.try_into().unwrap()));
        let mut next = || numbers.next().unwrap_or_default();
        self.sum = Sum {
            batches: next(),
            next_offset: Offset(next()),
            digest: next(),
        };
        Ok(())
    }
}
