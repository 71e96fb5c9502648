//! Carries the plan of a LogUser out in its order and makes no decisions.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use lograft_crds::LogUser;
use lograft_crds::names::{API_VERSION, LABEL_MANAGED_BY, OPERATOR};
use lograft_operator_desired::topic::FinalizerChange;
use lograft_operator_desired::user::{
    AccessRequest, Failure, UserCertificate, UserLeaf, ValidUser,
};
use tracing::{info, warn};

use super::{Decision, UserError, Users};
use crate::controller::dependents::{WriteError, count_write, publish, set_finalizer};
use crate::kinds::key;
use crate::pki;

/// The result of carrying a plan out.
#[derive(Default)]
pub(super) struct Outcome {
    /// The certificate that was written.
    pub(super) written: Option<UserCertificate>,
    /// Why a request failed; the later ones were not sent.
    pub(super) failure: Option<Failure>,
    /// Whether the finalizer was removed.
    pub(super) is_released: bool,
}

/// Fails if a write to the API server fails: what follows it depends on it.
pub(super) async fn apply(
    users: &Users,
    api: &Api<LogUser>,
    raw: &LogUser,
    decision: &Decision,
) -> Result<Outcome, UserError> {
    let plan = &decision.plan;
    let mut outcome = Outcome::default();
    if plan.finalizer == FinalizerChange::Add {
        set_finalizer(users, api, raw, true).await?;
    }
    outcome.failure = ask(users, raw, decision, &plan.requests).await;
    if let (Some(leaf), Some(valid)) = (&plan.secret, &decision.valid) {
        outcome.written = write_secret(users, raw, (valid, leaf), decision).await?;
    }
    if outcome.failure.is_none() {
        outcome.failure = ask(users, raw, decision, &plan.late_requests).await;
    }
    let is_done = outcome.failure.is_none();
    outcome.is_released = match plan.finalizer {
        FinalizerChange::Remove => true,
        FinalizerChange::RemoveOnceDone => is_done,
        FinalizerChange::Keep | FinalizerChange::Add => false,
    };
    if outcome.is_released {
        set_finalizer(users, api, raw, false).await?;
    }
    for event in plan.events.iter().filter(|_| is_done) {
        publish(users, raw, event).await;
    }
    Ok(outcome)
}

/// Sends the requests until one fails.
async fn ask(
    users: &Users,
    raw: &LogUser,
    decision: &Decision,
    requests: &[AccessRequest],
) -> Option<Failure> {
    let valid = decision.valid.as_ref()?;
    let snapshot = decision.sources.snapshot.as_ref()?;
    let principal = &valid.principal;
    for request in requests {
        let Some(client) = &snapshot.client else {
            return Some(Failure::Unknown("no node is known".to_owned()));
        };
        let call = match request {
            AccessRequest::Rules(_) => "change_rules",
            AccessRequest::Revoke { .. } | AccessRequest::Restore => "change_revocations",
        };
        let calls = &users.reconciler.metrics.topics.calls;
        calls.with_label_values(&[call]).inc();
        if let Err(failure) = client.change_access(principal, request).await {
            // The list does not show the cluster as it is.
            users.clusters.outdate(&valid.cluster);
            let (Failure::Refused(error) | Failure::Unknown(error)) = &failure;
            warn!(
                log_user = key(raw),
                call, error, "request for a user failed"
            );
            return Some(failure);
        }
        if let Some(shared) = snapshot.users() {
            shared.enter(principal, request);
        }
        info!(
            log_user = key(raw),
            principal, call, "request for a user done"
        );
    }
    None
}

/// Writes the Secret; the certificate that is in it then.
async fn write_secret(
    users: &Users,
    raw: &LogUser,
    (valid, leaf): (&ValidUser, &UserLeaf),
    decision: &Decision,
) -> Result<Option<UserCertificate>, UserError> {
    let snapshot = decision.sources.snapshot.as_ref();
    let shared = snapshot.and_then(|snapshot| snapshot.users());
    let Some((shared, ca)) = shared.and_then(|shared| Some((shared, shared.ca.as_ref()?))) else {
        return Ok(None);
    };
    let live = decision.sources.secret.as_ref();
    let data = pki::user_data(leaf, live, ca, &shared.bundle).map_err(UserError::Issue)?;
    let labels = [(LABEL_MANAGED_BY.to_owned(), OPERATOR.to_owned())];
    let mut secret = Secret {
        metadata: ObjectMeta {
            name: Some(valid.secret.clone()),
            namespace: Some(valid.namespace.clone()),
            labels: Some(labels.into()),
            owner_references: Some(vec![owner(raw)]),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data),
        ..Secret::default()
    };
    // One that was made meanwhile is not overwritten.
    secret.metadata.uid = live.and_then(|live| live.metadata.uid.clone());
    secret.metadata.resource_version = live.and_then(|live| live.metadata.resource_version.clone());
    let secrets: Api<Secret> = Api::namespaced(users.reconciler.client.clone(), &valid.namespace);
    let written = if live.is_some() {
        let params = PatchParams::apply(OPERATOR).force();
        let patch = Patch::Apply(&secret);
        secrets.patch(&valid.secret, &params, &patch).await
    } else {
        let params = PostParams {
            field_manager: Some(OPERATOR.to_owned()),
            ..PostParams::default()
        };
        secrets.create(&params, &secret).await
    };
    count_write(&users.reconciler, "Secret");
    written.map_err(|source| WriteError {
        what: "the Secret",
        source: Box::new(source),
    })?;
    Ok(pki::observe_user(&secret).0)
}

fn owner(raw: &LogUser) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: "LogUser".to_owned(),
        name: raw.metadata.name.clone().unwrap_or_default(),
        uid: raw.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
