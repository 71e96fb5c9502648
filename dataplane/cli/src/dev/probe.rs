//! Polls the readiness of a node on its health port.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Poll interval while a node is not ready.
const NOT_READY_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Poll interval while a node is ready.
const READY_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of one request.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum size of a reply.
const REPLY_MAX_BYTES: u64 = 4096;

/// Readiness of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The node serves requests.
    Ready,
    /// The node is starting, reports a problem or does not answer.
    NotReady,
    /// The node has been removed from the cluster permanently.
    Decommissioned,
}

/// Waits until the node is ready or decommissioned.
pub(crate) async fn wait_until_ready(health: SocketAddr) -> Readiness {
    loop {
        match request(health).await {
            Readiness::NotReady => sleep(NOT_READY_POLL_INTERVAL).await,
            readiness => return readiness,
        }
    }
}

/// Waits until the node has been decommissioned.
pub(crate) async fn wait_until_decommissioned(health: SocketAddr) {
    while request(health).await != Readiness::Decommissioned {
        sleep(READY_POLL_INTERVAL).await;
    }
}

async fn request(health: SocketAddr) -> Readiness {
    let reply = timeout(REPLY_TIMEOUT, read_reply(health)).await;
    let reply = reply.ok().and_then(Result::ok).unwrap_or_default();
    let status = reply.split(' ').nth(1);
    if status == Some("200") {
        Readiness::Ready
    } else if status == Some("503") && reply.contains("decommissioned") {
        Readiness::Decommissioned
    } else {
        Readiness::NotReady
    }
}

/// The HTTP reply of `/readyz`.
async fn read_reply(health: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(health).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {health}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.take(REPLY_MAX_BYTES).read_to_end(&mut reply).await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn send_reply(listener: &TcpListener, text: &str) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 512];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn probe(replies: &[&str]) -> Readiness {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            for text in replies {
                send_reply(&listener, text).await;
            }
        };
        let both = async { tokio::join!(wait_until_ready(address), server) };
        timeout(Duration::from_secs(10), both).await.unwrap().0
    }

    #[tokio::test]
    async fn waits_while_the_node_is_not_ready() {
        let replies = [
            "HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: it is starting",
            "nonsense",
            "HTTP/1.1 200 OK\r\n\r\nready",
        ];
        assert_eq!(probe(&replies).await, Readiness::Ready);
    }

    #[tokio::test]
    async fn a_decommissioned_node_is_not_waited_for() {
        let replies = ["HTTP/1.1 503 No\r\n\r\nnot ready: it has been decommissioned, for ever"];
        assert_eq!(probe(&replies).await, Readiness::Decommissioned);
    }
}
