//! Carries a plan out, in its order. It makes no choices: a step that fails is told, and lanes
//! that do not need it go on.

use std::fmt::Display;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource as _};
use lograft_crds::LogCluster;
use lograft_crds::limits::GROWTH_REFUSAL_MAX_COUNT;
use lograft_crds::names::{ANNOTATION_DRAINING_SINCE, ClusterNames, OPERATOR};
use lograft_operator_desired::plan::{self, Identity, Plan};
use lograft_operator_desired::status::Outcome;
use lograft_operator_desired::{Ask, Delete, Grow, ObjectKey, Stop};
use serde_json::{Value, json};
use tracing::{info, warn};
use uuid::Uuid;

use super::observe::World;
use super::update_status;
use crate::error_text::sentence;
use crate::controller::Context;
use crate::{kinds, pki};

/// What a step needs.
struct Applier<'a> {
    context: &'a Context,
    raw: &'a LogCluster,
    namespace: &'a str,
    outcome: Outcome,
}

pub(super) async fn apply(
    context: &Context,
    raw: &LogCluster,
    world: &World,
    plan: &Plan,
) -> Outcome {
    let mut applier = Applier {
        context,
        raw,
        namespace: raw.metadata.namespace.as_deref().unwrap_or_default(),
        outcome: Outcome::default(),
    };
    if !applier.identity(&plan.identity, plan.was_made).await {
        return applier.outcome;
    }
    applier.secrets(world, plan).await;
    for grow in &plan.grow {
        applier.grow(grow).await;
    }
    for object in &plan.apply {
        applier.object(object).await;
    }
    for drain in &plan.drain {
        applier.drain(drain, world.observed.now_unix_seconds).await;
    }
    if let Some(stop) = &plan.stop {
        applier.stop(stop, world).await;
    }
    for ask in &plan.ask {
        applier.ask(ask, world).await;
    }
    for delete in &plan.delete {
        applier.delete(delete).await;
    }
    applier.tell(plan).await;
    applier.outcome
}

