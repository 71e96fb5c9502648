//! Administration of who may do what: authorization rules and revoked certificates.

use std::fmt;
use std::sync::Arc;

use lograft_core::acl::{Effect, Operation, Rule, RuleChange};
use lograft_proto::admin::v1 as wire;

use crate::cluster::node::Retry;
use crate::cluster::node_pool::NodePool;
use crate::error::ClientError;

/// Calls about authorization, sent to any node and retried until the request timeout. All of them
/// are idempotent.
///
/// ```no_run
/// # async fn tour(client: lograft_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use lograft_client::acl::{Effect, Operation, Rule, RuleChange};
/// let rule = Rule {
///     principal: "user/orders".parse()?,
///     effect: Effect::Allow,
///     operations: [Operation::Read, Operation::Write].into_iter().collect(),
///     resource: "topic:orders.*".parse()?,
/// };
/// client.access().change_rules(&[RuleChange::Add(rule)]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AccessAdmin {
    pool: Arc<NodePool>,
}

/// One operation to explain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessQuestion {
    /// The principal, e.g. `user/orders`; empty for the caller itself.
    pub principal: String,
    /// The operation, e.g. `write`.
    pub operation: String,
    /// The resource: `topic:<name>`, `group:<name>` or `cluster`.
    pub resource: String,
    /// Changes to assume.
    pub changes: Vec<RuleChange>,
}

impl AccessAdmin {
    pub(crate) const fn new(pool: Arc<NodePool>) -> Self {
        Self { pool }
    }

    /// All rules by principal, resource and effect, or those that match a principal. Callers
    /// without the operation admin on the cluster get the rules that match themselves.
    pub async fn list_rules(
        &self,
        principal: Option<&str>,
    ) -> Result<Vec<wire::StoredAccessRule>, ClientError> {
        let mut rules = Vec::new();
        let mut after = String::new();
        let listing = ("list authorization rules", self.pool.deadline());
        loop {
            let request = wire::ListRulesRequest {
                principal: principal.unwrap_or_default().to_owned(),
                max_count: 0,
                after,
            };
            let page = self
                .pool
                .call_until(listing, Retry::Always, |node| {
                    let request = request.clone();
                    async move { node.access().list_rules(request).await }
                })
                .await?;
            rules.extend(page.rules);
            if page.next.is_empty() {
                return Ok(rules);
            }
            after = page.next;
        }
    }

    /// Makes changes, all or none; at most 1,000. Returns the number of rules afterwards.
    pub async fn change_rules(&self, changes: &[RuleChange]) -> Result<u32, ClientError> {
        let request = wire::ChangeRulesRequest {
            changes: changes.iter().map(rule_change).collect(),
        };
        let reply = self
            .pool
            .call("change authorization rules", Retry::Always, |node| {
                let request = request.clone();
                async move { node.access().change_rules(request).await }
            })
            .await?;
        Ok(reply.rule_count)
    }

    /// Says whether an operation is allowed, and which rules decide.
    pub async fn explain(
        &self,
        question: &AccessQuestion,
    ) -> Result<wire::ExplainAccessReply, ClientError> {
        let AccessQuestion {
            principal,
            operation,
            resource,
            changes,
        } = question.clone();
        let request = wire::ExplainAccessRequest {
            principal,
            operation,
            resource,
            changes: changes.iter().map(rule_change).collect(),
        };
        self.pool
            .call("explain access", Retry::Always, |node| {
                let request = request.clone();
                async move { node.access().explain_access(request).await }
            })
            .await
    }

    /// All revocations.
    pub async fn list_revocations(&self) -> Result<wire::ListRevocationsReply, ClientError> {
        self.pool
            .call("list revocations", Retry::Always, |node| async move {
                let request = wire::ListRevocationsRequest {};
                node.access().list_revocations(request).await
            })
            .await
    }

    /// Changes which certificates are revoked: all changes or none; at most 1,000.
    pub async fn change_revocations(
        &self,
        request: wire::ChangeRevocationsRequest,
    ) -> Result<(), ClientError> {
        self.pool
            .call("change revocations", Retry::Always, |node| {
                let request = request.clone();
                async move { node.access().change_revocations(request).await }
            })
            .await
            .map(|wire::ChangeRevocationsReply {}| ())
    }
}

fn rule_change(change: &RuleChange) -> wire::AccessRuleChange {
    wire::AccessRuleChange {
        rule: Some(rule(change.rule())),
        remove: matches!(change, RuleChange::Remove(_)),
    }
}

fn rule(rule: &Rule) -> wire::AccessRule {
    let effect = match rule.effect {
        Effect::Allow => wire::RuleEffect::Allow,
        Effect::Deny => wire::RuleEffect::Deny,
    };
    let operations = rule.operations.iter().map(Operation::as_str);
    wire::AccessRule {
        principal: rule.principal.to_string(),
        effect: effect.into(),
        operations: operations.map(str::to_owned).collect(),
        resource: rule.resource.to_string(),
    }
}

impl fmt::Debug for AccessAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessAdmin").finish_non_exhaustive()
    }
}
