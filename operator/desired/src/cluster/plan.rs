//! What to do next, as data. Lanes are independent: certificates are renewed and disks grown even
//! while a rollout is stuck. A world where nothing is to be done plans nothing.

use k8s_openapi::api::apps::v1::StatefulSet;
use lograft_crds::conditions::Reason;
use lograft_crds::limits::{
    REQUEUE_FILLING_SECONDS, REQUEUE_QUIET_SECONDS, REQUEUE_WAITING_SECONDS,
};
use lograft_crds::names::{ANNOTATION_APPLIED, ANNOTATION_ROLLOUT_HASH, ClusterNames};
use serde_json::{Value, json};
use twox_hash::XxHash64;

use crate::cluster::build::{BuildError, desired};
use crate::cluster::lanes::certificates::{self, SecretPlan};
use crate::cluster::lanes::disks::{self, Disks};
use crate::cluster::lanes::rollout::{self, Rollout};
use crate::cluster::lanes::scale::{self, Scale};
use crate::{NodeState, ObjectKey, Observed, Settings, ValidCluster, drift::covers};

pub use crate::cluster::lanes::bootstrap::Identity;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The objects cannot be built.
    #[error("building the objects")]
    Build(#[source] BuildError),
    /// An object does not encode.
    #[error("encoding the objects")]
    Encode(#[source] serde_json::Error),
}

/// What to do, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The cluster's id: persisted before anything is asked of a node.
    pub identity: Identity,
    /// Whether the nodes tell that the cluster was made: persisted.
    pub was_made: bool,
    /// Secrets whose certificates or roots are due.
    pub secrets: Vec<SecretPlan>,
    /// Claims to raise.
    pub grow: Vec<Grow>,
    /// Objects that differ from what stands.
    pub apply: Vec<Value>,
    /// Pods whose draining begins: name and UID.
    pub drain: Vec<Delete>,
    /// The pod to replace once its node may be stopped.
    pub stop: Option<Stop>,
    /// What to ask of the data plane.
    pub ask: Vec<Ask>,
    /// What to delete.
    pub delete: Vec<Delete>,
    /// What to tell.
    pub events: Vec<Event>,
    /// What status says, the most important first.
    pub notes: Vec<Note>,
    /// Number of pods that are to stand.
    pub pods: i32,
    /// When to look again.
    pub requeue_seconds: u64,
}

/// A claim to raise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grow {
    /// The claim.
    pub claim: String,
    /// Its UID.
    pub uid: String,
    /// What it is to ask for.
    pub bytes: u64,
}

/// An object to delete, and no other of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Kind and name.
    pub key: ObjectKey,
    /// Its UID.
    pub uid: String,
    /// Whether what it owns stays.
    pub orphan: bool,
}

/// Something to ask of the data plane. Each may be asked again without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Make the cluster, on the first pod's node.
    Bootstrap {
        /// Its id.
        cluster_id: String,
    },
    /// Move everything away from a node, and remove it.
    Decommission {
        /// The node.
        node_id: u64,
    },
    /// Let a node stay that was to leave.
    Recommission {
        /// The node.
        node_id: u64,
    },
}

/// A pod to replace. Its node hands over what it leads and says whether it may be stopped; the pod
/// is deleted in the same step, so that nothing can change between the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The node that runs in it.
    pub node_id: u64,
    /// The pod.
    pub pod: Delete,
    /// Whether leaderships that do not move hold it up no longer. Missing majorities always do.
    pub is_due: bool,
    /// What is told once it is deleted.
    pub event: Event,
}

/// Something to tell, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// A word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub text: String,
    /// What it is about beside the cluster: two of a kind about different objects are told apart.
    pub about: Option<ObjectKey>,
}

/// Something that status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Why: this tells the condition.
    pub reason: Reason,
    /// A clause for people.
    pub text: String,
    /// Whether the controller waits for it: `blockedOn`.
    pub blocks: bool,
}

