//! Whether a changed template waits for its turn, and the template that is kept meanwhile.
//!
//! While it waits, the StatefulSet keeps the template that it has: a pod that starts again for
//! another reason must not be the first one with the change. The kept template is stored in an
//! annotation, so that an edit of the template is still found and reverted. Certificates, disks,
//! scaling, repairs and restarts by `kubectl rollout restart` go on.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use lograft_crds::limits::{KEPT_TEMPLATE_MAX_BYTES, REQUEUE_HELD_SECONDS};
use lograft_crds::log_cluster::{BlockedReason, RolloutStatus};
use lograft_crds::names::ANNOTATION_KEPT_TEMPLATE;
use lograft_crds::{LogCluster, LogClusterSpec};
use serde::Serialize;

use crate::Settings;
use crate::cluster::build::{BuildError, Desired, desired};
use crate::cluster::image::{image_of, live_image};
use crate::cluster::observed::Observed;
use crate::cluster::template::Template;
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::{Intervention, Wait};
use crate::cluster::windows::next_opening;
use crate::fleet::{Cause, Held, Member, Progress, Request};
use crate::text::hash_text;
use crate::time::time;

/// The rollouts of a cluster: the granted one, and what asks to be the next.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The cluster as a member of the fleet.
    pub(crate) member: Member,
    /// The granted rollout, for status.
    granted: RolloutStatus,
    /// For status, once the request is granted.
    requested: RolloutStatus,
    /// Why the cluster itself lets no rollout start.
    own_hold: Option<OwnHold>,
}

#[derive(Clone, Copy, Debug)]
enum OwnHold {
    Paused,
    UpdatePaused,
    Window(i64),
}

/// Waits during which a rollout goes on only if something else changes. Others, such as that for
/// the finalization of a level, may last for days beside it.
const HOLD_UP_ROLLOUT: [BlockedReason; 12] = [
    BlockedReason::StepFailed,
    BlockedReason::ClaimNotBound,
    BlockedReason::ClaimNotProvisioned,
    BlockedReason::ClusterNotDescribed,
    BlockedReason::DataPlaneUnreachable,
    BlockedReason::QuorumLost,
    BlockedReason::PodNotCreated,
    BlockedReason::PodNotScheduled,
    BlockedReason::PodNotStarted,
    BlockedReason::PodNotReady,
    BlockedReason::MajorityAtRisk,
    BlockedReason::StopNotPrepared,
];

/// The revision of an operator: it changes with the version, the settings, and with the template
/// that they give.
///
/// # Errors
///
/// If the template of a sample cluster cannot be built.
pub fn revision(settings: &Settings, operator_version: &str) -> Result<String, BuildError> {
    let mut sample = LogCluster::new("sample", LogClusterSpec::default());
    sample.metadata.namespace = Some("sample".to_owned());
    sample.metadata.uid = Some("sample".to_owned());
    let template = match ValidCluster::new(&sample) {
        Ok(cluster) => desired(&cluster, &Observed::default(), settings)?,
        // Its spec is the default one, which is valid: a test holds it.
        Err(_) => return Ok(operator_version.to_owned()),
    };
    let Settings {
        image_repository,
        version,
        upgrade_clusters,
        operator_namespace: _,
        revision: _,
    } = settings;
    let hash = template.rollout_hash();
    let text = format!("{hash} {image_repository} {version} {upgrade_clusters}");
    Ok(format!("{operator_version}-{}", hash_text(&text)))
}

impl Turn {
    pub(crate) fn new(
        cluster: &ValidCluster,
        observed: &Observed,
        desired: &Desired,
        settings: &Settings,
    ) -> Self {
        let hash = desired.rollout_hash();
        let requested = requested(cluster, hash, settings);
        let granted = granted(cluster, observed, &requested);
        let cause = cause(cluster, &granted, &requested);
        let has_changed = granted.template_hash != requested.template_hash;
        let own_hold = own_hold(cluster, observed, cause);
        let image = live_image(observed).unwrap_or_else(|| image(desired));
        let request = has_changed.then(|| Request {
            cause,
            new_image: Some(self::image(desired)).filter(|new| *new != image),
            may_start: own_hold.is_none(),
            is_paused: matches!(own_hold, Some(OwnHold::Paused | OwnHold::UpdatePaused)),
        });
        let member = Member {
            wave: cluster.rollout.wave,
            is_urgent: cluster.rollout.is_urgent,
            is_healthy: cluster.rollout.was_ready,
            progress: progress(cluster, &granted, observed.now_unix_seconds),
            revision: granted.operator_revision.clone(),
            cause: granted.cause.as_deref().and_then(Cause::named),
            image,
            request,
        };
        Self {
            member,
            granted,
            requested: RolloutStatus {
                cause: Some(cause.name().to_owned()),
                ..requested
            },
            own_hold: own_hold.filter(|_| has_changed),
        }
    }

