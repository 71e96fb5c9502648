//! The admin service of the stand-in. Calls that the operator does not make for topics are not
//! implemented.

use lograft_client::admin_wire as wire;
use lograft_client::admin_wire::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use super::topics::FakeCluster;

type Answer<T> = Result<Response<T>, Status>;

fn missing<T>() -> Answer<T> {
    Err(Status::unimplemented("the stand-in has no such call"))
}

#[tonic::async_trait]
impl AdminService for FakeCluster {
    async fn create_topic(
        &self,
        request: Request<wire::CreateTopicRequest>,
    ) -> Answer<wire::CreateTopicReply> {
        self.count_call("create");
        let topic = Some(self.create(request.get_ref())?);
        Ok(Response::new(wire::CreateTopicReply { topic, ready: true }))
    }

    async fn alter_topic(
        &self,
        request: Request<wire::AlterTopicRequest>,
    ) -> Answer<wire::AlterTopicReply> {
        self.count_call("alter");
        let topic = Some(self.alter(request.get_ref())?);
        Ok(Response::new(wire::AlterTopicReply { topic, ready: true }))
    }

    async fn delete_topic(
        &self,
        request: Request<wire::DeleteTopicRequest>,
    ) -> Answer<wire::DeleteTopicReply> {
        self.count_call("delete");
        self.delete(request.get_ref())?;
        Ok(Response::new(wire::DeleteTopicReply {}))
    }

    async fn list_topics(
        &self,
        request: Request<wire::ListTopicsRequest>,
    ) -> Answer<wire::ListTopicsReply> {
        self.count_call("list");
        Ok(Response::new(self.list(request.get_ref())))
    }

    async fn describe_topic(
        &self,
        request: Request<wire::DescribeTopicRequest>,
    ) -> Answer<wire::DescribeTopicReply> {
        self.count_call("describe");
        let topic = Some(self.described(&request.get_ref().name)?);
        Ok(Response::new(wire::DescribeTopicReply { topic }))
    }

    async fn describe_cluster(
        &self,
        _: Request<wire::DescribeClusterRequest>,
    ) -> Answer<wire::DescribeClusterReply> {
        self.count_call("describe_cluster");
        Ok(Response::new(self.describe()))
    }

    async fn bootstrap(&self, _: Request<wire::BootstrapRequest>) -> Answer<wire::BootstrapReply> {
        missing()
    }

    async fn join(&self, _: Request<wire::JoinRequest>) -> Answer<wire::JoinReply> {
        missing()
    }

    async fn transfer_leadership(
        &self,
        _: Request<wire::TransferLeadershipRequest>,
    ) -> Answer<wire::TransferLeadershipReply> {
        missing()
    }

    async fn decommission_node(
        &self,
        _: Request<wire::DecommissionNodeRequest>,
    ) -> Answer<wire::DecommissionNodeReply> {
        missing()
    }

    async fn recommission_node(
        &self,
        _: Request<wire::RecommissionNodeRequest>,
    ) -> Answer<wire::RecommissionNodeReply> {
        missing()
    }

    async fn prepare_stop(
        &self,
        _: Request<wire::PrepareStopRequest>,
    ) -> Answer<wire::PrepareStopReply> {
        missing()
    }

    async fn finalize_level(
        &self,
        _: Request<wire::FinalizeLevelRequest>,
    ) -> Answer<wire::FinalizeLevelReply> {
        missing()
    }

    async fn rebalance(&self, _: Request<wire::RebalanceRequest>) -> Answer<wire::RebalanceReply> {
        missing()
    }

    async fn recover_metadata(
        &self,
        _: Request<wire::RecoverMetadataRequest>,
    ) -> Answer<wire::RecoverMetadataReply> {
        Err(Status::unimplemented("recover"))
    }

    async fn recover_groups(
        &self,
        _: Request<wire::RecoverGroupsRequest>,
    ) -> Answer<wire::RecoverGroupsReply> {
        Err(Status::unimplemented("recover"))
    }

    async fn accept_older_disk(
        &self,
        _: Request<wire::AcceptOlderDiskRequest>,
    ) -> Answer<wire::AcceptOlderDiskReply> {
        missing()
    }
}
