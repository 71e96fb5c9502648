//! Makes the replica of a group that lost its majority its only voter.

use std::collections::BTreeSet;

use lograft_core::{
    Entry, EntryKind, LogId, LogIndex, Membership, NodeId, Offset, Proposal, Term, Vote,
};
use lograft_storage::GroupLog;

use crate::error::RaftError;
use crate::flush::flushed;
use crate::membership::encode_membership;

/// Appends a membership with `node` as the only voter to a log whose raft does not run, in a term
/// above all that the replica knows. All entries stay: they are committed once the replica leads.
/// Returns the new entry once it is on disk, and the vote for its term before it.
///
/// MUST be followed by a start in a new recovery epoch: the other replicas know nothing of this
/// entry, and in the same epoch a majority of them would replace it, or vote in its term. May be
/// repeated after a crash. Fails with [`RaftError::Survivor`]; the replica is then stopped or
/// damaged like any other whose log cannot be written.
pub async fn make_only_voter(
    log: &GroupLog,
    node: NodeId,
    now_ms: i64,
) -> Result<LogId, RaftError> {
    let failed = |source: std::io::Error| RaftError::Survivor {
        group: log.id(),
        source: source.into(),
    };
    let last = log.last_id();
    let voted = log.hard_state().vote.map_or(Term::ZERO, |vote| vote.term);
    let term = last.map_or(Term::ZERO, |last| last.term).max(voted);
    let id = LogId {
        term: Term(term.get() + 1),
        index: last.map_or(LogIndex::ZERO, |last| last.index.next()),
    };
    let vote = Vote {
        term: id.term,
        voted_for: node,
        committed: false,
    };
    flushed(|done| log.save_vote(vote, done))
        .await
        .map_err(failed)?;
    let membership = Membership {
        voters: BTreeSet::from([node]),
        joint: None,
        learners: BTreeSet::new(),
    };
    let entry = Entry {
        id,
        base_offset: Offset::ZERO,
        proposal: Proposal::control(
            EntryKind::Membership,
            now_ms,
            encode_membership(&membership),
        ),
    };
    // An error is given to the callback too.
    let append = |done| drop(log.append(vec![entry], done));
    flushed(append).await.map_err(failed)?;
    Ok(id)
}