    /// Why the changed template waits, by itself or because of the fleet.
    pub(crate) fn wait(&self, held: Option<&Held>, namespace: &str) -> Option<Wait> {
        self.member.request.as_ref()?;
        match self.own_hold {
            Some(OwnHold::Paused) => Some(Intervention::Paused.into()),
            Some(OwnHold::UpdatePaused) => Some(Intervention::UpdatePaused.into()),
            Some(OwnHold::Window(opens)) => Some(Wait::Turn(Held::Window(opens))),
            None => held.map(|held| Wait::Turn(without_others(held, namespace))),
        }
    }

    /// Whether the pods may have the template.
    pub(crate) fn is_granted(&self, template: &Template) -> bool {
        template.hash() == self.granted.template_hash
    }

    /// When a waiting template is looked at again, seconds since 1970.
    pub(crate) fn next_check(&self, now_unix_seconds: i64) -> i64 {
        let soon = now_unix_seconds + REQUEUE_HELD_SECONDS;
        match self.own_hold {
            Some(OwnHold::Window(opens)) => opens,
            _ => soon,
        }
    }

    /// Rollouts, for status.
    pub(crate) fn status(&self, is_held: bool) -> RolloutStatus {
        match &self.member.request {
            Some(request) if is_held => RolloutStatus {
                // The spec is recorded as it is now, also if it has nothing to do with the change:
                // otherwise a later upgrade of the operator would look like a change of the spec.
                spec_generation: match request.cause {
                    Cause::Operator => self.requested.spec_generation,
                    Cause::Spec | Cause::Restart => self.granted.spec_generation,
                },
                spec_hash: match request.cause {
                    Cause::Operator => self.requested.spec_hash.clone(),
                    Cause::Spec | Cause::Restart => self.granted.spec_hash.clone(),
                },
                waiting: Some(request.cause.name().to_owned()),
                ..self.granted.clone()
            },
            Some(_) => self.requested.clone(),
            None => RolloutStatus {
                spec_generation: self.requested.spec_generation,
                spec_hash: self.requested.spec_hash.clone(),
                restart_at: self.requested.restart_at.clone(),
                waiting: None,
                ..self.granted.clone()
            },
        }
    }
}

/// A team does not learn the names of the clusters of other teams.
fn without_others(held: &Held, namespace: &str) -> Held {
    let mut held = held.clone();
    if let Some(other) = held.other_mut()
        && other.split_once('/').is_none_or(|(of, _)| of != namespace)
    {
        "of another namespace".clone_into(other);
    }
    held
}

/// The rollout that was granted last. Before the bootstrap, or without a StatefulSet and pods,
/// there is nothing to lose: every template is granted. A cluster of an operator that kept no
/// rollouts has the one of its StatefulSet.
fn granted(
    cluster: &ValidCluster,
    observed: &Observed,
    requested: &RolloutStatus,
) -> RolloutStatus {
    let stored = cluster.rollout.stored.clone();
    let mut granted = stored.unwrap_or_else(|| RolloutStatus {
        template_hash: observed.hash().cloned().unwrap_or_default(),
        operator_revision: None,
        ..requested.clone()
    });
    let has_nothing = observed.stateful_set.is_none() && observed.pods.is_empty();
    let is_new = has_nothing || !cluster.bootstrapped;
    if is_new || granted.template_hash.is_empty() {
        requested
            .template_hash
            .clone_into(&mut granted.template_hash);
    }
    let is_complete = !is_new && is_complete(observed, &granted.template_hash);
    if is_complete && granted.completed.is_none() {
        granted.completed = time(observed.now_unix_seconds);
    }
    granted
}

fn is_complete(observed: &Observed, hash: &str) -> bool {
    let has_it = |at: i32| {
        let pod = observed.pods.get(&at);
        pod.is_some_and(|pod| pod.ready && !pod.terminating && pod.hash.as_deref() == Some(hash))
    };
    observed.replicas() > 0 && (0..observed.replicas()).all(has_it)
}

fn requested(cluster: &ValidCluster, hash: &str, settings: &Settings) -> RolloutStatus {
    RolloutStatus {
        template_hash: hash.to_owned(),
        cause: None,
        operator_revision: Some(settings.revision.clone()),
        completed: None,
        spec_generation: cluster.rollout.generation,
        spec_hash: Some(spec_hash(cluster)),
        restart_at: cluster.restart_at.clone(),
        waiting: None,
    }
}

