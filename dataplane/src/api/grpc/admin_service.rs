//! The admin service: changes and describes the cluster. On the client port for operators, and on
//! the peer port for joining nodes. Any node answers; it proposes changes to the meta group.

use std::sync::Arc;

use lograft_core::Reason;
use lograft_core::acl::{Principal, Resource};
use lograft_proto::Method;
use lograft_proto::admin::v1 as proto;
use lograft_proto::admin::v1::admin_service_server::{AdminService, AdminServiceServer};
use tonic::{Extensions, Request, Response, Status};

use super::admin;
use crate::access::Access;
use crate::api::caller::{authorize_call, principal};
use crate::control::Control;
use crate::error::ApiError;

/// The admin service of a node.
pub(crate) struct AdminApi {
    control: Control,
    access: Access,
}

impl AdminApi {
    /// The service over a node's control.
    pub(crate) fn server(control: Control, access: Access) -> AdminServiceServer<Self> {
        AdminServiceServer::new(Self { control, access })
    }

    /// Checks that the caller may make a call of the cluster, and returns its principal.
    fn authorize(
        &self,
        extensions: &Extensions,
        method: Method,
    ) -> Result<Arc<Principal>, ApiError> {
        authorize_call(&self.access, extensions, (method, Resource::Cluster))
    }

    /// Checks that the caller may make a call of a topic, and returns its principal.
    fn authorize_topic(
        &self,
        extensions: &Extensions,
        (method, topic): (Method, &str),
    ) -> Result<Arc<Principal>, ApiError> {
        authorize_call(&self.access, extensions, (method, Resource::Topic(topic)))
    }
}

