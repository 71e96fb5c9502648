//! Shutdown of replicas and logs, and its time limit.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use lograft_core::GroupId;
use lograft_core::limits::STOP_REPLICAS_MAX;
use lograft_raft::RaftGroup;
use lograft_storage::Storage;
use tracing::warn;

use super::error::RunError;
use crate::error_text::error_chain;
use crate::serving::replica::ReplicaMap;

/// Stops every replica.
pub(super) async fn shut_down(replicas: &ReplicaMap) {
    let rafts = replicas.rafts();
    let ended = join_all(rafts.iter().map(RaftGroup::shutdown));
    if tokio::time::timeout(STOP_REPLICAS_MAX, ended)
        .await
        .is_err()
    {
        warn!("replicas did not stop in time");
    }
}

/// Closes every log, which flushes unacknowledged entries too, so that recovery reads less. No
/// acknowledged record depends on it.
pub(super) async fn flush(replicas: &ReplicaMap, storage: Storage) {
    let mut groups: Vec<GroupId> = replicas.all().keys().copied().collect();
    groups.extend(replicas.meta().map(|_| GroupId::META));
    let close_all = move || {
        for group in groups {
            if let Err(error) = storage.close_group(group) {
                warn!(%group, error = %error_chain(&error), "cannot close the log");
            }
        }
    };
    let closed = tokio::task::spawn_blocking(close_all);
    if tokio::time::timeout(STOP_REPLICAS_MAX, closed)
        .await
        .is_err()
    {
        warn!("logs were not flushed in time");
    }
}

/// Waits for `stopping`, for at most `longest`, and no longer than until `again`.
pub(super) async fn within(
    longest: Duration,
    stopping: impl Future<Output = ()>,
    again: impl Future<Output = ()>,
) -> Result<(), RunError> {
    tokio::select! {
        biased;
        () = stopping => Ok(()),
        () = again => Err(RunError::CutShort),
        () = tokio::time::sleep(longest) => Err(RunError::StopTimeout { longest }),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use lograft_core::limits::{
        STOP_CONNECTIONS_MAX, STOP_CUT_MAX, STOP_MAX, STOP_RUNTIME_MAX, STOP_TRANSFER_AGAIN_MAX,
        STOP_TRANSFER_MAX,
    };
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_by_itself_by_a_second_word_or_by_its_bound() {
        let longest = Duration::from_secs(10);
        let ended = within(longest, ready(()), pending()).await;
        assert!(ended.is_ok());
        let ended = within(longest, pending(), sleep(Duration::from_secs(1))).await;
        assert!(matches!(ended, Err(RunError::CutShort)), "{ended:?}");
        let begun = Instant::now();
        let ended = within(longest, pending(), pending()).await;
        assert!(
            matches!(ended, Err(RunError::StopTimeout { .. })),
            "{ended:?}"
        );
        assert_eq!(begun.elapsed(), longest);
    }

    #[test]
    fn the_bound_is_longer_than_its_parts_and_far_below_a_pods_grace() {
        let parts = STOP_TRANSFER_MAX
            + STOP_CONNECTIONS_MAX
            + STOP_CUT_MAX
            + STOP_TRANSFER_AGAIN_MAX
            + STOP_REPLICAS_MAX * 2
            + STOP_CUT_MAX;
        assert!(parts < STOP_MAX, "{parts:?}");
        assert!((STOP_MAX + STOP_RUNTIME_MAX) * 2 < Duration::from_mins(1));
        // Clouds take a spot host 30 s after their notice, or later.
        let spot_notice = Duration::from_secs(30);
        assert!(STOP_MAX + STOP_RUNTIME_MAX < spot_notice);
    }
}
