//! The disturbances of users: their rules change. The others are in files of their own.

use std::time::{Duration, Instant};

use lograft_client::Client;
use lograft_client::acl::{Effect, Operation, Rule, RuleChange};
use serde_json::json;

use super::served::{ServedUser, own_rule};
use crate::cases::pods::users::allow;
use crate::cases::users;
use crate::pod_client::Credentials;
use crate::sandbox::Sandbox;

/// Topic of the users that are deleted.
pub(super) const GUEST_TOPIC: &str = "guests";
/// Interval between two changes of rules.
const RULES_INTERVAL: Duration = Duration::from_secs(2);

/// All disturbances, side by side.
pub(super) struct Turmoil<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) admin: &'a Credentials,
    pub(super) client: Client,
    pub(super) users: &'a [ServedUser],
    pub(super) end: Instant,
}

impl Turmoil<'_> {
    /// Changes the rules of a LogUser, and rules that belong to none. Returns their number.
    pub(super) async fn change_rules(&self) -> anyhow::Result<u32> {
        let rule = |number: u32| -> anyhow::Result<Rule> {
            Ok(Rule {
                principal: "user/nobody".parse()?,
                effect: Effect::Deny,
                operations: [Operation::Read].into_iter().collect(),
                resource: format!("topic:none.{number}").parse()?,
            })
        };
        let access = self.client.access();
        let mut number = 0_u32;
        for user in self.users.iter().cycle() {
            if Instant::now() >= self.end {
                break;
            }
            let further = allow(&["read"], &format!("topic:none.{number}"));
            let rules = json!({"rules": [own_rule(user.name), further]});
            users::edit(self.sandbox, user.name, rules).await?;
            let mut changes = vec![RuleChange::Add(rule(number)?)];
            if let Some(former) = number.checked_sub(1) {
                changes.push(RuleChange::Remove(rule(former)?));
            }
            access.change_rules(&changes).await?;
            number += 1;
            tokio::time::sleep(RULES_INTERVAL).await;
        }
        Ok(number * 2)
    }
}
