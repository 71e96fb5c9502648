//! `curl` in a pod, with the certificate of a LogUser: HTTP as programs in the cluster use it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, PostParams};
use lograft_crds::names::PORT_HTTP;
use serde_json::json;

use crate::pod_client::{lacks_pod_network, secret_of};
use crate::sandbox::{Sandbox, await_for};

const IMAGE: &str = "LOGRAFT_E2E_CURL_IMAGE";
const NETWORK_POLICY: &str = "LOGRAFT_E2E_NETWORK_POLICY";
/// Any user but root.
const USER: i64 = 65532;
/// Timeout for a pod to start, or to end.
const POD_MAX: Duration = Duration::from_mins(1);
/// Label of pods that the NetworkPolicy of a case lets in.
pub(crate) const ACCESS_LABEL: &str = "lograft-access";

/// The missing requirement for `curl` in pods.
pub(crate) fn lacks_curl() -> Option<String> {
    let lacks = std::env::var_os(IMAGE).is_none();
    lacks.then(|| format!("{IMAGE} is not set: an image with curl and sh"))
}

/// The same beside a client in this process.
pub(crate) fn lacks_curl_or_pod_network() -> Option<String> {
    lacks_curl().or_else(lacks_pod_network)
}

/// The same with NetworkPolicies that have an effect.
pub(crate) fn lacks_curl_or_network_policy() -> Option<String> {
    let lacks = std::env::var_os(NETWORK_POLICY).is_none();
    let why = || format!("{NETWORK_POLICY} is not set: it means that NetworkPolicies are enforced");
    lacks_curl().or_else(|| lacks.then(why))
}

/// The URL of the Service, as pods of its namespace reach it.
pub(crate) fn url(path: &str) -> String {
    format!("https://events-client:{PORT_HTTP}{path}")
}

/// A pod that runs a script of `sh`. In it `lcurl` is `curl` with the certificate of a user, and
/// `/state` may be written to.
pub(crate) struct CurlPod<'a> {
    sandbox: &'a Sandbox,
    name: String,
}

/// A script that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code of the script.
    pub(crate) code: i32,
    /// Its output.
    pub(crate) text: String,
}

impl Ended {
    /// Fails unless it succeeded and has printed all of this.
    pub(crate) fn check(&self, parts: &[&str]) -> anyhow::Result<()> {
        let has_all = parts.iter().all(|part| self.text.contains(part));
        ensure!(self.code == 0 && has_all, "{parts:?} expected: {self:?}");
        Ok(())
    }

    /// Fails unless no connection came about: exit code 7 or 28 of `curl`.
    pub(crate) fn check_no_connection(&self) -> anyhow::Result<()> {
        ensure!([7, 28].contains(&self.code), "it is connected: {self:?}");
        Ok(())
    }
}

impl<'a> CurlPod<'a> {
    /// Starts a script for a user. `has_access`: whether the pod has [`ACCESS_LABEL`].
    pub(crate) async fn start(
        sandbox: &'a Sandbox,
        name: &str,
        user: &str,
        has_access: bool,
        script: &str,
    ) -> anyhow::Result<Self> {
        let image = std::env::var(IMAGE).with_context(|| format!("{IMAGE} is not set"))?;
        let script = format!(
            "lcurl() {{ curl -sS --fail-with-body --connect-timeout 5 --cacert /tls/ca.crt \
             --cert /tls/tls.crt --key /tls/tls.key \"$@\"; }}\n{script}"
        );
        let pod = json!({
            "metadata": {"name": name, "labels": {ACCESS_LABEL: has_access.to_string()}},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumes": [
                    {"name": "tls", "secret": {"secretName": secret_of(user), "defaultMode": 0o440}},
                    {"name": "state", "emptyDir": {}},
                ],
                "containers": [{
                    "name": "curl", "image": image, "command": ["sh", "-c", script],
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "tls", "mountPath": "/tls", "readOnly": true},
                        {"name": "state", "mountPath": "/state"},
                    ],
                }],
            },
        });
        let pod: Pod = serde_json::from_value(pod)?;
        let api = sandbox.api::<Pod>();
        api.create(&PostParams::default(), &pod).await?;
        let name = name.to_owned();
        Ok(Self { sandbox, name })
    }

    /// Runs a script to its end.
    pub(crate) async fn run(
        sandbox: &'a Sandbox,
        user: &str,
        has_access: bool,
        script: &str,
    ) -> anyhow::Result<Ended> {
        let pod = Self::start(sandbox, "curl", user, has_access, script).await?;
        let code = await_for(POD_MAX, "the script of curl to end", || pod.code()).await?;
        let text = pod.text().await?;
        pod.remove().await?;
        Ok(Ended { code, text })
    }

    /// The exit code, once the script has ended.
    pub(crate) async fn code(&self) -> anyhow::Result<Option<i32>> {
        let status = self.sandbox.api::<Pod>().get(&self.name).await?.status;
        let containers = status.and_then(|status| status.container_statuses);
        let state = containers.and_then(|list| list.into_iter().next()?.state);
        Ok(state.and_then(|state| Some(state.terminated?.exit_code)))
    }

    /// The output of the script; empty before it runs.
    pub(crate) async fn text(&self) -> anyhow::Result<String> {
        let api = self.sandbox.api::<Pod>();
        let status = api.get(&self.name).await?.status.unwrap_or_default();
        if status.phase.as_deref() == Some("Pending") {
            return Ok(String::new());
        }
        Ok(api.logs(&self.name, &LogParams::default()).await?)
    }

    /// Deletes the pod.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        self.sandbox.remove_pod(&self.name).await
    }
}
