//! The network of a node: listening and connecting. It is an argument of the node, so that a
//! simulator can provide its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use lograft_core::NodeId;
use lograft_core::limits::{CONNECT_ATTEMPT_DELAY, DNS_ADDRESSES_MAX_COUNT, DNS_LOOKUP_MAX};
use lograft_proto::connect::{ConnectLimits, connect_tcp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A byte stream, as TCP gives it.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A byte stream of any kind.
pub type BoxIo = Box<dyn Io>;

/// The addresses of a peer, and who must answer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTarget {
    /// The name of the node that its certificate must have. Without one, any node of the cluster
    /// may answer: at a seed.
    pub name: Option<Arc<str>>,
    /// `host:port`, the most likely one first. At least one.
    pub addresses: Vec<Arc<str>>,
}

impl PeerTarget {
    /// Any node of the cluster at an address.
    pub fn any_node(address: Arc<str>) -> Self {
        Self {
            name: None,
            addresses: vec![address],
        }
    }

    /// The first address, for messages.
    pub fn label(&self) -> Arc<str> {
        let first = self.addresses.first().cloned();
        first.unwrap_or_else(|| Arc::from("no address"))
    }
}

impl From<String> for PeerTarget {
    fn from(address: String) -> Self {
        Self::any_node(address.into())
    }
}

impl From<Arc<str>> for PeerTarget {
    fn from(address: Arc<str>) -> Self {
        Self::any_node(address)
    }
}

/// The addresses of each known node.
pub type AddressBook = BTreeMap<NodeId, PeerTarget>;

/// A network.
pub trait Net: Send + Sync + 'static {
    /// Listens on an address; port 0 takes a free one.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;

    /// Connects to `host:port`. MUST send small writes at once (no Nagle).
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>>;
}

/// A listening socket; dropping it closes the port.
pub trait Listener: Send + Sync + 'static {
    /// The address it has.
    fn local_address(&self) -> io::Result<SocketAddr>;

    /// The next connection. MUST send small writes at once (no Nagle).
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>>;
}

const CONNECT_LIMITS: ConnectLimits = ConnectLimits {
    lookup_max: DNS_LOOKUP_MAX,
    addresses_max_count: DNS_ADDRESSES_MAX_COUNT,
    attempt_delay: CONNECT_ATTEMPT_DELAY,
};

/// The system's TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNet;

impl Net for TcpNet {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let stream = connect_tcp(address, CONNECT_LIMITS).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxIo)
        })
    }
}

impl Listener for TcpListener {
    fn local_address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async move {
            let (stream, remote) = Self::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as BoxIo, remote))
        })
    }
}
