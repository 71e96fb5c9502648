//! Consumer groups: the calls of members and of others, carried out by the node that leads the
//! group's coordinator.

mod commits;
mod coordinator;
mod described;
mod engine;
mod forward;
mod leading;
mod membership;
mod offsets;
pub(crate) mod page;
pub(crate) mod poll;
mod proposals;
pub(crate) mod request;
mod subscriptions;
mod timers;
mod upkeep;

pub(crate) use engine::{CreateCoordinators, GroupEngine, GroupEngineParts};
pub(crate) use forward::ForwardGroups;
pub(crate) use subscriptions::ReadRights;
