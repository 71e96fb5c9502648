//! The deletion of a pod that serves, through the eviction API: the API server counts it against
//! the disruption budget in the same write. A deletion is counted only once the controller of
//! budgets has seen it, and until then a drain may take the next pod.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction as EvictionBody;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::Api;
use kube::api::PostParams;
use lograft_crds::limits::CAUSE_TEXT_MAX_BYTES;
use lograft_operator_desired::{ObjectRef, cut_words};
use serde_json::Value;

/// Result of an eviction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// The pod is being deleted, or is gone.
    Done,
    /// The disruption budget does not allow it now, for this reason.
    Refused(String),
    /// This API server does not evict this pod at all: it has to be deleted.
    NotPossible,
}

/// Evicts this pod, not a later one of the same name.
pub(super) async fn evict(api: &Api<Pod>, pod: &ObjectRef) -> Result<Eviction, kube::Error> {
    let body = EvictionBody {
        metadata: ObjectMeta {
            name: Some(pod.key.name.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: None,
            }),
            ..DeleteOptions::default()
        }),
    };
    let params = PostParams::default();
    let answer = api.create_subresource::<_, Value>("eviction", &pod.key.name, &params, &body);
    judge(answer.await.map(drop))
}

fn judge(answer: Result<(), kube::Error>) -> Result<Eviction, kube::Error> {
    // A role of an older chart.
    const NO_RIGHT: &str = "cannot create resource \"pods/eviction\"";
    // Somebody else has made a budget for the same pods. No eviction succeeds then.
    const SEVERAL: &str = "more than one PodDisruptionBudget";
    match answer {
        Ok(()) => Ok(Eviction::Done),
        Err(kube::Error::Api(status)) => match status.code {
            // It is gone, or another pod has its name now.
            404 | 409 => Ok(Eviction::Done),
            429 => Ok(Eviction::Refused(cut_words(
                &status.message,
                CAUSE_TEXT_MAX_BYTES,
            ))),
            403 if status.message.contains(NO_RIGHT) => Ok(Eviction::NotPossible),
            500 if status.message.contains(SEVERAL) => Ok(Eviction::NotPossible),
            _ => Err(kube::Error::Api(status)),
        },
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn judged(code: u16, message: &str) -> Option<Eviction> {
        let status = Status::failure(message, "").with_code(code);
        judge(Err(kube::Error::Api(Box::new(status)))).ok()
    }

    #[test]
    fn only_a_budget_holds_a_pod_and_only_what_can_never_succeed_is_deleted_instead() {
        assert_eq!(judge(Ok(())).ok(), Some(Eviction::Done));
        assert_eq!(judged(404, "not found"), Some(Eviction::Done));
        assert_eq!(
            judged(409, "the UID in the precondition"),
            Some(Eviction::Done)
        );
        let budget = "Cannot evict pod as it would violate the pod's disruption budget.";
        let refused = Some(Eviction::Refused(budget.to_owned()));
        assert_eq!(judged(429, budget), refused);
        let right = "pods \"events-0\" is forbidden: User \"x\" cannot create resource \
                     \"pods/eviction\" in API group \"\"";
        assert_eq!(judged(403, right), Some(Eviction::NotPossible));
        let several = "This pod has more than one PodDisruptionBudget, which the eviction \
                       subresource does not support.";
        assert_eq!(judged(500, several), Some(Eviction::NotPossible));
        // A policy against evictions is not circumvented by a deletion.
        assert_eq!(judged(403, "admission webhook denied the request"), None);
        assert_eq!(judged(500, "etcdserver: request timed out"), None);
    }
}
