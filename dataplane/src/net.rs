//! The network of a node: listening and connecting. It is an argument of the node, so that a
//! simulator can provide its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use lograft_core::NodeId;
use lograft_core::limits::{CONNECT_ATTEMPT_DELAY, DNS_ADDRESSES_MAX_COUNT, DNS_LOOKUP_MAX};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

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

/// Makes attempts side by side (RFC 8305, section 5): the next one starts when the former one has
/// failed, or has not succeeded within [`CONNECT_ATTEMPT_DELAY`]. The first success counts and ends
/// the others; the last error is returned if all fail, and `None` if there are no attempts.
pub(crate) async fn staggered<T, E, F>(
    attempts: impl IntoIterator<Item = F>,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = attempts.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failed = None;
    let mut next = waiting.next();
    loop {
        if let Some(attempt) = next.take() {
            running.push(attempt);
            next = waiting.next();
        }
        tokio::select! {
            ended = running.next() => match ended {
                Some(Ok(connected)) => return Some(Ok(connected)),
                Some(Err(error)) => failed = Some(Err(error)),
                None => return failed,
            },
            () = tokio::time::sleep(CONNECT_ATTEMPT_DELAY), if next.is_some() => {}
        }
    }
}

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
            let lookup = tokio::time::timeout(DNS_LOOKUP_MAX, tokio::net::lookup_host(address));
            let found = lookup.await.map_err(|_| io::ErrorKind::TimedOut)??;
            let attempts = found.take(DNS_ADDRESSES_MAX_COUNT).map(TcpStream::connect);
            let stream = staggered(attempts).await;
            let stream = stream.ok_or(io::ErrorKind::AddrNotAvailable)??;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    type Attempt = BoxFuture<'static, Result<u8, u8>>;

    fn after(ms: u64, result: Result<u8, u8>) -> Attempt {
        Box::pin(async move {
            sleep(Duration::from_millis(ms)).await;
            result
        })
    }

    fn black_hole() -> Attempt {
        Box::pin(std::future::pending())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_never_answers_costs_less_than_300_ms() {
        let begun = Instant::now();
        let connected = staggered([black_hole(), after(5, Ok(2))]).await;
        assert_eq!(connected, Some(Ok(2)));
        assert!(
            begun.elapsed() < Duration::from_millis(300),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_address_costs_nothing_and_the_first_success_counts() {
        let begun = Instant::now();
        let connected = staggered([after(0, Err(1)), after(0, Err(2)), after(1, Ok(3))]).await;
        assert_eq!(connected, Some(Ok(3)));
        assert!(
            begun.elapsed() < Duration::from_millis(50),
            "{:?}",
            begun.elapsed()
        );
        let slow_first = staggered([after(250, Ok(1)), after(500, Ok(2))]).await;
        assert_eq!(slow_first, Some(Ok(1)), "an attempt under way goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_success_the_last_error_is_returned() {
        let failed = staggered([after(900, Err(1)), after(0, Err(2))]).await;
        assert_eq!(failed, Some(Err(1)), "the last one to fail");
        assert_eq!(staggered(std::iter::empty::<Attempt>()).await, None);
    }
}
