//! Carries a plan out in its order and makes no decisions. A failed step is reported; the steps of
//! other lanes continue.

mod evict;

use std::error::Error;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use lograft_crds::LogCluster;
use lograft_crds::limits::GROWTH_REFUSAL_MAX_BYTES;
use lograft_crds::names::{ANNOTATION_DRAINING_SINCE, ClusterNames, OPERATOR};
use lograft_operator_desired::cluster::{
    self as desired, Ask, Delete, Deletion, GossipKeyPlan, Grow, Identity, Mend, Outcome, Plan,
    RefusedGrowth, SecretPlan, Step, StepFailure, Stop, UnpreparedStop,
};
use lograft_operator_desired::{ObjectKey, ObjectRef, cut_words};
use serde_json::{Value, json};
use tracing::{info, warn};
use uuid::Uuid;

use super::observe::{self, Observation};
use super::update_status;
use crate::admin_client::NodeError;
use crate::controller::Reconciler;
use crate::error_text::error_text;
use crate::events::Happening;
use crate::{gossip_keys, kinds, pki};
use evict::Eviction;

struct Applier<'a> {
    reconciler: &'a Reconciler,
    raw: &'a LogCluster,
    namespace: &'a str,
    observation: &'a Observation,
    outcome: Outcome,
}

pub(super) async fn apply(
    reconciler: &Reconciler,
    raw: &LogCluster,
    observation: &Observation,
    plan: &Plan,
) -> Outcome {
    let mut applier = Applier {
        reconciler,
        raw,
        namespace: raw.metadata.namespace.as_deref().unwrap_or_default(),
        observation,
        outcome: Outcome::default(),
    };
    // Nothing else is done before the cluster ID is stored: objects and disks that carry an ID
    // which no status knows would belong to no cluster after a crash.
    if applier.store_identity(plan).await {
        applier.write_secrets(&plan.secrets).await;
        if let Some(keys) = &plan.gossip_keys {
            applier.write_gossip_keys(keys).await;
        }
        for grow in &plan.grow {
            applier.grow(grow).await;
        }
        for mend in &plan.mend {
            applier.mend(mend).await;
        }
        for object in &plan.apply {
            applier.apply_object(object).await;
        }
        for pod in &plan.drain {
            applier.drain(pod).await;
        }
        if let Some(stop) = &plan.stop {
            applier.stop(stop).await;
        }
        for ask in &plan.ask {
            applier.ask(ask).await;
        }
        for delete in &plan.delete {
            applier.delete(delete).await;
        }
        applier.publish_events(&plan.events).await;
    }
    applier.outcome
}

