//! The next step for a cluster, as data.

use std::collections::BTreeMap;

use lograft_crds::limits::{
    OBSTACLE_LOOK_AFTER_SECONDS, REQUEUE_FILLING_SECONDS, REQUEUE_QUIET_SECONDS,
    REQUEUE_WAITING_SECONDS,
};
use lograft_crds::log_cluster::{AuthorizationMode, BlockedReason, Endpoints, RolloutStatus};
use lograft_crds::names::{ClusterNames, PORT_CLIENT, PORT_HTTP};
use serde_json::Value;

use crate::cluster::action::{Action, Ask, Delete, Event, Grow, Identity, Mend, Stop};
use crate::cluster::build::{BuildError, Desired, desired_with};
use crate::cluster::contest::Contest;
use crate::cluster::contests::Contests;
use crate::cluster::gossip_keys::GossipKeyPlan;
use crate::cluster::http;
use crate::cluster::image::{self, ImageChoice};
use crate::cluster::lane::{Lane, TimedLane};
use crate::cluster::lanes::finalize::FinalizeLane;
use crate::cluster::lanes::{
    bootstrap, certificates, disks, finalize, gossip_keys, leftover_disks, lost_hosts, metadata,
    objects, rollout, scale,
};
use crate::cluster::observed::Observed;
use crate::cluster::secret_plan::SecretPlan;
use crate::cluster::template::Template;
use crate::cluster::turn::{self, Turn};
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::{ClusterView, StableNodes};
use crate::cluster::wait::{Intervention, Wait};
use crate::fleet::{Held, Member};
use crate::{ObjectKey, ObjectRef, Settings};

/// Waits during which nothing changes at once.
const WAITS_AT_REST: [BlockedReason; 4] = [
    BlockedReason::AuthorizationNotEffective,
    BlockedReason::HttpNotServed,
    BlockedReason::UpgradeNotFinalized,
    BlockedReason::RolloutHeld,
];

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The objects could not be built.
    #[error("cannot build the desired objects")]
    Build(#[source] BuildError),
    /// An object could not be encoded.
    #[error("cannot encode the desired objects")]
    Encode(#[source] serde_json::Error),
}

/// The next step. It is carried out in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Change of the cluster ID; stored before anything is asked of a node.
    pub identity: Identity,
    /// Ordinal of the pod that bootstraps the cluster; stored before its node is asked.
    pub bootstrap_ordinal: Option<i32>,
    /// Whether to store that the cluster was bootstrapped.
    pub mark_bootstrapped: bool,
    /// Secrets to write.
    pub secrets: Vec<SecretPlan>,
    /// Keys of gossip to write.
    pub gossip_keys: Option<GossipKeyPlan>,
    /// PVCs to grow.
    pub grow: Vec<Grow>,
    /// Objects to patch because others have changed them.
    pub mend: Vec<Mend>,
    /// Objects to apply.
    pub apply: Vec<Value>,
    /// Pods whose drain starts.
    pub drain: Vec<ObjectRef>,
    /// The pod to replace once its node is prepared.
    pub stop: Option<Stop>,
    /// Requests to the data plane.
    pub ask: Vec<Ask>,
    /// Objects to delete.
    pub delete: Vec<Delete>,
    /// Events to publish.
    pub events: Vec<Event>,
    /// Unfinished work for status, the most important first.
    pub waits: Vec<Wait>,
    /// Since when all nodes run one version in good health, for status; none if nothing is to be
    /// finalized.
    pub stable_nodes: Option<StableNodes>,
    /// Contested fields, for the next plan.
    pub contests: BTreeMap<ObjectKey, Contest>,
    /// Image of the nodes, for status; empty if there is no choice.
    pub image: String,
    /// Version for a spec that names none, for status; empty if there is no choice.
    pub default_version: String,
    /// Authorization mode of a spec without one, stored with the cluster ID.
    pub default_authorization: AuthorizationMode,
    /// Rollouts, for status.
    pub rollout: Option<RolloutStatus>,
    /// Addresses for clients, for status; none if there is no choice.
    pub endpoints: Option<Endpoints>,
    /// Number of pods in the desired StatefulSet.
    pub pods: i32,
    /// Time until the next reconcile.
    pub requeue_seconds: u64,
}

/// The desired objects of a cluster, before it is decided whether a changed template waits.
pub struct Proposal<'a> {
    cluster: &'a ValidCluster,
    observed: &'a Observed,
    desired: Desired,
    turn: Turn,
    image: ImageChoice,
    /// Waits for versions and levels that the spec needs. They hold up nothing else.
    requirements: Vec<Wait>,
}

