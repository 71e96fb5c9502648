//! Conversions between the core's types and openraft's. Payload bytes are shared, never copied.

use bytes::Bytes;
use lograft_core::{Entry, EntryKind, LogId, LogIndex, Membership, Offset, Proposal, Term, Vote};
use openraft::EntryPayload;

use crate::membership::{MembershipCodecError, decode_membership, encode_membership};
use crate::types::{
    AppData, CommittedLeaderId, RaftEntry, RaftLogId, RaftMembership, RaftStoredMembership,
    RaftVote,
};

pub(crate) fn log_id_from_raft(id: &RaftLogId) -> LogId {
    LogId {
        term: Term(id.committed_leader_id().term),
        index: LogIndex(id.index()),
    }
}

pub(crate) fn log_id_to_raft(id: LogId) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(id.term.get()), id.index.get())
}

pub(crate) fn vote_from_raft(vote: &RaftVote) -> Vote {
    Vote {
        term: Term(vote.leader_id.term),
        voted_for: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn vote_to_raft(vote: Vote) -> RaftVote {
    let Vote {
        term,
        voted_for,
        committed,
    } = vote;
    if committed {
        RaftVote::new_committed(term.get(), voted_for)
    } else {
        RaftVote::new(term.get(), voted_for)
    }
}

/// Converts an entry for the log or for a peer. Its fence is dropped.
pub(crate) fn entry_from_raft(entry: RaftEntry) -> Entry {
    let id = log_id_from_raft(&entry.log_id);
    match entry.payload {
        EntryPayload::Blank => Entry {
            id,
            base_offset: Offset::ZERO,
            proposal: Proposal::control(EntryKind::Blank, 0, Bytes::new()),
        },
        EntryPayload::Membership(membership) => Entry {
            id,
            base_offset: Offset::ZERO,
            proposal: Proposal::control(
                EntryKind::Membership,
                0,
                encode_membership(&membership_from_raft(&membership)),
            ),
        },
        EntryPayload::Normal(AppData {
            proposal,
            base_offset,
            fence: _,
        }) => Entry {
            id,
            base_offset,
            proposal,
        },
    }
}

/// Converts an entry from the log or from a peer. Fails if its membership does not decode.
pub(crate) fn entry_to_raft(entry: Entry) -> Result<RaftEntry, MembershipCodecError> {
    let Entry {
        id,
        base_offset,
        proposal,
    } = entry;
    let payload = match proposal.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Membership => {
            EntryPayload::Membership(membership_to_raft(&decode_membership(&proposal.payload)?))
        }
        EntryKind::Records | EntryKind::Command | EntryKind::Trim => {
            EntryPayload::Normal(AppData {
                proposal,
                base_offset,
                fence: None,
            })
        }
    };
    Ok(RaftEntry {
        log_id: log_id_to_raft(id),
        payload,
    })
}

pub(crate) fn membership_from_raft(membership: &RaftMembership) -> Membership {
    let mut configs = membership.get_joint_config().iter().cloned();
    Membership {
        voters: configs.next().unwrap_or_default(),
        joint: configs.next(),
        learners: membership.learner_ids().collect(),
    }
}

pub(crate) fn membership_to_raft(membership: &Membership) -> RaftMembership {
    let Membership {
        voters,
        joint,
        learners,
    } = membership;
    let mut configs = Vec::with_capacity(2);
    if !voters.is_empty() || joint.is_some() {
        configs.push(voters.clone());
    }
    configs.extend(joint.clone());
    RaftMembership::new_with_defaults(configs, learners.iter().copied())
}

pub(crate) fn stored_membership(
    id: Option<LogId>,
    membership: &Membership,
) -> RaftStoredMembership {
    RaftStoredMembership::new(id.map(log_id_to_raft), membership_to_raft(membership))
}
