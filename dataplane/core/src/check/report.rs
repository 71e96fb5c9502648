//! Raised checks as other nodes and clients see them: texts, also of checks of a later version.

use super::{CheckScope, Evidence, RaisedCheck, Severity};
use crate::limits::{
    CHECK_EVIDENCE_MAX_COUNT, CHECK_NAME_MAX_BYTES, CHECK_TEXT_MAX_BYTES, CHECKS_MAX_COUNT,
};

/// A raised check of a node, which may be of a later version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The public name.
    pub name: String,
    /// Its severity.
    pub severity: Severity,
    /// Whether the node is not ready because of it.
    pub not_ready: bool,
    /// The rest of a sentence that starts with the node.
    pub text: String,
    /// Next step of the operator.
    pub next_step: String,
    /// The facts: key and value.
    pub evidence: Vec<(String, String)>,
}

impl From<&RaisedCheck> for CheckReport {
    fn from(raised: &RaisedCheck) -> Self {
        let info = raised.name.info();
        let evidence = raised.evidence.iter();
        Self {
            name: info.name.to_owned(),
            severity: info.severity,
            not_ready: info.scope == CheckScope::NotReady,
            text: raised.text(),
            next_step: info.next_step.to_owned(),
            evidence: evidence.copied().map(Evidence::pair).collect(),
        }
    }
}

impl CheckReport {
    /// The report with every text in its bounds: a peer may send anything.
    #[must_use]
    pub fn bounded(self) -> Self {
        let evidence = self.evidence.into_iter().take(CHECK_EVIDENCE_MAX_COUNT);
        Self {
            name: cut(self.name, CHECK_NAME_MAX_BYTES),
            severity: self.severity,
            not_ready: self.not_ready,
            text: cut(self.text, CHECK_TEXT_MAX_BYTES),
            next_step: cut(self.next_step, CHECK_TEXT_MAX_BYTES),
            evidence: evidence
                .map(|(key, value)| {
                    let value = cut(value, CHECK_TEXT_MAX_BYTES);
                    (cut(key, CHECK_NAME_MAX_BYTES), value)
                })
                .collect(),
        }
    }
}

fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

/// The raised checks of one node, the most important first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChecks(Vec<CheckReport>);

impl NodeChecks {
    /// The checks, at most `CHECKS_MAX_COUNT`, each in its bounds.
    pub fn new(checks: impl IntoIterator<Item = CheckReport>) -> Self {
        let checks = checks.into_iter().take(CHECKS_MAX_COUNT);
        Self(checks.map(CheckReport::bounded).collect())
    }

    /// The checks that a node evaluated for itself.
    pub fn of(raised: &[RaisedCheck]) -> Self {
        Self::new(raised.iter().map(CheckReport::from))
    }

    /// The checks, the most important first.
    pub fn iter(&self) -> impl Iterator<Item = &CheckReport> {
        self.0.iter()
    }

    /// The first check because of which the node is not ready.
    pub fn not_ready(&self) -> Option<&CheckReport> {
        self.iter().find(|check| check.not_ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckName;

    #[test]
    fn a_report_has_the_row_of_its_check() {
        let raised = RaisedCheck::new(CheckName::ReplicasOpening, [Evidence::Count(3)]);
        let checks = NodeChecks::of(&[raised]);
        let check = checks.not_ready().unwrap();
        assert_eq!(check.name, "REPLICAS_OPENING");
        assert_eq!(check.text, "has 3 replicas that are not open yet");
        assert_eq!(check.evidence, [("count".to_owned(), "3".to_owned())]);
        let low = RaisedCheck::new(CheckName::DiskLow, [Evidence::FreeBytes(1)]);
        assert_eq!(NodeChecks::of(&[low]).not_ready(), None);
    }

    #[test]
    fn checks_of_a_peer_are_bounded() {
        let long = "ü".repeat(1000);
        let check = CheckReport {
            name: long.clone(),
            text: long.clone(),
            next_step: long.clone(),
            evidence: vec![(long.clone(), long); 2 * CHECK_EVIDENCE_MAX_COUNT],
            ..CheckReport::default()
        };
        let checks = NodeChecks::new(vec![check; 2 * CHECKS_MAX_COUNT]);
        assert_eq!(checks.iter().count(), CHECKS_MAX_COUNT);
        let check = checks.iter().next().unwrap();
        assert!(check.name.len() <= CHECK_NAME_MAX_BYTES);
        assert!(check.text.len() <= CHECK_TEXT_MAX_BYTES);
        assert!(check.next_step.len() <= CHECK_TEXT_MAX_BYTES);
        assert_eq!(check.evidence.len(), CHECK_EVIDENCE_MAX_COUNT);
    }
}