/// Checks that a node registers under the name in its certificate: by it the others know who speaks
/// for the id.
fn check_own_name(node: &Principal, name: &str) -> Result<(), ApiError> {
    if matches!(node, Principal::Node(own) if own == name) {
        return Ok(());
    }
    let text = format!("{node} must register under its own name, got {name:?}");
    Err(ApiError::new(Reason::PermissionDenied, text).with("field", "name"))
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn bootstrap(
        &self,
        request: Request<proto::BootstrapRequest>,
    ) -> Answer<proto::BootstrapReply> {
        self.authorize(request.extensions(), Method::AdminBootstrap)?;
        admin::bootstrap(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Answer<proto::JoinReply> {
        let node = self.authorize(request.extensions(), Method::AdminJoin)?;
        check_own_name(&node, &request.get_ref().name)?;
        admin::join(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_topic(
        &self,
        request: Request<proto::CreateTopicRequest>,
    ) -> Answer<proto::CreateTopicReply> {
        let asked = (Method::AdminCreateTopic, &*request.get_ref().name);
        let by = self.authorize_topic(request.extensions(), asked)?;
        admin::create_topic(&self.control, request.into_inner(), &by)
            .await
            .map(Response::new)
    }

    async fn alter_topic(
        &self,
        request: Request<proto::AlterTopicRequest>,
    ) -> Answer<proto::AlterTopicReply> {
        let asked = (Method::AdminAlterTopic, &*request.get_ref().name);
        let by = self.authorize_topic(request.extensions(), asked)?;
        admin::alter_topic(&self.control, request.into_inner(), &by)
            .await
            .map(Response::new)
    }

    async fn delete_topic(
        &self,
        request: Request<proto::DeleteTopicRequest>,
    ) -> Answer<proto::DeleteTopicReply> {
        let asked = (Method::AdminDeleteTopic, &*request.get_ref().name);
        let by = self.authorize_topic(request.extensions(), asked)?;
        admin::delete_topic(&self.control, request.into_inner(), &by)
            .await
            .map(Response::new)
    }

    async fn list_topics(
        &self,
        request: Request<proto::ListTopicsRequest>,
    ) -> Answer<proto::ListTopicsReply> {
        let principal = principal(request.extensions())?;
        let visible = self.access.visibility(principal);
        let reply = admin::list_topics(&self.control, request.get_ref(), &visible)?;
        Ok(Response::new(reply))
    }

    async fn describe_topic(
        &self,
        request: Request<proto::DescribeTopicRequest>,
    ) -> Answer<proto::DescribeTopicReply> {
        let asked = (Method::AdminDescribeTopic, &*request.get_ref().name);
        self.authorize_topic(request.extensions(), asked)?;
        admin::describe_topic(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn describe_cluster(
        &self,
        request: Request<proto::DescribeClusterRequest>,
    ) -> Answer<proto::DescribeClusterReply> {
        let principal = self.authorize(request.extensions(), Method::AdminDescribeCluster)?;
        let visible = self.access.visibility(&principal);
        admin::describe_cluster(&self.control, &request.into_inner(), &visible)
            .await
            .map(Response::new)
    }

    async fn transfer_leadership(
        &self,
        request: Request<proto::TransferLeadershipRequest>,
    ) -> Answer<proto::TransferLeadershipReply> {
        let by = self.authorize(request.extensions(), Method::AdminTransferLeadership)?;
        admin::transfer_leadership(&self.control, request.into_inner(), &by)
            .await
            .map(Response::new)
    }

    async fn decommission_node(
        &self,
        request: Request<proto::DecommissionNodeRequest>,
    ) -> Answer<proto::DecommissionNodeReply> {
        let by = self.authorize(request.extensions(), Method::AdminDecommissionNode)?;
        admin::decommission_node(&self.control, &request.into_inner(), &by)
            .await
            .map(Response::new)
    }

    async fn recommission_node(
        &self,
        request: Request<proto::RecommissionNodeRequest>,
    ) -> Answer<proto::RecommissionNodeReply> {
        let by = self.authorize(request.extensions(), Method::AdminRecommissionNode)?;
        admin::recommission_node(&self.control, &request.into_inner(), &by)
            .await
            .map(Response::new)
    }

    async fn rebalance(
        &self,
        request: Request<proto::RebalanceRequest>,
    ) -> Answer<proto::RebalanceReply> {
        let by = self.authorize(request.extensions(), Method::AdminRebalance)?;
        admin::rebalance(&self.control, request.into_inner(), &by)
            .await
            .map(Response::new)
    }

    async fn prepare_stop(
        &self,
        request: Request<proto::PrepareStopRequest>,
    ) -> Answer<proto::PrepareStopReply> {
        let by = self.authorize(request.extensions(), Method::AdminPrepareStop)?;
        admin::prepare_stop(&self.control, &request.into_inner(), &by)
            .await
            .map(Response::new)
    }

    async fn accept_older_disk(
        &self,
        request: Request<proto::AcceptOlderDiskRequest>,
    ) -> Answer<proto::AcceptOlderDiskReply> {
        self.authorize(request.extensions(), Method::AdminAcceptOlderDisk)?;
        admin::accept_older_disk(&self.control, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn recover_groups(
        &self,
        request: Request<proto::RecoverGroupsRequest>,
    ) -> Answer<proto::RecoverGroupsReply> {
        let by = self.authorize(request.extensions(), Method::AdminRecoverGroups)?;
        admin::recover_groups(&self.control, request.into_inner(), &by)
            .await
            .map(Response::new)
    }

    async fn recover_metadata(
        &self,
        request: Request<proto::RecoverMetadataRequest>,
    ) -> Answer<proto::RecoverMetadataReply> {
        self.authorize(request.extensions(), Method::AdminRecoverMetadata)?;
        admin::recover_metadata(&self.control, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn finalize_level(
        &self,
        request: Request<proto::FinalizeLevelRequest>,
    ) -> Answer<proto::FinalizeLevelReply> {
        let by = self.authorize(request.extensions(), Method::AdminFinalizeLevel)?;
        admin::finalize_level(&self.control, &request.into_inner(), &by)
            .await
            .map(Response::new)
    }
}
