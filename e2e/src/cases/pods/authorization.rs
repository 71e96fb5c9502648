//! Users under load while rules change, other users are deleted, and all certificates and the CA
//! are replaced.

mod certificates;
mod guests;
mod served;
mod turmoil;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lograft_client::Client;
use serde_json::json;

use self::certificates::Replaced;
use self::guests::Guest;
use self::served::ServedUser;
use self::turmoil::{GUEST_TOPIC, Turmoil};
use super::users::create_topics;
use super::{pod_incarnations, ready};
use crate::cases::users;
use crate::chart::Chart;
use crate::pod_client::Credentials;
use crate::sandbox::Sandbox;
use crate::user_load::{check_written, read_all};

/// The users that stay, each with a topic of its name.
const USERS: [&str; 4] = ["mail", "orders", "payments", "stock"];
const SECONDS: &str = "LOGRAFT_E2E_AUTHORIZATION_SECONDS";
/// Default duration, seconds.
const SECONDS_DEFAULT: u64 = 60;

/// Rules change, users are deleted, and certificates and CA are replaced, all at once: no request
/// of another user fails, no pod restarts, and a deleted user has no record acknowledged two
/// seconds later.
pub(in crate::cases) async fn users_are_served_while_others_are_deleted_and_certificates_replaced(
    sandbox: &Sandbox,
    chart: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    create_topics(sandbox, &USERS).await?;
    create_topics(sandbox, &[GUEST_TOPIC]).await?;
    let admin = Credentials::of_admin(sandbox).await?;
    let mut served = Vec::new();
    for name in USERS {
        served.push(ServedUser::start(sandbox, name).await?);
    }
    let before = (
        pod_incarnations(sandbox).await?,
        chart.incarnations().await?,
    );
    let turmoil = Turmoil {
        sandbox,
        admin: &admin,
        client: admin.connect().await?,
        users: &served,
        end: Instant::now() + duration()?,
    };
    let found = disturb(&turmoil).await;
    // The writers say more about a failure than a disturbance that could not go on.
    let mut unserved = Vec::new();
    for user in served {
        let name = user.name;
        if let Err(error) = user.finish(sandbox).await {
            unserved.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(
        unserved.is_empty(),
        "{unserved:#?}; disturbances: {found:?}"
    );
    let guests = found?;
    check_guests(&admin.connect().await?, &guests).await?;
    let after = (
        pod_incarnations(sandbox).await?,
        chart.incarnations().await?,
    );
    ensure!(after == before, "{before:?} became {after:?}");
    let restarts = after.0.values().chain(after.1.values());
    let restarts: i32 = restarts.map(|(_, restarts)| restarts).sum();
    sandbox.report_figure(format!(
        "{restarts} restarts of containers, all pods the same"
    ));
    for name in USERS {
        users::reason(sandbox, name, "Applied").await?;
    }
    Ok(())
}

fn duration() -> anyhow::Result<Duration> {
    let seconds = std::env::var(SECONDS).map_or(Ok(SECONDS_DEFAULT), |text| text.parse());
    let seconds = seconds.with_context(|| format!("{SECONDS} is no number"))?;
    Ok(Duration::from_secs(seconds))
}

/// Runs all disturbances until the end. Returns the deleted users.
async fn disturb(turmoil: &Turmoil<'_>) -> anyhow::Result<Vec<Guest>> {
    let calls = turmoil
        .users
        .iter()
        .map(|user| user.call_until(turmoil.end));
    let (rules, replaced, guests, calls) = tokio::try_join!(
        turmoil.change_rules(),
        turmoil.replace_certificates(),
        turmoil.delete_guests(),
        futures_util::future::try_join_all(calls),
    )?;
    let Replaced {
        leaves,
        loaded,
        generations,
    } = replaced;
    turmoil.sandbox.report_figure(format!(
        "{rules} changes of rules, {} users deleted, {leaves} rotations of all leaves ({loaded} \
         loaded by all nodes before the next), {generations} generations of the CA passed, {} \
         calls by new clients",
        guests.len(),
        calls.iter().sum::<u32>()
    ));
    ensure!(
        rules > 0 && loaded > 0 && generations > 0 && !guests.is_empty(),
        "too short for every disturbance"
    );
    Ok(guests)
}

/// Fails unless every acknowledged record of the deleted users is in their topic once and in order.
async fn check_guests(admin: &Client, guests: &[Guest]) -> anyhow::Result<()> {
    let all = read_all(admin, GUEST_TOPIC).await?;
    for guest in guests {
        check_written(&all, &guest.name, guest.acked_count)?;
    }
    Ok(())
}
