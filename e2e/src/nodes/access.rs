//! The access service of the stand-in: rules and revocations in memory.

use std::collections::BTreeSet;

use lograft_client::Reason;
use lograft_client::admin_wire as wire;
use lograft_client::admin_wire::access_service_server::AccessService;
use tonic::{Request, Response, Status};

use super::topics::{FakeCluster, Mood, refusal};

type Answer<T> = Result<Response<T>, Status>;

/// Feature level that rules and revocations need.
const LEVEL: u32 = 2;

impl FakeCluster {
    /// The rules of a principal, as text.
    pub(crate) fn rules_of(&self, principal: &str) -> Vec<String> {
        let allow = i32::from(wire::RuleEffect::Allow);
        self.with_access(|access| {
            let own = access.rules.iter().filter(|((of, ..), _)| of == principal);
            let texts = own.map(|((_, effect, resource), operations)| {
                let effect = if *effect == allow { "allow" } else { "deny" };
                let operations: Vec<&str> = operations.iter().map(String::as_str).collect();
                format!("{effect} {} {resource}", operations.join(","))
            });
            texts.collect()
        })
    }

    /// Allows a principal to read a resource, as somebody else would.
    pub(crate) fn allow(&self, principal: &str, resource: &str) {
        let allow = wire::RuleEffect::Allow.into();
        let key = (principal.to_owned(), allow, resource.to_owned());
        let operations = BTreeSet::from(["read".to_owned()]);
        self.count_change();
        self.with_access(|access| access.rules.insert(key, operations));
    }

    /// The revocation of a principal: since when, and whether it is suspended.
    pub(crate) fn revocation(&self, principal: &str) -> Option<(i64, bool)> {
        self.with_access(|access| {
            let found = access.revoked.get(principal)?;
            Some((found.not_before_s, found.suspended))
        })
    }

    /// The end of the revocation of a principal, seconds since 1970, if it has one.
    pub(crate) fn revocation_end(&self, principal: &str) -> Option<i64> {
        self.with_access(|access| access.revoked.get(principal)?.not_after_s)
    }

    /// Suspends a principal, as somebody else would; none takes a revocation back.
    pub(crate) fn set_suspended(&self, principal: &str, suspended: bool) {
        let name = principal.to_owned();
        self.count_change();
        self.with_access(|access| {
            access.revoked.remove(&name);
            if suspended {
                let revoked = wire::RevokedPrincipal {
                    principal: name.clone(),
                    not_before_s: 0,
                    suspended,
                    not_after_s: None,
                };
                access.revoked.insert(name, revoked);
            }
        });
    }

    fn check_change(&self) -> Result<(), Status> {
        if self.mood() == Mood::Refusing {
            let text = "rules must be at most 10000";
            return Err(refusal(
                Reason::InvalidArgument,
                text,
                &[("field", "rules")],
            ));
        }
        if self.level() >= LEVEL {
            return Ok(());
        }
        let text = "feature level 2 is not finalized";
        Err(refusal(Reason::FeatureNotFinalized, text, &[]))
    }
}

#[tonic::async_trait]
impl AccessService for FakeCluster {
    async fn list_rules(&self, _: Request<wire::ListRulesRequest>) -> Answer<wire::ListRulesReply> {
        self.count_call("list_rules");
        let rules = self.with_access(|access| {
            let rules = access.rules.iter();
            let rules = rules.map(|((principal, effect, resource), operations)| {
                let rule = wire::AccessRule {
                    principal: principal.clone(),
                    effect: *effect,
                    operations: operations.iter().cloned().collect(),
                    resource: resource.clone(),
                };
                wire::StoredAccessRule {
                    rule: Some(rule),
                    ..wire::StoredAccessRule::default()
                }
            });
            rules.collect()
        });
        let next = String::new();
        Ok(Response::new(wire::ListRulesReply {
            rules,
            next,
            metadata_version: self.version(),
        }))
    }

    async fn change_rules(
        &self,
        request: Request<wire::ChangeRulesRequest>,
    ) -> Answer<wire::ChangeRulesReply> {
        self.count_call("change_rules");
        self.check_change()?;
        self.count_change();
        let changes = request.into_inner().changes;
        let rule_count = self.with_access(|access| {
            for change in changes {
                let rule = change.rule.unwrap_or_default();
                let key = (rule.principal, rule.effect, rule.resource);
                let stored = access.rules.entry(key.clone()).or_default();
                for operation in rule.operations {
                    if change.remove {
                        stored.remove(&operation);
                    } else {
                        stored.insert(operation);
                    }
                }
                if stored.is_empty() {
                    access.rules.remove(&key);
                }
            }
            u32::try_from(access.rules.len()).unwrap_or(u32::MAX)
        });
        Ok(Response::new(wire::ChangeRulesReply { rule_count }))
    }

    async fn explain_access(
        &self,
        _: Request<wire::ExplainAccessRequest>,
    ) -> Answer<wire::ExplainAccessReply> {
        Err(Status::unimplemented("the stand-in has no such call"))
    }

    async fn list_revocations(
        &self,
        _: Request<wire::ListRevocationsRequest>,
    ) -> Answer<wire::ListRevocationsReply> {
        let principals = self.with_access(|access| access.revoked.values().cloned().collect());
        Ok(Response::new(wire::ListRevocationsReply {
            serials: Vec::new(),
            principals,
            metadata_version: self.version(),
        }))
    }

    async fn change_revocations(
        &self,
        request: Request<wire::ChangeRevocationsRequest>,
    ) -> Answer<wire::ChangeRevocationsReply> {
        self.count_call("change_revocations");
        self.check_change()?;
        self.count_change();
        let request = request.into_inner();
        self.with_access(|access| {
            for mut revoked in request.revoke_principals {
                if let Some(former) = access.revoked.get(&revoked.principal) {
                    let ends = former.not_after_s.zip(revoked.not_after_s);
                    revoked.not_after_s = ends.map(|(former, new)| former.max(new));
                }
                access.revoked.insert(revoked.principal.clone(), revoked);
            }
            for principal in request.allow_principals {
                access.revoked.remove(&principal);
            }
        });
        Ok(Response::new(wire::ChangeRevocationsReply {}))
    }
}
