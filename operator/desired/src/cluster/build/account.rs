//! The pods' ServiceAccount.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::World;

pub(super) fn build(world: &World<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: world.metadata(world.names().service_account()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
