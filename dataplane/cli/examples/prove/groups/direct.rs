//! gRPC calls as plain HTTP/2 streams. A gRPC library takes about 40 us of CPU for a call, which the
//! load would take from the nodes of the same machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use lograft_client::Client;
use prost::Message;
use tonic::codegen::http::{HeaderMap, Request};

use super::wire::{open, tls_of};

const SERVICE: &str = "https://lograft/lograft.log.v1.GroupService";
/// The bytes of a message are after a flag (0: not compressed) and their number.
const PREFIX_BYTES: usize = 5;
const WINDOW_BYTES: u32 = 4 << 20;
/// Calls in flight before the node has said how many it takes.
const STREAMS_COUNT: usize = 256;

/// Connections to all nodes.
pub(super) struct Direct {
    nodes: BTreeMap<u64, Vec<Caller>>,
}

/// A connection to a node.
#[derive(Clone)]
pub(super) struct Caller(SendRequest<Bytes>);

impl Direct {
    /// Connects to each node of the cluster in a folder, so many times.
    pub(super) async fn open(folder: &Path, client: &Client, count: usize) -> Result<Self> {
        let tls = Arc::new(tls_of(folder)?);
        let mut nodes = BTreeMap::new();
        for node in client.metadata().await?.nodes {
            let mut callers = Vec::new();
            for _ in 0..count.max(1) {
                let stream = open(Arc::clone(&tls), node.address.to_string()).await?;
                let (sender, connection) = Builder::new()
                    .initial_window_size(WINDOW_BYTES)
                    .initial_connection_window_size(WINDOW_BYTES)
                    .initial_max_send_streams(STREAMS_COUNT)
                    .handshake(stream)
                    .await?;
                // Its error is that of the calls.
                tokio::spawn(async move { drop(connection.await) });
                callers.push(Caller(sender));
            }
            nodes.insert(node.id.get(), callers);
        }
        Ok(Self { nodes })
    }

    /// A connection to a node.
    pub(super) fn to(&self, node: u64, turn: usize) -> Result<Caller> {
        let callers = self.nodes.get(&node);
        let callers = callers.with_context(|| format!("node {node} is not known"))?;
        Ok(callers[turn % callers.len()].clone())
    }
}

impl Caller {
    /// Calls a method of the service of groups. Fails with the text of the status.
    pub(super) async fn call<R: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<R, String> {
        self.exchange(method, request)
            .await
            .map_err(|error| format!("{error:#}"))
    }

    async fn exchange<R: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<R> {
        let head = Request::post(format!("{SERVICE}/{method}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())?;
        let len = request.encoded_len();
        let mut body = BytesMut::with_capacity(PREFIX_BYTES + len);
        body.put_u8(0);
        body.put_u32(u32::try_from(len)?);
        request.encode(&mut body)?;
        let mut sender = self.0.clone().ready().await?;
        let (reply, mut stream) = sender.send_request(head, false)?;
        stream.send_data(body.freeze(), true)?;

        let (head, mut stream) = reply.await?.into_parts();
        let mut body = BytesMut::new();
        while let Some(data) = stream.data().await {
            let data = data?;
            stream.flow_control().release_capacity(data.len())?;
            body.extend_from_slice(&data);
        }
        // A reply without a message has its status in its head.
        let trailers = stream.trailers().await?.unwrap_or(head.headers);
        check_status(&trailers)?;
        let message = body.get(PREFIX_BYTES..).context("no message")?;
        Ok(R::decode(message)?)
    }
}

fn check_status(trailers: &HeaderMap) -> Result<()> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let status = text("grpc-status").context("no status")?;
    ensure!(
        status == "0",
        "status {status}: {}",
        decoded(text("grpc-message").unwrap_or_default())
    );
    Ok(())
}

/// The text of a status, whose bytes other than printable ASCII are `%` and two hexadecimal digits.
fn decoded(message: &str) -> String {
    let mut parts = message.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        bytes.extend(u8::from_str_radix(digits, 16));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
