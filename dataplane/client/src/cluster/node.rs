//! One node: its gRPC channel, and the meaning of its failures.

use std::sync::Arc;

use lograft_core::{Reason, limits};
use lograft_proto::admin::v1::access_service_client::AccessServiceClient;
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::log::v1::group_service_client::GroupServiceClient;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::connection::connector::{Connector, TlsAlert};
use crate::connection::dial_error::DialError;
use crate::error::ClientError;

/// Which failures of a call are retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// All retryable failures: the call is idempotent.
    Always,
    /// Only failures after which it is certain that the call had no effect.
    IfNotExecuted,
}

impl Retry {
    pub(super) fn allows(self, error: &ClientError) -> bool {
        let may_be_executed = matches!(error, ClientError::Broken { .. })
            || error.reason() == Some(Reason::Timeout)
            || error.may_be_executed_newer();
        error.is_retryable() && (self == Self::Always || !may_be_executed)
    }
}

/// A gRPC channel to a node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) address: Arc<str>,
    channel: Channel,
    alert: Arc<TlsAlert>,
}

impl Node {
    /// A node whose connection is opened by `connector` at first use, and again after it broke.
    pub(super) fn new(address: &Arc<str>, connector: Connector) -> Result<Self, ClientError> {
        // TLS is handled by the connector, so for tonic the scheme is plain HTTP.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| ClientError::config("address", "host:port", address))?
            .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW_BYTES)
            .max_frame_size(limits::HTTP2_FRAME_MAX_BYTES)
            .http2_keep_alive_interval(limits::HTTP2_KEEPALIVE_INTERVAL)
            .keep_alive_timeout(limits::HTTP2_KEEPALIVE_MAX);
        let alert = Arc::clone(&connector.alert);
        Ok(Self {
            address: Arc::clone(address),
            channel: endpoint.connect_with_connector_lazy(connector),
            alert,
        })
    }

    /// Converts the status of a failed call; `action` names the call, in the infinitive. A TLS
    /// alert explains a lost connection better than its status does, so the alert takes precedence.
    pub(crate) fn error(&self, action: &'static str, status: Status) -> ClientError {
        match ClientError::from_status(&self.address, action, status) {
            broken @ ClientError::Broken { .. } => match self.alert.take() {
                Some(kind) => {
                    let endpoint = self.address.as_ref().to_owned();
                    ClientError::Connect(Arc::new(DialError { endpoint, kind }))
                }
                None => broken,
            },
            error => error,
        }
    }

    pub(crate) fn log(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
    }

    pub(crate) fn groups(&self) -> GroupServiceClient<Channel> {
        GroupServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
    }

    pub(crate) fn access(&self) -> AccessServiceClient<Channel> {
        AccessServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
    }
}
