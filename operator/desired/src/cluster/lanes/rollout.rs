//! Pods are replaced one at a time, and only while every group keeps its majority.
//!
//! Safety, in the order of the checks:
//!
//! 1. A new pod that does not start stops the rollout: a bad image takes one node, not all.
//! 2. No pod is deleted before the StatefulSet has the new template. It would be created again
//!    from the old one, and the disruption would be for nothing.
//! 3. At most one pod is down. A second one could be the second replica of the same partition.
//! 4. Every group has a majority of healthy voters without the pod. A ready pod may still be
//!    catching up, so the data plane is asked, and without its answer no pod is replaced.
//! 5. The node transfers its leaderships and confirms its stop before the pod is deleted.
//!
//! Pods that serve nobody are exempt from 3 to 5, because they are the way back from a bad
//! template:
//!
//! - A dead pod: its container does not run, and nobody hears its node. The state of the container
//!   alone is not believed: a pod whose node answers, or is reached by its peers, is alive. While
//!   no node describes the cluster, only one pod at a time is deleted, so that a wrong state of all
//!   pods costs one of them.
//! - A useless pod: it runs, but its node is not heard; or it has never been ready, and no node
//!   describes the cluster. One at a time.
//! - A pod that has never been ready, if no group loses the majority that it has: it is stopped
//!   like any other, also while others are down.
//!
//! Outdated pods that are not ready although their nodes are alive, because of a sidecar for
//! example, are exempt from 3 alone.

mod pod_health;

use std::cmp::Reverse;

use lograft_crds::names::ClusterNames;

use crate::cluster::action::{Action, Delete, Deletion, Event, Stop};
use crate::cluster::lane::Lane;
use crate::cluster::observed::{Observed, ObservedPod};
use crate::cluster::template::Template;
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::{ClusterView, NodeState};
use crate::cluster::wait::{Intervention, Progress, Wait};
use crate::{ObjectKey, ObjectRef};

/// The next step of a rollout: at most one pod is touched.
enum Step {
    /// Nothing now, for a reason that another wait reports.
    None,
    /// Wait.
    Wait(Wait),
    /// Delete the pod at once: it serves nobody, or its node never joined.
    Delete(i32),
    /// Start the drain of the pod.
    Drain(i32),
    /// Replace the pod once its node is prepared.
    Stop {
        ordinal: i32,
        node_id: u64,
        is_due: bool,
    },
}

/// Pods of the StatefulSet and the template that they should have.
struct Rollout<'a> {
    cluster: &'a ValidCluster,
    observed: &'a Observed,
    names: ClusterNames<'a>,
    template: &'a Template,
    pods: Vec<(i32, &'a ObservedPod)>,
}

/// Plans the next step towards the desired template.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed, template: &Template) -> Lane {
    let pods = observed.pods.iter().map(|(at, pod)| (*at, pod));
    let rollout = Rollout {
        cluster,
        observed,
        names: ClusterNames(&cluster.name),
        template,
        pods: pods.filter(|(at, _)| *at < observed.replicas()).collect(),
    };
    rollout.lane()
}

