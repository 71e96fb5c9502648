//! Forwarding of calls for groups to the node that leads their coordinator. `transport` implements
//! it.

use lograft_core::NodeId;

use super::request::{GroupAnswer, GroupRequest, ListRequest, ListedGroup};
use crate::serving::forward::Forwarded;

/// Sends calls to another node, once. Implementations MUST mark them as forwarded, so that the
/// receiver does not forward them a second time.
pub(crate) trait ForwardGroups: Send + Sync + 'static {
    /// Carries out a call. Dropped before its answer, the call MUST be cut off at the receiver too:
    /// that is how a member's end is noticed.
    fn group_call(&self, to: NodeId, request: GroupRequest) -> Forwarded<GroupAnswer>;

    /// Lists the groups of a coordinator.
    fn list_groups(&self, to: NodeId, request: ListRequest) -> Forwarded<Vec<ListedGroup>>;
}
