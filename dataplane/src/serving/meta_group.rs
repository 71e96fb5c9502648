//! The way to the meta group, which changes the cluster's metadata. `control` implements it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use lograft_core::acl::Principal;
use lograft_core::metadata::{Command, MetaError, Outcome};
use lograft_core::{GroupId, NodeId, Reason, Term};

use crate::error::ApiError;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProposeMetaError {
    /// The meta group refused the command; nothing changed.
    #[error("metadata command refused")]
    Refused(#[source] MetaError),
    /// The node that leads the meta group refused the command with an error of its API, possibly
    /// one of a later version.
    #[error(transparent)]
    RefusedElsewhere(Box<ApiError>),
    /// The command did not reach the meta group, or its result did not come back.
    #[error("{text}")]
    Unavailable {
        /// The reason for the client.
        reason: Reason,
        /// A sentence for people.
        text: String,
    },
}

impl From<ProposeMetaError> for ApiError {
    fn from(error: ProposeMetaError) -> Self {
        match error {
            ProposeMetaError::Refused(error) => error.into(),
            ProposeMetaError::RefusedElsewhere(error) => *error,
            ProposeMetaError::Unavailable { reason, text } => Self::new(reason, text),
        }
    }
}

/// A command to propose.
#[derive(Clone, Debug)]
pub(crate) struct MetaProposal {
    pub(crate) command: Command,
    /// The principal whose request the command carries out; none for the work of the node itself.
    /// The leader's node checks its right too.
    pub(crate) on_behalf_of: Option<Arc<Principal>>,
}

impl MetaProposal {
    /// A command that carries out a request of a principal.
    pub(crate) fn of(principal: &Arc<Principal>, command: Command) -> Self {
        Self {
            command,
            on_behalf_of: Some(Arc::clone(principal)),
        }
    }
}

impl From<Command> for MetaProposal {
    /// The work of the node itself.
    fn from(command: Command) -> Self {
        Self {
            command,
            on_behalf_of: None,
        }
    }
}

/// Proposes commands to the meta group, wherever its leader is.
pub(crate) trait ProposeMeta: Send + Sync + 'static {
    /// Commits a command. Returns once this node has applied it too, so that a read of the metadata
    /// that follows sees the change. `Unavailable` with TIMEOUT means that the outcome is unknown.
    fn propose(&self, proposal: MetaProposal) -> BoxFuture<'_, Result<Outcome, ProposeMetaError>>;

    /// Whether this node's copy of the metadata is current: it has been caught up since the start,
    /// and is at most `limits::METADATA_AGE_MAX` old. NOT_READY if it is not.
    fn check_current(&self) -> Result<(), ApiError>;
}

/// Proposes commands to the meta group. Cheap to clone.
pub(crate) type MetaHandle = Arc<dyn ProposeMeta>;

/// Leaders of groups without a replica on this node, by hints from other nodes. They may be stale.
pub(crate) trait LeaderHints: Send + Sync + 'static {
    /// The leader of a group and the term that it leads in.
    fn leader(&self, group: GroupId) -> Option<(NodeId, Term)>;
}