impl Applier<'_> {
    fn failed(&mut self, action: impl Display, error: &dyn std::error::Error) {
        self.refused(action, error);
        self.outcome.api_failures_count += 1;
    }

    /// A node did not do it: it is asked again at the next look.
    fn refused(&mut self, action: impl Display, error: &dyn std::error::Error) {
        let text = format!("{action} to succeed: {}", sentence(error));
        warn!(cluster = super::key(self.raw), "failed: {text}");
        self.outcome.failures.push(text);
    }

    fn wrote(&self, kind: &str) {
        self.context.metrics.writes.with_label_values(&[kind]).inc();
    }

    /// The id, and the mark that the cluster was made, stand before anything else is done.
    async fn identity(&mut self, identity: &Identity, was_made: bool) -> bool {
        let id = match identity {
            Identity::Keep => None,
            Identity::Mint => Some(Uuid::new_v4().to_string()),
            Identity::Adopt(id) => Some(id.clone()),
        };
        if id.is_none() && !was_made {
            return true;
        }
        let mut status = self.raw.status.clone().unwrap_or_default();
        status.cluster_id = id.clone().or(status.cluster_id);
        status.bootstrapped |= was_made || matches!(identity, Identity::Adopt(_));
        let api = Api::namespaced(self.context.client.clone(), self.namespace);
        let written = update_status::put(&api, self.raw, &status).await;
        self.wrote("LogCluster/status");
        if let Err(error) = written {
            self.failed("writing the cluster's id", &error);
            return false;
        }
        self.outcome.cluster_id = id;
        self.outcome.bootstrapped = status.bootstrapped;
        true
    }

    async fn secrets(&mut self, world: &World, plan: &Plan) {
        let name = self.raw.metadata.name.as_deref().unwrap_or_default();
        let ca_name = ClusterNames(name).ca();
        let mut ca = world.secrets.get(&ca_name).cloned();
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), self.namespace);
        for planned in &plan.secrets {
            let name = planned.object.metadata.name.clone().unwrap_or_default();
            let live = world.secrets.get(&name);
            let now = world.observed.now_unix_seconds;
            let secret = match pki::fill(planned, live, ca.as_ref(), now) {
                Ok(secret) => secret,
                Err(error) => {
                    self.failed(format!("issuing for Secret {name}"), &error);
                    return;
                }
            };
            let params = PatchParams::apply(OPERATOR).force();
            let written = api.patch(&name, &params, &Patch::Apply(&secret)).await;
            self.wrote("Secret");
            if let Err(error) = written {
                self.failed(format!("applying Secret {name}"), &error);
                // Nothing is issued by a CA that does not stand.
                return;
            }
            if planned.is_ca {
                ca = Some(secret);
            }
        }
    }

    async fn grow(&mut self, grow: &Grow) {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client.clone(), self.namespace);
        let patch = json!({
            "metadata": {"uid": grow.uid},
            "spec": {"resources": {"requests": {"storage": grow.bytes.to_string()}}},
        });
        let written = api
            .patch(&grow.claim, &by_us(), &Patch::Merge(&patch))
            .await;
        self.wrote("PersistentVolumeClaim");
        match written {
            Ok(_) => {}
            // By the storage class, or by a quota: it stays so until somebody changes that.
            Err(kube::Error::Api(status)) if [403, 422].contains(&status.code) => {
                let said: String = status
                    .message
                    .chars()
                    .take(GROWTH_REFUSAL_MAX_COUNT)
                    .collect();
                let text = format!("{} to be allowed to grow: {said}", grow.claim);
                self.outcome.growth_refused = Some(text);
            }
            Err(error) => self.failed(format!("growing {}", grow.claim), &error),
        }
    }

    async fn object(&mut self, object: &Value) {
        let ObjectKey { kind, name } = ObjectKey::of(object);
        let api = match kinds::api(&self.context.client, self.namespace, &kind) {
            Ok(api) => api,
            Err(error) => return self.failed(format!("applying {name}"), &error),
        };
        let params = PatchParams::apply(OPERATOR).force();
        let written = api.patch(&name, &params, &Patch::Apply(object)).await;
        self.wrote(&kind);
        if let Err(error) = written {
            self.failed(format!("applying {kind} {name}"), &error);
        }
    }

    async fn drain(&mut self, drain: &Delete, now: i64) {
        let ObjectKey { kind, name } = &drain.key;
        let api = match kinds::api(&self.context.client, self.namespace, kind) {
            Ok(api) => api,
            Err(error) => return self.failed(format!("draining {name}"), &error),
        };
        let mark = json!({ANNOTATION_DRAINING_SINCE: now.to_string()});
        let patch = json!({"metadata": {"uid": drain.uid, "annotations": mark}});
        let written = api.patch(name, &by_us(), &Patch::Merge(&patch)).await;
        self.wrote(kind);
        if let Err(error) = written {
            self.failed(format!("draining {name}"), &error);
        }
    }

    /// Replaces a pod, if its node says that it may be stopped.
    async fn stop(&mut self, stop: &Stop, world: &World) {
        let Some(nodes) = &world.nodes else { return };
        let name = &stop.pod.key.name;
        let reporter = world.reporter.as_deref();
        let prepared = nodes.prepare_stop(stop.node_id, stop.is_due, reporter);
        match prepared.await {
            Ok(None) => {}
            Ok(Some(wait)) => {
                let text = format!("{name} to be ready for its stop: {wait}");
                self.outcome.wait = Some(text);
                return;
            }
            Err(error) => return self.refused(format!("preparing the stop of {name}"), &error),
        }
        info!(cluster = super::key(self.raw), pod = name, "replaces it");
        self.delete(&stop.pod).await;
        let event = self.event(&stop.event);
        self.publish(&event).await;
    }

    async fn ask(&mut self, ask: &Ask, world: &World) {
        let Some(nodes) = &world.nodes else { return };
        let reporter = world.reporter.as_deref();
        info!(cluster = super::key(self.raw), ?ask, "asks the nodes");
        match nodes.carry_out(ask, &world.first_host, reporter).await {
            Ok(()) => self.outcome.bootstrapped |= matches!(ask, Ask::Bootstrap { .. }),
            Err(error) => {
                let what = match ask {
                    Ask::Bootstrap { .. } => "bootstrapping the first node",
                    Ask::Decommission { .. } => "decommissioning a node",
                    Ask::Recommission { .. } => "keeping a node",
                };
                self.refused(what, &error);
            }
        }
    }

    async fn delete(&mut self, delete: &Delete) {
        let ObjectKey { kind, name } = &delete.key;
        let api = match kinds::api(&self.context.client, self.namespace, kind) {
            Ok(api) => api,
            Err(error) => return self.failed(format!("deleting {name}"), &error),
        };
        let params = if delete.orphan {
            DeleteParams::orphan()
        } else {
            DeleteParams::default()
        };
        let params = params.preconditions(Preconditions {
            uid: Some(delete.uid.clone()),
            resource_version: None,
        });
        let deleted = api.delete(name, &params).await;
        self.wrote(kind);
        match deleted {
            Ok(_) => {}
            // It is gone, or another of its name stands: both is what was wanted.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(error) => self.failed(format!("deleting {kind} {name}"), &error),
        }
    }

    async fn tell(&mut self, plan: &Plan) {
        let told = plan.events.iter().map(|event| self.event(event));
        let failures = self.outcome.failures.first().map(|failure| Event {
            type_: EventType::Warning,
            reason: "Failed".to_owned(),
            note: Some(format!("waits for {failure}")),
            action: "Reconcile".to_owned(),
            secondary: None,
        });
        for event in told.chain(failures) {
            self.publish(&event).await;
        }
    }

    /// A plan's event as the API server takes it.
    fn event(&self, event: &plan::Event) -> Event {
        let reference = |about: &ObjectKey| ObjectReference {
            kind: Some(about.kind.clone()),
            name: Some(about.name.clone()),
            namespace: Some(self.namespace.to_owned()),
            ..ObjectReference::default()
        };
        Event {
            type_: EventType::Normal,
            reason: event.reason.to_owned(),
            note: Some(event.text.clone()),
            action: event.reason.to_owned(),
            secondary: event.about.as_ref().map(reference),
        }
    }

    async fn publish(&self, event: &Event) {
        let reference = self.raw.object_ref(&());
        // Events are told once, and a lost one harms nobody.
        if let Err(error) = self.context.recorder.publish(event, &reference).await {
            warn!(error = sentence(&error), "cannot tell an event");
        }
    }
}

fn by_us() -> PatchParams {
    PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        ..PatchParams::default()
    }
}
