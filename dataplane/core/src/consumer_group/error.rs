//! The reasons for which a group refuses a member, a command or a commit.

use serde::{Deserialize, Serialize};

use super::ids::{CommitSequence, Generation};
use crate::limits::{GROUP_TIMEOUT_MAX_MS, GROUP_TIMEOUT_MIN_MS};
use crate::reason::Reason;

/// The refusal of a member or a command, which then changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum GroupError {
    /// A name is empty, too long, or has characters that are not allowed.
    #[error(
        "{field} must be 1 to {max} ASCII letters, digits, '.', '_' and '-', but not . or .., got \
         {len_bytes} bytes"
    )]
    BadName {
        /// The field.
        field: String,
        /// The length of the name, bytes.
        len_bytes: usize,
        /// The maximum length, bytes.
        max: usize,
    },
    /// A text is too long.
    #[error("{field} must be at most {max} bytes, got {len_bytes}")]
    BadText {
        /// The field.
        field: String,
        /// The length of the text, bytes.
        len_bytes: usize,
        /// The maximum length, bytes.
        max: usize,
    },
    /// A timeout is out of bounds.
    #[error(
        "{field} must be between {GROUP_TIMEOUT_MIN_MS} and {GROUP_TIMEOUT_MAX_MS} ms, got {found}"
    )]
    BadTimeout {
        /// The field.
        field: String,
        /// The timeout, milliseconds.
        found: u32,
    },
    /// The subscription has neither a topic nor a pattern.
    #[error("topics must name at least one topic, unless there is a topic_pattern")]
    NoTopics,
    /// A member that is in the group has joined with another instance id.
    #[error("instance_id of member {member} must be the one with which it joined")]
    OtherInstance {
        /// The member.
        member: String,
    },
    /// A member of another principal has the instance id.
    #[error("instance_id {instance_id} belongs to a member of another principal")]
    InstanceTaken {
        /// The instance id.
        instance_id: String,
    },
    /// The member is not in the group, or it is another principal's.
    #[error("member {member} not found in the group: it has to join again")]
    UnknownMember {
        /// The member.
        member: String,
    },
    /// Another member has the instance id now.
    #[error("member {member} was replaced by a member with the same instance_id: stop it")]
    MemberReplaced {
        /// The member.
        member: String,
    },
    /// The group does not exist.
    #[error("group {group} not found")]
    UnknownGroup {
        /// The group.
        group: String,
    },
    /// The group has members.
    #[error("group {group} has {member_count} members: stop them first")]
    GroupNotEmpty {
        /// The group.
        group: String,
        /// The number of its members.
        member_count: usize,
    },
    /// A limit would be exceeded.
    #[error("{field} must be at most {max}, got {found}")]
    LimitExceeded {
        /// The counted objects and of what they are, in the plural.
        field: String,
        /// The number after the change.
        found: usize,
        /// The maximum.
        max: usize,
    },
    /// The group has changed since the proposed membership was computed.
    #[error("generation of the group must be {expected}, got {current}")]
    Stale {
        /// The generation from which the proposed membership was computed.
        expected: Generation,
        /// The generation of the group.
        current: Generation,
    },
}

/// The refusal of one committed offset, which then changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CommitError {
    /// The member is not in the group.
    #[error("member not found in the group: it has to join again")]
    UnknownMember,
    /// The member does not have the partition, or did not have it in this generation.
    #[error("partition is not assigned to the member")]
    NotAssigned,
    /// The member has committed with a greater sequence since: the commit is a late duplicate.
    #[error("commit is superseded: sequence must be at least {last}, that of a later commit")]
    Superseded {
        /// The sequence of the commit that is in effect.
        last: CommitSequence,
    },
    /// The commit is from outside, and the group has members.
    #[error("group has members: stop them before its offsets are set from outside")]
    GroupNotEmpty,
    /// A limit would be exceeded.
    #[error("{field} must be at most {max}, got {found}")]
    LimitExceeded {
        /// The counted objects and of what they are, in the plural.
        field: String,
        /// The number after the change.
        found: usize,
        /// The maximum.
        max: usize,
    },
}

impl GroupError {
    /// The reason in the table of errors.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::BadName { .. }
            | Self::BadText { .. }
            | Self::BadTimeout { .. }
            | Self::NoTopics
            | Self::OtherInstance { .. }
            | Self::InstanceTaken { .. } => Reason::InvalidArgument,
            Self::UnknownMember { .. } => Reason::UnknownMember,
            Self::MemberReplaced { .. } => Reason::MemberReplaced,
            Self::UnknownGroup { .. } => Reason::UnknownGroup,
            Self::GroupNotEmpty { .. } => Reason::GroupNotEmpty,
            Self::LimitExceeded { .. } => Reason::LimitExceeded,
            Self::Stale { .. } => Reason::NotReady,
        }
    }

    /// The invalid field, if any.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::BadName { field, .. }
            | Self::BadText { field, .. }
            | Self::BadTimeout { field, .. }
            | Self::LimitExceeded { field, .. } => Some(field),
            Self::NoTopics => Some("topics"),
            Self::OtherInstance { .. } | Self::InstanceTaken { .. } => Some("instance_id"),
            Self::UnknownMember { .. }
            | Self::MemberReplaced { .. }
            | Self::UnknownGroup { .. }
            | Self::GroupNotEmpty { .. }
            | Self::Stale { .. } => None,
        }
    }

    /// The violated bound, if any.
    pub fn bound(&self) -> Option<String> {
        match self {
            Self::BadName { max, .. } => Some(format!("1..={max} of A-Z a-z 0-9 . _ -")),
            Self::BadText { max, .. } => Some(format!("0..={max} bytes")),
            Self::BadTimeout { .. } => {
                Some(format!("{GROUP_TIMEOUT_MIN_MS}..={GROUP_TIMEOUT_MAX_MS}"))
            }
            Self::NoTopics => Some("1..".to_owned()),
            Self::OtherInstance { .. } => Some("that of the member".to_owned()),
            Self::InstanceTaken { .. } => Some("not that of another principal".to_owned()),
            Self::LimitExceeded { max, .. } => Some(format!("..={max}")),
            Self::UnknownMember { .. }
            | Self::MemberReplaced { .. }
            | Self::UnknownGroup { .. }
            | Self::GroupNotEmpty { .. }
            | Self::Stale { .. } => None,
        }
    }

    /// Whether the same command may succeed when it is computed from the present state.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

impl CommitError {
    /// The reason in the table of errors.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::UnknownMember => Reason::UnknownMember,
            Self::NotAssigned => Reason::NotAssigned,
            Self::Superseded { .. } => Reason::CommitSuperseded,
            Self::GroupNotEmpty => Reason::GroupNotEmpty,
            Self::LimitExceeded { .. } => Reason::LimitExceeded,
        }
    }
}

/// Fails if a count is above its limit.
pub(super) fn check_limit(field: &str, found: usize, max: usize) -> Result<(), GroupError> {
    if found <= max {
        return Ok(());
    }
    Err(GroupError::LimitExceeded {
        field: field.to_owned(),
        found,
        max,
    })
}
