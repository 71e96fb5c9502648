//! The group service for consumers: on the client port, and on the peer port for calls that other
//! nodes forward.

use std::sync::Arc;

use lograft_core::PartitionId;
use lograft_core::acl::Resource;
use lograft_core::limits::{
    GROUP_REQUEST_MAX_BYTES, GROUPS_PAGE_MAX_COUNT, GRPC_MESSAGE_MAX_BYTES,
};
use lograft_proto::Method;
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::group_service_server::{GroupService, GroupServiceServer};
use prost::Message as _;
use tonic::{Extensions, Request, Response, Status};

use super::groups::{decode, encode};
use super::log_service::held;
use super::principal::{ForwardMarks, on_behalf_of};
use crate::access::Access;
use crate::api::call_rules::rule_of;
use crate::api::caller::principal;
use crate::api::group_calls;
use crate::api::held_reply::hold;
use crate::error::ApiError;
use crate::serving::consumer_groups::GroupEngine;
use crate::serving::consumer_groups::page::{PageRequest, page_limit};
use crate::serving::consumer_groups::poll::other_answer;
use crate::serving::consumer_groups::request::{
    CommitRequest, GroupAnswer, GroupCall, GroupRequest, GroupTarget, ListRequest,
};
use crate::serving::reply_memory::ReplyAccount;

/// The group service of a node. Clones share its engine.
#[derive(Clone)]
pub(crate) struct GroupApi {
    engine: Arc<GroupEngine>,
    access: Access,
}

impl GroupApi {
    pub(crate) fn new(engine: Arc<GroupEngine>, access: Access) -> Self {
        Self { engine, access }
    }

    /// The service with its limits.
    pub(crate) fn server(&self) -> GroupServiceServer<Self> {
        GroupServiceServer::new(self.clone())
            .max_decoding_message_size(GROUP_REQUEST_MAX_BYTES)
            .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }

