//! The network as an argument: datagrams and name lookups.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use lograft_core::limits::{DNS_ADDRESSES_MAX_COUNT, DNS_LOOKUP_MAX};
use tokio::net::UdpSocket;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens datagram sockets.
pub trait DatagramNet: Send + Sync + 'static {
    /// Binds an address; port 0 takes a free one.
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn DatagramSocket>>>;
}

/// A datagram socket; dropping it closes it.
pub trait DatagramSocket: Send + Sync + 'static {
    /// The address it has.
    fn local_address(&self) -> io::Result<SocketAddr>;

    /// Sends a datagram, or fails at once. The caller may ignore the failure: datagrams get lost.
    fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()>;

    /// The next datagram. One that is larger than the buffer is truncated.
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>>;
}

/// Looks up host names.
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of `host:port`.
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's UDP and name lookups.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNet;

impl DatagramNet for SystemNet {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn DatagramSocket>>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(address).await?;
            // Before the runtime knows that it is, each send is refused.
            socket.writable().await?;
            Ok(Box::new(socket) as Box<dyn DatagramSocket>)
        })
    }
}

impl DatagramSocket for UdpSocket {
    fn local_address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.try_send_to(bytes, to).map(drop)
    }

    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(self.recv_from(buffer))
    }
}

impl Resolver for SystemNet {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let lookup = tokio::net::lookup_host(address);
            let found = tokio::time::timeout(DNS_LOOKUP_MAX, lookup).await;
            let found = found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(found.take(DNS_ADDRESSES_MAX_COUNT).collect())
        })
    }
}
