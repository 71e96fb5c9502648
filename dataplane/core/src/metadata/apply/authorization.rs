//! Commands that change who may do what.

use std::sync::Arc;

use super::{Applied, check_limit};
use crate::acl::{Principal, RevocationChange, RuleChange};
use crate::limits::{
    ACL_CHANGES_MAX_COUNT, ACL_RULES_MAX_COUNT, REVOKED_PRINCIPALS_MAX_COUNT,
    REVOKED_SERIALS_MAX_COUNT,
};
use crate::metadata::{MetaError, Metadata, Outcome};

impl Metadata {
    pub(super) fn change_rules(
        &mut self,
        changes: &[RuleChange],
        changed_by: &Principal,
        changed_at_ms: i64,
    ) -> Applied {
        check_count(changes.len())?;
        let mut rules = (*self.rules).clone();
        let changed_by = changed_by.to_string();
        for change in changes {
            rules.change(change, &changed_by, changed_at_ms)?;
        }
        // More than the limit may not be added, but always be removed.
        if rules.len() > self.rules.len() {
            check_limit("rules", rules.len(), ACL_RULES_MAX_COUNT)?;
        }
        if rules != *self.rules {
            self.rules = Arc::new(rules);
        }
        Ok(Outcome::Done)
    }

    pub(super) fn change_revocations(
        &mut self,
        changes: &[RevocationChange],
        changed_at_ms: i64,
    ) -> Applied {
        check_count(changes.len())?;
        let mut revocations = (*self.revocations).clone();
        for change in changes {
            revocations.change(change, changed_at_ms);
        }
        let (serials, principals) = revocations.counts();
        check_limit("revoked serials", serials, REVOKED_SERIALS_MAX_COUNT)?;
        check_limit(
            "revoked principals",
            principals,
            REVOKED_PRINCIPALS_MAX_COUNT,
        )?;
        if revocations != *self.revocations {
            self.revocations = Arc::new(revocations);
        }
        Ok(Outcome::Done)
    }
}

fn check_count(count: usize) -> Result<(), MetaError> {
    if (1..=ACL_CHANGES_MAX_COUNT).contains(&count) {
        return Ok(());
    }
    Err(MetaError::BadCount {
        field: "changes".to_owned(),
        found: count as u64,
        max: ACL_CHANGES_MAX_COUNT as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::{Effect, Operation, PrincipalPattern, Rule};
    use crate::feature_level::FeatureLevel;
    use crate::metadata::Command;
    use crate::metadata::tests::{apply, cluster};
    use crate::offset::LogIndex;

    fn finalized() -> Metadata {
        let mut metadata = cluster(1);
        let level = FeatureLevel(2);
        apply(&mut metadata, &Command::FinalizeLevel { level });
        metadata
    }

    fn allow(topic: &str) -> Rule {
        Rule {
            principal: PrincipalPattern::AllUsers,
            effect: Effect::Allow,
            operations: Operation::Read.into(),
            resource: format!("topic:{topic}").parse().unwrap(),
        }
    }

    fn change(changes: impl IntoIterator<Item = RuleChange>) -> Command {
        Command::ChangeRules {
            changes: changes.into_iter().collect(),
            changed_by: Principal::user("admin"),
            changed_at_ms: 7,
        }
    }

    fn refused(metadata: &mut Metadata, command: &Command) -> MetaError {
        let before = metadata.clone();
        let error = metadata.apply(command, LogIndex(90)).unwrap_err();
        assert_eq!(*metadata, before, "a refused command changes nothing");
        error
    }

    #[test]
    fn rules_need_their_level_and_survive_a_checkpoint() {
        let add = change([RuleChange::Add(allow("a")), RuleChange::Add(allow("b*"))]);
        let error = refused(&mut cluster(1), &add);
        assert!(matches!(error, MetaError::NotFinalized { .. }), "{error}");
        let mut metadata = finalized();
        apply(&mut metadata, &add);
        assert_eq!(metadata.rules().len(), 2);
        let bytes = metadata.encode().unwrap();
        assert_eq!(Metadata::decode(&bytes).unwrap(), metadata);
    }

    #[test]
    fn the_table_is_the_same_until_a_rule_changes() {
        let mut metadata = finalized();
        let add = change([RuleChange::Add(allow("a"))]);
        apply(&mut metadata, &add);
        let before = Arc::clone(metadata.rules());
        apply(&mut metadata, &add);
        assert!(Arc::ptr_eq(&before, metadata.rules()), "nothing to compile");
    }

    #[test]
    fn the_changes_of_a_command_are_made_together_or_not_at_all() {
        let mut metadata = finalized();
        let invalid = Rule {
            operations: Operation::Admin.into(),
            ..allow("b")
        };
        let changes = [RuleChange::Add(allow("a")), RuleChange::Add(invalid)];
        let error = refused(&mut metadata, &change(changes));
        assert_eq!(error.field(), Some("operations"));
    }

    #[test]
    fn rules_and_changes_are_bounded() {
        let mut metadata = finalized();
        let add = |from: usize, count: usize| {
            change((from..from + count).map(|n| RuleChange::Add(allow(&n.to_string()))))
        };
        for count in [0, ACL_CHANGES_MAX_COUNT + 1] {
            let error = refused(&mut metadata, &add(0, count));
            assert!(matches!(error, MetaError::BadCount { .. }), "{error}");
        }
        for thousand in 0..ACL_RULES_MAX_COUNT / ACL_CHANGES_MAX_COUNT {
            let from = thousand * ACL_CHANGES_MAX_COUNT;
            apply(&mut metadata, &add(from, ACL_CHANGES_MAX_COUNT));
        }
        let error = refused(&mut metadata, &add(ACL_RULES_MAX_COUNT, 1));
        assert!(matches!(error, MetaError::LimitExceeded { .. }), "{error}");
        apply(&mut metadata, &add(5, 1));
    }

    #[test]
    fn revocations_survive_a_checkpoint() {
        let mut metadata = finalized();
        let suspend = RevocationChange::RevokePrincipal {
            principal: Principal::user("a"),
            not_before_s: i64::MAX,
            not_after_s: Some(0),
        };
        let command = Command::ChangeRevocations {
            changes: vec![suspend],
            changed_by: Principal::Operator,
            changed_at_ms: 7,
        };
        apply(&mut metadata, &command);
        assert_eq!(metadata.revocations().counts(), (0, 1));
        let bytes = metadata.encode().unwrap();
        assert_eq!(Metadata::decode(&bytes).unwrap(), metadata);
    }
}
