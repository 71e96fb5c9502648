//! The decision about one operation with the rules that lead to it, found by going through all.

use super::operation::Grants;
use super::{Effect, Operation, Operations, Principal, Resource, Rule, RuleTable};

/// A decision and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the operation is allowed.
    pub is_allowed: bool,
    /// The rules that decide: those that deny it or, if none does, those that allow it. Empty if no
    /// rule matches, which refuses.
    pub rules: Vec<Rule>,
}

impl RuleTable {
    /// Decides about an operation and names the rules. For people: it goes through all rules.
    pub fn explain(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: Resource<'_>,
    ) -> Explanation {
        let decided_by = |effect: Effect| -> Vec<Rule> {
            let matching = self.rules().filter(|(key, operations)| {
                key.effect == effect
                    && key.principal.matches(principal)
                    && key.resource.matches(resource)
                    && decides(effect, *operations, operation)
            });
            matching
                .map(|(key, operations)| key.rule(operations))
                .collect()
        };
        let denied_by = decided_by(Effect::Deny);
        if denied_by.is_empty() {
            let rules = decided_by(Effect::Allow);
            let is_allowed = !rules.is_empty();
            return Explanation { is_allowed, rules };
        }
        Explanation {
            is_allowed: false,
            rules: denied_by,
        }
    }
}

/// Whether a rule with these operations decides about an operation.
fn decides(effect: Effect, operations: Operations, operation: Operation) -> bool {
    match effect {
        Effect::Deny => operations.contains(operation),
        Effect::Allow => {
            let alone = Grants {
                allowed: operations,
                denied: Operations::NONE,
            };
            alone.allows(operation)
        }
    }
}
