//! Rules in a file, as `lograft acl export` prints them.

use std::io::Read;
use std::path::{Path, PathBuf};

use lograft_client::acl::{Rule, RuleChange, RuleError, RuleTable};
use lograft_client::admin_wire::{AccessRule, RuleEffect, StoredAccessRule};
use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// The content of a file with rules.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RulesFile {
    rules: Vec<Rule>,
}

/// Why rules cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RulesFileError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot parse the rules in {path}")]
    Parse {
        path: PathBuf,
        source: serde_yaml::Error,
    },
    #[error("rule {position} of {path} is invalid")]
    Rule {
        path: PathBuf,
        /// From 1.
        position: usize,
        source: RuleError,
    },
    #[error("cannot encode the rules")]
    Encode(#[source] serde_yaml::Error),
    #[error("the cluster has a rule that this version does not know: {text}")]
    Newer { text: String },
}

impl CommandError for RulesFileError {}

impl RulesFile {
    pub(super) fn read(path: &Path) -> Result<Self, RulesFileError> {
        let text = read_text(path).map_err(|source| RulesFileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, RulesFileError> {
        let file: Self = serde_yaml::from_str(text).map_err(|source| RulesFileError::Parse {
            path: path.to_owned(),
            source,
        })?;
        for (position, rule) in (1..).zip(&file.rules) {
            rule.validate().map_err(|source| RulesFileError::Rule {
                path: path.to_owned(),
                position,
                source,
            })?;
        }
        Ok(file)
    }

    /// The rules of a cluster. Fails if one is of a later version: a file without it would not be
    /// the whole.
    pub(super) fn of(stored: &[StoredAccessRule]) -> Result<Self, RulesFileError> {
        let rules = stored.iter().filter_map(|stored| stored.rule.as_ref());
        let known = rules.map(|rule| {
            known(rule).ok_or_else(|| RulesFileError::Newer {
                text: format!("{rule:?}"),
            })
        });
        Ok(Self {
            rules: known.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn text(&self) -> Result<String, RulesFileError> {
        serde_yaml::to_string(self).map_err(RulesFileError::Encode)
    }

    /// The changes that add all rules.
    pub(super) fn additions(self) -> Vec<RuleChange> {
        self.rules.into_iter().map(RuleChange::Add).collect()
    }

    /// The changes from these rules to others; without `prune` nothing is removed.
    pub(super) fn changes_to(&self, wanted: &Self, prune: bool) -> Vec<RuleChange> {
        let (have, want) = (self.table(), wanted.table());
        let missing = without(&want, &have).into_iter().map(RuleChange::Add);
        let removed = if prune {
            without(&have, &want)
        } else {
            Vec::new()
        };
        // Denials are added before permissions, and removed after them: no change in between allows
        // more than either side.
        let mut changes: Vec<RuleChange> = missing
            .chain(removed.into_iter().map(RuleChange::Remove))
            .collect();
        changes.sort_by_key(order);
        changes
    }

    fn table(&self) -> RuleTable {
        let mut table = RuleTable::default();
        for rule in &self.rules {
            // Every rule was validated.
            let _ = table.change(&RuleChange::Add(rule.clone()), "", 0);
        }
        table
    }
}

fn order(change: &RuleChange) -> u8 {
    use lograft_client::acl::Effect::{Allow, Deny};
    match (change, change.rule().effect) {
        (RuleChange::Add(_), Deny) => 0,
        (RuleChange::Remove(_), Allow) => 1,
        (RuleChange::Add(_), Allow) => 2,
        (RuleChange::Remove(_), Deny) => 3,
    }
}

/// The operations of the first table that the second does not have.
fn without(first: &RuleTable, second: &RuleTable) -> Vec<Rule> {
    let mut left = first.clone();
    for stored in second.iter() {
        // As above.
        let _ = left.change(&RuleChange::Remove(stored.rule), "", 0);
    }
    left.iter().map(|stored| stored.rule).collect()
}

fn known(rule: &AccessRule) -> Option<Rule> {
    let effect = match rule.effect() {
        RuleEffect::Allow => lograft_client::acl::Effect::Allow,
        RuleEffect::Deny => lograft_client::acl::Effect::Deny,
        RuleEffect::Unspecified => return None,
    };
    let operations = rule.operations.iter().map(|text| text.parse().ok());
    Some(Rule {
        principal: rule.principal.parse().ok()?,
        effect,
        operations: operations.collect::<Option<_>>()?,
        resource: rule.resource.parse().ok()?,
    })
}

fn read_text(path: &Path) -> std::io::Result<String> {
    if path != Path::new("-") {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> RulesFile {
        RulesFile::parse(text, Path::new("rules.yaml")).unwrap()
    }

    const ONE: &str = "\
rules:
- principal: user/a
  effect: allow
  operations:
  - read
  - write
  resource: topic:a.*
- principal: user/*
  effect: deny
  operations:
  - write
  resource: topic:audit
";

    #[test]
    fn a_file_reads_back() {
        assert_eq!(file(ONE).text().unwrap(), ONE);
        for invalid in [
            "rules:\n- {principal: user/a, effect: allow, operations: [admin], resource: 'topic:a'}",
            "rules:\n- {principal: node/a, effect: allow, operations: [read], resource: 'topic:a'}",
            "rules:\n- {principal: user/a, effect: allow, operations: [], resource: 'topic:a'}",
            "rules: []\nrule: []",
        ] {
            RulesFile::parse(invalid, Path::new("x")).unwrap_err();
        }
    }

    #[test]
    fn changes_are_the_difference_and_never_allow_more_in_between() {
        let other = "\
rules:
- {principal: user/a, effect: allow, operations: [read, describe], resource: 'topic:a.*'}
- {principal: user/b, effect: deny, operations: [read], resource: 'topic:*'}
";
        let texts = |changes: Vec<RuleChange>| -> Vec<String> {
            let text = |change: &RuleChange| match change {
                RuleChange::Add(rule) => format!("+ {rule}"),
                RuleChange::Remove(rule) => format!("- {rule}"),
            };
            changes.iter().map(text).collect()
        };
        let (one, other) = (file(ONE), file(other));
        assert!(one.changes_to(&one, true).is_empty());
        assert_eq!(
            texts(one.changes_to(&other, false)),
            [
                "+ deny user/b read on topic:*",
                "+ allow user/a describe on topic:a.*",
            ]
        );
        assert_eq!(
            texts(one.changes_to(&other, true)),
            [
                "+ deny user/b read on topic:*",
                "- allow user/a write on topic:a.*",
                "+ allow user/a describe on topic:a.*",
                "- deny user/* write on topic:audit",
            ]
        );
    }
}
