//! The right that a call needs, whatever its protocol.

use lograft_core::acl::{Operation, ResourceKind};

/// The right that a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallRule {
    /// The operation on the resource of this kind that the request names.
    On(ResourceKind, Operation),
    /// The operation on any topic: whoever may use it nowhere has no use for the call.
    OnSomeTopic(Operation),
    /// None: every identity of the cluster may call it. The answer contains only what the caller
    /// may describe.
    Filtered,
    /// For nodes of the cluster alone.
    NodesOnly,
}