impl<'a> Proposal<'a> {
    /// Fails if the objects cannot be built.
    pub fn new(
        cluster: &'a ValidCluster,
        observed: &'a Observed,
        settings: &Settings,
    ) -> Result<Self, PlanError> {
        let image = image::choose(cluster, observed, settings);
        let desired = desired_with(cluster, observed, settings, &image.image);
        let desired = desired.map_err(PlanError::Build)?;
        Ok(Self {
            turn: Turn::new(cluster, observed, &desired, settings),
            requirements: requirements(cluster, observed, &image.image),
            cluster,
            observed,
            desired,
            image,
        })
    }

    /// The cluster as a member of the fleet.
    pub fn member(&self) -> &Member {
        &self.turn.member
    }
}

/// Plans the next step. A cluster that has its desired state gets an empty plan. `held` is why the
/// fleet lets a changed template wait; none if it need not.
///
/// The lanes in their order, which is also that of their waits in status:
///
/// 1. certificates: needs the number of pods.
/// 2. gossip keys.
/// 3. disks.
/// 4. objects: needs from disks whether the StatefulSet is recreated, and does not apply it then.
/// 5. metadata: labels and owners of Secrets, pods and PVCs.
/// 6. bootstrap: needs the number of pods.
/// 7. leftover disks.
/// 8. lost hosts: releases PVCs.
/// 9. rollout: needs the desired template.
/// 10. scale: needs from rollout whether it stops a pod, and starts no decommission then.
/// 11. finalize: needs the template, the number of pods, and whether all other lanes are idle.
///
/// No lane waits for another: certificates are renewed and disks grow while a rollout is stuck.
pub fn plan(proposal: Proposal<'_>, held: Option<&Held>) -> Result<Plan, PlanError> {
    let Proposal {
        cluster,
        observed,
        mut desired,
        turn,
        image: chosen,
        requirements,
    } = proposal;
    let turn_wait = turn.wait(held, &cluster.namespace);
    let is_held = turn_wait.is_some();
    if is_held {
        turn::keep_template(&mut desired, observed);
    }
    let desired_objects = desired.objects().map_err(PlanError::Encode)?;
    let pods = desired.replicas();
    let mut spec_waits = spec_waits(cluster);
    spec_waits.extend(chosen.refusal.map(Wait::from).into_iter().chain(turn_wait));
    let spec_waits_count = spec_waits.len();
    let mut plan = Plan {
        pods,
        waits: spec_waits,
        requeue_seconds: REQUEUE_QUIET_SECONDS,
        // A version that waits can be taken back: it is not the accepted one yet.
        image: unless(is_held, chosen.image),
        default_version: unless(is_held, chosen.default_version),
        default_authorization: cluster.authorization.default_mode,
        rollout: Some(turn.status(is_held)),
        endpoints: Some(endpoints(cluster, &desired)),
        ..Plan::default()
    };
    plan.events.extend(chosen.event.filter(|_| !is_held));
    let secrets_check = plan.add_secrets(cluster, observed);
    let disks = disks::plan(cluster, observed);
    plan.add(disks.lane);
    // A StatefulSet that is made again would have the template that waits.
    let recreates_set = disks.recreates_set && !is_held;
    let contests_check = plan.restore(cluster, observed, desired_objects, recreates_set);
    plan.add(bootstrap::plan(cluster, observed, pods));
    plan.keep_former_authorization(observed);
    plan.add(leftover_disks::plan(cluster, observed));
    plan.add(lost_hosts::plan(cluster, observed));
    let template = Template::new(&desired, observed).map_err(PlanError::Encode)?;
    // The StatefulSet was deleted and made again while the template waits.
    let rollout = if is_held && !turn.is_granted(&template) {
        Lane::default()
    } else {
        rollout::plan(cluster, observed, &template)
    };
    let stops_pod = rollout.stops_pod();
    plan.add(rollout);
    plan.add(scale::plan(cluster, observed, stops_pod));
    let FinalizeLane {
        lane,
        stable_nodes,
        due,
    } = finalize::plan(&finalize::Input {
        cluster,
        observed,
        template: &template,
        pods,
        is_idle: plan.is_empty() && plan.waits.len() == spec_waits_count,
    });
    plan.add(lane);
    plan.stable_nodes = stable_nodes;
    plan.waits.extend(requirements);
    let turn_check = is_held.then(|| turn.next_check(observed.now_unix_seconds));
    let checks = [secrets_check, contests_check, due, turn_check];
    let next_check = checks.into_iter().flatten().min();
    plan.requeue_seconds = plan.requeue(cluster, observed, next_check);
    if cluster.spec.paused {
        plan.keep_waits_only();
    }
    Ok(plan)
}

