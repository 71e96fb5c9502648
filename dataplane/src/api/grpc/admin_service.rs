//! The admin service: what shapes the cluster and tells how it is. On the client port for
//! operators, and on the peer port for joining nodes. Any node answers; what changes something
//! goes to the meta group's leader from here.

use lograft_proto::admin::v1 as proto;
use lograft_proto::admin::v1::admin_service_server::{AdminService, AdminServiceServer};
use tonic::{Request, Response, Status};

use super::admin::{self, Access};
use crate::control::Control;

/// The admin service of a node.
pub struct AdminApi {
    control: Control,
}

impl AdminApi {
    /// The service over a node's control.
    pub(crate) fn server(control: Control) -> AdminServiceServer<Self> {
        AdminServiceServer::new(Self { control })
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn bootstrap(
        &self,
        request: Request<proto::BootstrapRequest>,
    ) -> Answer<proto::BootstrapReply> {
        Access::of(request.extensions())?;
        admin::bootstrap(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Answer<proto::JoinReply> {
        Access::of(request.extensions())?.require_node()?;
        admin::join(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_topic(
        &self,
        request: Request<proto::CreateTopicRequest>,
    ) -> Answer<proto::CreateTopicReply> {
        Access::of(request.extensions())?;
        admin::create_topic(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_topic(
        &self,
        request: Request<proto::AlterTopicRequest>,
    ) -> Answer<proto::AlterTopicReply> {
        Access::of(request.extensions())?;
        admin::alter_topic(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn delete_topic(
        &self,
        request: Request<proto::DeleteTopicRequest>,
    ) -> Answer<proto::DeleteTopicReply> {
        Access::of(request.extensions())?;
        admin::delete_topic(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_topics(
        &self,
        request: Request<proto::ListTopicsRequest>,
    ) -> Answer<proto::ListTopicsReply> {
        Access::of(request.extensions())?;
        Ok(Response::new(admin::list_topics(&self.control)?))
    }

    async fn describe_topic(
        &self,
        request: Request<proto::DescribeTopicRequest>,
    ) -> Answer<proto::DescribeTopicReply> {
        Access::of(request.extensions())?;
        admin::describe_topic(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn describe_cluster(
        &self,
        request: Request<proto::DescribeClusterRequest>,
    ) -> Answer<proto::DescribeClusterReply> {
        Access::of(request.extensions())?;
        admin::describe_cluster(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn transfer_leadership(
        &self,
        request: Request<proto::TransferLeadershipRequest>,
    ) -> Answer<proto::TransferLeadershipReply> {
        Access::of(request.extensions())?;
        admin::transfer_leadership(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn decommission_node(
        &self,
        request: Request<proto::DecommissionNodeRequest>,
    ) -> Answer<proto::DecommissionNodeReply> {
        Access::of(request.extensions())?;
        admin::decommission_node(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn recommission_node(
        &self,
        request: Request<proto::RecommissionNodeRequest>,
    ) -> Answer<proto::RecommissionNodeReply> {
        Access::of(request.extensions())?;
        admin::recommission_node(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn prepare_stop(
        &self,
        request: Request<proto::PrepareStopRequest>,
    ) -> Answer<proto::PrepareStopReply> {
        Access::of(request.extensions())?;
        admin::prepare_stop(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }
}
