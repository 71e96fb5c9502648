//! The hand-over of partitions that move to other members.

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::group::commits::{GroupHandle, Offsets};
use crate::group::membership::{Membership, Progress};
use crate::group::partition::GroupPartition;

/// Gives up revoked partitions, after the last commit if commits are automatic. Returns those that
/// the member has got back meanwhile.
pub(super) async fn hand_over(handle: GroupHandle, revocation: u64) -> Vec<GroupPartition> {
    let config = &handle.calls.config;
    if config.auto_commit.is_some() {
        // Half of the time is left for the acknowledgement.
        let within = config.rebalance_timeout / 2;
        let commit = handle.request(Offsets::All(Progress::Processed));
        let failed = match timeout(within, commit).await {
            // The member closes: its last commit has these partitions too.
            Ok(Err(_)) if handle.shared.is_stopping() => return Vec::new(),
            Ok(committed) => committed.err().map(|error| error.to_string()),
            Err(_) => Some(format!("no answer within {within:?}")),
        };
        if let Some(error) = failed {
            // The next owner processes these records again.
            let group = &config.group;
            tracing::warn!(%group, %error, "commit before hand-over failed");
        }
    }
    let finish = |membership: &mut Membership| membership.finish_revoke(revocation);
    let kept = handle.shared.with(finish);
    handle.shared.wake();
    kept
}

/// Waits for the end of a hand-over; without one, for ever. Cancel safe.
pub(super) async fn handed_over(
    handing_over: &mut Option<JoinHandle<Vec<GroupPartition>>>,
) -> Vec<GroupPartition> {
    match handing_over {
        // A task that was ended with its runtime has nothing to go on with.
        Some(task) => task.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}
