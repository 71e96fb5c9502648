//! Reads a page of a node's health port: plain HTTP.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Maximum size of a page, in bytes.
const PAGE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Timeout of one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a page, whatever its status is; the error as text.
pub(crate) async fn page(address: &str, path: &str) -> Result<String, String> {
    let reply = timeout(PAGE_TIMEOUT, read_reply(address, path)).await;
    let reply = match reply {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => return Err(format!("cannot read from {address}: {error}")),
        Err(_) => return Err(format!("cannot read from {address}: no answer in time")),
    };
    if !reply.starts_with("HTTP/1.") {
        return Err(format!("cannot read from {address}: no HTTP reply"));
    }
    let body = reply.split_once("\r\n\r\n").map(|(_, body)| body);
    body.map(str::to_owned)
        .ok_or_else(|| format!("cannot read from {address}: reply ends in its headers"))
}

async fn read_reply(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // A reply to HTTP/1.0 is not chunked and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.take(PAGE_MAX_BYTES).read_to_end(&mut reply).await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn page_of(reply: &str) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
        };
        tokio::join!(page(&address, "/readyz"), serve).0
    }

    #[tokio::test]
    async fn the_body_is_returned_also_of_a_failure() {
        let reply = page_of("HTTP/1.1 503 No\r\na: b\r\n\r\nnot ready:\r\n\r\nstarting").await;
        assert_eq!(reply.unwrap(), "not ready:\r\n\r\nstarting");
    }

    #[tokio::test]
    async fn what_is_not_http_is_an_error() {
        let error = page_of("SSH-2.0-x\r\n\r\n").await.unwrap_err();
        assert!(error.ends_with("no HTTP reply"), "{error}");
        let error = page_of("HTTP/1.1 200 OK\r\n").await.unwrap_err();
        assert!(error.ends_with("ends in its headers"), "{error}");
        let error = page("127.0.0.1:1", "/readyz").await.unwrap_err();
        assert!(
            error.starts_with("cannot read from 127.0.0.1:1: "),
            "{error}"
        );
    }
}
