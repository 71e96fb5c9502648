//! Asks a node's health port whether it is ready.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// For one answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Waits until the node says that it is ready; for ever, if it never does.
pub(crate) async fn until_ready(health: SocketAddr) {
    while !matches!(timeout(ANSWER_MAX, is_ready(health)).await, Ok(Some(true))) {
        sleep(ASK_EVERY).await;
    }
}

/// What `/readyz` answers; nothing when nobody answers.
async fn is_ready(health: SocketAddr) -> Option<bool> {
    let mut stream = TcpStream::connect(health).await.ok()?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {health}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut head).await.ok()?;
    Some(head.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answer(listener: &TcpListener, reply: &str) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 512];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(reply.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn waits_while_the_node_says_no() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            answer(&listener, "HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
            answer(&listener, "nonsense").await;
            answer(&listener, "HTTP/1.1 200 OK\r\n\r\n").await;
        };
        let both = async { tokio::join!(until_ready(address), server) };
        timeout(Duration::from_secs(10), both).await.unwrap();
    }
}