/// Plans the certificates alone: of a bootstrapped cluster with an invalid spec, whose pods and
/// other objects stay as they are.
pub fn plan_certificates(cluster: &ValidCluster, observed: &Observed) -> Plan {
    let mut plan = Plan {
        pods: observed.replicas_in_use(cluster),
        waits: spec_waits(cluster),
        ..Plan::default()
    };
    let TimedLane { lane, next_check } = certificates::plan(cluster, observed, plan.pods);
    plan.add(lane);
    let longest = if plan.is_empty() {
        REQUEUE_QUIET_SECONDS
    } else {
        REQUEUE_WAITING_SECONDS
    };
    plan.requeue_seconds = until(next_check, observed, longest);
    if cluster.spec.paused {
        plan.keep_waits_only();
    }
    plan
}

/// Time until a check, at most `longest`, seconds.
fn until(check: Option<i64>, observed: &Observed, longest: u64) -> u64 {
    check.map_or(longest, |check| {
        let left = u64::try_from(check - observed.now_unix_seconds).unwrap_or(0);
        left.clamp(1, longest)
    })
}

/// Time until what keeps the youngest object from being ready can be told: it may be on its way
/// before. None once it has been looked at.
fn next_look(observed: &Observed) -> Option<u64> {
    let set = observed.stateful_set.as_ref();
    let created = set.and_then(|set| set.metadata.creation_timestamp.as_ref());
    let created = created.map(|created| created.0.as_second());
    let pods = observed.pods.values();
    let started = pods.filter_map(|pod| pod.never_ready_since);
    let claims = observed.disks.values().map(|disk| disk.created);
    let youngest = started.chain(claims).chain(created).max()?;
    let left = youngest + OBSTACLE_LOOK_AFTER_SECONDS - observed.now_unix_seconds;
    u64::try_from(left).ok().filter(|left| *left > 0)
}

fn unless(is_held: bool, text: String) -> String {
    if is_held { String::new() } else { text }
}

/// Addresses for clients; without that for HTTP while the change that opens it waits for its turn.
fn endpoints(cluster: &ValidCluster, desired: &Desired) -> Endpoints {
    let service = ClusterNames(&cluster.name).client_service();
    let address = |port: i32| format!("{service}.{}.svc:{port}", cluster.namespace);
    Endpoints {
        internal: address(PORT_CLIENT),
        http: desired.serves_http().then(|| address(PORT_HTTP)),
    }
}

fn requirements(cluster: &ValidCluster, observed: &Observed, image: &str) -> Vec<Wait> {
    let finalized = observed.finalized_level(cluster);
    let authorization = cluster.authorization.wait(finalized);
    let http = http::wait(cluster, observed, image);
    authorization.into_iter().chain(http).collect()
}

/// Waits that the spec itself causes.
fn spec_waits(cluster: &ValidCluster) -> Vec<Wait> {
    let invalid = cluster.unsupported.as_ref();
    let invalid = invalid.map(|error| Intervention::InvalidSpec {
        why: error.sentence(),
    });
    let paused = cluster.spec.paused.then_some(Intervention::Paused);
    invalid.into_iter().chain(paused).map(Wait::from).collect()
}

impl Plan {
    /// A cluster that adopts disks has the mode that it had, or none if that is not known.
    fn keep_former_authorization(&mut self, observed: &Observed) {
        if let Identity::Adopt(_) = self.identity {
            self.default_authorization = observed.former_authorization().unwrap_or_default();
        }
    }

    /// Adds a lane; its actions go into the fields of their kind.
    fn add(&mut self, lane: Lane) {
        let Lane {
            actions,
            asks,
            waits,
            events,
        } = lane;
        for action in actions {
            match action {
                Action::SetIdentity(identity) => self.identity = identity,
                Action::SetBootstrapOrdinal(at) => self.bootstrap_ordinal = Some(at),
                Action::MarkBootstrapped => self.mark_bootstrapped = true,
                Action::WriteSecret(secret) => self.secrets.push(secret),
                Action::WriteGossipKeys(keys) => self.gossip_keys = Some(keys),
                Action::Grow(grow) => self.grow.push(grow),
                Action::Mend(mend) => self.mend.push(mend),
                Action::Apply(object) => self.apply.push(object),
                Action::Drain(pod) => self.drain.push(pod),
                Action::Stop(stop) => self.stop = Some(stop),
                Action::Delete(delete) => self.delete.push(delete),
            }
        }
        self.ask.extend(asks);
        self.waits.extend(waits);
        self.events.extend(events);
    }