/// Plans the next step.
pub fn plan(
    cluster: &ValidCluster,
    observed: &Observed,
    settings: &Settings,
) -> Result<Plan, PlanError> {
    let wanted = desired(cluster, observed, settings).map_err(PlanError::Build)?;
    let objects = wanted.objects().map_err(PlanError::Encode)?;
    let pods = (wanted.stateful_set.spec.as_ref()).and_then(|spec| spec.replicas);
    let mut planner = Planner::new(cluster, observed, pods.unwrap_or(0));
    if let Some(refused) = &cluster.not_there {
        planner.note(Reason::InvalidSpec, refused.to_string(), true);
    }
    if cluster.spec.paused {
        planner.note(Reason::PausedBySpec, "spec.paused to be unset", true);
    }
    planner.certificates();
    let disks = disks::plan(cluster, observed);
    planner.disks(&disks);
    planner.objects(objects);
    if disks.renew_set {
        planner.renew_set();
    }
    planner.bootstrap();
    planner.spent_disks();
    let hash = hash_of(&wanted.stateful_set);
    let scale = scale::plan(cluster, observed);
    let rollout = rollout::plan(cluster, observed, &hash);
    planner.rollout(rollout);
    planner.scale(&scale);
    planner.settle();
    if cluster.spec.paused {
        planner.plan.keep_off();
    }
    Ok(planner.plan)
}

fn hash_of(set: &StatefulSet) -> String {
    let metadata = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.metadata.as_ref());
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    let hash = annotations.and_then(|all| all.get(ANNOTATION_ROLLOUT_HASH));
    hash.cloned().unwrap_or_default()
}

struct Planner<'a> {
    cluster: &'a ValidCluster,
    observed: &'a Observed,
    plan: Plan,
    /// When a certificate is to be looked at, seconds since 1970.
    next: Option<i64>,
}

impl<'a> Planner<'a> {
    fn new(cluster: &'a ValidCluster, observed: &'a Observed, pods: i32) -> Self {
        Self {
            cluster,
            observed,
            plan: Plan {
                pods,
                requeue_seconds: REQUEUE_QUIET_SECONDS,
                ..Plan::default()
            },
            next: None,
        }
    }

