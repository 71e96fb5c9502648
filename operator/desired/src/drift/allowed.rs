//! The list of fields that the operator does not set and that may be there all the same.

use serde_json::Value;

use super::FieldPath;

/// Which values a field may have.
enum Allowed {
    /// Any: the API server or another controller fills it, or it is left to others.
    Any,
    /// A text: the default of the API server.
    Text(&'static str),
    /// A number: the default of the API server.
    Number(i64),
    /// False: the same as its absence.
    False,
}

use Allowed::{Any, False, Number, Text};

/// A row of [`TABLE`].
struct Row {
    /// Kind; empty for all.
    kind: &'static str,
    /// The field, and everything in it, with `[]` for each item of a list.
    path: &'static str,
    allowed: Allowed,
}

const fn row(kind: &'static str, path: &'static str, allowed: Allowed) -> Row {
    Row {
        kind,
        path,
        allowed,
    }
}

const CONFIG_MAP: &str = "ConfigMap";
const SERVICE: &str = "Service";
const SET: &str = "StatefulSet";

/// Every field that may be there although it is not desired.
const TABLE: &[Row] = &[
    row("", "status", Any),
    // Others mark objects, own them too, or want to be asked before their deletion.
    row("", "metadata.annotations", Any),
    row("", "metadata.labels", Any),
    row("", "metadata.finalizers", Any),
    row("", "metadata.ownerReferences[]", Any),
    row("", "metadata.creationTimestamp", Any),
    row("", "metadata.deletionGracePeriodSeconds", Any),
    row("", "metadata.deletionTimestamp", Any),
    row("", "metadata.generation", Any),
    row("", "metadata.managedFields", Any),
    row("", "metadata.resourceVersion", Any),
    row("", "metadata.selfLink", Any),
    row("", "metadata.uid", Any),
    // Filled by the token controller, and by those that hand out registry credentials.
    row("ServiceAccount", "imagePullSecrets", Any),
    row("ServiceAccount", "secrets", Any),
    row(CONFIG_MAP, "immutable", False),
    row(SERVICE, "spec.clusterIP", Any),
    row(SERVICE, "spec.clusterIPs", Any),
    row(SERVICE, "spec.internalTrafficPolicy", Text("Cluster")),
    row(SERVICE, "spec.ipFamilies", Any),
    row(SERVICE, "spec.ipFamilyPolicy", Any),
    row(SERVICE, "spec.sessionAffinity", Text("None")),
    row(SERVICE, "spec.type", Text("ClusterIP")),
    row(SET, "spec.minReadySeconds", Number(0)),
    // Immutable: the set is recreated if it must change.
    row(SET, "spec.volumeClaimTemplates[]", Any),
    // `kubectl rollout restart`.
    row(
        SET,
        "spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt",
        Any,
    ),
    row(SET, "spec.template.spec.dnsPolicy", Text("ClusterFirst")),
    row(SET, "spec.template.spec.hostIPC", False),
    row(SET, "spec.template.spec.hostNetwork", False),
    row(SET, "spec.template.spec.hostPID", False),
    row(SET, "spec.template.spec.restartPolicy", Text("Always")),
    row(
        SET,
        "spec.template.spec.schedulerName",
        Text("default-scheduler"),
    ),
    // The former name of `serviceAccountName`; the API server keeps them equal.
    row(SET, "spec.template.spec.serviceAccount", Any),
    row(
        SET,
        "spec.template.spec.volumes[].projected.sources[].downwardAPI.items[].fieldRef.apiVersion",
        Text("v1"),
    ),
    container("env[].valueFrom.fieldRef.apiVersion", Text("v1")),
    container("env[].valueFrom.resourceFieldRef.divisor", Text("0")),
    container("imagePullPolicy", Text("Always")),
    container("imagePullPolicy", Text("IfNotPresent")),
    container("livenessProbe.httpGet.scheme", Text("HTTP")),
    container("livenessProbe.successThreshold", Number(1)),
    container("readinessProbe.httpGet.scheme", Text("HTTP")),
    container("readinessProbe.successThreshold", Number(1)),
    container("startupProbe.httpGet.scheme", Text("HTTP")),
    container("startupProbe.successThreshold", Number(1)),
    container("terminationMessagePath", Text("/dev/termination-log")),
];

/// Path of the containers in a template.
const CONTAINERS: &str = "spec.template.spec.containers[].";

/// A row about a field of the containers; its path is the rest after [`CONTAINERS`].
const fn container(path: &'static str, allowed: Allowed) -> Row {
    Row {
        kind: "container",
        path,
        allowed,
    }
}

/// Whether a field that is not desired may have this value.
pub(super) fn is_allowed(kind: &str, path: &FieldPath, value: &Value) -> bool {
    let pattern = path.pattern();
    let in_container = pattern.strip_prefix(CONTAINERS);
    TABLE.iter().any(|row| {
        let path = match row.kind {
            "" => Some(pattern.as_str()),
            "container" => in_container.filter(|_| kind == SET),
            other => Some(pattern.as_str()).filter(|_| other == kind),
        };
        let is_covered = path
            .and_then(|path| path.strip_prefix(row.path))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        is_covered && row.allowed.fits(value)
    })
}

impl Allowed {
    fn fits(&self, value: &Value) -> bool {
        match self {
            Any => true,
            Text(text) => *value == **text,
            Number(number) => *value == *number,
            False => *value == Value::Bool(false),
        }
    }
}
