//! A node whose leaders run another version: what they refuse reaches the client unchanged.

use futures_util::stream::{self, BoxStream, StreamExt as _};
use lograft_core::Reason;
use lograft_proto::log::v1 as proto;
use lograft_proto::log::v1::log_service_server::LogService;
use tokio_stream::once;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::fixture::{TOPIC, TestNode, node_behind, produce};
use crate::transport::status::reason_of;

const NEWER: &str = "OF_A_LATER_VERSION";

/// A leader that refuses everything for a reason of a later version.
#[derive(Clone, Copy)]
struct NewerLeader {
    code: Code,
    retryable: Option<bool>,
}

impl NewerLeader {
    fn error(self) -> proto::Error {
        proto::Error {
            code: self.code as i32,
            reason: NEWER.to_owned(),
            text: "not today".to_owned(),
            metadata: [("hint".to_owned(), "later".to_owned())].into(),
            retryable: self.retryable,
            ..proto::Error::default()
        }
    }

    fn status(self) -> Status {
        let mut metadata = self.error().metadata;
        metadata.extend(
            self.retryable
                .map(|r| ("retryable".to_owned(), r.to_string())),
        );
        let details = ErrorDetails::with_error_info(NEWER, Reason::DOMAIN, metadata);
        Status::with_error_details(self.code, "not today", details)
    }

    async fn client(self) -> TestNode {
        node_behind(Some(self)).await
    }
}

type Replies<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl LogService for NewerLeader {
    type ProduceStreamStream = Replies<proto::ProduceReply>;
    type ConsumeStream = Replies<proto::FetchReply>;

    async fn produce(
        &self,
        _: Request<proto::ProduceRequest>,
    ) -> Result<Response<proto::ProduceReply>, Status> {
        Err(self.status())
    }

    async fn produce_stream(
        &self,
        requests: Request<Streaming<proto::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        let error = self.error();
        let replies = requests.into_inner().map(move |request| {
            Ok(proto::ProduceReply {
                request_id: request?.request_id,
                error: Some(error.clone()),
                ..Default::default()
            })
        });
        Ok(Response::new(replies.boxed()))
    }

    async fn fetch(
        &self,
        _: Request<proto::FetchRequest>,
    ) -> Result<Response<proto::FetchReply>, Status> {
        Err(self.status())
    }

    /// Fails at once, or behind the first reply of a stream that follows.
    async fn consume(
        &self,
        request: Request<proto::ConsumeRequest>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        if !request.get_ref().follow {
            return Err(self.status());
        }
        let replies = [Ok(proto::FetchReply::default()), Err(self.status())];
        Ok(Response::new(stream::iter(replies).boxed()))
    }

    async fn list_offsets(
        &self,
        request: Request<proto::ListOffsetsRequest>,
    ) -> Result<Response<proto::ListOffsetsReply>, Status> {
        let failed = |partition: &u32| proto::PartitionOffsets {
            partition: *partition,
            error: Some(self.error()),
            ..Default::default()
        };
        Ok(Response::new(proto::ListOffsetsReply {
            partitions: request.get_ref().partitions.iter().map(failed).collect(),
        }))
    }

    async fn delete_records(
        &self,
        _: Request<proto::DeleteRecordsRequest>,
    ) -> Result<Response<proto::DeleteRecordsReply>, Status> {
        Err(self.status())
    }

    async fn get_metadata(
        &self,
        _: Request<proto::GetMetadataRequest>,
    ) -> Result<Response<proto::GetMetadataReply>, Status> {
        Err(self.status())
    }

    async fn init_producer(
        &self,
        _: Request<proto::InitProducerRequest>,
    ) -> Result<Response<proto::InitProducerReply>, Status> {
        Err(self.status())
    }
}

fn fetch() -> proto::FetchRequest {
    proto::FetchRequest {
        topic: TOPIC.into(),
        position: Some(earliest()),
        ..Default::default()
    }
}

fn consume(follow: bool) -> proto::ConsumeRequest {
    proto::ConsumeRequest {
        topic: TOPIC.into(),
        position: Some(earliest()),
        follow,
        ..Default::default()
    }
}

const fn earliest() -> proto::Position {
    proto::Position {
        at: Some(proto::position::At::Earliest(true)),
    }
}

/// The error in a status, as the client of a later version reads it.
fn error_in(status: &Status) -> proto::Error {
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.domain, Reason::DOMAIN);
    let mut metadata = info.metadata;
    let retryable = metadata.remove("retryable").map(|r| r.parse().unwrap());
    proto::Error {
        code: status.code() as i32,
        reason: info.reason,
        text: status.message().to_owned(),
        metadata,
        retryable,
        ..proto::Error::default()
    }
}

