//! Memory of replies that clients have not taken yet, bounded for all clients of a node together.
//! Without the bound, clients that ask and do not read would fill the memory: HTTP/2 lets a client
//! take as little as it likes of each of thousands of streams.

use std::sync::Arc;

use lograft_core::Reason;
use lograft_core::acl::Principal;
use lograft_core::limits::{CLIENT_READ_MAX, SCARCE_REPLY_BYTES};
use prometheus::IntGauge;
use tokio::time::timeout;

use super::by_hop::ByHop;
use super::fair_memory::{FairMemory, HeldMemory};
use super::request::Target;
use crate::error::ApiError;

/// The memory of all replies.
#[derive(Clone, Debug)]
pub(crate) struct ReplyBudget(ByHop<Arc<FairMemory>>);

/// The memory for the replies to one user.
#[derive(Clone, Debug)]
pub(crate) struct ReplyAccount {
    memory: Arc<FairMemory>,
    user: Arc<Principal>,
}

/// Memory of a reply, reserved until this is dropped.
#[derive(Debug)]
pub(crate) struct ReplyMemory(HeldMemory);

impl ReplyBudget {
    /// A budget of `max_bytes`, half of it for each kind of request. Its use is shown in `held`.
    pub(crate) fn new(max_bytes: usize, held: &IntGauge) -> Self {
        let memory = || FairMemory::new(max_bytes / 2, held.clone());
        Self(ByHop::new(memory))
    }

    /// The memory for the replies to a request.
    pub(crate) fn account(&self, target: &Target) -> ReplyAccount {
        self.account_of(&target.principal, target.is_forwarded)
    }

    /// The memory for the replies to a user's requests.
    pub(crate) fn account_of(&self, user: &Arc<Principal>, is_forwarded: bool) -> ReplyAccount {
        ReplyAccount {
            memory: Arc::clone(self.0.of(is_forwarded)),
            user: Arc::clone(user),
        }
    }
}

impl ReplyAccount {
    /// Reserves memory; waits while the user has its part of it. Fails with TOO_MANY_READS if it
    /// gets none for long. The caller MUST hold no memory of this account.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<ReplyMemory, ApiError> {
        let taken = timeout(CLIENT_READ_MAX, self.memory.take(&self.user, bytes)).await;
        match taken.ok().flatten() {
            Some(held) => Ok(ReplyMemory(held)),
            // It was not looked at while nobody asked for the result.
            None => self.reserve_now(bytes),
        }
    }

    /// Reserves memory, or fails with TOO_MANY_READS if there is none now. The caller may hold
    /// other memory of this account.
    pub(crate) fn reserve_now(&self, bytes: usize) -> Result<ReplyMemory, ApiError> {
        self.try_reserve(bytes).ok_or_else(|| self.is_full())
    }

    fn is_full(&self) -> ApiError {
        is_full(&self.user, self.memory.max_bytes())
    }

    /// Reserves memory if there is any now. The caller may hold other memory of this account.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<ReplyMemory> {
        self.memory.try_take(&self.user, bytes).map(ReplyMemory)
    }

    /// Counts a reply that is in memory already.
    pub(crate) fn count(&self, bytes: usize) -> ReplyMemory {
        ReplyMemory(self.memory.take_used(&self.user, bytes))
    }

    /// The size of the next reply to a client that asks for up to `wanted` bytes: less while little
    /// memory is left, so that clients that take their time get smaller replies, and not errors.
    pub(crate) fn reply_bytes(&self, wanted: usize) -> usize {
        if self.memory.is_scarce(&self.user) {
            wanted.min(SCARCE_REPLY_BYTES)
        } else {
            wanted
        }
    }
}

impl ReplyMemory {
    /// Reserves another number of bytes from now on. Fails with TOO_MANY_READS if there is no room
    /// for more of them; fewer always succeed.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), ApiError> {
        if self.0.try_resize(bytes) {
            return Ok(());
        }
        let (user, max_bytes) = self.0.bounds();
        Err(is_full(user, max_bytes))
    }

    /// Gives back what is above so many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        self.0.try_resize(bytes.min(self.0.bytes()));
    }

    /// Reserves also what another memory of the same account does.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.0.absorb(other.0);
    }
}

fn is_full(user: &Principal, max_bytes: usize) -> ApiError {
    ApiError::new(
        Reason::TooManyReads,
        format!(
            "replies that {user} has not taken yet fill its part of the {max_bytes} bytes that \
             this node has for them: read the replies, or ask for fewer or smaller ones at a time"
        ),
    )
}
