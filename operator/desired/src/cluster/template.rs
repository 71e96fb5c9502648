//! The desired pod template, and which pods were created from another one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cluster::build::Desired;
use crate::cluster::observed::{Observed, ObservedPod};
use crate::drift::Drift;

/// The desired pod template in comparison with those in use.
pub(crate) struct Template {
    /// Its rollout hash.
    hash: String,
    /// Whether the StatefulSet has it: new pods are created from it.
    pub(crate) is_applied: bool,
    /// The last restart that somebody asked for by `kubectl rollout restart`.
    restarted_at: Option<String>,
    /// Revisions of the StatefulSet with another template.
    edited_revisions: BTreeSet<String>,
}

impl Template {
    /// Fails if the desired StatefulSet cannot be encoded.
    pub(crate) fn new(desired: &Desired, observed: &Observed) -> Result<Self, serde_json::Error> {
        let hash = desired.rollout_hash().to_owned();
        let set = serde_json::to_value(&desired.stateful_set)?;
        let template = &set["spec"]["template"];
        let live = observed.stateful_set_value();
        let live = live.map(|live| &live["spec"]["template"]);
        let contested = contested(observed);
        let is_same = |template: &Value, other: &Value| is_same(template, other, &contested);
        let has_hash = observed.hash() == Some(&hash);
        let revisions = observed.revisions.iter();
        let edited = revisions.filter(|(_, other)| !is_same(template, other));
        Ok(Self {
            is_applied: has_hash && live.is_none_or(|live| is_same(template, live)),
            restarted_at: observed.restarted_at().cloned(),
            edited_revisions: edited.map(|(name, _)| name.clone()).collect(),
            hash,
        })
    }

    /// Its rollout hash.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether a pod was created from another template, or before the last restart that somebody
    /// asked for. The hash alone does not say it: somebody may have edited the template in the
    /// StatefulSet, for example by `kubectl set env`, and the edit does not change the hash.
    pub(crate) fn is_outdated(&self, pod: &ObservedPod) -> bool {
        let revision = pod.revision.as_ref();
        let is_restarted = self.restarted_at.is_none() || pod.restarted_at == self.restarted_at;
        pod.hash.as_ref() != Some(&self.hash)
            || !is_restarted
            || revision.is_some_and(|revision| self.edited_revisions.contains(revision))
    }
}

/// Fields of the StatefulSet that somebody else keeps changing. Pods are created with them, so they
/// must not stop a rollout: otherwise a policy that rewrites images would stop all changes.
fn contested(observed: &Observed) -> BTreeSet<String> {
    let contests = observed.contests.iter();
    let of_set =
        contests.filter(|(key, contest)| key.kind == "StatefulSet" && contest.is_reported());
    of_set
        .flat_map(|(_, contest)| contest.fields.iter().cloned())
        .collect()
}

/// Whether a template is the desired one, but for contested fields and for what the API server and
/// others may add.
fn is_same(desired: &Value, template: &Value, contested: &BTreeSet<String>) -> bool {
    let in_set = |template: &Value| json!({"kind": "StatefulSet", "spec": {"template": template}});
    let drift = Drift::of(&in_set(desired), &in_set(template));
    let mut paths = drift.paths();
    paths.all(|path| contested.contains(&path.to_string()))
}
