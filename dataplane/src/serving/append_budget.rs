//! Memory of unacknowledged appends, bounded for all clients of a node together. Without the bound,
//! a slow disk or a lost majority would let the requests of clients fill the memory.

use std::sync::Arc;

use lograft_core::Reason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::ApiError;

/// The bytes that may still be reserved.
#[derive(Debug)]
pub(super) struct AppendBudget {
    free: Arc<Semaphore>,
    max_bytes: usize,
}

impl AppendBudget {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max_bytes)),
            max_bytes,
        }
    }

    /// Reserves memory for an append until the permit is dropped; waits while the budget is used
    /// up, until `deadline`. Fails with TIMEOUT then: the append was certainly not carried out, and
    /// the client may retry.
    pub(super) async fn reserve(
        &self,
        bytes: usize,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, ApiError> {
        let permits = u32::try_from(bytes.min(self.max_bytes)).unwrap_or(u32::MAX);
        let reserved = Arc::clone(&self.free).acquire_many_owned(permits);
        match tokio::time::timeout_at(deadline, reserved).await {
            Ok(Ok(reserved)) => Ok(reserved),
            Ok(Err(_)) => Err(ApiError::new(Reason::NotReady, "the node is stopping")),
            Err(_) => Err(ApiError::new(
                Reason::Timeout,
                format!(
                    "unacknowledged appends of this node have reached their limit of {} bytes: \
                     send fewer or smaller batches at a time",
                    self.max_bytes
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_append_waits_for_memory_and_is_refused_at_its_deadline() {
        let budget = AppendBudget::new(100);
        let deadline = || Instant::now() + Duration::from_secs(1);
        let whole = budget.reserve(1000, deadline()).await.unwrap();
        let refused = budget.reserve(1, deadline()).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::Timeout));
        drop(whole);
        assert!(budget.reserve(100, deadline()).await.is_ok());
    }
}
