//! The part of the NATS text protocol that the loads need.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const READ_BYTES: usize = 256 * 1024;

/// A delivery from the server.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Subject that it was sent to.
    pub(crate) subject: Bytes,
    /// Headers, or empty.
    pub(crate) headers: Bytes,
    /// Payload.
    pub(crate) payload: Bytes,
}

impl Delivery {
    /// Status code in the first line of the headers, if there is one.
    pub(crate) fn status(&self) -> Option<u16> {
        let line = self.headers.split(|b| *b == b'\r').next()?;
        let code = line.split(|b| *b == b' ').nth(1)?;
        std::str::from_utf8(code).ok()?.parse().ok()
    }
}

/// A unique subject for replies. `kind` is part of it, to identify the load.
pub(crate) fn inbox(kind: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("_INBOX.{kind}{}x{number}", std::process::id())
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(crate) struct Reader {
    half: OwnedReadHalf,
    buffer: BytesMut,
}

/// The sending half of a connection.
#[derive(Debug)]
pub(crate) struct Writer {
    half: OwnedWriteHalf,
}

/// Connects and performs the handshake.
pub(crate) async fn connect(server: SocketAddr) -> Result<(Reader, Writer)> {
    let tcp = TcpStream::connect(server)
        .await
        .with_context(|| format!("cannot connect to {server}"))?;
    tcp.set_nodelay(true)?;
    let (read, write) = tcp.into_split();
    let mut reader = Reader {
        half: read,
        buffer: BytesMut::with_capacity(READ_BYTES),
    };
    let mut writer = Writer { half: write };
    let hello = r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"lang":"rust","version":"0","protocol":1}"#;
    writer
        .send(format!("{hello}\r\nPING\r\n").as_bytes())
        .await?;
    while reader.line().await?.as_ref() != b"PONG" {}
    Ok((reader, writer))
}

impl Writer {
    /// Sends encoded bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.half
            .write_all(bytes)
            .await
            .context("cannot send to the server")
    }

    /// Subscribes to a subject.
    pub(crate) async fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.send(format!("SUB {subject} 1\r\n").as_bytes()).await
    }

    /// Publishes one payload with a reply subject.
    pub(crate) async fn publish(&mut self, subject: &str, reply: &str, body: &[u8]) -> Result<()> {
        let mut out = Vec::with_capacity(body.len() + 128);
        put_publish(&mut out, subject, reply, body);
        self.send(&out).await
    }
}

/// Appends a PUB command to a buffer.
pub(crate) fn put_publish(out: &mut Vec<u8>, subject: &str, reply: &str, body: &[u8]) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject.as_bytes());
    out.push(b' ');
    out.extend_from_slice(reply.as_bytes());
    put_length_and_body(out, body);
}

/// Appends ` LENGTH`, the body and the line ends.
fn put_length_and_body(out: &mut Vec<u8>, body: &[u8]) {
    out.push(b' ');
    out.extend_from_slice(body.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

/// Appends an HPUB command to a buffer. `reply` may be empty.
pub(crate) fn put_with_headers(
    out: &mut Vec<u8>,
    subject: &str,
    reply: &str,
    headers: &str,
    body: &[u8],
) {
    let line = format!(
        "HPUB {subject} {reply} {} {}\r\n",
        headers.len(),
        headers.len() + body.len()
    );
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(headers.as_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

impl Reader {
    /// The next delivery. PINGs are not answered: the server closes the connection only after the
    /// third, six minutes later, which is longer than any load.
    pub(crate) async fn next(&mut self) -> Result<Delivery> {
        loop {
            let line = self.line().await?;
            if line.starts_with(b"MSG ") || line.starts_with(b"HMSG ") {
                return self.delivery(&line).await;
            }
            if line.starts_with(b"-ERR") {
                bail!("server error: {}", String::from_utf8_lossy(&line));
            }
        }
    }

    async fn delivery(&mut self, line: &Bytes) -> Result<Delivery> {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let has_headers = line.starts_with(b"HMSG");
        let number = |back: usize| -> Result<usize> {
            let at = fields
                .len()
                .checked_sub(back)
                .context("delivery has no length")?;
            Ok(std::str::from_utf8(fields[at])?.parse()?)
        };
        let total = number(1)?;
        let header_bytes = if has_headers { number(2)? } else { 0 };
        ensure!(
            header_bytes <= total,
            "headers must not be longer than the delivery"
        );
        let subject = line.slice_ref(fields.get(1).context("delivery has no subject")?);
        while self.buffer.len() < total + 2 {
            self.fill().await?;
        }
        let mut body = self.buffer.split_to(total).freeze();
        self.buffer.advance(2);
        let headers = body.split_to(header_bytes);
        Ok(Delivery {
            subject,
            headers,
            payload: body,
        })
    }

    async fn line(&mut self) -> Result<Bytes> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line = self.buffer.split_to(end + 1).freeze();
                let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
                return Ok(line.slice_ref(text));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.reserve(READ_BYTES);
        let count = self
            .half
            .read_buf(&mut self.buffer)
            .await
            .context("cannot read from the server")?;
        ensure!(count > 0, "server closed the connection");
        Ok(())
    }
}