    fn names(&self) -> ClusterNames<'a> {
        ClusterNames(&self.cluster.name)
    }

    fn note(&mut self, reason: Reason, text: impl Into<String>, blocks: bool) {
        let text = text.into();
        self.plan.notes.push(Note {
            reason,
            text,
            blocks,
        });
    }

    fn tell(&mut self, reason: &'static str, text: String) {
        self.plan.events.push(Event {
            reason,
            text,
            about: None,
        });
    }

    fn tell_of(&mut self, about: ObjectKey, reason: &'static str, text: String) {
        self.plan.events.push(Event {
            reason,
            text,
            about: Some(about),
        });
    }

    fn certificates(&mut self) {
        let found = certificates::plan(self.cluster, self.observed, self.plan.pods);
        self.next = found.next;
        if let Some(name) = found.expired {
            self.note(
                Reason::Expired,
                format!("the certificate of {name} has expired"),
                false,
            );
        }
        for secret in &found.secrets {
            let name = secret.object.metadata.name.clone().unwrap_or_default();
            let about = ObjectKey::new("Secret", name.clone());
            if secret.is_ca {
                self.tell_of(about, "IssuingCa", format!("a new CA goes into {name}"));
            } else if !secret.issue.is_empty() {
                let count = secret.issue.len();
                let text = format!("{count} into {name}");
                self.tell_of(about, "IssuingCertificates", text);
            }
        }
        if !found.secrets.is_empty() {
            self.note(Reason::Issuing, "certificates are issued", false);
        }
        if let Some(wait) = found.wait {
            self.note(Reason::Issuing, wait, true);
        }
        self.plan.secrets = found.secrets;
    }

    fn disks(&mut self, disks: &Disks) {
        for grow in &disks.grow {
            let about = ObjectKey::new("PersistentVolumeClaim", grow.claim.clone());
            let text = format!("{} to {} bytes", grow.claim, grow.bytes);
            self.tell_of(about, "GrowingDisk", text);
        }
        if let Some(claim) = &disks.full {
            let text = format!(
                "{claim} to have room: raise spec.storage.size or spec.storage.autoGrow.maxSize, \
                 or lower retention"
            );
            self.note(Reason::DiskNearlyFull, text, true);
        }
        if let Some(claim) = disks
            .grow
            .first()
            .map(|g| &g.claim)
            .or(disks.growing.first())
        {
            self.note(Reason::Growing, format!("{claim} to grow"), true);
        }
        if let Some(claim) = disks.binding.first() {
            self.note(Reason::Binding, format!("{claim} to be bound"), true);
        }
        self.plan.grow.clone_from(&disks.grow);
    }

    fn objects(&mut self, objects: Vec<Value>) {
        let policy = ObjectKey::new("NetworkPolicy", self.names().network_policy());
        let wanted: Vec<Value> = objects.into_iter().map(marked).collect();
        let is_wanted = wanted.iter().any(|object| ObjectKey::of(object) == policy);
        if let Some(uid) = self.own_uid(&policy).filter(|_| !is_wanted) {
            self.plan.delete.push(Delete {
                key: policy,
                uid,
                orphan: false,
            });
        }
        for object in wanted {
            let key = ObjectKey::of(&object);
            let live = self.observed.live.get(&key);
            if live.is_some_and(|live| covers(live, &object)) {
                continue;
            }
            if let Some(owner) = live.and_then(|live| self.stranger(live)) {
                let ObjectKey { kind, name } = key;
                let text = format!("{kind} {name} to be freed: it belongs to {owner}");
                self.note(Reason::CreatingObjects, text, true);
                continue;
            }
            if live.is_none() {
                let text = format!("{} {} is created", key.kind, key.name);
                self.note(Reason::CreatingObjects, text, false);
            }
            self.plan.apply.push(object);
        }
    }

    /// Who owns an object that is not the cluster's.
    fn stranger(&self, live: &Value) -> Option<String> {
        let owners = live["metadata"]["ownerReferences"].as_array()?;
        let owner = owners.iter().find(|owner| owner["controller"] == true)?;
        let is_own = owner["uid"] == self.cluster.uid.as_str();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (!is_own).then(|| format!("{} {}", text(&owner["kind"]), text(&owner["name"])))
    }

    fn own_uid(&self, key: &ObjectKey) -> Option<String> {
        let live = self.observed.live.get(key)?;
        let owned = live["metadata"]["ownerReferences"].as_array().is_some();
        let is_own = owned && self.stranger(live).is_none();
        let uid = live["metadata"]["uid"].as_str().filter(|_| is_own)?;
        Some(uid.to_owned())
    }

    /// The set goes, its pods stay; the next plan makes it anew around them.
    fn renew_set(&mut self) {
        let key = ObjectKey::new("StatefulSet", self.names().stateful_set());
        let Some(uid) = self.own_uid(&key) else {
            return;
        };
        self.tell(
            "RenewingStatefulSet",
            "new disks get the new size; pods stay".to_owned(),
        );
        self.plan
            .apply
            .retain(|object| ObjectKey::of(object) != key);
        self.plan.delete.push(Delete {
            key,
            uid,
            orphan: true,
        });
    }

    fn bootstrap(&mut self) {
        let found = bootstrap::plan(self.cluster, self.observed, self.plan.pods);
        if let Identity::Adopt(id) = &found.identity {
            self.tell("AdoptingDisks", format!("its disks hold cluster {id}"));
        }
        self.plan.identity = found.identity;
        self.plan.was_made = found.was_made;
        if let Some(wait) = found.wait {
            self.note(Reason::Bootstrapping, wait, true);
        }
        if let Some(cluster_id) = self.cluster.cluster_id.clone().filter(|_| found.ask) {
            self.tell("Bootstrapping", format!("{} makes it", self.names().pod(0)));
            self.note(
                Reason::Bootstrapping,
                "the first node makes the cluster",
                false,
            );
            self.plan.ask.push(Ask::Bootstrap { cluster_id });
        }
    }

    /// Old disks that are in the way of new nodes.
    fn spent_disks(&mut self) {
        let standing = self.observed.standing(self.cluster);
        for at in scale::spent(self.cluster, self.observed, standing) {
            let Some(disk) = self.observed.disks.get(&at) else {
                continue;
            };
            let claim = self.names().disk_claim(at);
            let wait = format!("{claim} to be gone: its node has left for ever");
            self.note(Reason::ScalingUp, wait, true);
            if disk.terminating {
                continue;
            }
            let about = ObjectKey::new("PersistentVolumeClaim", claim);
            let text = format!("{} held nothing any more", about.name);
            self.tell_of(about.clone(), "DroppingDisk", text);
            self.plan.delete.push(Delete {
                key: about,
                uid: disk.uid.clone(),
                orphan: false,
            });
        }
    }

    fn scale(&mut self, scale: &Scale) {
        // One disruption at a time: a pod that is replaced in this step is one.
        let replaces = self.plan.stop.is_some();
        let begins = scale.begun.is_some();
        if let Some(node) = &scale.kept {
            self.tell("Recommissioning", format!("node {node} stays"));
        }
        if let Some(wait) = &scale.wait {
            self.note(Reason::Decommissioning, wait.clone(), true);
        }
        if begins && replaces {
            return;
        }
        if let Some(node) = &scale.begun {
            self.tell("Decommissioning", format!("node {node} leaves"));
        }
        self.plan.ask.extend(scale.ask.clone());
    }

    fn rollout(&mut self, rollout: Rollout) {
        let mut nodes = self.observed.view.iter().flat_map(|view| &view.nodes);
        let is_leaving = nodes.any(|node| node.state == NodeState::Draining);
        if let Some(stuck) = rollout.stuck {
            self.note(Reason::RolloutStuck, stuck, true);
        }
        if rollout.outdated == 0 {
            return;
        }
        let pod = |at: Option<i32>| {
            let seen = self.observed.pods.get(&at?)?;
            Some((self.names().pod(at?), seen.clone()))
        };
        let (delete, drain) = (pod(rollout.delete), pod(rollout.drain));
        let stop = rollout.stop.and_then(|stop| {
            let (name, seen) = pod(Some(stop.ordinal))?;
            let pod = pod_reference(name, &seen.uid);
            Some(Stop {
                node_id: stop.node,
                event: replacing(&pod.key),
                pod,
                is_due: stop.is_due,
            })
        });
        // One disruption at a time: a node that leaves is one. A pod that does not run is none.
        let may = |running: bool| !is_leaving || !running;
        if let Some((name, seen)) = delete.filter(|(_, seen)| may(seen.running)) {
            let delete = pod_reference(name, &seen.uid);
            self.plan.events.push(replacing(&delete.key));
            self.plan.delete.push(delete);
        } else if !is_leaving {
            if let Some((name, seen)) = drain {
                let drain = pod_reference(name, &seen.uid);
                let text = format!("{} hands over what it leads", drain.key.name);
                self.tell_of(drain.key.clone(), "DrainingPod", text);
                self.plan.drain.push(drain);
            }
            self.plan.stop = stop;
        }
        let count = rollout.outdated;
        let paused = self.cluster.spec.update.paused;
        let wait = paused.then(|| "spec.update.paused to be unset".to_owned());
        match wait.or(rollout.wait) {
            Some(wait) => self.note(Reason::RollingOut, wait, true),
            None => self.note(
                Reason::RollingOut,
                format!("{count} pod(s) to be replaced"),
                false,
            ),
        }
    }

    /// When to look again.
    fn settle(&mut self) {
        let waits = self.plan.notes.iter().any(|note| note.blocks) || !self.plan.is_empty();
        let is_whole = self.observed.pods.values().filter(|pod| pod.ready).count();
        let is_whole = i32::try_from(is_whole) == Ok(self.plan.pods);
        // What Kubernetes has to do first wakes the controller by its watches.
        let running = self.observed.pods.values().any(|pod| pod.running);
        let asks = running || !self.plan.is_empty();
        // Nothing wakes the controller when a disk fills up.
        if running && self.cluster.spec.storage.auto_grow.is_some() {
            self.plan.requeue_seconds = REQUEUE_FILLING_SECONDS;
        }
        if asks && (waits || !is_whole || !self.cluster.bootstrapped) {
            self.plan.requeue_seconds = REQUEUE_WAITING_SECONDS;
        } else if let Some(next) = self.next {
            let left = u64::try_from(next - self.observed.now_unix_seconds).unwrap_or(0);
            self.plan.requeue_seconds = left.clamp(1, self.plan.requeue_seconds);
        }
    }
}

