//! The rules of a cluster, as the metadata hold them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Effect, Operations, PrincipalPattern, ResourcePattern, Rule, RuleError};

/// The rules. Operations of the same principal, effect and resource are one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleTable {
    rules: BTreeMap<RuleKey, RuleValue>,
}

/// The parts of a rule that it is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleKey {
    /// Whose operations.
    pub principal: PrincipalPattern,
    /// On which resources.
    pub resource: ResourcePattern,
    /// Allowed or denied.
    pub effect: Effect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RuleValue {
    operations: Operations,
    changed_by: String,
    changed_at_ms: i64,
}

/// A rule with its last change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRule {
    /// The rule.
    pub rule: Rule,
    /// The principal that added or changed it last.
    pub changed_by: String,
    /// The time of that change, milliseconds since the Unix epoch.
    pub changed_at_ms: i64,
}

/// A change of the rules. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RuleChange {
    /// Adds the operations to those of the rules with the same principal, effect and resource.
    Add(Rule),
    /// Removes the operations from them. Those that no rule has are ignored.
    Remove(Rule),
}

impl RuleKey {
    fn of(rule: &Rule) -> Self {
        Self {
            principal: rule.principal.clone(),
            resource: rule.resource.clone(),
            effect: rule.effect,
        }
    }
}

impl RuleChange {
    /// The rule that is added or removed.
    pub const fn rule(&self) -> &Rule {
        match self {
            Self::Add(rule) | Self::Remove(rule) => rule,
        }
    }
}

impl RuleTable {
    /// The number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules, by principal, resource and effect.
    pub fn iter(&self) -> impl Iterator<Item = StoredRule> {
        self.rules.iter().map(|(key, value)| StoredRule {
            rule: key.rule(value.operations),
            changed_by: value.changed_by.clone(),
            changed_at_ms: value.changed_at_ms,
        })
    }

    /// The rules without their changes.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&RuleKey, Operations)> {
        self.rules
            .iter()
            .map(|(key, value)| (key, value.operations))
    }

    /// Makes a change. Fails, and then changes nothing, if its rule is invalid.
    pub fn change(
        &mut self,
        change: &RuleChange,
        changed_by: &str,
        changed_at_ms: i64,
    ) -> Result<(), RuleError> {
        let rule = change.rule();
        rule.validate()?;
        let key = RuleKey::of(rule);
        let before = self.rules.get(&key);
        let before = before.map_or(Operations::NONE, |value| value.operations);
        let operations = match change {
            RuleChange::Add(_) => before.with(rule.operations),
            RuleChange::Remove(_) => before.without(rule.operations),
        };
        if operations.is_empty() {
            self.rules.remove(&key);
        } else if operations != before {
            let value = RuleValue {
                operations,
                changed_by: changed_by.to_owned(),
                changed_at_ms,
            };
            self.rules.insert(key, value);
        }
        Ok(())
    }

    /// Adds a rule from a checkpoint. Returns whether it is valid and the only one of its key.
    pub(crate) fn insert_stored(&mut self, stored: StoredRule) -> bool {
        let StoredRule {
            rule,
            changed_by,
            changed_at_ms,
        } = stored;
        let value = RuleValue {
            operations: rule.operations,
            changed_by,
            changed_at_ms,
        };
        rule.validate().is_ok() && self.rules.insert(RuleKey::of(&rule), value).is_none()
    }
}

impl RuleKey {
    /// The rule of this key with these operations.
    pub fn rule(&self, operations: Operations) -> Rule {
        let Self {
            principal,
            resource,
            effect,
        } = self.clone();
        Rule {
            principal,
            effect,
            operations,
            resource,
        }
    }
}