impl Applier<'_> {
    fn failed(&mut self, step: Step, error: &(dyn Error + 'static)) {
        let error = error_text(error);
        warn!(
            cluster = kinds::key(self.raw),
            step = step.to_string(),
            error,
            "plan step failed"
        );
        self.outcome.failures.push(StepFailure { step, error });
    }

    fn count_write(&self, kind: &str) {
        let writes = &self.reconciler.metrics.writes;
        writes.with_label_values(&[kind]).inc();
    }

    /// Stores the cluster ID, the pod that bootstraps and the bootstrap mark; whether the plan may
    /// continue.
    async fn store_identity(&mut self, plan: &Plan) -> bool {
        let id = match &plan.identity {
            Identity::Keep => None,
            Identity::Mint => Some(Uuid::new_v4().to_string()),
            Identity::Adopt(id) => Some(id.clone()),
        };
        if id.is_none() && plan.bootstrap_ordinal.is_none() && !plan.mark_bootstrapped {
            return true;
        }
        let is_adopted = matches!(plan.identity, Identity::Adopt(_));
        let mut status = self.raw.status.clone().unwrap_or_default();
        status.cluster_id = id.clone().or(status.cluster_id);
        if id.is_some() {
            let authorization = status.authorization.get_or_insert_default();
            authorization.default_mode = plan.default_authorization;
        }
        status.bootstrap_ordinal = plan.bootstrap_ordinal.or(status.bootstrap_ordinal);
        status.bootstrapped |= plan.mark_bootstrapped || is_adopted;
        let api = Api::namespaced(self.reconciler.client.clone(), self.namespace);
        let written = update_status::apply(&api, self.raw, &status).await;
        self.count_write("LogCluster/status");
        if let Err(error) = written {
            self.failed(Step::StoreIdentity, &error);
            return false;
        }
        self.outcome.cluster_id = id;
        self.outcome.bootstrap_ordinal = plan.bootstrap_ordinal;
        self.outcome.bootstrapped = status.bootstrapped;
        true
    }

    async fn write_secrets(&mut self, plans: &[SecretPlan]) {
        let cluster = self.raw.metadata.name.as_deref().unwrap_or_default();
        let existing = &self.observation.secrets;
        let mut ca = existing.get(&ClusterNames(cluster).ca()).cloned();
        for plan in plans {
            let name = plan.name();
            let now = self.observation.observed.now_unix_seconds;
            let secret = match pki::fill(plan, existing, ca.as_ref(), now) {
                Ok(secret) => secret,
                Err(error) => {
                    return self.failed(Step::IssueCertificates(name.to_owned()), &error);
                }
            };
            // The CA is the first Secret: nothing is issued by a CA that was not stored.
            if !self.write_secret(name, &secret).await {
                return;
            }
            if plan.is_ca {
                ca = Some(secret);
            }
        }
    }

    async fn write_gossip_keys(&mut self, plan: &GossipKeyPlan) {
        let name = plan.name();
        match gossip_keys::fill(plan, self.observation.secrets.get(name)) {
            Ok(secret) => {
                self.write_secret(name, &secret).await;
            }
            Err(error) => self.failed(Step::WriteSecret(name.to_owned()), &error),
        }
    }

    /// Whether it was written.
    async fn write_secret(&mut self, name: &str, secret: &Secret) -> bool {
        let api: Api<Secret> = Api::namespaced(self.reconciler.client.clone(), self.namespace);
        let params = PatchParams::apply(OPERATOR).force();
        let written = api.patch(name, &params, &Patch::Apply(secret)).await;
        self.count_write("Secret");
        let written = written.map_err(|error| {
            self.failed(Step::WriteSecret(name.to_owned()), &error);
        });
        written.is_ok()
    }

    async fn grow(&mut self, grow: &Grow) {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.reconciler.client.clone(), self.namespace);
        let patch = json!({
            "metadata": {"uid": grow.uid},
            "spec": {"resources": {"requests": {"storage": grow.bytes.to_string()}}},
        });
        let written = api
            .patch(&grow.claim, &as_operator(), &Patch::Merge(&patch))
            .await;
        self.count_write("PersistentVolumeClaim");
        match written {
            Ok(_) => {}
            // Refused by the storage class or by a quota: a retry does not help.
            Err(kube::Error::Api(status)) if [403, 422].contains(&status.code) => {
                self.outcome.refused_growth = Some(RefusedGrowth {
                    claim: grow.claim.clone(),
                    why: cut_words(&status.message, GROWTH_REFUSAL_MAX_BYTES),
                });
            }
            Err(error) => self.failed(Step::Grow(grow.claim.clone()), &error),
        }
    }

    async fn apply_object(&mut self, object: &Value) {
        let key = ObjectKey::of(object);
        let api = match kinds::api(&self.reconciler.client, self.namespace, &key.kind) {
            Ok(api) => api,
            Err(error) => return self.failed(Step::Apply(key), &error),
        };
        let params = PatchParams::apply(OPERATOR).force();
        let written = api.patch(&key.name, &params, &Patch::Apply(object)).await;
        self.count_write(&key.kind);
        if let Err(error) = written {
            self.failed(Step::Apply(key), &error);
        }
    }

    async fn mend(&mut self, mend: &Mend) {
        let ObjectKey { kind, name } = &mend.object.key;
        let api = match kinds::api(&self.reconciler.client, self.namespace, kind) {
            Ok(api) => api,
            Err(error) => return self.failed(Step::Mend(mend.object.key.clone()), &error),
        };
        let mut patch = mend.patch.clone();
        patch["metadata"]["uid"] = json!(mend.object.uid);
        let written = api.patch(name, &as_operator(), &Patch::Merge(&patch)).await;
        self.count_write(kind);
        if let Err(error) = written {
            self.failed(Step::Mend(mend.object.key.clone()), &error);
        }
    }

    async fn drain(&mut self, pod: &ObjectRef) {
        let ObjectKey { kind, name } = &pod.key;
        let api = match kinds::api(&self.reconciler.client, self.namespace, kind) {
            Ok(api) => api,
            Err(error) => return self.failed(Step::Drain(pod.key.clone()), &error),
        };
        let now = self.observation.observed.now_unix_seconds;
        let mark = json!({ANNOTATION_DRAINING_SINCE: now.to_string()});
        let patch = json!({"metadata": {"uid": pod.uid, "annotations": mark}});
        let written = api.patch(name, &as_operator(), &Patch::Merge(&patch)).await;
        self.count_write(kind);
        if let Err(error) = written {
            self.failed(Step::Drain(pod.key.clone()), &error);
        }
    }

    /// Replaces a pod, if its node confirms that it may stop. The node checks the majorities again:
    /// they may have changed since the observation.
    async fn stop(&mut self, stop: &Stop) {
        let Some(admin) = &self.observation.admin else {
            return;
        };
        let name = &stop.pod.key.name;
        let reporter = self.observation.reporter.as_deref();
        let prepared = admin.prepare_stop(stop.node_id, stop.is_due, reporter);
        match prepared.await {
            Ok(None) => {}
            Ok(Some(why)) => return self.not_stopped(&stop.pod, why),
            Err(error) => return self.failed(Step::PrepareStop(name.clone()), &error),
        }
        if !self.is_only_one_away(&stop.pod).await {
            return;
        }
        info!(cluster = kinds::key(self.raw), pod = name, "replacing pod");
        // The budget would hold pods that are not ready while several are not, and nothing would
        // replace them any more.
        let evicted = if self.is_ready(&stop.pod) {
            let api: Api<Pod> = Api::namespaced(self.reconciler.client.clone(), self.namespace);
            self.count_write("Pod");
            evict::evict(&api, &stop.pod).await
        } else {
            Ok(Eviction::NotPossible)
        };
        match evicted {
            Ok(Eviction::Done) => {}
            Ok(Eviction::Refused(why)) => return self.not_stopped(&stop.pod, why),
            Ok(Eviction::NotPossible) => {
                let delete = Delete {
                    object: stop.pod.clone(),
                    how: Deletion::Usual,
                };
                self.delete(&delete).await;
            }
            Err(error) => return self.failed(Step::Delete(stop.pod.key.clone()), &error),
        }
        self.publish(&stop.event).await;
    }

    /// Whether a pod was ready when it was observed.
    fn is_ready(&self, pod: &ObjectRef) -> bool {
        let mut pods = self.observation.observed.pods.values();
        pods.any(|observed| observed.uid == pod.uid && observed.ready)
    }

    /// Whether no other pod has gone since the observation: a drain of its host may have taken one
    /// while leaderships were transferred. Its node still answers while it stops, so nodes do not
    /// notice.
    async fn is_only_one_away(&mut self, pod: &ObjectRef) -> bool {
        let name = self.raw.metadata.name.clone().unwrap_or_default();
        let names = ClusterNames(&name);
        let observed = &self.observation.observed;
        let now = observe::pods_now(self.reconciler, self.namespace, names).await;
        let lost = match now {
            Ok(now) => {
                let stopping = names.ordinal(&pod.key.name).unwrap_or(-1);
                observed.lost_since(&now, stopping)
            }
            Err(error) => {
                self.failed(Step::Delete(pod.key.clone()), &error);
                return false;
            }
        };
        if let Some(lost) = lost {
            let why = format!(
                "pod {} has just been stopped by somebody else",
                names.pod(lost)
            );
            self.not_stopped(pod, why);
        }
        lost.is_none()
    }

    fn not_stopped(&mut self, pod: &ObjectRef, why: String) {
        let pod = pod.key.name.clone();
        self.outcome.unprepared_stop = Some(UnpreparedStop { pod, why });
    }

    async fn ask(&mut self, ask: &Ask) {
        let Some(admin) = &self.observation.admin else {
            return;
        };
        let step = match ask {
            Ask::Bootstrap { .. } => Step::Bootstrap,
            Ask::Decommission { node_id } => Step::Decommission(*node_id),
            Ask::Recommission { node_id } => Step::Recommission(*node_id),
            Ask::FinalizeLevel { level } => Step::FinalizeLevel(*level),
        };
        info!(
            cluster = kinds::key(self.raw),
            step = step.to_string(),
            "sending a request to the data plane"
        );
        // A node in the cluster, but for the one that creates it.
        let host = match ask {
            Ask::Bootstrap { ordinal, .. } => {
                let cluster = self.raw.metadata.name.as_deref().unwrap_or_default();
                Some(ClusterNames(cluster).pod_host(*ordinal, self.namespace))
            }
            Ask::Decommission { .. } | Ask::Recommission { .. } | Ask::FinalizeLevel { .. } => {
                self.observation.reporter.clone()
            }
        };
        let asked = match host {
            Some(host) => admin.carry_out(ask, &host).await,
            None => Err(NodeError::NoMember),
        };
        match asked {
            Ok(()) => self.outcome.bootstrapped |= step == Step::Bootstrap,
            Err(error) => self.failed(step, &error),
        }
    }

    async fn delete(&mut self, delete: &Delete) {
        let ObjectRef { key, uid } = &delete.object;
        let api = match kinds::api(&self.reconciler.client, self.namespace, &key.kind) {
            Ok(api) => api,
            Err(error) => return self.failed(Step::Delete(key.clone()), &error),
        };
        let params = match delete.how {
            Deletion::Usual => DeleteParams::default(),
            Deletion::Orphan => DeleteParams::orphan(),
            Deletion::Force => DeleteParams::default().grace_period(0),
        };
        // The plan checked one particular object: a new pod of the same name is not deleted.
        let params = params.preconditions(Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        });
        let deleted = api.delete(&key.name, &params).await;
        self.count_write(&key.kind);
        match deleted {
            Ok(_) => {}
            // It is gone, or another object has its name now: nothing is left to delete.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(error) => self.failed(Step::Delete(key.clone()), &error),
        }
    }

    async fn publish_events(&mut self, events: &[desired::Event]) {
        for event in events {
            self.publish(event).await;
        }
        if let Some(failure) = self.outcome.failures.first() {
            let text = failure.to_string();
            let about = failure.step.subject();
            self.report(&Happening {
                is_warning: true,
                reason: "Failed",
                text: &text,
                about: about.as_deref(),
            })
            .await;
        }
    }

    async fn publish(&self, event: &desired::Event) {
        let about = event.about.as_ref().map(ToString::to_string);
        self.report(&Happening {
            is_warning: event.is_warning,
            reason: event.reason,
            text: &event.text,
            about: about.as_deref(),
        })
        .await;
    }

    async fn report(&self, happening: &Happening<'_>) {
        self.reconciler.events.report(self.raw, happening).await;
    }
}

fn as_operator() -> PatchParams {
    PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        ..PatchParams::default()
    }
}
