//! The byte stream under a connection, replaceable in simulations.

use std::future::Future;
use std::io;
use std::pin::Pin;

use lograft_core::limits::{CONNECT_ATTEMPT_DELAY, DNS_ADDRESSES_MAX_COUNT, DNS_LOOKUP_MAX};
use lograft_proto::connect::{ConnectLimits, connect_tcp};
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream to a node.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The future of [`Dial::dial`].
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

/// Opens byte streams to nodes. [`TcpDialer`] is the implementation outside of simulations.
pub trait Dial: Send + Sync {
    /// Opens a stream to `address`, a `host:port`.
    fn dial(&self, address: &str) -> Dialling;
}

const CONNECT_LIMITS: ConnectLimits = ConnectLimits {
    lookup_max: DNS_LOOKUP_MAX,
    addresses_max_count: DNS_ADDRESSES_MAX_COUNT,
    attempt_delay: CONNECT_ATTEMPT_DELAY,
};

/// Opens TCP connections with `TCP_NODELAY`. All addresses of a host are tried side by side.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDialer;

impl Dial for TcpDialer {
    fn dial(&self, address: &str) -> Dialling {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = connect_tcp(&address, CONNECT_LIMITS).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Wire>)
        })
    }
}
