//! The way to the meta group, which changes the cluster's metadata.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use lograft_core::metadata::{Command, MetaError, Outcome};
use lograft_core::{GroupId, NodeId, Reason, Term};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ProposeMetaError {
    /// The meta group refused it; nothing changed.
    #[error("the command was refused")]
    Refused(#[source] MetaError),
    /// It did not get through, or its answer did not.
    #[error("{text}")]
    Unavailable {
        /// What a client is told.
        reason: Reason,
        /// A sentence for people.
        text: String,
    },
}

/// Puts commands before the meta group, wherever its leader is.
pub trait ProposeMeta: Send + Sync + 'static {
    /// Carries out a command; returns once this node has applied it too.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, ProposeMetaError>>;
}

/// Puts commands before the meta group. Cheap to clone.
pub type MetaHandle = Arc<dyn ProposeMeta>;

/// Who leads the groups that have no replica on this node, as far as it has heard.
pub trait LeaderHints: Send + Sync + 'static {
    /// The leader of a group and the term that it leads in.
    fn leader(&self, group: GroupId) -> Option<(NodeId, Term)>;
}
