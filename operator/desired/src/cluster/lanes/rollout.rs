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
//! Pods without a running process are exempt from 3 to 5: deleting them loses nothing, and it is
//! the way back from an image that does not start.

use std::cmp::Reverse;

use lograft_crds::names::ClusterNames;

use crate::cluster::action::{Action, Delete, Event, Stop};
use crate::cluster::lane::Lane;
use crate::cluster::observed::{Observed, ObservedPod};
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::NodeState;
use crate::cluster::wait::{Intervention, Progress, Wait};
use crate::{ObjectKey, ObjectRef};

/// The next step of a rollout: at most one pod is touched.
enum Step {
    /// Nothing now, for a reason that another wait reports.
    None,
    /// Wait.
    Wait(Wait),
    /// Delete the pod at once: it runs no process, or its node never joined.
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
    /// Hash of the desired template.
    hash: &'a str,
    pods: Vec<(i32, &'a ObservedPod)>,
}

/// Plans the next step towards the template with this hash.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed, hash: &str) -> Lane {
    let pods = observed.pods.iter().map(|(at, pod)| (*at, pod));
    let rollout = Rollout {
        cluster,
        observed,
        names: ClusterNames(&cluster.name),
        hash,
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
        let is_applied = self.observed.hash().is_some_and(|hash| hash == self.hash);
        let step = if is_applied {
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
        pod.hash.as_deref() != Some(self.hash)
    }

    /// The new pod that does not start, if there is one.
    fn broken_pod(&self) -> Option<Intervention> {
        let mut new = self.pods.iter().filter(|(_, pod)| !self.is_outdated(pod));
        new.find_map(|(at, pod)| {
            Some(Intervention::BrokenPod {
                pod: self.names.pod(*at),
                why: pod.trouble.clone()?,
            })
        })
    }

    fn next_step(&self, is_stuck: bool) -> Step {
        // A pod without a running process serves nobody: this is the way back from a bad image.
        let is_idle = |pod: &ObservedPod| self.is_outdated(pod) && !pod.running && !pod.terminating;
        if let Some((at, _)) = self.pods.iter().find(|(_, pod)| is_idle(pod)) {
            return Step::Delete(*at);
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
        let replicas = self.observed.replicas();
        let missing = (0..replicas).find(|at| !self.observed.pods.contains_key(at));
        let down: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, pod)| !pod.ready || pod.terminating)
            .collect();
        let down_first = down.first().map(|(at, _)| *at);
        if let Some(at) = missing.or(down_first) {
            // The only pod that is down may be outdated: the new template may repair it.
            return match down.as_slice() {
                [(at, pod)] if missing.is_none() && self.is_repairable(pod) => {
                    self.replace(&[(*at, *pod)])
                }
                _ => Step::Wait(Wait::PodReady {
                    pod: self.names.pod(at),
                }),
            };
        }
        self.replace(&self.pods)
    }

    fn is_repairable(&self, pod: &ObservedPod) -> bool {
        self.is_outdated(pod) && !pod.terminating
    }

    /// Drains or stops the next outdated one of these pods, from the highest ordinal, the leader of
    /// the metadata group last: each transfer of that leadership delays all metadata changes.
    fn replace(&self, pods: &[(i32, &ObservedPod)]) -> Step {
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
        let groups = view.groups_at_risk_without(node.id);
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
                        orphan: false,
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
        about: Some(pod.clone()),
    }
}
