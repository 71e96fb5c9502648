//! The permission of the nodes to watch the EndpointSlices of their Service, and nothing else.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath,
    ObjectFieldSelector, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use lograft_crds::limits::TOKEN_SECONDS;

use super::BuildInput;

/// API group of roles.
const RBAC: &str = "rbac.authorization.k8s.io";
/// ConfigMap that Kubernetes keeps in each namespace: the CA of the API server.
const ROOT_CA: &str = "kube-root-ca.crt";

/// The role and its binding; none if the nodes watch no endpoints.
pub(super) fn build(input: &BuildInput<'_>) -> Option<(Role, RoleBinding)> {
    let is_on = input.cluster.spec.discovery.endpoints;
    is_on.then(|| (role(input), binding(input)))
}

/// Get, list and watch cannot be restricted to the slices of one Service: their names are made up
/// by Kubernetes. So a node can see the addresses of all pods behind Services of its namespace.
fn role(input: &BuildInput<'_>) -> Role {
    let text = |text: &str| text.to_owned();
    Role {
        metadata: input.metadata(input.names().endpoints_role()),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![text("discovery.k8s.io")]),
            resources: Some(vec![text("endpointslices")]),
            verbs: ["get", "list", "watch"].map(text).into(),
            ..PolicyRule::default()
        }]),
    }
}

fn binding(input: &BuildInput<'_>) -> RoleBinding {
    let names = input.names();
    let subject = Subject {
        kind: "ServiceAccount".to_owned(),
        name: names.service_account(),
        namespace: Some(input.cluster.namespace.clone()),
        ..Subject::default()
    };
    RoleBinding {
        metadata: input.metadata(names.endpoints_role()),
        role_ref: RoleRef {
            api_group: RBAC.to_owned(),
            kind: "Role".to_owned(),
            name: names.endpoints_role(),
        },
        subjects: Some(vec![subject]),
    }
}

/// The token, the CA of the API server and the namespace, as Kubernetes mounts them by default. Not
/// by default here: without endpoints a node has no token at all.
pub(super) fn token_volume(name: &str, file_mode: i32) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            path: "token".to_owned(),
            expiration_seconds: Some(TOKEN_SECONDS),
            ..ServiceAccountTokenProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let ca = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: ROOT_CA.to_owned(),
            items: Some(vec![KeyToPath {
                key: "ca.crt".to_owned(),
                path: "ca.crt".to_owned(),
                ..KeyToPath::default()
            }]),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.namespace".to_owned(),
                    ..ObjectFieldSelector::default()
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name: name.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token, ca, namespace]),
            default_mode: Some(file_mode),
        }),
        ..Volume::default()
    }
}
