//! What a LogCluster says of itself: the parts of its status, and its events.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use lograft_crds::LogClusterStatus;
use lograft_crds::log_cluster::Blocked;

use crate::sandbox::{Sandbox, await_condition};

/// The first entry in `status.blocked` with this reason.
pub(super) fn blocked_for<'a>(status: &'a LogClusterStatus, reason: &str) -> Option<&'a Blocked> {
    status.blocked.iter().find(|entry| entry.reason == reason)
}

/// The condition of this type.
pub(super) fn condition<'a>(
    status: &'a LogClusterStatus,
    kind: &str,
) -> anyhow::Result<&'a Condition> {
    let mut conditions = status.conditions.iter();
    let condition = conditions.find(|condition| condition.type_ == kind);
    condition.with_context(|| format!("no condition {kind}"))
}

/// The Warning event with this reason. Fails unless there is one, with the time of its last
/// occurrence.
pub(super) async fn one_warning(sandbox: &Sandbox, reason: &str) -> anyhow::Result<Event> {
    let mut events = warnings(sandbox, reason).await?;
    ensure!(events.len() == 1, "{events:#?}");
    let event = events.remove(0);
    ensure!(event.last_timestamp.is_some(), "{event:#?}");
    Ok(event)
}

/// Waits for the Warning event with this reason.
pub(super) async fn await_warning(sandbox: &Sandbox, reason: &str) -> anyhow::Result<Event> {
    await_condition(&format!("the warning {reason}"), || async {
        Ok(warnings(sandbox, reason).await?.pop())
    })
    .await
}

async fn warnings(sandbox: &Sandbox, reason: &str) -> anyhow::Result<Vec<Event>> {
    let own = ListParams::default().fields(&format!("type=Warning,reason={reason}"));
    Ok(sandbox.api::<Event>().list(&own).await?.items)
}
