//! Conditions in the form of the API.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::time::time;

/// The state of a condition.
pub(crate) struct ConditionState<'a> {
    /// Its type.
    pub(crate) kind: &'a str,
    /// Its status.
    pub(crate) is_true: bool,
    /// Reason as one CamelCase word.
    pub(crate) reason: &'a str,
    /// Sentence for people.
    pub(crate) message: &'a str,
}

impl ConditionState<'_> {
    /// The condition. Its transition time is kept while its status is.
    pub(crate) fn condition(
        &self,
        old: &[Condition],
        generation: Option<i64>,
        now_unix_seconds: i64,
    ) -> Option<Condition> {
        let status = if self.is_true { "True" } else { "False" };
        let former = old.iter().find(|c| c.type_ == self.kind);
        let since = former.filter(|c| c.status == status);
        let since = since.map(|c| c.last_transition_time.clone());
        Some(Condition {
            type_: self.kind.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message.to_owned(),
            observed_generation: generation,
            last_transition_time: since.or_else(|| time(now_unix_seconds))?,
        })
    }
}
