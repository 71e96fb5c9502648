//! One budget for requests that may be forwarded, and one for those at their last hop.
//!
//! With a common one, two nodes could wait for each other: each has lent all its memory to requests
//! for the other, which has none left to admit them. A request at its last hop waits for no other
//! node but the majority of its partition.

/// The budget of each kind of request.
#[derive(Clone, Debug)]
pub(super) struct ByHop<T> {
    may_forward: T,
    last_hop: T,
}

impl<T> ByHop<T> {
    pub(super) fn new(budget: impl Fn() -> T) -> Self {
        Self {
            may_forward: budget(),
            last_hop: budget(),
        }
    }

    /// The budget of a request that another node has forwarded, or not.
    pub(super) const fn of(&self, is_forwarded: bool) -> &T {
        if is_forwarded {
            &self.last_hop
        } else {
            &self.may_forward
        }
    }
}
