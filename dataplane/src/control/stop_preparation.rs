//! Prepares the stop of a node: checks the majorities, transfers its leaderships, and reports what
//! still blocks the stop. The caller repeats the request until the node is ready.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lograft_core::acl::Principal;
use lograft_core::limits::{
    PREPARE_STOP_POLL_INTERVAL, PREPARE_STOP_TRANSFER_MAX, PREPARE_STOP_TRANSFERS_MAX_COUNT,
    STOP_REST_MAX, STOP_REST_RENEW_MAX,
};
use lograft_core::metadata::Command;
use lograft_core::{GroupId, NodeId, NodeState};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use super::cluster_report::ClusterReporter;
use super::leader_transfer::LeaderTransfer;
use super::stop_check::{StopCheck, check_stop};
use crate::clock::Clock;
use crate::error_text::error_chain;
use crate::serving::meta_group::{MetaHandle, MetaProposal, ProposeMetaError};
use crate::state_machine::MetaView;

/// Error of preparing a stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StopError {
    /// The metadata has no such node.
    #[error("node {0} not found")]
    UnknownNode(NodeId),
    /// The metadata cannot be changed.
    #[error(transparent)]
    Propose(ProposeMetaError),
}

/// Prepares stops of nodes.
#[derive(Clone)]
pub(crate) struct StopPreparation {
    pub(crate) view: MetaView,
    pub(crate) cluster: Arc<ClusterReporter>,
    pub(crate) transfers: LeaderTransfer,
    pub(crate) proposer: MetaHandle,
    pub(crate) clock: Arc<dyn Clock>,
}

impl StopPreparation {
    /// Checks whether a node may be stopped, and transfers its leaderships if all majorities
    /// survive. Returns within about `PREPARE_STOP_TRANSFER_MAX`. May be repeated.
    pub(crate) async fn prepare(
        &self,
        node: NodeId,
        by: &Arc<Principal>,
    ) -> Result<StopCheck, StopError> {
        let state = self.view.load().node(node).map(|node| node.state);
        match state {
            None => return Err(StopError::UnknownNode(node)),
            Some(NodeState::Removed) => return Ok(StopCheck::default()),
            Some(NodeState::Active | NodeState::Draining) => {}
        }
        let mut check = self.check(node).await;
        // Leaderships stay where they are while the node may not be stopped: moving them would
        // interrupt clients for nothing.
        if !check.keeps_majorities() {
            return Ok(check);
        }
        let deadline = Instant::now() + PREPARE_STOP_TRANSFER_MAX;
        self.rest(node, by).await.map_err(StopError::Propose)?;
        // A new leader needs a moment until it can serve and knows the progress of its followers.
        while !check.is_ready() && Instant::now() < deadline {
            if check.keeps_majorities() {
                let transferred = self.transfer_all(&check.leads);
                if timeout_at(deadline, transferred).await.is_err() {
                    debug!(node_id = %node, "leadership transfer timed out");
                }
            } else {
                sleep(PREPARE_STOP_POLL_INTERVAL).await;
            }
            check = self.check(node).await;
        }
        if check.is_ready() {
            info!(node_id = %node, "node leads no groups and may be stopped");
        }
        Ok(check)
    }

    async fn check(&self, node: NodeId) -> StopCheck {
        let reports = self.cluster.collect().await;
        check_stop(&self.view.load(), &reports, node)
    }

    /// Excludes the node from the balancing of leaders for a while: preferred leaderships would
    /// otherwise return to it before it is stopped.
    async fn rest(&self, node: NodeId, by: &Arc<Principal>) -> Result<(), ProposeMetaError> {
        let now_ms = self.clock.now_ms();
        let metadata = self.view.load();
        let left = metadata
            .node(node)
            .and_then(|node| node.rests_for(now_ms))
            .unwrap_or(Duration::ZERO);
        if left > STOP_REST_RENEW_MAX {
            return Ok(());
        }
        let rest_ms = i64::try_from(STOP_REST_MAX.as_millis()).unwrap_or(i64::MAX);
        let until_ms = now_ms.saturating_add(rest_ms);
        let command = Command::RestNode { node, until_ms };
        self.proposer
            .propose(MetaProposal::of(by, command))
            .await
            .map(drop)
    }

    /// The meta group is transferred last: the other transfers need its leader.
    async fn transfer_all(&self, leads: &[(GroupId, NodeId)]) {
        let is_meta = |lead: &&(GroupId, NodeId)| lead.0 == GroupId::META;
        let partitions = leads.iter().filter(|lead| !is_meta(lead));
        stream::iter(partitions)
            .for_each_concurrent(PREPARE_STOP_TRANSFERS_MAX_COUNT, async |lead| {
                self.transfer(*lead).await;
            })
            .await;
        if let Some(lead) = leads.iter().find(is_meta) {
            self.transfer(*lead).await;
        }
    }

    async fn transfer(&self, (group, to): (GroupId, NodeId)) {
        if let Err(error) = self.transfers.transfer(group, to).await {
            let error = error_chain(&error);
            debug!(%group, to_node_id = %to, error, "cannot transfer leadership");
        }
    }
}
