//! The log service for producers and consumers: on the client port, and on the peer port for
//! requests that other nodes forward.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lograft_core::limits::{GRPC_MESSAGE_MAX_BYTES, LOG_REQUEST_MAX_BYTES, TOPICS_MAX_COUNT};
use lograft_proto::log::NO_FORWARD_HEADER;
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::log_service_server::{LogService, LogServiceServer};
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::log::encode::{self, ProduceTag};
use super::log::produce_stream::{ProduceStream, StreamOptions};
use super::log::{decode, until_closing};
use super::principal::{authorize_call, authorize_node, closing, principal};
use crate::access::{Operation, Resource};
use crate::error::ApiError;
use crate::serving::append::append;
use crate::serving::engine::LogEngine;
use crate::serving::fetch::{consume, fetch};
use crate::serving::metadata::ClusterView;
use crate::serving::offsets::list_offsets;

/// The log service of a node. Clones share its engine.
#[derive(Clone)]
pub(crate) struct LogApi {
    engine: Arc<LogEngine>,
}

impl LogApi {
    pub(crate) fn new(engine: LogEngine) -> Self {
        Self {
            engine: Arc::new(engine),
        }
    }

    /// The service with its limits.
    pub(crate) fn server(&self) -> LogServiceServer<Self> {
        LogServiceServer::new(self.clone())
            .max_decoding_message_size(LOG_REQUEST_MAX_BYTES)
            .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> Arc<LogEngine> {
        Arc::clone(&self.engine)
    }
}

/// Checks a request for a topic. Only nodes may mark a request as forwarded.
fn authorize_topic(
    extensions: &Extensions,
    operation: Operation,
    topic: &str,
    is_forwarded: bool,
) -> Result<(), ApiError> {
    if is_forwarded {
        authorize_node(extensions)?;
    }
    authorize_call(extensions, operation, Resource::Topic(topic))
}

type FetchReplies = BoxStream<'static, Result<proto::FetchReply, Status>>;

#[tonic::async_trait]
impl LogService for LogApi {
    type ProduceStreamStream = ProduceStream;
    type ConsumeStream = FetchReplies;

    async fn produce(
        &self,
        request: Request<proto::ProduceRequest>,
    ) -> Result<Response<proto::ProduceReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let (topic, is_forwarded) = (&message.topic, message.forwarded);
        authorize_topic(&extensions, Operation::Write, topic, is_forwarded)?;
        let tag = ProduceTag::of(&message);
        let appended = append(&self.engine, decode::append(message)?).await?;
        Ok(Response::new(encode::appended(tag, appended)))
    }

    async fn produce_stream(
        &self,
        request: Request<Streaming<proto::ProduceRequest>>,
    ) -> Result<Response<ProduceStream>, Status> {
        let principal = Arc::clone(principal(request.extensions())?);
        let closing = closing(request.extensions());
        let refuses_to_forward = request.metadata().contains_key(NO_FORWARD_HEADER);
        Ok(Response::new(ProduceStream::new(
            Arc::clone(&self.engine),
            principal,
            request.into_inner(),
            StreamOptions {
                refuses_to_forward,
                closing,
            },
        )))
    }

    async fn fetch(
        &self,
        request: Request<proto::FetchRequest>,
    ) -> Result<Response<proto::FetchReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let (topic, is_forwarded) = (&message.topic, message.forwarded);
        authorize_topic(&extensions, Operation::Read, topic, is_forwarded)?;
        let fetched = fetch(&self.engine, decode::fetch(message)?).await?;
        Ok(Response::new(encode::fetched(fetched)))
    }

    async fn consume(
        &self,
        request: Request<proto::ConsumeRequest>,
    ) -> Result<Response<FetchReplies>, Status> {
        let (_, extensions, message) = request.into_parts();
        let (topic, is_forwarded) = (&message.topic, message.forwarded);
        authorize_topic(&extensions, Operation::Read, topic, is_forwarded)?;
        let chunks = consume(&self.engine, decode::consume(message)?).await?;
        let replies = until_closing(chunks, &closing(&extensions))
            .map(|chunk| chunk.map(encode::fetched).map_err(Status::from));
        Ok(Response::new(replies.boxed()))
    }

    async fn list_offsets(
        &self,
        request: Request<proto::ListOffsetsRequest>,
    ) -> Result<Response<proto::ListOffsetsReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let (topic, is_forwarded) = (&message.topic, message.forwarded);
        authorize_topic(&extensions, Operation::Read, topic, is_forwarded)?;
        let found = list_offsets(&self.engine, decode::list_offsets(message)).await?;
        Ok(Response::new(encode::offsets(found)))
    }

    async fn get_metadata(
        &self,
        request: Request<proto::GetMetadataRequest>,
    ) -> Result<Response<proto::GetMetadataReply>, Status> {
        authorize_call(request.extensions(), Operation::Describe, Resource::Cluster)?;
        let proto::GetMetadataRequest {
            topics,
            allow_stale,
        } = request.get_ref();
        if topics.len() > TOPICS_MAX_COUNT {
            let bound = format_args!("at most {TOPICS_MAX_COUNT}, got {}", topics.len());
            return Err(ApiError::invalid("topics", bound).into());
        }
        if !allow_stale {
            self.engine.check_metadata()?;
        }
        let reply = encode::metadata(&ClusterView::of(&self.engine), topics);
        Ok(Response::new(reply))
    }

    async fn init_producer(
        &self,
        request: Request<proto::InitProducerRequest>,
    ) -> Result<Response<proto::InitProducerReply>, Status> {
        authorize_call(request.extensions(), Operation::Write, Resource::Cluster)?;
        let id = self.engine.next_producer_id().await?;
        Ok(Response::new(proto::InitProducerReply {
            producer_id: id.get(),
            producer_epoch: 0,
        }))
    }
}