    /// Adds the lanes that write Secrets; the number of pods is known. Returns when one of them has
    /// to be checked again, seconds since 1970.
    fn add_secrets(&mut self, cluster: &ValidCluster, observed: &Observed) -> Option<i64> {
        let certificates = certificates::plan(cluster, observed, self.pods);
        let gossip_keys = gossip_keys::plan(cluster, observed);
        self.add(certificates.lane);
        self.add(gossip_keys.lane);
        let checks = [certificates.next_check, gossip_keys.next_check];
        checks.into_iter().flatten().min()
    }

    /// Adds the lanes that restore objects and their metadata. Returns when a contest about them
    /// changes by itself, seconds since 1970.
    fn restore(
        &mut self,
        cluster: &ValidCluster,
        observed: &Observed,
        objects: Vec<Value>,
        recreates_set: bool,
    ) -> Option<i64> {
        let mut contests = Contests::new(observed);
        self.add(objects::plan(objects::Input {
            cluster,
            observed,
            objects,
            recreates_set,
            contests: &mut contests,
        }));
        let secrets = self.secrets.iter().map(SecretPlan::name);
        let written = secrets.chain(self.gossip_keys.as_ref().map(GossipKeyPlan::name));
        let lane = metadata::plan(cluster, observed, &written.collect(), &mut contests);
        self.add(lane);
        let next_check = contests.next_check();
        let (contests, waits) = contests.finish();
        self.contests = contests;
        self.waits.extend(waits);
        next_check
    }

    /// Time until the next reconcile.
    fn requeue(&self, cluster: &ValidCluster, observed: &Observed, next_check: Option<i64>) -> u64 {
        let is_blocked = self
            .waits
            .iter()
            .filter_map(Wait::blocked_reason)
            .any(|reason| !WAITS_AT_REST.contains(&reason));
        let ready = observed.pods.values().filter(|pod| pod.ready).count();
        let are_all_ready = i32::try_from(ready) == Ok(self.pods);
        let is_whole = observed.view.as_ref().is_some_and(ClusterView::is_whole);
        let is_unfinished =
            is_blocked || !self.is_empty() || !are_all_ready || !is_whole || !cluster.bootstrapped;
        // Without a running pod the next change is one of Kubernetes, and watches report most of
        // those.
        let is_running = observed.pods.values().any(|pod| pod.running);
        if (is_running || !self.is_empty()) && is_unfinished {
            return REQUEUE_WAITING_SECONDS;
        }
        // No watch reports that a disk fills up.
        let longest = if is_running && cluster.spec.storage.auto_grow.is_some() {
            REQUEUE_FILLING_SECONDS
        } else {
            REQUEUE_QUIET_SECONDS
        };
        // Nor does one report why a pod does not start: that is read from events.
        let next_look = if are_all_ready {
            None
        } else {
            next_look(observed)
        };
        let longest = next_look.map_or(longest, |look| look.min(longest));
        until(next_check, observed, longest)
    }

    /// Removes everything but the waits: a paused cluster is only reported on.
    fn keep_waits_only(&mut self) {
        *self = Self {
            waits: std::mem::take(&mut self.waits),
            pods: self.pods,
            requeue_seconds: REQUEUE_QUIET_SECONDS,
            ..Self::default()
        };
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self {
            identity,
            bootstrap_ordinal,
            mark_bootstrapped,
            secrets,
            gossip_keys,
            grow,
            mend,
            apply,
            drain,
            stop,
            ask,
            delete,
            events,
            waits: _,
            stable_nodes: _,
            contests: _,
            image: _,
            default_version: _,
            default_authorization: _,
            rollout: _,
            endpoints: _,
            pods: _,
            requeue_seconds: _,
        } = self;
        let writes_no_secrets = secrets.is_empty() && gossip_keys.is_none();
        let writes_nothing =
            writes_no_secrets && grow.is_empty() && mend.is_empty() && apply.is_empty();
        let stops_nothing = drain.is_empty() && stop.is_none() && delete.is_empty();
        let keeps_bootstrap = bootstrap_ordinal.is_none() && !mark_bootstrapped;
        let keeps_identity = *identity == Identity::Keep && keeps_bootstrap;
        keeps_identity && writes_nothing && stops_nothing && ask.is_empty() && events.is_empty()
    }
}
