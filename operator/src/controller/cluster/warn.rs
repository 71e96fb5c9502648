//! A Warning event for everything that needs a person, repeated while it lasts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use lograft_crds::limits::{WARNING_REPEAT_SECONDS, WARNINGS_KNOWN_MAX_COUNT};
use lograft_crds::{LogCluster, LogClusterStatus};
use lograft_operator_desired::cluster::status;

use crate::controller::Reconciler;
use crate::events::Happening;

/// When what was warned of, seconds since 1970. A restart of the operator forgets it: the events
/// are counted once more.
#[derive(Debug, Default)]
pub(crate) struct Warned(Mutex<BTreeMap<String, i64>>);

impl Warned {
    /// Whether a warning is due, and notes that it is published.
    fn is_due(&self, key: String, now: i64) -> bool {
        let mut warned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|_, at| (0..WARNING_REPEAT_SECONDS).contains(&(now - *at)));
        if warned.contains_key(&key) || warned.len() >= WARNINGS_KNOWN_MAX_COUNT {
            return false;
        }
        warned.insert(key, now);
        true
    }
}

/// Publishes the warnings of a status that are due. They are not retried: status has the same
/// information.
pub(super) async fn publish(
    reconciler: &Reconciler,
    raw: &LogCluster,
    next: &LogClusterStatus,
    now: i64,
) {
    let uid = raw.metadata.uid.as_deref().unwrap_or_default();
    for warning in status::warnings(next, now) {
        let subject = warning.subject.as_deref();
        let key = [uid, &warning.reason, subject.unwrap_or_default()].join("\n");
        if !reconciler.warned.is_due(key, now) {
            continue;
        }
        let happening = Happening {
            is_warning: true,
            reason: &warning.reason,
            text: &warning.text,
            about: subject,
        };
        reconciler.events.report(raw, &happening).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_repeated_at_its_interval() {
        let warned = Warned::default();
        let is_due = |key: &str, now| warned.is_due(key.to_owned(), now);
        assert!(is_due("a", 1000));
        assert!(!is_due("a", 1000 + WARNING_REPEAT_SECONDS - 1));
        assert!(is_due("b", 1001));
        assert!(is_due("a", 1000 + WARNING_REPEAT_SECONDS));
        // The clock was set back.
        assert!(is_due("a", 10));
    }
}
