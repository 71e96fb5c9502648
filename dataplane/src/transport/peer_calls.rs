//! What control asks of other nodes, as calls to their peer ports.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::StreamExt;
use lograft_core::NodeId;
use lograft_core::limits::GRPC_MESSAGE_MAX_BYTES;
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::admin::v1::{JoinReply, JoinRequest};
use lograft_proto::raft::v1::node_service_client::NodeServiceClient;
use lograft_proto::raft::v1::{
    DescribeNodeRequest, MoveLeaderReply, MoveLeaderRequest, NodeReport, ProposeMetaReply,
    ProposeMetaRequest, WatchLeadersRequest,
};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::{Lane, PeerPool};
use crate::control::{Answer, HintStream, PeerCalls};
use crate::error_text::error_chain;

impl PeerCalls for PeerPool {
    fn propose_meta(
        &self,
        to: NodeId,
        request: ProposeMetaRequest,
        timeout: Duration,
    ) -> Answer<ProposeMetaReply> {
        call(self.node(to), timeout, |mut node| async move {
            node.propose_meta(request).await
        })
    }

    fn describe(
        &self,
        to: NodeId,
        request: DescribeNodeRequest,
        timeout: Duration,
    ) -> Answer<NodeReport> {
        call(self.node(to), timeout, |mut node| async move {
            node.describe_node(request).await
        })
    }

    fn describe_at(
        &self,
        address: Arc<str>,
        request: DescribeNodeRequest,
        timeout: Duration,
    ) -> Answer<NodeReport> {
        let node = self
            .channel_to(&address)
            .map(node_client)
            .map_err(|e| unreachable(&e));
        call(node, timeout, |mut node| async move {
            node.describe_node(request).await
        })
    }

    fn watch_leaders(&self, to: NodeId, request: WatchLeadersRequest) -> Answer<HintStream> {
        let node = self.node(to);
        Box::pin(async move {
            let stream = node?
                .watch_leaders(Request::new(request))
                .await?
                .into_inner();
            Ok(stream.boxed())
        })
    }

    fn move_leader(
        &self,
        to: NodeId,
        request: MoveLeaderRequest,
        timeout: Duration,
    ) -> Answer<MoveLeaderReply> {
        call(self.node(to), timeout, |mut node| async move {
            node.move_leader(request).await
        })
    }

    fn join(
        &self,
        address: Arc<str>,
        request: JoinRequest,
        timeout: Duration,
    ) -> Answer<JoinReply> {
        let admin = self
            .channel_to(&address)
            .map(AdminServiceClient::new)
            .map_err(|e| unreachable(&e));
        call(admin, timeout, |mut admin| async move {
            admin.join(request).await
        })
    }
}

impl PeerPool {
    fn node(&self, to: NodeId) -> Result<NodeServiceClient<Channel>, Status> {
        self.channel(to, Lane::Control)
            .map(node_client)
            .map_err(|e| unreachable(&e))
    }
}

fn node_client(channel: Channel) -> NodeServiceClient<Channel> {
    NodeServiceClient::new(channel).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
}

fn unreachable(error: &dyn std::error::Error) -> Status {
    Status::unavailable(error_chain(error))
}

fn call<C, T, F>(
    client: Result<C, Status>,
    timeout: Duration,
    ask: impl FnOnce(C) -> F + Send + 'static,
) -> Answer<T>
where
    C: Send + 'static,
    F: Future<Output = Result<tonic::Response<T>, Status>> + Send,
{
    Box::pin(async move {
        let client = client?;
        match tokio::time::timeout(timeout, ask(client)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("the peer did not answer in time")),
        }
    })
}
