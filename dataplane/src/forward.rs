//! Requests for partitions that other nodes lead: passed on once, over the peer port.

pub(crate) mod lanes;

use std::time::Duration;

use lograft_core::limits::{GRPC_MESSAGE_MAX_BYTES, LEADER_LOOK_INTERVAL, LEADER_WAIT_MAX};
use lograft_core::{NodeId, Reason};
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

use crate::grpc::error::{ApiError, reason_of};
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

/// Decides whether a request is tried again: while the cluster sorts out who leads.
pub(crate) struct Retry {
    deadline: Instant,
    pause: Duration,
}

impl Retry {
    pub(crate) fn new() -> Self {
        Self {
            deadline: Instant::now() + LEADER_WAIT_MAX,
            pause: LEADER_LOOK_INTERVAL,
        }
    }

    /// Whether `status` says that the request was not carried out because of who leads, and there
    /// is time to try again; then the pause before that is over too.
    pub(crate) async fn again(&mut self, status: &Status) -> bool {
        let is_about_leaders = matches!(
            reason_of(status),
            Some(Reason::NotLeader | Reason::NoLeader)
        );
        is_about_leaders && self.in_time().await
    }

    /// The same for a request that may be carried out twice: also when the node is not reached.
    pub(crate) async fn again_safely(&mut self, status: &Status) -> bool {
        let is_unreached = reason_of(status).is_none() && status.code() == tonic::Code::Unavailable;
        if is_unreached {
            self.in_time().await
        } else {
            self.again(status).await
        }
    }

    async fn in_time(&mut self) -> bool {
        if Instant::now() + self.pause >= self.deadline {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LEADER_LOOK_INTERVAL * 8);
        true
    }
}