fn replacing(pod: &ObjectKey) -> Event {
    Event {
        reason: "ReplacingPod",
        text: format!("{} gets the new template", pod.name),
        about: Some(pod.clone()),
    }
}

fn pod_reference(name: String, uid: &str) -> Delete {
    Delete {
        key: ObjectKey::new("Pod", name),
        uid: uid.to_owned(),
        orphan: false,
    }
}

/// The object with a hash of itself: what it has no longer is told by that.
fn marked(mut object: Value) -> Value {
    let hash = XxHash64::oneshot(0, object.to_string().as_bytes());
    let metadata = &mut object["metadata"];
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"][ANNOTATION_APPLIED] = Value::from(format!("{hash:016x}"));
    object
}

impl Plan {
    /// Leaves of it what it has to say.
    fn keep_off(&mut self) {
        *self = Self {
            notes: std::mem::take(&mut self.notes),
            pods: self.pods,
            requeue_seconds: REQUEUE_QUIET_SECONDS,
            ..Self::default()
        };
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self {
            identity,
            was_made,
            secrets,
            grow,
            apply,
            drain,
            stop,
            ask,
            delete,
            events,
            notes: _,
            pods: _,
            requeue_seconds: _,
        } = self;
        let is_quiet = secrets.is_empty() && grow.is_empty() && apply.is_empty();
        let stops_nothing = drain.is_empty() && stop.is_none() && delete.is_empty();
        let asks_nothing = stops_nothing && ask.is_empty();
        *identity == Identity::Keep && !was_made && is_quiet && asks_nothing && events.is_empty()
    }
}
