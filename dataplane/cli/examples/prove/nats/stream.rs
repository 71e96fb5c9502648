//! Making a stream, and finding the server that leads it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::wire;

const READY_WAIT: Duration = Duration::from_secs(30);

/// A stream and where its leader is: NATS gets the shortest way, as Lograft's client takes it.
#[derive(Debug)]
pub(crate) struct Target {
    /// The leader's client address.
    pub(crate) leader: SocketAddr,
    /// The stream's name.
    pub(crate) stream: String,
    /// The subject that it stores.
    pub(crate) subject: String,
}

impl Target {
    /// Looks the stream up, waiting until it has a leader.
    pub(crate) async fn find(servers: &[SocketAddr], stream: &str) -> Result<Self> {
        let deadline = Instant::now() + READY_WAIT;
        loop {
            let info = call(servers[0], &format!("STREAM.INFO.{stream}"), &json!({})).await;
            let leader = info
                .as_ref()
                .ok()
                .and_then(|i| i["cluster"]["leader"].as_str());
            if let Some(at) = leader.and_then(|name| name.strip_prefix('n')?.parse::<usize>().ok())
            {
                let leader = *servers.get(at - 1).context("an unknown leader")?;
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

/// Makes the stream anew, empty; waits for the cluster to be ready for it.
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
    let deadline = Instant::now() + READY_WAIT;
    loop {
        // Fails where there is no such stream yet, which is just as well.
        let _ = call(servers[0], &format!("STREAM.DELETE.{stream}"), &json!({})).await;
        let made = call(servers[0], &format!("STREAM.CREATE.{stream}"), &config).await;
        if let Err(error) = made {
            ensure!(Instant::now() < deadline, "create {stream}: {error:#}");
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        }
        return Target::find(servers, stream).await;
    }
}

/// One call of the JetStream API.
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
    let wait = Duration::from_secs(5);
    let reply = tokio::time::timeout(wait, reader.next())
        .await
        .context("no reply in 5 s")??;
    ensure!(reply.status() != Some(503), "nobody answers {name}");
    let reply: Value = serde_json::from_slice(&reply.payload)?;
    ensure!(reply.get("error").is_none(), "{name}: {}", reply["error"]);
    Ok(reply)
}
