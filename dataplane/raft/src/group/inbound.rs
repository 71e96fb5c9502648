//! Requests from the group's replicas on other nodes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use lograft_core::{DiskMark, EntryKind};
use lograft_storage::{Checkpoint, GroupLog};
use openraft::raft::AppendEntriesRequest;

use super::RaftGroup;
use super::contact::{LeaderContact, Progress};
use crate::convert::{log_id_from_raft, vote_from_raft, vote_to_raft};
use crate::error::RaftError;
use crate::membership::encode_membership;
use crate::network::wire_form::{
    reply_from_raft, request_to_raft, transfer_reply_from_raft, transfer_to_raft, vote_to_request,
};
use crate::snapshot::to_snapshot;
use crate::types::Types;
use crate::vote_fence::VoteFence;
use crate::wire::{
    AppendReply, AppendRequest, SnapshotReply, SnapshotRequest, TransferReply, TransferRequest,
    VoteReply, VoteRequest,
};

impl RaftGroup {
    /// Handles a leader's append stream. The CRC of each payload is checked here, and nowhere else
    /// on this node. The replies are in the order of the requests and end with the first conflict,
    /// higher vote or error; `requests` is dropped then, at its next item at the latest.
    pub fn on_append_stream<S>(
        &self,
        requests: S,
    ) -> BoxStream<'static, Result<AppendReply, RaftError>>
    where
        S: Stream<Item = AppendRequest> + Send + 'static,
    {
        let failure = RequestFailure::default();
        let contact = self.inner.contact.clone();
        let fence = self.inner.fence.clone();
        let raft = self.inner.raft.clone();
        let checked = CheckedRequests {
            requests: Box::pin(requests),
            contact: contact.clone(),
            log: self.inner.log.clone(),
            fence: fence.clone(),
            failure: failure.clone(),
        };
        let replies = self
            .inner
            .raft
            .stream_append(checked)
            .map(move |result| match result {
                // Checked again: the replica may have been fenced since the request.
                Ok(_) if !fence.stage().takes_entries() => Err(RaftError::Fenced),
                Ok(result) => {
                    let reply = reply_from_raft(&result);
                    contact.on_reply(&reply, Progress::of(&raft));
                    Ok(reply)
                }
                Err(_) => Err(RaftError::Stopped),
            });
        let failure = stream::once(async move { failure.take() });
        replies
            .chain(failure.filter_map(|error| std::future::ready(error.map(Err))))
            .boxed()
    }

    /// Handles a leader's heartbeat or probe.
    ///
    /// Fails if an entry is corrupt or malformed, or with [`RaftError::Fenced`] or
    /// [`RaftError::Stopped`].
    pub async fn on_heartbeat(&self, request: AppendRequest) -> Result<AppendReply, RaftError> {
        self.inner.fence.check_takes_from(request.vote.term)?;
        self.inner.contact.on_request(&request);
        let request = request_to_raft(request)?;
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let response = self
            .inner
            .raft
            .append_entries(request)
            .await
            .map_err(|_| RaftError::Stopped)?;
        self.inner.fence.check_takes_entries()?;
        if response.is_conflict() && prev.is_none() {
            // A request that starts with the first entry has no predecessor to conflict with.
            return Err(RaftError::Stopped);
        }
        let reply = reply_from_raft(&response.into_stream_result(prev, last));
        let progress = Progress::of(&self.inner.raft);
        self.inner.contact.on_reply(&reply, progress);
        Ok(reply)
    }

    /// Handles a candidate's vote or pre-vote request. Fails with [`RaftError::Fenced`] or
    /// [`RaftError::Stopped`].
    pub async fn on_vote(&self, request: VoteRequest) -> Result<VoteReply, RaftError> {
        self.check_fence()?;
        // openraft answers a granted vote only after `LogStore::save_vote` has flushed it. A
        // pre-vote changes nothing and is not written.
        let pre_vote = request.pre_vote;
        let request = vote_to_request(&request);
        let response = if pre_vote {
            self.inner.raft.pre_vote(request).await
        } else {
            self.inner.raft.vote(request).await
        };
        let response = response.map_err(|_| RaftError::Stopped)?;
        // A vote that was granted while the replica was fenced is not delivered, so it counts for
        // nobody.
        self.inner.fence.check_lifted()?;
        Ok(VoteReply {
            vote: vote_from_raft(&response.vote),
            granted: response.vote_granted,
            last: response.last_log_id.as_ref().map(log_id_from_raft),
        })
    }

