//! The log service: what producers and consumers call. On the client port, and on the peer port
//! for what other nodes pass on.

use std::sync::Arc;

use lograft_core::limits::GRPC_MESSAGE_MAX_BYTES;
use lograft_proto::log::NO_FORWARD_HEADER;
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::log_service_server::{LogService, LogServiceServer};
use tonic::{Request, Response, Status, Streaming};

use super::log::{self, Access, ConsumeStream, LogContext, LogParts};
use crate::api::grpc::log::produce_stream::Session;

/// The log service of a node. Clones share all.
#[derive(Clone)]
pub struct LogApi {
    context: Arc<LogContext>,
}

impl LogApi {
    /// Over the node around it.
    pub fn new(parts: LogParts) -> Self {
        Self {
            context: Arc::new(LogContext::new(parts)),
        }
    }

    /// The service with its limits.
    pub fn server(&self) -> LogServiceServer<Self> {
        LogServiceServer::new(self.clone())
            .max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }
}

#[tonic::async_trait]
impl LogService for LogApi {
    type ProduceStreamStream = Session;
    type ConsumeStream = ConsumeStream;

    async fn produce(
        &self,
        request: Request<proto::ProduceRequest>,
    ) -> Result<Response<proto::ProduceReply>, Status> {
        let access = Access::of(request.extensions())?;
        log::produce(&self.context, &access, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn produce_stream(
        &self,
        request: Request<Streaming<proto::ProduceRequest>>,
    ) -> Result<Response<Session>, Status> {
        let access = Access::of(request.extensions())?;
        let may_forward = !request.metadata().contains_key(NO_FORWARD_HEADER);
        let context = Arc::clone(&self.context);
        Ok(Response::new(Session::new(
            context,
            request.into_inner(),
            access,
            may_forward,
        )))
    }

    async fn fetch(
        &self,
        request: Request<proto::FetchRequest>,
    ) -> Result<Response<proto::FetchReply>, Status> {
        let access = Access::of(request.extensions())?;
        log::fetch(&self.context, &access, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn consume(
        &self,
        request: Request<proto::ConsumeRequest>,
    ) -> Result<Response<ConsumeStream>, Status> {
        let access = Access::of(request.extensions())?;
        log::consume(&self.context, &access, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_offsets(
        &self,
        request: Request<proto::ListOffsetsRequest>,
    ) -> Result<Response<proto::ListOffsetsReply>, Status> {
        let access = Access::of(request.extensions())?;
        log::list_offsets(&self.context, &access, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_metadata(
        &self,
        request: Request<proto::GetMetadataRequest>,
    ) -> Result<Response<proto::GetMetadataReply>, Status> {
        Access::of(request.extensions())?;
        Ok(Response::new(log::describe(
            &self.context,
            request.get_ref(),
        )))
    }

    async fn init_producer(
        &self,
        request: Request<proto::InitProducerRequest>,
    ) -> Result<Response<proto::InitProducerReply>, Status> {
        Access::of(request.extensions())?;
        let id = self.context.next_producer_id().await?;
        let reply = proto::InitProducerReply {
            producer_id: id.get(),
            producer_epoch: 0,
        };
        Ok(Response::new(reply))
    }
}
