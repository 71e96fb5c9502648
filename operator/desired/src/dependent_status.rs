//! The parts of a status that LogTopic and LogUser share: conditions from rows of a table, waits
//! with their times, and the warning about a state that needs a person.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lograft_crds::conditions::{ConditionType, Lasting, Row};
use lograft_crds::limits::{BLOCKED_MAX_COUNT, BLOCKED_MESSAGE_MAX_BYTES};
use lograft_crds::log_cluster::Blocked;

use crate::condition::ConditionState;
use crate::text::cut_words;
use crate::time::time;

/// The conditions of the stored status, and what the next ones take from the object.
pub(crate) struct FormerConditions<'a> {
    /// The stored conditions.
    pub(crate) conditions: &'a [Condition],
    /// Generation of the spec.
    pub(crate) generation: Option<i64>,
    /// The time now, seconds since 1970.
    pub(crate) now_unix_seconds: i64,
}

impl FormerConditions<'_> {
    /// The next condition of type `kind`, with the reason of a row. Without a text its message is
    /// the meaning of the row.
    pub(crate) fn next<C, R>(
        &self,
        kind: &str,
        row: &Row<C, R>,
        text: Option<String>,
    ) -> Option<Condition> {
        let text = text.unwrap_or_else(|| row.meaning.to_owned());
        let state = ConditionState {
            kind,
            is_true: row.status,
            reason: row.name,
            message: &cut_words(&text, BLOCKED_MESSAGE_MAX_BYTES),
        };
        state.condition(self.conditions, self.generation, self.now_unix_seconds)
    }
}

/// Waits, each a reason and a sentence, with their times. The time is kept while the reason is the
/// same.
pub(crate) fn blocked(
    old: &[Blocked],
    waits: impl Iterator<Item = (&'static str, String)>,
    now_unix_seconds: i64,
) -> Vec<Blocked> {
    let mut seen = BTreeSet::new();
    let entries = waits.filter_map(|(reason, text)| {
        if !seen.insert(reason) {
            return None;
        }
        let former = old.iter().find(|it| it.reason == reason);
        let since = former.map(|former| former.since.clone());
        Some(Blocked {
            reason: reason.to_owned(),
            subject: None,
            message: cut_words(&text, BLOCKED_MESSAGE_MAX_BYTES),
            since: since.or_else(|| time(now_unix_seconds))?,
        })
    });
    entries.take(BLOCKED_MAX_COUNT).collect()
}

/// Reason and message of the condition `Ready`, if it needs a person and had another reason before.
pub(crate) fn new_warning<C, R>(
    table: &[Row<C, R>],
    old: Option<&[Condition]>,
    next: &[Condition],
) -> Option<(&'static str, String)> {
    let ready = |conditions: &[Condition]| {
        let mut conditions = conditions.iter();
        let name = ConditionType::Ready.name();
        conditions.find(|it| it.type_ == name).cloned()
    };
    let now = ready(next)?;
    let was = old.and_then(ready);
    let row = table.iter().find(|row| row.name == now.reason)?;
    let is_new = was.is_none_or(|was| was.reason != now.reason);
    (is_new && !row.status && row.lasting == Lasting::Terminal).then_some((row.name, now.message))
}
