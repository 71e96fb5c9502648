//! Requests, pauses and describes the balancing of replicas.

use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::metadata::{Command, Metadata};
use lograft_core::rebalance::Plan;

use super::cluster_report::ClusterReporter;
use super::rebalancing::NodeJudge;
use crate::blocking::run_blocking;
use crate::error::ApiError;
use crate::serving::meta_group::{MetaHandle, MetaProposal};
use crate::state_machine::MetaView;

/// Administers the balancing. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RebalanceAdmin {
    pub(crate) view: MetaView,
    pub(crate) proposer: MetaHandle,
    pub(crate) cluster: Arc<ClusterReporter>,
    pub(crate) judge: NodeJudge,
}

/// A request of an administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RebalanceAction {
    /// Only describe it.
    Plan,
    /// Start it.
    Start,
    /// Start no more moves.
    Pause,
    /// Continue.
    Resume,
}

/// The balancing and what is left of it.
#[derive(Clone, Debug)]
pub(crate) struct RebalanceDescription {
    /// The metadata from which the plan was made.
    pub(crate) metadata: Arc<Metadata>,
    /// The steps that are left, those in progress aside.
    pub(crate) plan: Plan,
}

impl RebalanceAdmin {
    /// Carries out a request, and describes what is left.
    pub(crate) async fn run(
        &self,
        action: RebalanceAction,
        by: &Arc<Principal>,
    ) -> Result<RebalanceDescription, ApiError> {
        let command = match action {
            RebalanceAction::Plan => None,
            RebalanceAction::Start => Some(Command::StartRebalance),
            RebalanceAction::Pause => Some(Command::PauseRebalance { is_paused: true }),
            RebalanceAction::Resume => Some(Command::PauseRebalance { is_paused: false }),
        };
        if let Some(command) = command {
            self.proposer.propose(MetaProposal::of(by, command)).await?;
        }
        let reports = self.cluster.collect().await;
        let metadata = self.view.load();
        let (judge, planned) = (self.judge.clone(), Arc::clone(&metadata));
        let plan = run_blocking(move || {
            let size = |group| reports.leader(group).map(|(_, replica)| replica.bytes);
            judge.plan(&planned, size)
        });
        let plan = plan.await.unwrap_or_default();
        Ok(RebalanceDescription { metadata, plan })
    }
}
