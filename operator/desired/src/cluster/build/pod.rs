//! The pod template. It complies with the restricted profile of Pod Security.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource,
    HTTPGetAction, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lograft_crds::limits::{
    LIVENESS_FAILURES_MAX_COUNT, POD_GRACE_MAX_SECONDS, PROBE_PERIOD_SECONDS,
    PROBE_TIMEOUT_MAX_SECONDS, READINESS_FAILURES_MAX_COUNT, STARTUP_FAILURES_MAX_COUNT,
};
use lograft_crds::names::{
    ANNOTATION_RESTART_AT, CONTAINER, DISK, PORT_CLIENT, PORT_GOSSIP, PORT_HEALTH, PORT_HTTP,
    PORT_PEER,
};

use super::config::{CONFIG_PATH, DISK_PATH, GOSSIP_PATH, TLS_PATH};
use super::{BuildInput, endpoints_access, placement};

/// User and group of the image and of the files on the disk: `nonroot` of distroless.
const USER: i64 = 65532;
/// Mode of the mounted files: readable by the user and group of the pod only.
const FILE_MODE: i32 = 0o440;
/// Volume of the configurations.
const CONFIG: &str = "config";
/// Volume of the certificates.
const TLS: &str = "tls";
/// Volume of the gossip keys.
const GOSSIP: &str = "gossip-keys";
/// Volume of the token for the API server.
const TOKEN: &str = "api-token";
/// Path at which Kubernetes clients look for the token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub(super) fn template(input: &BuildInput<'_>) -> PodTemplateSpec {
    let user = &input.cluster.spec.pod_template;
    let mut labels = user.labels.clone();
    labels.extend(input.names().selector());
    let mut annotations = user.annotations.clone();
    let restart_at = input.cluster.restart_at.clone();
    annotations.extend(restart_at.map(|at| (ANNOTATION_RESTART_AT.to_owned(), at)));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(input)),
    }
}

fn spec(input: &BuildInput<'_>) -> PodSpec {
    let user = &input.cluster.spec.pod_template;
    PodSpec {
        service_account_name: Some(input.names().service_account()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(POD_GRACE_MAX_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        node_selector: (!user.node_selector.is_empty()).then(|| user.node_selector.clone()),
        tolerations: (!user.tolerations.is_empty()).then(|| user.tolerations.clone()),
        priority_class_name: user.priority_class_name.clone(),
        affinity: Some(placement::affinity(input)),
        topology_spread_constraints: Some(vec![placement::spread(input)]),
        containers: vec![container(input)],
        volumes: Some(volumes(input)),
        ..PodSpec::default()
    }
}

fn container(input: &BuildInput<'_>) -> Container {
    let spec = &input.cluster.spec;
    let zone = format!("metadata.labels['{}']", spec.topology.zone_key);
    let mut env = vec![
        from_pod("POD_NAME", "metadata.name"),
        // Kubernetes copies the label from the host; it is empty if the host has none.
        from_pod("LOGRAFT_ZONE", &zone),
    ];
    env.extend(spec.pod_template.env.iter().cloned());
    Container {
        name: CONTAINER.to_owned(),
        image: Some(input.image.to_owned()),
        command: Some(vec!["lograft-node".to_owned()]),
        // Kubernetes inserts the name of the pod: one template, one file per pod.
        args: Some(vec![
            "--config".to_owned(),
            format!("{CONFIG_PATH}/$(POD_NAME).yaml"),
        ]),
        env: Some(env),
        ports: Some(ports(input)),
        resources: Some(spec.resources.clone().unwrap_or_else(default_resources)),
        startup_probe: Some(probe("/healthz", STARTUP_FAILURES_MAX_COUNT)),
        readiness_probe: Some(probe("/readyz", READINESS_FAILURES_MAX_COUNT)),
        liveness_probe: Some(probe("/healthz", LIVENESS_FAILURES_MAX_COUNT)),
        // The end of the output says why a node has ended; status repeats it.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts(input)),
        ..Container::default()
    }
}

/// A variable that Kubernetes sets from a field of the pod.
fn from_pod(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: field.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// Default requests of a node: its caches and a reserve. No limits: a throttled node misses
/// heartbeats and loses its leaderships.
fn default_resources() -> ResourceRequirements {
    let quantity = |name: &str, text: &str| (name.to_owned(), Quantity(text.to_owned()));
    let requests = [quantity("cpu", "100m"), quantity("memory", "256Mi")];
    ResourceRequirements {
        requests: Some(requests.into()),
        ..ResourceRequirements::default()
    }
}

fn ports(input: &BuildInput<'_>) -> Vec<ContainerPort> {
    let mut ports = vec![port("client", PORT_CLIENT), port("peer", PORT_PEER)];
    if input.cluster.spec.discovery.gossip.enabled {
        ports.push(ContainerPort {
            protocol: Some("UDP".to_owned()),
            ..port("gossip", PORT_GOSSIP)
        });
    }
    ports.push(port("health", PORT_HEALTH));
    ports.extend(input.serves_http().then(|| port("http", PORT_HTTP)));
    ports
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("health".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(PROBE_PERIOD_SECONDS),
        timeout_seconds: Some(PROBE_TIMEOUT_MAX_SECONDS),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn mounts(input: &BuildInput<'_>) -> Vec<VolumeMount> {
    let discovery = &input.cluster.spec.discovery;
    let gossip = mount(GOSSIP, GOSSIP_PATH, true);
    let token = mount(TOKEN, TOKEN_PATH, true);
    let mut mounts = vec![
        mount(DISK, DISK_PATH, false),
        mount(CONFIG, CONFIG_PATH, true),
        mount(TLS, TLS_PATH, true),
    ];
    mounts.extend(discovery.gossip.enabled.then_some(gossip));
    mounts.extend(discovery.endpoints.then_some(token));
    mounts
}

/// The Secrets are not optional: without them the pod waits, so a node never starts without its
/// certificate or its gossip key.
fn volumes(input: &BuildInput<'_>) -> Vec<Volume> {
    let (names, discovery) = (input.names(), &input.cluster.spec.discovery);
    let gossip = secret_volume(GOSSIP, names.gossip_keys());
    let token = endpoints_access::token_volume(TOKEN, FILE_MODE);
    let mut volumes = vec![config_volume(input), secret_volume(TLS, names.node_tls())];
    volumes.extend(discovery.gossip.enabled.then_some(gossip));
    volumes.extend(discovery.endpoints.then_some(token));
    volumes
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn config_volume(input: &BuildInput<'_>) -> Volume {
    Volume {
        name: CONFIG.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: input.names().config(),
            default_mode: Some(FILE_MODE),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn secret_volume(name: &str, secret: String) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            default_mode: Some(FILE_MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}
