//! Users that work all the time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::cases::pods::users::{allow, create_user};
use crate::pod_client::Credentials;
use crate::sandbox::Sandbox;
use crate::user_load::{Acked, Reader, Writer, check_written, read_all};

/// Interval between two clients of a user that connect with its present certificate.
const CALLS_INTERVAL: Duration = Duration::from_secs(1);

/// A user that writes and reads all the time, and connects again and again.
pub(super) struct ServedUser {
    pub(super) name: &'static str,
    pub(super) credentials: Credentials,
    writer: Writer,
    reader: Reader,
    started: Instant,
}

impl ServedUser {
    pub(super) async fn start(sandbox: &Sandbox, name: &'static str) -> anyhow::Result<Self> {
        let credentials = create_user(sandbox, name, json!([own_rule(name)])).await?;
        let client = credentials.connect().await?;
        let user = Self {
            name,
            writer: Writer::start(&client, name, name).await?,
            reader: Reader::start(&client, name, name).await?,
            credentials,
            started: Instant::now(),
        };
        user.writer.await_acked(1).await?;
        Ok(user)
    }

    /// Calls with a new client until `end`. Returns the number of calls.
    pub(super) async fn call_until(&self, end: Instant) -> anyhow::Result<u32> {
        let mut calls = 0;
        while Instant::now() < end {
            let called = async {
                let client = self.credentials.connect().await?;
                client.list_offsets(self.name, &[], None).await
            };
            let bounds = called.await;
            let bounds = bounds.with_context(|| format!("call {calls} of {}", self.name))?;
            ensure!(bounds.len() == 1, "{bounds:?}");
            calls += 1;
            tokio::time::sleep(CALLS_INTERVAL).await;
        }
        Ok(calls)
    }

    /// Fails unless every record was acknowledged and read once, in order.
    pub(super) async fn finish(self, sandbox: &Sandbox) -> anyhow::Result<()> {
        let Acked {
            count,
            longest_pause,
            ..
        } = self.writer.finish().await?;
        self.reader.finish(count).await?;
        let all = read_all(&self.credentials.connect().await?, self.name).await?;
        check_written(&all, self.name, count)?;
        ensure!(
            all.len() as u64 == count,
            "{} of {count} records",
            all.len()
        );
        sandbox.report_figure(format!(
            "{}: {count} records acknowledged in {:.0} s and read once in order, 0 failed, \
             longest pause {:.2} s",
            self.name,
            self.started.elapsed().as_secs_f32(),
            longest_pause.as_secs_f32()
        ));
        Ok(())
    }
}

/// The rule of a user for its topic.
pub(super) fn own_rule(name: &str) -> Value {
    allow(&["read", "write"], &format!("topic:{name}"))
}
