//! The right that each call needs. The table has a row for every method of every service: a new
//! method without one does not compile.

use lograft_core::acl::{Operation, ResourceKind};
use lograft_proto::Method;

use crate::access::CallRule;

/// The right to read records of a topic, which members of groups need beside that of their calls.
pub(crate) const READ_TOPIC: CallRule = CallRule::On(ResourceKind::Topic, Operation::Read);
/// The right to set the offsets of a group from outside.
pub(crate) const ALTER_GROUP: CallRule = CallRule::On(ResourceKind::Group, Operation::Alter);

/// The right that a method needs.
pub(crate) const fn rule_of(method: Method) -> CallRule {
    use Operation::{Admin, Alter, Create, Delete, Describe, Read, Write};
    use ResourceKind::{Cluster, Group, Topic};
    match method {
        Method::LogProduce | Method::LogProduceStream => CallRule::On(Topic, Write),
        Method::LogFetch | Method::LogConsume => CallRule::On(Topic, Read),
        Method::LogListOffsets | Method::AdminDescribeTopic => CallRule::On(Topic, Describe),
        Method::LogInitProducer => CallRule::OnSomeTopic(Write),
        Method::AdminCreateTopic => CallRule::On(Topic, Create),
        Method::AdminAlterTopic => CallRule::On(Topic, Alter),
        Method::AdminDeleteTopic | Method::LogDeleteRecords => CallRule::On(Topic, Delete),
        Method::AdminDescribeCluster => CallRule::On(Cluster, Describe),
        Method::AdminTransferLeadership | Method::AdminPrepareStop => CallRule::On(Cluster, Alter),
        Method::AdminBootstrap
        | Method::AdminDecommissionNode
        | Method::AdminRecommissionNode
        | Method::AdminRebalance
        | Method::AdminFinalizeLevel
        | Method::AdminAcceptOlderDisk
        | Method::AdminRecoverGroups
        | Method::AdminRecoverMetadata
        | Method::AccessChangeRules
        | Method::AccessListRevocations
        | Method::AccessChangeRevocations => CallRule::On(Cluster, Admin),
        Method::GroupJoinGroup
        | Method::GroupHeartbeat
        | Method::GroupLeaveGroup
        | Method::GroupCommitOffsets => CallRule::On(Group, Read),
        Method::GroupFetchOffsets | Method::GroupDescribeGroup => CallRule::On(Group, Describe),
        Method::GroupDeleteOffsets => CallRule::On(Group, Alter),
        Method::GroupDeleteGroup => CallRule::On(Group, Delete),
        Method::LogGetMetadata
        | Method::GroupListGroups
        | Method::AdminListTopics
        | Method::AccessListRules
        | Method::AccessExplainAccess => CallRule::Filtered,
        Method::AdminJoin
        | Method::RaftAppendStream
        | Method::RaftHeartbeats
        | Method::RaftVote
        | Method::RaftInstallSnapshot
        | Method::RaftTransferLeader
        | Method::NodeProposeMeta
        | Method::NodeDescribeNode
        | Method::NodeWatchLeaders
        | Method::NodeMoveLeader
        | Method::NodeCatchUpTarget
        | Method::NodeAcceptOlderDisk
        | Method::NodeRecoverMetadata
        | Method::NodeEvictMetaReplica => CallRule::NodesOnly,
    }
}
