//! Consumer groups: several consumers share the partitions of topics, and the group remembers how
//! far it has read.
//!
//! The leader of a coordinator's raft group decides and the log records the results: it computes
//! the next membership of a group with [`ConsumerGroup::step`] and proposes it as a whole. Replicas
//! only compare and replace ([`CoordinatorState::apply`]), so that a later version may divide
//! partitions differently without replicas that diverge. Timers ([`Sessions`]) are in the memory of
//! the leader alone.
//!
//! # Fencing
//!
//! A group's [`Generation`] grows with each change of its membership. A partition is in `assigned`
//! or `revoking` of at most one member, and each of them has the generation since which the member
//! has it. A commit carries the generation of the last reply to its member. It is accepted only
//! while the member has the partition and has had it since that generation or before, so a commit
//! of a former owner is refused, however late it arrives.
//!
//! The generation does not order the commits of one owner. A call may hang in a node while its
//! member repeats it elsewhere and goes on; arriving after all, it would set the offset back. So
//! members number their commits ([`CommitSequence`]), and a committed offset keeps the number by
//! which it was committed: a lower one of the same ownership is refused.

mod assignors;
mod codec;
mod command;
mod coordinator;
mod error;
mod group;
mod ids;
mod member;
mod resolved;
mod sessions;
mod step;

#[cfg(test)]
mod tests;

pub use codec::GroupCodecError;
pub use command::{Applied, CommitResult, GroupCommand, GroupOutcome, OffsetCommit};
pub use coordinator::{CommittedOffset, CoordinatorState, Group};
pub use error::{CommitError, GroupError};
pub use group::{ConsumerGroup, GroupState, MemberAssignment};
pub use ids::{CommitSequence, Generation, TopicPartition};
pub use member::{
    Assignor, GroupTopic, Member, MemberId, MemberSpec, Revoking, Subscription, validate_group_name,
};
pub use resolved::TopicLookup;
pub use sessions::{Call, DueMember, DueReason, Sessions};
pub use step::{GroupEvent, Stepped};