/// What a client of the node sees on each way.
async fn errors(node: &TestNode) -> Vec<(&'static str, proto::Error)> {
    let mut client = node.client.clone();
    let unary = client.produce(produce(1, 1)).await.unwrap_err();
    let stream = client.produce_stream(once(produce(2, 1))).await.unwrap();
    let reply = stream.into_inner().message().await.unwrap().unwrap();
    assert_eq!(reply.request_id, 2);
    let fetched = client.fetch(fetch()).await.unwrap_err();
    let refused = client.consume(consume(false)).await.unwrap_err();
    let mut broken = client.consume(consume(true)).await.unwrap().into_inner();
    broken.message().await.unwrap().unwrap();
    let broken = broken.message().await.unwrap_err();
    let offsets = client
        .list_offsets(proto::ListOffsetsRequest {
            topic: TOPIC.into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    vec![
        ("produce", error_in(&unary)),
        ("produce stream", reply.error.unwrap()),
        ("fetch", error_in(&fetched)),
        ("consume", error_in(&refused)),
        ("broken consume", error_in(&broken)),
        ("offsets", offsets.partitions[0].error.clone().unwrap()),
    ]
}

#[tokio::test]
async fn a_newer_reason_of_the_leader_reaches_the_client_unchanged_on_every_way() {
    for (code, retryable) in [
        (Code::FailedPrecondition, true),
        (Code::Unavailable, false),
        (Code::Internal, true),
    ] {
        let retryable = Some(retryable);
        let leader = NewerLeader { code, retryable };
        let node = leader.client().await;
        for (way, error) in errors(&node).await {
            assert_eq!(error, leader.error(), "{way}");
        }
        let forwards = node.metrics.forwards.with_label_values(&["NEWER"]).get();
        assert_eq!(forwards, 4, "all but the broken stream and the offsets");
    }
}

#[tokio::test]
async fn without_retryable_the_code_of_the_leaders_error_decides() {
    for (code, is_retryable) in [(Code::Unavailable, true), (Code::InvalidArgument, false)] {
        let leader = NewerLeader {
            code,
            retryable: None,
        };
        for (way, error) in errors(&leader.client().await).await {
            assert_eq!(error.retryable, Some(is_retryable), "{way}");
            assert_eq!((error.reason.as_str(), error.code), (NEWER, code as i32));
        }
    }
}

#[tokio::test]
async fn a_call_that_the_leader_does_not_know_is_a_typed_error() {
    let node = node_behind(None::<NewerLeader>).await;
    let mut client = node.client.clone();
    let produced = client.produce(produce(1, 1)).await.unwrap_err();
    let fetched = client.fetch(fetch()).await.unwrap_err();
    let consumed = client.consume(consume(true)).await.unwrap_err();
    for (status, call) in [
        (produced, "Produce"),
        (fetched, "Fetch"),
        (consumed, "Consume"),
    ] {
        assert_eq!(reason_of(&status), Some(Reason::VersionTooOld), "{call}");
        assert_eq!(
            status.message(),
            format!("node 1 does not know the call {call}: it runs an older version")
        );
    }
    let stream = client.produce_stream(once(produce(2, 1))).await.unwrap();
    let reply = stream.into_inner().message().await.unwrap().unwrap();
    let error = reply.error.unwrap();
    assert_eq!(error.reason, Reason::VersionTooOld.as_str());
    assert_eq!(
        (
            error.metadata["node"].as_str(),
            error.metadata["call"].as_str()
        ),
        ("1", "ProduceStream")
    );
}

/// Nodes before 0.3.0 ignore which consistency is asked for, and say none.
#[tokio::test]
async fn no_consistency_is_claimed_for_a_leader_of_an_older_version() {
    let leader = NewerLeader {
        code: Code::Internal,
        retryable: None,
    };
    let node = leader.client().await;
    for asked in [
        proto::ReadConsistency::Leader,
        proto::ReadConsistency::Session,
        proto::ReadConsistency::Linearizable,
    ] {
        let asked = |no_forward| proto::ConsumeRequest {
            consistency: asked.into(),
            no_forward,
            ..consume(true)
        };
        let mut client = node.client.clone();
        let mut replies = client.consume(asked(false)).await.unwrap().into_inner();
        let reply = replies.message().await.unwrap().unwrap();
        let unknown = proto::ReadConsistency::Unspecified;
        assert_eq!((reply.consistency(), reply.read_by), (unknown, 0));
        // It has no replica, and a client that routes is not forwarded.
        let refused = client.consume(asked(true)).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(Reason::NotLeader));
    }
}
