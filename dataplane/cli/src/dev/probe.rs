//! Asks a node's health port whether it is ready.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Between two questions to a node that is not ready.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Between two questions to one that is.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// For one answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Read of one answer.
const ANSWER_MAX_BYTES: u64 = 4096;

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It serves.
    Ready,
    /// It is starting, or in trouble, or does not answer.
    NotReady,
    /// It is out of the cluster for ever.
    Decommissioned,
}

/// Waits until the node is ready, or never will be; for ever, if it is neither.
pub(crate) async fn until_ready(health: SocketAddr) -> Condition {
    loop {
        match ask(health).await {
            Condition::NotReady => sleep(ASK_EVERY).await,
            condition => return condition,
        }
    }
}

/// Waits until the node has been decommissioned.
pub(crate) async fn until_decommissioned(health: SocketAddr) {
    while ask(health).await != Condition::Decommissioned {
        sleep(LOOK_EVERY).await;
    }
}

async fn ask(health: SocketAddr) -> Condition {
    let answer = timeout(ANSWER_MAX, answer(health)).await;
    let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
    let status = answer.split(' ').nth(1);
    if status == Some("200") {
        Condition::Ready
    } else if status == Some("503") && answer.contains("decommissioned") {
        Condition::Decommissioned
    } else {
        Condition::NotReady
    }
}

/// All that `/readyz` answers.
async fn answer(health: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(health).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {health}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_MAX_BYTES)
        .read_to_end(&mut answer)
        .await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn reply(listener: &TcpListener, text: &str) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 512];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn told(replies: &[&str]) -> Condition {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            for text in replies {
                reply(&listener, text).await;
            }
        };
        let both = async { tokio::join!(until_ready(address), server) };
        timeout(Duration::from_secs(10), both).await.unwrap().0
    }

    #[tokio::test]
    async fn waits_while_the_node_says_no() {
        let replies = [
            "HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: it is starting",
            "nonsense",
            "HTTP/1.1 200 OK\r\n\r\nready",
        ];
        assert_eq!(told(&replies).await, Condition::Ready);
    }

    #[tokio::test]
    async fn a_decommissioned_node_is_not_waited_for() {
        let replies = ["HTTP/1.1 503 No\r\n\r\nnot ready: it has been decommissioned, for ever"];
        assert_eq!(told(&replies).await, Condition::Decommissioned);
    }
}
