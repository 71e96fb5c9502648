//! Balancing of replicas and preferred leaders over the nodes and zones of a cluster.
//!
//! [`plan`] compares where the replicas are with where they should be, and returns the steps from
//! one to the other: first moves of single replicas, then changes of preferred leaders. Its goals,
//! in order:
//!
//! 1. A partition keeps its number of replicas, and has at most one on each node: a step replaces
//!    one replica by one on another node.
//! 2. The replicas of a partition are spread over the zones as evenly as the numbers of nodes in
//!    the zones allow: in different zones if there are enough of them.
//! 3. The numbers of replicas of any two nodes differ by at most one, as far as goal 2 permits.
//! 4. The numbers of preferred leaders of any two nodes differ by at most one, as far as the places
//!    of the replicas permit.
//!
//! Every move keeps or lowers a potential: first the sum of the squared numbers of replicas that
//! each partition has in each zone, then the sum of the squared numbers of replicas per node. The
//! moves of a plan together lower it, or there are none. The same holds for changes of leaders and
//! the sum of the squared numbers of preferred leaders. So the plan that is made after some of the
//! steps does not undo them, and repeated plans end.
//!
//! A plan is a function of its input alone. A new leader of the meta group makes the same plan as
//! the one before it, and continues.
//!
//! [`plan`]: plan()

mod chains;
mod layout;
mod leaders;
mod moves;
mod placement;
mod plan;
mod step;
mod takers;
#[cfg(test)]
mod tests;
mod zone_limits;

pub use layout::{BalancedNode, BalancedPartition, Layout, Participation};
pub use plan::{plan, plan_leaders};
pub use step::{Cost, NodeChange, Plan, Step};
