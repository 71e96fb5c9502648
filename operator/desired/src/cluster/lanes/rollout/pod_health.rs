//! Which pods serve nobody, and which are away.

use super::Rollout;
use crate::cluster::observed::{NodeAnswer, ObservedPod};
use crate::cluster::wait::Intervention;

impl Rollout<'_> {
    /// The new pod that does not start, or not in time, if there is one.
    pub(super) fn broken_pod(&self) -> Option<Intervention> {
        let mut new = self.pods.iter().filter(|(_, pod)| !self.is_outdated(pod));
        new.find_map(|(at, pod)| {
            Some(Intervention::BrokenPod {
                pod: self.names.pod(*at),
                why: pod.trouble.clone().or_else(|| self.overdue(*at, pod))?,
            })
        })
    }

    /// Why a new pod has not become ready by the deadline, if it has not.
    fn overdue(&self, at: i32, pod: &ObservedPod) -> Option<String> {
        // Before the bootstrap no pod becomes ready.
        if !self.cluster.bootstrapped || pod.terminating {
            return None;
        }
        let waited = self.observed.now_unix_seconds - pod.never_ready_since?;
        let deadline = &self.cluster.spec.update.progress_deadline.0;
        (waited >= self.cluster.progress_max_seconds).then(|| {
            let cause = match self.observed.answers.get(&at) {
                Some(NodeAnswer::Silent(why)) => format!("its node does not answer: {why}"),
                Some(_) => "its node answers, but is not ready".to_owned(),
                None => "its container has not started".to_owned(),
            };
            format!("not ready within spec.update.progressDeadline ({deadline}); {cause}")
        })
    }

    pub(super) fn missing_pod(&self) -> Option<i32> {
        (0..self.observed.replicas()).find(|at| !self.observed.pods.contains_key(at))
    }

    fn is_heard(&self, ordinal: i32) -> bool {
        self.observed.is_heard(ordinal, &self.names.pod(ordinal))
    }

    /// The first outdated pod that is dead and may be deleted.
    pub(super) fn dead_pod(&self) -> Option<i32> {
        if self.observed.view.is_none() && self.is_any_away() {
            return None;
        }
        let is_dead = |at: i32, pod: &ObservedPod| {
            let is_silent = !pod.running && !pod.terminating && !self.is_heard(at);
            self.may_go(pod) && is_silent
        };
        let dead = self.pods.iter().find(|(at, pod)| is_dead(*at, pod))?;
        Some(dead.0)
    }

    /// Whether a pod is outdated, and none is more likely to serve nobody. While no node describes
    /// the cluster, one that has never been ready is: it may be the one that was deleted last, from
    /// a template that has changed again since.
    fn may_go(&self, pod: &ObservedPod) -> bool {
        let was_never_ready =
            |pod: &ObservedPod| self.is_outdated(pod) && pod.never_ready_since.is_some();
        let is_any_likelier =
            self.observed.view.is_none() && self.pods.iter().any(|(_, pod)| was_never_ready(pod));
        self.is_outdated(pod) && (!is_any_likelier || was_never_ready(pod))
    }

    /// The first outdated pod of these that is useless.
    pub(super) fn useless_pod(&self, down: &[(i32, &ObservedPod)]) -> Option<i32> {
        let is_blind = self.observed.view.is_none();
        let is_useless = |at: i32, pod: &ObservedPod| {
            let is_alive = self.is_heard(at) && (pod.never_ready_since.is_none() || !is_blind);
            self.may_go(pod) && !is_alive
        };
        let useless = down.iter().find(|(at, pod)| is_useless(*at, pod))?;
        Some(useless.0)
    }

    /// Whether a pod is away, by the operator's hand or another: it is missing or being deleted, or
    /// it is new and nobody has heard its node yet.
    pub(super) fn is_any_away(&self) -> bool {
        let is_away = |at: i32, pod: &ObservedPod| {
            pod.terminating || (!self.is_outdated(pod) && !pod.ready && !self.is_heard(at))
        };
        self.missing_pod().is_some() || self.pods.iter().any(|(at, pod)| is_away(*at, pod))
    }
}
