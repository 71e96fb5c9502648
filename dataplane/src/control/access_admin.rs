//! Changes of the authorization rules and of the revocations.

use std::sync::Arc;

use lograft_core::acl::{Principal, RevocationChange, RuleChange};
use lograft_core::metadata::Command;

use crate::clock::Clock;
use crate::error::ApiError;
use crate::serving::meta_group::{MetaHandle, MetaProposal};
use crate::state_machine::MetaView;

/// Changes who may do what. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AccessAdmin {
    pub(crate) view: MetaView,
    pub(crate) proposer: MetaHandle,
    pub(crate) clock: Arc<dyn Clock>,
}

impl AccessAdmin {
    /// Changes rules. Returns their number afterwards.
    pub(crate) async fn change_rules(
        &self,
        changes: Vec<RuleChange>,
        by: &Arc<Principal>,
    ) -> Result<usize, ApiError> {
        let command = Command::ChangeRules {
            changes,
            changed_by: (**by).clone(),
            changed_at_ms: self.clock.now_ms(),
        };
        self.proposer.propose(MetaProposal::of(by, command)).await?;
        Ok(self.view.load().rules().len())
    }

    /// Changes which certificates are revoked.
    pub(crate) async fn change_revocations(
        &self,
        changes: Vec<RevocationChange>,
        by: &Arc<Principal>,
    ) -> Result<(), ApiError> {
        let command = Command::ChangeRevocations {
            changes,
            changed_by: (**by).clone(),
            changed_at_ms: self.clock.now_ms(),
        };
        self.proposer.propose(MetaProposal::of(by, command)).await?;
        Ok(())
    }
}
