//! The admin service: changes and describes the cluster. On the client port for operators, and on
//! the peer port for joining nodes. Any node answers; it proposes changes to the meta group.

use lograft_proto::admin::v1 as proto;
use lograft_proto::admin::v1::admin_service_server::{AdminService, AdminServiceServer};
use tonic::{Request, Response, Status};

use super::admin;
use super::principal::{authorize_call, authorize_node};
use crate::access::{Operation, Resource};
use crate::control::Control;

/// The admin service of a node.
pub(crate) struct AdminApi {
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
        authorize_call(request.extensions(), Operation::Alter, Resource::Cluster)?;
        admin::bootstrap(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Answer<proto::JoinReply> {
        authorize_node(request.extensions())?;
        admin::join(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_topic(
        &self,
        request: Request<proto::CreateTopicRequest>,
    ) -> Answer<proto::CreateTopicReply> {
        let topic = Resource::Topic(&request.get_ref().name);
        authorize_call(request.extensions(), Operation::Create, topic)?;
        admin::create_topic(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_topic(
        &self,
        request: Request<proto::AlterTopicRequest>,
    ) -> Answer<proto::AlterTopicReply> {
        let topic = Resource::Topic(&request.get_ref().name);
        authorize_call(request.extensions(), Operation::Alter, topic)?;
        admin::alter_topic(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn delete_topic(
        &self,
        request: Request<proto::DeleteTopicRequest>,
    ) -> Answer<proto::DeleteTopicReply> {
        let topic = Resource::Topic(&request.get_ref().name);
        authorize_call(request.extensions(), Operation::Delete, topic)?;
        admin::delete_topic(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_topics(
        &self,
        request: Request<proto::ListTopicsRequest>,
    ) -> Answer<proto::ListTopicsReply> {
        authorize_call(request.extensions(), Operation::Describe, Resource::Cluster)?;
        Ok(Response::new(admin::list_topics(&self.control)?))
    }

    async fn describe_topic(
        &self,
        request: Request<proto::DescribeTopicRequest>,
    ) -> Answer<proto::DescribeTopicReply> {
        let topic = Resource::Topic(&request.get_ref().name);
        authorize_call(request.extensions(), Operation::Describe, topic)?;
        admin::describe_topic(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn describe_cluster(
        &self,
        request: Request<proto::DescribeClusterRequest>,
    ) -> Answer<proto::DescribeClusterReply> {
        authorize_call(request.extensions(), Operation::Describe, Resource::Cluster)?;
        admin::describe_cluster(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn transfer_leadership(
        &self,
        request: Request<proto::TransferLeadershipRequest>,
    ) -> Answer<proto::TransferLeadershipReply> {
        authorize_call(request.extensions(), Operation::Alter, Resource::Cluster)?;
        admin::transfer_leadership(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn decommission_node(
        &self,
        request: Request<proto::DecommissionNodeRequest>,
    ) -> Answer<proto::DecommissionNodeReply> {
        authorize_call(request.extensions(), Operation::Alter, Resource::Cluster)?;
        admin::decommission_node(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn recommission_node(
        &self,
        request: Request<proto::RecommissionNodeRequest>,
    ) -> Answer<proto::RecommissionNodeReply> {
        authorize_call(request.extensions(), Operation::Alter, Resource::Cluster)?;
        admin::recommission_node(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn prepare_stop(
        &self,
        request: Request<proto::PrepareStopRequest>,
    ) -> Answer<proto::PrepareStopReply> {
        authorize_call(request.extensions(), Operation::Alter, Resource::Cluster)?;
        admin::prepare_stop(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn accept_older_disk(
        &self,
        request: Request<proto::AcceptOlderDiskRequest>,
    ) -> Answer<proto::AcceptOlderDiskReply> {
        authorize_call(request.extensions(), Operation::Alter, Resource::Cluster)?;
        admin::accept_older_disk(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn finalize_level(
        &self,
        request: Request<proto::FinalizeLevelRequest>,
    ) -> Answer<proto::FinalizeLevelReply> {
        authorize_call(request.extensions(), Operation::Alter, Resource::Cluster)?;
        admin::finalize_level(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }
}
