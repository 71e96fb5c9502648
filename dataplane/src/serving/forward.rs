//! Requests for partitions that other nodes lead: passed on once, over the peer port.

use std::error::Error;
use std::time::Duration;

use lograft_core::limits::{GRPC_MESSAGE_MAX_BYTES, LEADER_POLL_INTERVAL, LEADER_WAIT_MAX};
use lograft_core::{NodeId, Reason};
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

use crate::api::grpc::status::{ApiError, reason_of};
use crate::transport::{Lane, PeerPool};

/// Reaches the log service of other nodes.
pub trait LogPeers: Send + Sync + 'static {
    /// A channel to a node for requests that are passed on.
    fn channel(&self, node: NodeId) -> Result<Channel, ApiError>;
}

impl LogPeers for PeerPool {
    fn channel(&self, node: NodeId) -> Result<Channel, ApiError> {
        Self::channel(self, node, Lane::Forwarding)
            .map_err(|error| ApiError::new(Reason::NoLeader, error.to_string()))
    }
}

/// The log service of another node.
pub(crate) fn client(
    peers: &dyn LogPeers,
    node: NodeId,
) -> Result<LogServiceClient<Channel>, ApiError> {
    let client = LogServiceClient::new(peers.channel(node)?);
    Ok(client
        .max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
        .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES))
}

/// Whether a call did not leave this node: there was no connection.
pub(crate) fn is_unsent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Decides whether a request is tried again: while the cluster sorts out who leads.
pub(crate) struct Retry {
    deadline: Instant,
    pause: Duration,
}

impl Retry {
    pub(crate) fn new() -> Self {
        Self {
            deadline: Instant::now() + LEADER_WAIT_MAX,
            pause: LEADER_POLL_INTERVAL,
        }
    }

    /// Whether the request was certainly not carried out, for a reason that may pass, and there is
    /// time to try again; then the pause before that is over too.
    pub(crate) async fn again(&mut self, status: &Status) -> bool {
        let is_about_leaders = matches!(
            reason_of(status),
            Some(Reason::NotLeader | Reason::NoLeader)
        );
        (is_about_leaders || is_unsent(status)) && self.in_time().await
    }

    /// The same for a request that may be carried out twice: also when the connection broke.
    pub(crate) async fn again_safely(&mut self, status: &Status) -> bool {
        let is_broken = reason_of(status).is_none() && status.code() == tonic::Code::Unavailable;
        if is_broken {
            self.in_time().await
        } else {
            self.again(status).await
        }
    }

    /// Whether there is time to try again; then the pause before that is over too.
    pub(crate) async fn in_time(&mut self) -> bool {
        if Instant::now() + self.pause >= self.deadline {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LEADER_POLL_INTERVAL * 8);
        true
    }
}

#[cfg(test)]
mod tests {
    use lograft_proto::log::v1 as proto;
    use tokio::net::TcpListener;
    use tonic::transport::Endpoint;

    use super::*;

    #[tokio::test]
    async fn a_call_without_a_connection_was_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
        let mut client = LogServiceClient::new(channel);
        let hang_up = async { drop(listener.accept().await.unwrap()) };
        let (broken, ()) = tokio::join!(client.produce(proto::ProduceRequest::default()), hang_up);
        assert!(!is_unsent(&broken.unwrap_err()));
        drop(listener);
        let refused = client
            .produce(proto::ProduceRequest::default())
            .await
            .unwrap_err();
        assert!(is_unsent(&refused), "{refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_again_for_as_long_as_an_election_takes() {
        let started = Instant::now();
        let mut retry = Retry::new();
        let moved = Status::from(ApiError::not_leader(None));
        let mut tries = 0;
        while retry.again(&moved).await {
            tries += 1;
        }
        assert!(started.elapsed() <= LEADER_WAIT_MAX && started.elapsed() * 2 > LEADER_WAIT_MAX);
        assert!((5..50).contains(&tries), "{tries}");
        let mut retry = Retry::new();
        assert!(!retry.again(&Status::unavailable("broken")).await);
        assert!(retry.again_safely(&Status::unavailable("broken")).await);
        assert!(
            !retry
                .again_safely(&ApiError::unknown_topic("t").into())
                .await
        );
    }
}
