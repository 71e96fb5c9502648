//! The log service for producers and consumers: on the client port, and on the peer port for
//! requests that other nodes forward.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lograft_core::acl::{Principal, Resource};
use lograft_core::limits::{GRPC_MESSAGE_MAX_BYTES, LOG_REQUEST_MAX_BYTES, TOPICS_MAX_COUNT};
use lograft_proto::Method;
use lograft_proto::log::NO_FORWARD_HEADER;
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::log_service_server::{LogService, LogServiceServer};
use prost::Message;
use tokio::time::Instant;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::log::decode;
use super::log::encode::{self, ProduceTag};
use super::log::produce_stream::{ProduceStream, StreamCaller};
use super::principal::{ForwardMarks, on_behalf_of};
use crate::access::{Access, Grant};
use crate::api::call_rules::rule_of;
use crate::api::caller::{authorize_call, closing, principal};
use crate::api::held_reply::hold;
use crate::api::until_closing::until_closing;
use crate::error::ApiError;
use crate::serving::append::append;
use crate::serving::delete_records::delete_records;
use crate::serving::engine::LogEngine;
use crate::serving::fetch::{consume, fetch};
use crate::serving::metadata::ClusterView;
use crate::serving::offsets::list_offsets;
use crate::serving::reply_memory::ReplyAccount;

/// The log service of a node. Clones share its engine.
#[derive(Clone)]
pub(crate) struct LogApi {
    engine: Arc<LogEngine>,
    access: Access,
}

impl LogApi {
    pub(crate) fn new(engine: Arc<LogEngine>, access: Access) -> Self {
        Self { engine, access }
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

impl LogApi {
    /// Checks a request for a topic. Returns the principal whose request it is.
    fn authorize_topic(
        &self,
        extensions: &Extensions,
        method: Method,
        (topic, marks): (&str, ForwardMarks<'_>),
    ) -> Result<Arc<Principal>, ApiError> {
        let principal = on_behalf_of(principal(extensions)?, marks)?;
        self.access
            .check(&principal, rule_of(method), Resource::Topic(topic))?;
        Ok(principal)
    }
}

/// A reply whose size the caller decides, with its memory. Fails with TOO_MANY_READS if there is
/// none: the reply is in memory already, so it does not wait.
pub(super) fn held<M: Message>(account: ReplyAccount, reply: M) -> Result<Response<M>, Status> {
    let memory = account.reserve_now(reply.encoded_len())?;
    let mut response = Response::new(reply);
    hold(response.extensions_mut(), account, Some(memory));
    Ok(response)
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
        let asked = (&*message.topic, ForwardMarks::from(&message));
        let principal = self.authorize_topic(&extensions, Method::LogProduce, asked)?;
        let tag = ProduceTag::of(&message);
        let appended = append(&self.engine, decode::append(message, principal)?).await?;
        Ok(Response::new(encode::appended(tag, appended)))
    }

    async fn produce_stream(
        &self,
        request: Request<Streaming<proto::ProduceRequest>>,
    ) -> Result<Response<ProduceStream>, Status> {
        let caller = StreamCaller {
            principal: Arc::clone(principal(request.extensions())?),
            grant: Grant::new(self.access.clone(), rule_of(Method::LogProduceStream)),
            refuses_to_forward: request.metadata().contains_key(NO_FORWARD_HEADER),
            closing: closing(request.extensions()),
        };
        Ok(Response::new(ProduceStream::new(
            Arc::clone(&self.engine),
            caller,
            request.into_inner(),
        )))
    }

    async fn fetch(
        &self,
        request: Request<proto::FetchRequest>,
    ) -> Result<Response<proto::FetchReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.topic, ForwardMarks::from(&message));
        let principal = self.authorize_topic(&extensions, Method::LogFetch, asked)?;
        let request = decode::fetch(message, principal)?;
        let account = self.engine.replies.account(&request.target);
        let (fetched, memory) = fetch(&self.engine, request).await?;
        let mut response = Response::new(encode::fetched(fetched));
        hold(response.extensions_mut(), account, memory);
        Ok(response)
    }

    async fn consume(
        &self,
        request: Request<proto::ConsumeRequest>,
    ) -> Result<Response<FetchReplies>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.topic, ForwardMarks::from(&message));
        let principal = self.authorize_topic(&extensions, Method::LogConsume, asked)?;
        let topic = message.topic.clone();
        let request = decode::consume(message, Arc::clone(&principal))?;
        let account = self.engine.replies.account(&request.target);
        let chunks = consume(&self.engine, request).await?;
        let mut grant = Grant::new(self.access.clone(), rule_of(Method::LogConsume));
        // A right that is taken away ends the stream before its next records.
        let replies = until_closing(chunks, &closing(&extensions)).map(move |chunk| {
            grant.check(&principal, &topic, Instant::now())?;
            chunk.map(encode::fetched).map_err(Status::from)
        });
        let until_failed = replies.scan(false, |has_failed, reply| {
            let next = (!*has_failed).then_some(reply);
            *has_failed |= matches!(next, Some(Err(_)));
            std::future::ready(next)
        });
        let mut response = Response::new(until_failed.boxed());
        hold(response.extensions_mut(), account, None);
        Ok(response)
    }

    async fn list_offsets(
        &self,
        request: Request<proto::ListOffsetsRequest>,
    ) -> Result<Response<proto::ListOffsetsReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.topic, ForwardMarks::from(&message));
        let principal = self.authorize_topic(&extensions, Method::LogListOffsets, asked)?;
        let request = decode::list_offsets(message, principal);
        let replies = &self.engine.replies;
        let account = replies.account_of(&request.principal, request.is_forwarded);
        let found = list_offsets(&self.engine, request).await?;
        held(account, encode::offsets(found))
    }

    async fn delete_records(
        &self,
        request: Request<proto::DeleteRecordsRequest>,
    ) -> Result<Response<proto::DeleteRecordsReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = (&*message.topic, ForwardMarks::from(&message));
        let principal = self.authorize_topic(&extensions, Method::LogDeleteRecords, asked)?;
        let request = decode::delete_records(message, principal)?;
        let deleted = delete_records(&self.engine, request).await?;
        Ok(Response::new(encode::deleted(deleted)))
    }

    async fn get_metadata(
        &self,
        request: Request<proto::GetMetadataRequest>,
    ) -> Result<Response<proto::GetMetadataReply>, Status> {
        let principal = principal(request.extensions())?;
        let visible = self.access.visibility(principal);
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
        let reply = encode::metadata(&ClusterView::of(&self.engine), topics, &visible);
        held(self.engine.replies.account_of(principal, false), reply)
    }

    async fn init_producer(
        &self,
        request: Request<proto::InitProducerRequest>,
    ) -> Result<Response<proto::InitProducerReply>, Status> {
        let call = (Method::LogInitProducer, Resource::Cluster);
        authorize_call(&self.access, request.extensions(), call)?;
        let id = self.engine.next_producer_id().await?;
        Ok(Response::new(proto::InitProducerReply {
            producer_id: id.get(),
            producer_epoch: 0,
        }))
    }
}
