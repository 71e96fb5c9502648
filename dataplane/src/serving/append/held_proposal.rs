//! A proposal with the memory that is reserved for its batch.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use lograft_raft::{Committed, ProposeError, ProposeHandle};

use crate::serving::append_budget::Reserved;

/// A proposal whose memory is free again once its outcome is known, and not earlier.
///
/// A client stops waiting after its timeout. Its batch is still queued at raft, or in the log of a
/// leader without a majority. If its memory counted as free then, clients that retry could fill a
/// node that has lost its majority with batches that nothing bounds.
pub(super) struct HeldProposal {
    /// None once the outcome is known.
    proposal: Option<(ProposeHandle, Option<Reserved>)>,
}

impl HeldProposal {
    pub(super) const fn new(handle: ProposeHandle, reserved: Option<Reserved>) -> Self {
        Self {
            proposal: Some((handle, reserved)),
        }
    }
}

impl Future for HeldProposal {
    type Output = Result<Committed, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((handle, _)) = &mut self.proposal else {
            return Poll::Pending;
        };
        let outcome = std::task::ready!(Pin::new(handle).poll(cx));
        self.proposal = None;
        Poll::Ready(outcome)
    }
}

impl Drop for HeldProposal {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
        if let Some((handle, Some(reserved))) = self.proposal.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                // Whatever the outcome is: nobody waits for it.
                let _outcome = handle.await;
                drop(reserved);
            });
        }
    }
}
