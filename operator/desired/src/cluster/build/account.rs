//! The service account of the pods.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::BuildInput;

pub(super) fn build(input: &BuildInput<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: input.metadata(input.names().service_account()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