    /// Installs a leader's snapshot and replies when it is on disk.
    ///
    /// Fails with [`RaftError::EntryMalformed`] if its membership does not decode, or with
    /// [`RaftError::Fenced`] or [`RaftError::Stopped`].
    pub async fn on_snapshot(&self, request: SnapshotRequest) -> Result<SnapshotReply, RaftError> {
        let SnapshotRequest { vote, snapshot } = request;
        self.inner.fence.check_takes_from(vote.term)?;
        tracing::info!(group = %self.group(), last = %snapshot.last, "installing snapshot");
        let index = snapshot.last.index;
        let checkpoint = Checkpoint {
            last: snapshot.last,
            next_offset: snapshot.next_offset,
            membership: encode_membership(&snapshot.membership),
            membership_id: snapshot.membership_id,
            state: snapshot.state,
        };
        let snapshot = to_snapshot(checkpoint).map_err(|error| RaftError::EntryMalformed {
            index,
            source: error.into(),
        })?;
        let installed = self
            .inner
            .raft
            .install_full_snapshot(vote_to_raft(vote), snapshot)
            .await;
        let response = installed.map_err(|_| RaftError::Stopped)?;
        Ok(SnapshotReply {
            vote: vote_from_raft(&response.vote),
        })
    }

    /// Handles the leader's request to transfer its leadership. Fails with [`RaftError::Fenced`] or
    /// [`RaftError::Stopped`].
    pub async fn on_transfer_leader(
        &self,
        request: TransferRequest,
    ) -> Result<TransferReply, RaftError> {
        self.check_fence()?;
        let request = transfer_to_raft(request);
        match self.inner.raft.handle_transfer_leader(request).await {
            Ok(reply) => Ok(transfer_reply_from_raft(&reply)),
            Err(_) => Err(RaftError::Stopped),
        }
    }
}

/// The error that ended the requests early, if any.
#[derive(Clone, Default)]
struct RequestFailure(Arc<Mutex<Option<RaftError>>>);

impl RequestFailure {
    fn set(&self, error: RaftError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take(&self) -> Option<RaftError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Refuses records while the disk is full.
// The replica stays a follower: it answers heartbeats, votes, and takes entries without records. It
// acknowledges nothing that it does not have, so the leader sees a follower that lags. Once the
// leader has purged the entries that it missed, it gets a snapshot, which empties its log.
fn check_room(log: &GroupLog, request: &AppendRequest) -> Result<(), RaftError> {
    let mut kinds = request.entries.iter().map(|entry| entry.proposal.kind);
    if log.disk_mark() == DiskMark::Full && kinds.any(|kind| kind == EntryKind::Records) {
        return Err(RaftError::NoRoom);
    }
    Ok(())
}

/// The requests up to the first with a corrupt or malformed entry. The next one is taken only once
/// there is room for unflushed entries: a slow disk slows down the leader's stream through its
/// flow control, instead of filling the memory.
struct CheckedRequests<S> {
    requests: Pin<Box<S>>,
    contact: LeaderContact,
    log: GroupLog,
    fence: VoteFence,
    failure: RequestFailure,
}

impl<S> Stream for CheckedRequests<S>
where
    S: Stream<Item = AppendRequest>,
{
    type Item = AppendEntriesRequest<Types>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        ready!(self.log.write_budget().poll_room(cx));
        self.requests.as_mut().poll_next(cx).map(|request| {
            let request = request?;
            self.contact.on_request(&request);
            // All entries are refused while the replica is fenced and has no target.
            let admitted = self
                .fence
                .check_takes_from(request.vote.term)
                .and_then(|()| check_room(&self.log, &request))
                .and_then(|()| request_to_raft(request));
            match admitted {
                Ok(request) => Some(request),
                Err(error) => {
                    self.failure.set(error);
                    None
                }
            }
        })
    }
}