/// Cause of a changed template. A change of the operator that waits stays one until the spec is
/// changed.
///
/// The generation alone does not say it: it also changes with the number of replicas. Nor does the
/// hash alone: an operator that knows more fields computes another one.
fn cause(cluster: &ValidCluster, granted: &RolloutStatus, requested: &RolloutStatus) -> Cause {
    let is_other_spec = granted.spec_generation != requested.spec_generation
        && granted.spec_hash != requested.spec_hash;
    let waiting = cluster.rollout.stored.as_ref();
    let waiting = waiting.and_then(|stored| stored.waiting.as_deref());
    if is_other_spec {
        Cause::Spec
    } else if granted.restart_at != requested.restart_at && waiting != Some(Cause::Operator.name())
    {
        Cause::Restart
    } else {
        Cause::Operator
    }
}

/// Hash of the fields of the spec that the template is made from.
fn spec_hash(cluster: &ValidCluster) -> String {
    #[derive(Serialize)]
    struct Fields<'a> {
        version: &'a Option<String>,
        image: &'a Option<String>,
        resources: &'a Option<k8s_openapi::api::core::v1::ResourceRequirements>,
        pod_template: &'a lograft_crds::log_cluster::PodTemplate,
        topology: &'a lograft_crds::log_cluster::Topology,
        observability: &'a lograft_crds::log_cluster::Observability,
        segment_bytes: u64,
        /// Left out if it is off: an operator that does not know it has the same hash.
        #[serde(skip_serializing_if = "Option::is_none")]
        http: Option<&'a lograft_crds::log_cluster::HttpListener>,
    }
    let spec = &cluster.spec;
    let fields = Fields {
        version: &spec.version,
        image: &spec.image,
        resources: &spec.resources,
        pod_template: &spec.pod_template,
        topology: &spec.topology,
        observability: &spec.observability,
        segment_bytes: cluster.segment_bytes,
        http: spec.listeners.http.as_ref(),
    };
    hash_text(&serde_json::to_string(&fields).unwrap_or_default())
}

fn own_hold(cluster: &ValidCluster, observed: &Observed, cause: Cause) -> Option<OwnHold> {
    if cluster.spec.paused {
        return Some(OwnHold::Paused);
    }
    if cluster.spec.update.paused {
        return Some(OwnHold::UpdatePaused);
    }
    let is_repair = cause == Cause::Spec && !cluster.rollout.was_ready;
    if cluster.rollout.is_urgent || cause == Cause::Restart || is_repair {
        return None;
    }
    let opens = next_opening(&cluster.windows, observed.now_unix_seconds);
    opens.map(OwnHold::Window)
}

fn progress(cluster: &ValidCluster, granted: &RolloutStatus, now_unix_seconds: i64) -> Progress {
    match &granted.completed {
        Some(at) => Progress::Settled(Some(at.0.as_second())),
        // A cluster of its first template is being created.
        None if granted.cause.is_none() => Progress::Settled(None),
        None if is_stuck(cluster, now_unix_seconds) => Progress::Stuck,
        None => Progress::Rolling,
    }
}

/// Whether a rollout makes no progress by itself: the last status says that it is stuck, or it has
/// been held up by the same thing for longer than a pod may take to become ready.
fn is_stuck(cluster: &ValidCluster, now_unix_seconds: i64) -> bool {
    let holds_up = |reason: &str| HOLD_UP_ROLLOUT.iter().any(|other| other.name() == reason);
    cluster.rollout.blocked.iter().any(|wait| {
        let waited = now_unix_seconds - wait.since.0.as_second();
        let is_overdue = waited >= cluster.progress_max_seconds;
        wait.reason == BlockedReason::RolloutStuck.name() || is_overdue && holds_up(&wait.reason)
    })
}

fn image(desired: &Desired) -> String {
    let spec = desired.stateful_set.spec.as_ref();
    spec.and_then(|spec| image_of(&spec.template))
        .unwrap_or_default()
}

/// Replaces the template in the desired StatefulSet by the one that stays. Without an existing
/// StatefulSet there is none: the rollout alone waits then.
pub(crate) fn keep_template(desired: &mut Desired, observed: &Observed) {
    let Some(live) = &observed.stateful_set else {
        return;
    };
    let annotations = live.metadata.annotations.as_ref();
    let stored = annotations.and_then(|all| all.get(ANNOTATION_KEPT_TEMPLATE));
    let stored: Option<PodTemplateSpec> = stored.and_then(|json| serde_json::from_str(json).ok());
    let Some(kept) = stored.or_else(|| Some(live.spec.as_ref()?.template.clone())) else {
        return;
    };
    let json = serde_json::to_string(&kept).unwrap_or_default();
    if let Some(spec) = &mut desired.stateful_set.spec {
        spec.template = kept;
    }
    // A larger one is not stored: its edits are found when it is replaced.
    if json.len() <= KEPT_TEMPLATE_MAX_BYTES {
        let annotations = desired
            .stateful_set
            .metadata
            .annotations
            .get_or_insert_default();
        annotations.insert(ANNOTATION_KEPT_TEMPLATE.to_owned(), json);
    }
}