    /// Checks a call for a group. Returns the group, with the principal whose call it is.
    fn authorize(
        &self,
        extensions: &Extensions,
        method: Method,
        (group, marks): (&str, ForwardMarks<'_>),
    ) -> Result<GroupTarget, ApiError> {
        let is_forwarded = marks.is_forwarded;
        let principal = on_behalf_of(principal(extensions)?, marks)?;
        self.access
            .check(&principal, rule_of(method), Resource::Group(group))?;
        decode::target(group, is_forwarded, &principal)
    }

    async fn call(&self, target: GroupTarget, call: GroupCall) -> Result<GroupAnswer, ApiError> {
        let request = GroupRequest { target, call };
        group_calls::call(&self.engine, &self.access, request).await
    }

    /// The memory for the replies to a call.
    fn account(&self, target: &GroupTarget) -> ReplyAccount {
        let is_forwarded = target.is_forwarded;
        self.engine.reply_account(&target.principal, is_forwarded)
    }

    async fn member(
        &self,
        target: GroupTarget,
        call: GroupCall,
    ) -> Result<Response<proto::MemberReply>, Status> {
        let account = self.account(&target);
        match self.call(target, call).await? {
            // Not refused: the member would lose its session.
            GroupAnswer::Member(answer) => {
                let mut response = Response::new(encode::member(answer));
                let memory = account.count(response.get_ref().encoded_len());
                hold(response.extensions_mut(), account, Some(memory));
                Ok(response)
            }
            other => Err(other_answer(&other).into()),
        }
    }
}

#[tonic::async_trait]
impl GroupService for GroupApi {
    async fn join_group(
        &self,
        request: Request<proto::JoinGroupRequest>,
    ) -> Result<Response<proto::MemberReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.group, ForwardMarks::from(&message));
        let target = self.authorize(&extensions, Method::GroupJoinGroup, asked)?;
        let spec = decode::join(message, &target.principal)?;
        self.member(target, GroupCall::Join(spec)).await
    }

    async fn heartbeat(
        &self,
        request: Request<proto::HeartbeatRequest>,
    ) -> Result<Response<proto::MemberReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.group, ForwardMarks::from(&message));
        let target = self.authorize(&extensions, Method::GroupHeartbeat, asked)?;
        let call = GroupCall::Heartbeat(decode::heartbeat(message)?);
        self.member(target, call).await
    }

    async fn leave_group(
        &self,
        request: Request<proto::LeaveGroupRequest>,
    ) -> Result<Response<proto::LeaveGroupReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.group, ForwardMarks::from(&message));
        let target = self.authorize(&extensions, Method::GroupLeaveGroup, asked)?;
        let call = GroupCall::Leave(decode::leave(message)?);
        self.call(target, call).await?;
        Ok(Response::new(proto::LeaveGroupReply {}))
    }

    async fn commit_offsets(
        &self,
        request: Request<proto::CommitOffsetsRequest>,
    ) -> Result<Response<proto::CommitOffsetsReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.group, ForwardMarks::from(&message));
        let target = self.authorize(&extensions, Method::GroupCommitOffsets, asked)?;
        let offsets = decode::commit(message)?;
        let asked = places(&offsets);
        match self.call(target, GroupCall::Commit(offsets)).await? {
            GroupAnswer::Committed(outcomes) => {
                Ok(Response::new(encode::committed(asked, outcomes)))
            }
            other => Err(other_answer(&other).into()),
        }
    }

    async fn fetch_offsets(
        &self,
        request: Request<proto::FetchOffsetsRequest>,
    ) -> Result<Response<proto::FetchOffsetsReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.group, ForwardMarks::from(&message));
        let target = self.authorize(&extensions, Method::GroupFetchOffsets, asked)?;
        let call = GroupCall::Offsets(decode::offsets(message)?);
        let account = self.account(&target);
        match self.call(target, call).await? {
            GroupAnswer::Offsets(page) => held(account, encode::offsets_page(page)),
            other => Err(other_answer(&other).into()),
        }
    }

    async fn delete_offsets(
        &self,
        request: Request<proto::DeleteOffsetsRequest>,
    ) -> Result<Response<proto::DeleteOffsetsReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.group, ForwardMarks::from(&message));
        let target = self.authorize(&extensions, Method::GroupDeleteOffsets, asked)?;
        let call = GroupCall::DeleteOffsets(decode::delete_offsets(message));
        match self.call(target, call).await? {
            GroupAnswer::Deleted(deleted_count) => {
                Ok(Response::new(proto::DeleteOffsetsReply { deleted_count }))
            }
            other => Err(other_answer(&other).into()),
        }
    }

    async fn list_groups(
        &self,
        request: Request<proto::ListGroupsRequest>,
    ) -> Result<Response<proto::ListGroupsReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let principal = on_behalf_of(principal(&extensions)?, ForwardMarks::from(&message))?;
        let proto::ListGroupsRequest {
            after,
            limit,
            forwarded,
            principal: _,
            coordinator,
        } = message;
        let visible = self.access.visibility(&principal);
        let max_count = match limit as usize {
            0 => GROUPS_PAGE_MAX_COUNT,
            limit => limit.min(GROUPS_PAGE_MAX_COUNT),
        };
        let request = ListRequest {
            after,
            // One more tells whether others follow.
            max_count: if forwarded { max_count } else { max_count + 1 },
            principal: Arc::clone(&principal),
            coordinator: coordinator.map(PartitionId),
        };
        let mut groups = self
            .engine
            .list(request, forwarded, &|name| visible.includes_group(name))
            .await?;
        let has_more = groups.len() > max_count;
        groups.truncate(max_count);
        let account = self.engine.reply_account(&principal, forwarded);
        held(account, encode::listed(groups, has_more))
    }

    async fn describe_group(
        &self,
        request: Request<proto::DescribeGroupRequest>,
    ) -> Result<Response<proto::DescribeGroupReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.group, ForwardMarks::from(&message));
        let target = self.authorize(&extensions, Method::GroupDescribeGroup, asked)?;
        let page = PageRequest::new(("after", &message.after), page_limit(message.limit))?;
        let account = self.account(&target);
        match self.call(target, GroupCall::Describe(page)).await? {
            GroupAnswer::Described(description) => {
                held(account, encode::described(message.group, description))
            }
            other => Err(other_answer(&other).into()),
        }
    }

    async fn delete_group(
        &self,
        request: Request<proto::DeleteGroupRequest>,
    ) -> Result<Response<proto::DeleteGroupReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.group, ForwardMarks::from(&message));
        let target = self.authorize(&extensions, Method::GroupDeleteGroup, asked)?;
        self.call(target, GroupCall::Delete).await?;
        Ok(Response::new(proto::DeleteGroupReply {}))
    }
}

/// The partition of each offset.
fn places(request: &CommitRequest) -> Vec<(String, u32)> {
    let offsets = request.offsets.iter();
    offsets
        .map(|offset| (offset.topic.clone(), offset.partition))
        .collect()
}
