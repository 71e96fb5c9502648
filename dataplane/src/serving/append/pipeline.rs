//! Appends of a stream: the next batch is admitted before the previous one is acknowledged.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;

use super::check;
use super::leader_streams::{LeaderStreams, outcome_of};
use crate::error::ApiError;
use crate::serving::engine::LogEngine;
use crate::serving::locate::Location;
use crate::serving::request::{AppendRequest, Appended};

/// The outcome of a batch that was admitted.
pub(crate) type PendingReply = Pin<Box<dyn Future<Output = Result<Appended, ApiError>> + Send>>;

/// The appends of one client's stream.
pub(crate) struct AppendPipeline {
    engine: Arc<LogEngine>,
    leaders: LeaderStreams,
}

impl AppendPipeline {
    pub(crate) fn new(engine: Arc<LogEngine>) -> Self {
        Self {
            leaders: LeaderStreams::new(Arc::clone(&engine.forward)),
            engine,
        }
    }

    /// Admits a batch, or sends it to its leader. Returns once the next batch may follow; the
    /// future is its outcome. Not retried here: batches behind it are already on their way, so a
    /// retry would change their order. The client decides.
    pub(crate) async fn append(
        &mut self,
        request: AppendRequest,
        deadline: Instant,
    ) -> Result<PendingReply, ApiError> {
        let engine = Arc::clone(&self.engine);
        let bytes = check::content_bytes(&request.content);
        let target = &request.target;
        let reserved = engine
            .append_budget
            .reserve(target, bytes, deadline)
            .await?;
        let replica = match engine.locator.locate(target).await? {
            Location::Here(replica) => replica,
            Location::There(node) => {
                let target = target.clone();
                let reply = self.leaders.send(node, request, reserved).await;
                return Ok(Box::pin(async move { outcome_of(reply, &target).await }));
            }
        };
        engine.admit_append(&replica).await?;
        let rules = engine.batch_rules(&request.target.topic);
        let AppendRequest { content, stamp, .. } = request;
        let now_ms = replica.appender.append_time(engine.clock.now_ms());
        let batch = check::check(content, stamp, now_ms, rules).await?;
        let group = replica.group;
        let pending = replica.appender.append(batch, now_ms, Some(reserved)).await;
        let pending = pending.map_err(|error| engine.locator.with_leader(error, group))?;
        Ok(Box::pin(async move {
            let applied = pending.applied().await;
            applied.map_err(|error| engine.locator.with_leader(error, group))
        }))
    }
}
