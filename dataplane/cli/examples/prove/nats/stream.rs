//! Creates streams and finds their leaders.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::wire;

const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A stream and its leader. The loads connect to the leader directly, as the Lograft client does.
#[derive(Debug)]
pub(crate) struct Target {
    /// Client address of the leader.
    pub(crate) leader: SocketAddr,
    /// Name of the stream.
    pub(crate) stream: String,
    /// Subject that the stream stores.
    pub(crate) subject: String,
}

impl Target {
    /// Looks up the stream and waits until it has a leader.
    pub(crate) async fn find(servers: &[SocketAddr], stream: &str) -> Result<Self> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let info = call(servers[0], &format!("STREAM.INFO.{stream}"), &json!({})).await;
            let leader = info
                .as_ref()
                .ok()
                .and_then(|i| i["cluster"]["leader"].as_str());
            if let Some(at) = leader.and_then(|name| name.strip_prefix('n')?.parse::<usize>().ok())
            {
                let leader = *servers
                    .get(at - 1)
                    .context("leader is not one of the servers")?;
                let subject = subject_of(stream);
                return Ok(Self {
                    leader,
                    stream: stream.to_owned(),
                    subject,
                });
            }
            ensure!(
                Instant::now() < deadline,
                "{stream} has no leader: {info:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn subject_of(stream: &str) -> String {
    format!("in.{stream}")
}

/// Deletes and creates the stream. Retries until the cluster is ready.
pub(crate) async fn create(
    servers: &[SocketAddr],
    stream: &str,
    replicas: u32,
    max_bytes: u64,
) -> Result<Target> {
    let config = json!({
        "name": stream, "subjects": [subject_of(stream)], "storage": "file",
        "retention": "limits", "discard": "old", "max_bytes": max_bytes, "num_replicas": replicas,
        "allow_batched": true, "allow_atomic": true, "duplicate_window": 1_000_000_000,
    });
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        // Fails if the stream does not exist.
        let _ = call(servers[0], &format!("STREAM.DELETE.{stream}"), &json!({})).await;
        let created = call(servers[0], &format!("STREAM.CREATE.{stream}"), &config).await;
        if let Err(error) = created {
            ensure!(
                Instant::now() < deadline,
                "cannot create stream {stream}: {error:#}"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        }
        return Target::find(servers, stream).await;
    }
}

/// Calls the JetStream API.
pub(crate) async fn call(server: SocketAddr, name: &str, body: &Value) -> Result<Value> {
    let (mut reader, mut writer) = wire::connect(server).await?;
    let inbox = wire::inbox("call");
    writer.subscribe(&inbox).await?;
    writer
        .publish(
            &format!("$JS.API.{name}"),
            &inbox,
            &serde_json::to_vec(body)?,
        )
        .await?;
    let reply_timeout = Duration::from_secs(5);
    let reply = tokio::time::timeout(reply_timeout, reader.next())
        .await
        .context("no reply within 5 s")??;
    ensure!(reply.status() != Some(503), "no server answers {name}");
    let reply: Value = serde_json::from_slice(&reply.payload)?;
    ensure!(
        reply.get("error").is_none(),
        "{name} failed: {}",
        reply["error"]
    );
    Ok(reply)
}