impl Rollout<'_> {
    fn lane(&self) -> Lane {
        let mut lane = Lane::default();
        let broken_pod = self.broken_pod();
        let is_stuck = broken_pod.is_some();
        lane.waits.extend(broken_pod.map(Wait::from));
        let outdated = self.pods.iter().filter(|(_, pod)| self.is_outdated(pod));
        let count = outdated.count();
        if count == 0 {
            return lane;
        }
        if self.cluster.spec.update.paused {
            lane.waits.push(Intervention::UpdatePaused.into());
            return lane;
        }
        // A pod that is deleted before the set has the new template is created from the old one.
        let step = if self.template.is_applied {
            self.next_step(is_stuck)
        } else {
            Step::None
        };
        match step {
            Step::Wait(wait) => lane.waits.push(wait),
            step => {
                lane.waits.push(Progress::ReplacingPods { count }.into());
                self.act(&mut lane, &step);
            }
        }
        lane
    }

    fn is_outdated(&self, pod: &ObservedPod) -> bool {
        self.template.is_outdated(pod)
    }

    fn next_step(&self, is_stuck: bool) -> Step {
        if let Some(at) = self.dead_pod() {
            return Step::Delete(at);
        }
        if is_stuck {
            return Step::None;
        }
        let bootstrapped = self.cluster.bootstrapped;
        if !bootstrapped {
            // No pod is ready before the bootstrap, and there are no records to lose.
            let mut pods = self.pods.iter();
            let outdated = pods.find(|(_, pod)| self.is_outdated(pod));
            return outdated.map_or(Step::None, |(at, _)| Step::Delete(*at));
        }
        let down: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, pod)| !pod.ready || pod.terminating)
            .copied()
            .collect();
        let down_first = down.first().map(|(at, _)| *at);
        match self.missing_pod().or(down_first) {
            Some(first) => self.repair(first, &down),
            None => self.replace(&self.pods, ClusterView::groups_at_risk_without),
        }
    }

    /// The next step while pods are missing or down, of which `first` is the first.
    fn repair(&self, first: i32, down: &[(i32, &ObservedPod)]) -> Step {
        let wait = Step::Wait(Wait::PodReady {
            pod: self.names.pod(first),
        });
        if self.is_any_away() {
            return wait;
        }
        if let Some(at) = self.useless_pod(down) {
            return Step::Delete(at);
        }
        let is_new = |pod: &ObservedPod| !self.is_outdated(pod);
        let was_never_ready = |pod: &ObservedPod| !is_new(pod) && pod.never_ready_since.is_some();
        let never_ready = down.iter().filter(|(_, pod)| was_never_ready(pod));
        let never_ready: Vec<_> = never_ready.copied().collect();
        if !never_ready.is_empty() {
            return self.replace(&never_ready, ClusterView::groups_lost_without);
        }
        // The new template may repair the outdated ones. But a new pod has to be ready first:
        // otherwise its template repairs nothing.
        if down.iter().any(|(_, pod)| is_new(pod)) {
            return wait;
        }
        self.replace(down, ClusterView::groups_at_risk_without)
    }

    /// Drains or stops the next outdated one of these pods, from the highest ordinal, the leader of
    /// the metadata group last: each transfer of that leadership delays all metadata changes.
    /// `at_risk` names the groups that forbid to stop a node.
    fn replace(
        &self,
        pods: &[(i32, &ObservedPod)],
        at_risk: impl Fn(&ClusterView, u64) -> Vec<String>,
    ) -> Step {
        let Some(view) = &self.observed.view else {
            return Step::Wait(Wait::ViewForRollout);
        };
        let leads_meta = |at: i32| {
            let node = view.node_of(&self.names.pod(at));
            node.is_some_and(|node| Some(node.id) == view.meta_leader)
        };
        // A drain that has started is finished first.
        let next = pods
            .iter()
            .filter(|(_, pod)| self.is_outdated(pod))
            .min_by_key(|(at, pod)| (pod.draining_since.is_none(), leads_meta(*at), Reverse(*at)));
        let Some((ordinal, pod)) = next else {
            return Step::None;
        };
        let name = self.names.pod(*ordinal);
        let Some(node) = view.node_of(&name) else {
            // The node never joined: it holds no replica.
            return Step::Delete(*ordinal);
        };
        let groups = at_risk(view, node.id);
        if !groups.is_empty() {
            return Step::Wait(Wait::MajorityWithout { pod: name, groups });
        }
        let Some(since) = pod.draining_since else {
            return Step::Drain(*ordinal);
        };
        Step::Stop {
            ordinal: *ordinal,
            node_id: node.id,
            is_due: self.observed.now_unix_seconds - since >= self.cluster.drain_max_seconds,
        }
    }

    /// Adds the actions of a step.
    ///
    /// One disruption at a time: while a node is being decommissioned, its groups change their
    /// voters, so no other node is stopped. A pod without a running process is no disruption.
    fn act(&self, lane: &mut Lane, step: &Step) {
        let mut nodes = self.observed.view.iter().flat_map(|view| &view.nodes);
        let is_leaving = nodes.any(|node| node.state == NodeState::Draining);
        match *step {
            Step::None | Step::Wait(_) => {}
            Step::Delete(ordinal) => {
                let is_running = self.observed.pods.get(&ordinal).is_some_and(|p| p.running);
                if let Some(object) = self.pod(ordinal).filter(|_| !is_leaving || !is_running) {
                    lane.events.push(replacing(&object.key));
                    lane.actions.push(Action::Delete(Delete {
                        object,
                        how: Deletion::Usual,
                    }));
                }
            }
            Step::Drain(ordinal) => {
                if let Some(pod) = self.pod(ordinal).filter(|_| !is_leaving) {
                    let text = format!("transferring the leaderships of {}", pod.key.name);
                    lane.emit_event_about(pod.key.clone(), "DrainingPod", text);
                    lane.actions.push(Action::Drain(pod));
                }
            }
            Step::Stop {
                ordinal,
                node_id,
                is_due,
            } => {
                if let Some(pod) = self.pod(ordinal).filter(|_| !is_leaving) {
                    lane.actions.push(Action::Stop(Stop {
                        node_id,
                        event: replacing(&pod.key),
                        pod,
                        is_due,
                    }));
                }
            }
        }
    }

    fn pod(&self, ordinal: i32) -> Option<ObjectRef> {
        let pod = self.observed.pods.get(&ordinal)?;
        Some(ObjectRef {
            key: ObjectKey::new("Pod", self.names.pod(ordinal)),
            uid: pod.uid.clone(),
        })
    }
}

fn replacing(pod: &ObjectKey) -> Event {
    Event {
        reason: "ReplacingPod",
        text: format!("replacing {} to apply the new template", pod.name),
        is_warning: false,
        about: Some(pod.clone()),
    }
}
