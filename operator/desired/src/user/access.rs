//! Rules and revocations of a user, and the requests that change them.

use std::collections::{BTreeMap, BTreeSet};

use lograft_crds::limits::USER_CHANGES_MAX_COUNT;
use lograft_crds::log_user::{UserRule, UserRuleEffect};

/// The rules of a principal: operations by effect and resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet(pub BTreeMap<(UserRuleEffect, String), BTreeSet<String>>);

/// Operations that are added to a rule or removed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleChange {
    /// Effect of the rule.
    pub effect: UserRuleEffect,
    /// Resource of the rule.
    pub resource: String,
    /// The operations.
    pub operations: BTreeSet<String>,
    /// Whether they are removed.
    pub is_removal: bool,
}

/// The revocation of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// All certificates.
    Suspended,
    /// Certificates that start before this time, seconds since 1970.
    Before(i64),
}

/// A request to the data plane. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessRequest {
    /// Change rules.
    Rules(Vec<RuleChange>),
    /// Revoke the principal.
    Revoke {
        /// The revocation.
        revocation: Revocation,
        /// The latest end of the certificates that it is for, seconds since 1970; none if it is not
        /// known. The cluster drops the revocation after it, unless it suspends.
        not_after: Option<i64>,
    },
    /// Take the revocation of the principal back.
    Restore,
}

impl AccessRequest {
    /// Whether it has as many changes as fit: the next step has the rest.
    pub(super) fn is_partial(&self) -> bool {
        match self {
            Self::Rules(changes) => changes.len() >= USER_CHANGES_MAX_COUNT,
            Self::Revoke { .. } | Self::Restore => false,
        }
    }
}

impl RuleSet {
    /// The rules of a spec. Those with the same effect and resource are one.
    pub fn of_spec(rules: &[UserRule]) -> Self {
        let mut set = BTreeMap::<_, BTreeSet<String>>::new();
        for rule in rules {
            let operations = rule.operations.iter().map(|it| it.name().to_owned());
            set.entry((rule.effect, rule.resource.clone()))
                .or_default()
                .extend(operations);
        }
        Self(set)
    }

    /// Carries a change out.
    pub fn apply(&mut self, change: &RuleChange) {
        let key = (change.effect, change.resource.clone());
        let operations = self.0.entry(key.clone()).or_default();
        for operation in &change.operations {
            if change.is_removal {
                operations.remove(operation);
            } else {
                operations.insert(operation.clone());
            }
        }
        if operations.is_empty() {
            self.0.remove(&key);
        }
    }

    /// The changes that make these rules of `found`, removals first: an operation that is only
    /// moved to another rule must not be allowed by both.
    pub(super) fn changes_from(&self, found: &Self) -> Vec<RuleChange> {
        let removed = found.without(self, true);
        let added = self.without(found, false);
        let changes = removed.chain(added).take(USER_CHANGES_MAX_COUNT);
        changes.collect()
    }

    /// The operations that `other` has not.
    fn without<'a>(
        &'a self,
        other: &'a Self,
        is_removal: bool,
    ) -> impl Iterator<Item = RuleChange> + 'a {
        self.0.iter().filter_map(move |(key, operations)| {
            let theirs = other.0.get(key);
            let is_missing = |it: &&String| !theirs.is_some_and(|theirs| theirs.contains(*it));
            let missing: BTreeSet<String> = operations.iter().filter(is_missing).cloned().collect();
            let (effect, resource) = key.clone();
            (!missing.is_empty()).then_some(RuleChange {
                effect,
                resource,
                operations: missing,
                is_removal,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rules: &[(UserRuleEffect, &str, &[&str])]) -> RuleSet {
        let rules = rules.iter().map(|(effect, resource, operations)| {
            let operations = operations.iter().map(|it| (*it).to_owned()).collect();
            ((*effect, (*resource).to_owned()), operations)
        });
        RuleSet(rules.collect())
    }

    #[test]
    fn only_differences_are_changed_and_removals_come_first() {
        use UserRuleEffect::{Allow, Deny};
        let wanted = set(&[
            (Allow, "topic:a", &["read", "write"]),
            (Deny, "topic:b", &["read"]),
        ]);
        let found = set(&[
            (Allow, "topic:a", &["read", "delete"]),
            (Allow, "topic:b", &["read"]),
        ]);
        assert_eq!(wanted.changes_from(&wanted), []);
        let changes = wanted.changes_from(&found);
        let texts = changes.iter().map(|change| {
            let operations: Vec<&str> = change.operations.iter().map(String::as_str).collect();
            let sign = if change.is_removal { '-' } else { '+' };
            format!(
                "{sign}{:?} {} {}",
                change.effect,
                change.resource,
                operations.join(",")
            )
        });
        assert_eq!(
            texts.collect::<Vec<_>>(),
            [
                "-Allow topic:a delete",
                "-Allow topic:b read",
                "+Allow topic:a write",
                "+Deny topic:b read"
            ]
        );
    }
}
