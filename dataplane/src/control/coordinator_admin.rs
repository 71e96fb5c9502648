//! Creates the coordinators of consumer groups, at their first use: a cluster without groups does
//! not pay for them.

use futures_util::future::BoxFuture;
use lograft_core::limits::{
    COORDINATOR_REPLICAS_MAX_COUNT, COORDINATORS_COUNT, TOPIC_ASSIGNMENT_ATTEMPTS_MAX_COUNT,
};
use lograft_core::metadata::{Command, MetaError, Metadata};

use super::placement::Placement;
use crate::error::ApiError;
use crate::serving::consumer_groups::CreateCoordinators;
use crate::serving::meta_group::{MetaHandle, ProposeMetaError};
use crate::state_machine::MetaView;

/// Creates coordinators. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CoordinatorAdmin {
    pub(crate) view: MetaView,
    pub(crate) proposer: MetaHandle,
    pub(crate) placement: Placement,
}

impl CreateCoordinators for CoordinatorAdmin {
    fn create(&self) -> BoxFuture<'_, Result<(), ApiError>> {
        Box::pin(async {
            let mut attempts = 1;
            loop {
                let command = self.command(&self.view.load())?;
                match self.proposer.propose(command.into()).await {
                    Ok(_) => return Ok(()),
                    // A node was decommissioned in the meantime: they are placed again.
                    Err(ProposeMetaError::Refused(MetaError::NodeDecommissioned { .. }))
                        if attempts < TOPIC_ASSIGNMENT_ATTEMPTS_MAX_COUNT =>
                    {
                        attempts += 1;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        })
    }
}

impl CoordinatorAdmin {
    fn command(&self, metadata: &Metadata) -> Result<Command, ApiError> {
        let nodes = u32::try_from(metadata.active_nodes().count()).unwrap_or(u32::MAX);
        let factor = nodes.clamp(1, COORDINATOR_REPLICAS_MAX_COUNT);
        let assignment = self.placement.place(metadata, COORDINATORS_COUNT, factor)?;
        Ok(Command::CreateCoordinators { assignment })
    }
}
