//! Appends of a stream: the next batch is admitted before the previous one is acknowledged.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lograft_core::GroupId;
use lograft_core::limits::LEADER_WAIT_MAX;
use tokio::time::Instant;

use super::check;
use super::leader_streams::{LeaderStreams, outcome_of};
use crate::error::ApiError;
use crate::serving::engine::LogEngine;
use crate::serving::locate::{Location, NO_ANSWER, is_about_leaders};
use crate::serving::request::{AppendRequest, Appended, Target};

/// The outcome of a batch that was admitted.
pub(crate) type PendingReply = Pin<Box<dyn Future<Output = Result<Appended, ApiError>> + Send>>;

/// The appends of one client's stream.
pub(crate) struct AppendPipeline {
    engine: Arc<LogEngine>,
    leaders: LeaderStreams,
    /// Until when the requests of the stream wait for a leader of a group without one.
    // Requests are admitted one after the other. If each waited by itself, a stream with a few
    // batches in flight would be silent for many times the time of an election.
    leaderless: BTreeMap<GroupId, Instant>,
}

impl AppendPipeline {
    pub(crate) fn new(engine: Arc<LogEngine>) -> Self {
        Self {
            leaders: LeaderStreams::new(Arc::clone(&engine.forward)),
            engine,
            leaderless: BTreeMap::new(),
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
        let bytes = check::memory_bytes(&request.content);
        let target = &request.target;
        let location = self.locate(target).await?;
        let reserved = engine
            .reserve_append(target.is_forwarded, bytes, deadline)
            .await?;
        let replica = match location {
            Location::Here(replica) => replica,
            Location::There(leader) => {
                let target = target.clone();
                let reply = self.leaders.send(leader.node, request, reserved).await;
                return Ok(Box::pin(async move {
                    tokio::select! {
                        biased;
                        outcome = outcome_of(reply, &target) => outcome,
                        () = engine.locator.leader_moves(leader) => {
                            Err(ApiError::outcome_unknown(NO_ANSWER))
                        }
                    }
                }));
            }
        };
        engine.admit_append(&replica).await?;
        let rules = engine.batch_rules(&request.target.topic, request.stamp)?;
        let AppendRequest { content, stamp, .. } = request;
        let now_ms = replica.appender.append_time(engine.clock.now_ms());
        let batch = check::check(content, stamp, now_ms, (rules, &engine.decompression)).await?;
        let group = replica.group;
        let pending = replica.appender.append(batch, now_ms, Some(reserved)).await;
        let pending = pending.map_err(|error| engine.locator.with_leader(error, group))?;
        Ok(Box::pin(async move {
            let applied = pending.applied().await;
            applied.map_err(|error| engine.locator.with_leader(error, group))
        }))
    }

    /// Finds the leader. The requests of the stream wait for it together.
    async fn locate(&mut self, target: &Target) -> Result<Location, ApiError> {
        let locator = &self.engine.locator;
        let group = locator.group(target).await?;
        let now = Instant::now();
        let waited = self.leaderless.get(&group).copied();
        // Long after the last wait it is another election.
        let deadline = waited
            .filter(|until| *until + LEADER_WAIT_MAX > now)
            .unwrap_or(now + LEADER_WAIT_MAX);
        let location = locator.locate_group(target, group, deadline).await;
        match &location {
            Err(error) if is_about_leaders(error) => {
                self.leaderless.insert(group, deadline);
            }
            Ok(_) | Err(_) => {
                self.leaderless.remove(&group);
            }
        }
        location
    }
}
