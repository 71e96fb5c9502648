//! Memory of unacknowledged appends and of commits of consumer groups, bounded for all clients of a
//! node together. Without the bound, a slow disk or a lost majority would let the requests of
//! clients fill the memory.

use std::sync::Arc;

use lograft_core::Reason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::by_hop::ByHop;
use crate::error::ApiError;

/// The bytes that may still be reserved.
#[derive(Debug)]
pub(super) struct AppendBudget(ByHop<Share>);

/// The budget of one kind of request.
#[derive(Debug)]
struct Share {
    free: Arc<Semaphore>,
    max_bytes: usize,
}

/// Memory that is reserved until the last clone is dropped. It is held until the outcome of the
/// append is known, and not only for as long as the client waits: the batch stays in a queue.
#[derive(Clone, Debug)]
pub(super) struct Reserved(#[expect(dead_code, reason = "held")] Arc<OwnedSemaphorePermit>);

impl AppendBudget {
    /// A budget of `max_bytes`, half of it for each kind of request.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self(ByHop::new(|| Share::new(max_bytes / 2)))
    }

    /// Reserves memory for an append; waits while the budget is used up, until `deadline`. Fails
    /// with TIMEOUT then: the append was certainly not carried out, and the client may retry.
    pub(super) async fn reserve(
        &self,
        is_forwarded: bool,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Reserved, ApiError> {
        let share = self.0.of(is_forwarded);
        share.reserve(bytes, deadline).await
    }
}

impl Share {
    fn new(max_bytes: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max_bytes)),
            max_bytes,
        }
    }

    async fn reserve(&self, bytes: usize, deadline: Instant) -> Result<Reserved, ApiError> {
        let permits = u32::try_from(bytes.min(self.max_bytes)).unwrap_or(u32::MAX);
        let reserved = Arc::clone(&self.free).acquire_many_owned(permits);
        match tokio::time::timeout_at(deadline, reserved).await {
            Ok(Ok(reserved)) => Ok(Reserved(Arc::new(reserved))),
            Ok(Err(_)) => Err(ApiError::new(Reason::NotReady, "the node is stopping")),
            Err(_) => Err(ApiError::new(
                Reason::Timeout,
                format!(
                    "unacknowledged appends and commits of this node have reached their limit of {} bytes: \
                     send fewer or smaller ones at a time",
                    self.max_bytes
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_append_waits_for_memory_and_is_refused_at_its_deadline() {
        let budget = AppendBudget::new(200);
        let deadline = || Instant::now() + Duration::from_secs(1);
        for is_forwarded in [false, true] {
            let whole = budget
                .reserve(is_forwarded, 1000, deadline())
                .await
                .unwrap();
            let held = whole.clone();
            drop(whole);
            let refused = budget
                .reserve(is_forwarded, 1, deadline())
                .await
                .unwrap_err();
            assert_eq!(refused.reason(), Some(Reason::Timeout));
            drop(held);
            assert!(budget.reserve(is_forwarded, 100, deadline()).await.is_ok());
        }
    }

    /// A client's request at one node, whose partition the other node leads.
    async fn forwarded(here: &AppendBudget, there: &AppendBudget) -> Result<(), ApiError> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let _here = here.reserve(false, 60, deadline).await?;
        tokio::task::yield_now().await;
        let _there = there.reserve(true, 60, deadline).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_forward_to_each_other_do_not_wait_for_each_other() {
        let (a, b) = (AppendBudget::new(200), AppendBudget::new(200));
        let requests = (0..40).map(|n| {
            let (here, there) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
            forwarded(here, there)
        });
        for outcome in join_all(requests).await {
            outcome.unwrap();
        }
    }
}
