//! Users that write for a short time and are then deleted.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use kube::api::DeleteParams;
use lograft_crds::LogUser;
use serde_json::json;

use super::turmoil::{GUEST_TOPIC, Turmoil};
use crate::cases::pods::users::{allow, await_revoked, check_last, create_user};
use crate::user_load::Writer;

/// Interval between two users.
const INTERVAL: Duration = Duration::from_secs(20);
/// Acknowledged records after which a user is deleted.
const RECORDS: u64 = 100;

/// A user that was deleted.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) name: String,
    /// Number of its acknowledged records.
    pub(super) acked_count: u64,
    /// Time from the revocation to the last acknowledgement.
    after_revocation: Duration,
    /// Time from the request to delete it to the last acknowledgement.
    after_request: Duration,
}

impl Turmoil<'_> {
    /// Deletes one user after the other while it writes. Fails if one writes too long.
    pub(super) async fn delete_guests(&self) -> anyhow::Result<Vec<Guest>> {
        let mut guests = Vec::new();
        let mut next = Instant::now();
        while next < self.end {
            tokio::time::sleep_until(next.into()).await;
            let name = format!("guest-{}", guests.len());
            let guest = self.delete_guest(&name).await;
            guests.push(guest.with_context(|| name.clone())?);
            next = (next + INTERVAL).max(Instant::now());
        }
        let longest = |of: fn(&Guest) -> Duration| guests.iter().map(of).max().unwrap_or_default();
        self.sandbox.report_figure(format!(
            "last acknowledgement of a deleted user at most {} ms after its revocation, {} ms \
             after the request to delete it",
            longest(|guest| guest.after_revocation).as_millis(),
            longest(|guest| guest.after_request).as_millis()
        ));
        Ok(guests)
    }

    async fn delete_guest(&self, name: &str) -> anyhow::Result<Guest> {
        let rules = json!([allow(&["write"], &format!("topic:{GUEST_TOPIC}"))]);
        let credentials = create_user(self.sandbox, name, rules).await?;
        let client = credentials.connect().await?;
        let writer = Writer::start(&client, GUEST_TOPIC, name).await?;
        writer.await_acked(RECORDS).await?;
        let requested = Instant::now();
        let users = self.sandbox.api::<LogUser>();
        users.delete(name, &DeleteParams::default()).await?;
        let revoked = await_revoked(&self.client, &format!("user/{name}")).await?;
        let (acked, _) = writer.await_refusal().await?;
        let last = acked.last.context("nothing was acknowledged")?;
        Ok(Guest {
            name: name.to_owned(),
            acked_count: acked.count,
            after_revocation: check_last(acked, revoked)?,
            after_request: last.saturating_duration_since(requested),
        })
    }
}
