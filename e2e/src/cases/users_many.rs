//! Many LogUsers of one cluster: time until all are ready, writes at rest, memory.

use std::time::{Duration, Instant};

use anyhow::ensure;
use lograft_crds::LogUser;
use lograft_crds::limits::OPERATOR_TOPICS_MEMORY_MAX_BYTES;
use serde_json::json;

use super::many::{self, is_ready};
use super::rest::AtRest;
use super::topics::cluster;
use super::users::create;
use crate::operator::Operator;
use crate::sandbox::Sandbox;

pub(super) const USERS_COUNT: usize = 200;
/// Lets the status of the last ones be looked at.
pub(super) const SETTLING: Duration = Duration::from_secs(5);
/// How long the users are watched at rest.
const REST: Duration = Duration::from_secs(65);
const MIB: u64 = 1024 * 1024;

/// Creates 200 LogUsers with a rule each.
pub(super) async fn create_all(sandbox: &Sandbox) -> anyhow::Result<()> {
    for number in 0..USERS_COUNT {
        let resource = format!("topic:t{number}.*");
        let rules = json!({"rules": [{"operations": ["read", "write"], "resource": resource}]});
        create(sandbox, &format!("u{number:03}"), rules).await?;
    }
    Ok(())
}

/// Waits until all of them are ready and all nodes are known to apply their rules: each of the two
/// is a write.
pub(super) async fn await_all(sandbox: &Sandbox) -> anyhow::Result<()> {
    let is_applied = |user: &LogUser| {
        let status = user.status.as_ref();
        status.is_some_and(|status| is_ready(&status.conditions) && status.applied_by.len() == 3)
    };
    many::await_all(sandbox, ("all users to be ready", USERS_COUNT), is_applied).await
}

pub(super) async fn two_hundred_users_settle_and_are_quiet(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    operator.stop().await?;
    operator.start()?;
    let started = Instant::now();
    create_all(sandbox).await?;
    await_all(sandbox).await?;
    let ready = started.elapsed();
    tokio::time::sleep(SETTLING).await;
    let before = AtRest::new(sandbox, operator).await?;
    let changes = nodes.calls("change_rules");
    let lists = nodes.calls("list_rules");
    tokio::time::sleep(REST).await;
    let after = AtRest::new(sandbox, operator).await?;
    let writes = after.since(&before, sandbox);
    let reconciles = after.growth(&before, "lograft_operator_user_reconciles_total")?;
    let lists = nodes.calls("list_rules") - lists;
    let peak = operator.peak_memory_bytes()?;
    sandbox.report_figure(format!(
        "{USERS_COUNT} LogUsers ready after {:.1} s; in {} s at rest {reconciles} reconciles, \
         {lists} lists of rules, {} writes; at most {} MiB",
        ready.as_secs_f32(),
        REST.as_secs(),
        writes.own.len(),
        peak / MIB,
    ));
    writes.report_others(sandbox);
    ensure!(changes == USERS_COUNT, "{changes} changes of rules");
    ensure!(nodes.calls("change_rules") == changes, "changes at rest");
    writes.check_none()?;
    ensure!(
        peak < OPERATOR_TOPICS_MEMORY_MAX_BYTES,
        "{peak} bytes of memory"
    );
    Ok(())
}
