//! The operator as a user installs it: by helm, into a separate namespace.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::process::Command;

use crate::sandbox::{await_condition, operator_label};

const NAMESPACE: &str = "lograft-e2e";
const RELEASE: &str = "lograft";
const OPERATOR: &str = "lograft-operator";
/// Operator replicas: one active, one on standby.
const OPERATORS: i32 = 2;

/// The chart with the images to install.
pub(crate) struct Chart {
    client: Client,
    pub(crate) operator_image: String,
    /// Image of the nodes, which also contains the CLI.
    pub(crate) node_image: String,
}

/// UID and container restarts of a pod.
pub(crate) fn incarnation(pod: &Pod) -> (String, i32) {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let restarts = statuses.into_iter().flatten();
    let restarts = restarts.map(|status| status.restart_count).sum();
    (pod.metadata.uid.clone().unwrap_or_default(), restarts)
}

/// The namespace of a running operator, if there is one.
pub(crate) async fn installed(client: &Client) -> anyhow::Result<Option<String>> {
    let api: Api<Deployment> = Api::all(client.clone());
    let own = ListParams::default().labels(&operator_label());
    let found = api.list(&own).await?.items.into_iter().next();
    Ok(found.and_then(|found| found.metadata.namespace))
}

fn image(variable: &str) -> anyhow::Result<String> {
    let image = std::env::var(variable).with_context(|| format!("{variable} is not set"))?;
    let is_tagged = image
        .rsplit_once(':')
        .is_some_and(|(_, tag)| !tag.contains('/'));
    ensure!(
        is_tagged,
        "{variable} must be REPOSITORY:TAG, got {image:?}"
    );
    Ok(image)
}

impl Chart {
    /// Fails with the missing requirement.
    pub(crate) async fn new(client: &Client, is_local: bool) -> anyhow::Result<Self> {
        ensure!(!is_local, "KUBECONFIG is not set: there are no nodes");
        let chart = Self {
            client: client.clone(),
            operator_image: image("LOGRAFT_E2E_OPERATOR_IMAGE")?,
            node_image: image("LOGRAFT_E2E_NODE_IMAGE")?,
        };
        let nodes: Api<Node> = Api::all(client.clone());
        let is_ready = |node: &Node| {
            let conditions = node
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let ready = nodes.list(&ListParams::default()).await?;
        let ready = ready.iter().filter(|node| is_ready(node)).count();
        ensure!(ready >= 3, "{ready} nodes are ready, 3 are required");
        let helm = Command::new("helm")
            .arg("version")
            .stdout(Stdio::null())
            .status()
            .await;
        ensure!(
            helm.is_ok_and(|status| status.success()),
            "helm is not installed"
        );
        if let Some(place) = installed(client).await?.filter(|place| place != NAMESPACE) {
            bail!("another operator already runs in namespace {place}");
        }
        Ok(chart)
    }

    pub(crate) async fn install(&self) -> anyhow::Result<()> {
        self.install_operator(&self.operator_image).await
    }

    /// Installs the chart with another image of the operator, for example that of a former version.
    pub(crate) async fn install_operator(&self, image: &str) -> anyhow::Result<()> {
        self.install_operator_with(image, &[]).await
    }

    /// Installs the chart with further values, such as `node.version=0.3.0`.
    pub(crate) async fn install_with(&self, values: &[&str]) -> anyhow::Result<()> {
        self.install_operator_with(&self.operator_image, values)
            .await
    }

    async fn install_operator_with(&self, image: &str, values: &[&str]) -> anyhow::Result<()> {
        let split = |image: &str| {
            let (repository, tag) = image.rsplit_once(':').unwrap_or((image, ""));
            (repository.to_owned(), tag.to_owned())
        };
        let (operator, operator_tag) = split(image);
        let (node, node_tag) = split(&self.node_image);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/lograft");
        let images = format!(
            "image.repository={operator},image.tag={operator_tag},node.image.repository={node},\
             node.version={node_tag},replicas={OPERATORS}"
        );
        let mut words = vec!["upgrade", "--install", RELEASE, path, "--set", &images];
        words.extend(values.iter().flat_map(|value| ["--set", value]));
        helm(&words).await
    }

    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        helm(&["uninstall", RELEASE]).await
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// UID and container restarts of each operator pod.
    pub(crate) async fn incarnations(&self) -> anyhow::Result<BTreeMap<String, (String, i32)>> {
        let own = ListParams::default().labels(&operator_label());
        let pods = self.pods().list(&own).await?.items.into_iter();
        Ok(pods
            .filter_map(|pod| Some((pod.metadata.name.clone()?, incarnation(&pod))))
            .collect())
    }

    /// Kills all operator pods at once without a grace period, like the loss of a host.
    pub(crate) async fn kill(&self) -> anyhow::Result<()> {
        let own = ListParams::default().labels(&operator_label());
        let now = DeleteParams::default().grace_period(0);
        self.pods().delete_collection(&now, &own).await?;
        Ok(())
    }

    /// Scales the operator to zero.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        self.scale(0).await?;
        let own = ListParams::default().labels(&operator_label());
        await_condition("the operators to be gone", || async {
            Ok(self.pods().list(&own).await?.items.is_empty().then_some(()))
        })
        .await
    }

    /// Scales the operator up again.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        self.scale(OPERATORS).await?;
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        await_condition("the operators to be ready", || async {
            let status = api.get(OPERATOR).await?.status.unwrap_or_default();
            Ok((status.ready_replicas == Some(OPERATORS)).then_some(()))
        })
        .await
    }

    async fn scale(&self, replicas: i32) -> anyhow::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        api.patch(OPERATOR, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    pub(crate) async fn last_lines(&self) -> String {
        let own = ListParams::default().labels(&operator_label());
        let mut text = String::new();
        let Ok(pods) = self.pods().list(&own).await else {
            return text;
        };
        let last = LogParams {
            tail_lines: Some(12),
            ..LogParams::default()
        };
        for pod in pods {
            let name = pod.metadata.name.unwrap_or_default();
            text += &self.pods().logs(&name, &last).await.unwrap_or_default();
        }
        text
    }
}

async fn helm(words: &[&str]) -> anyhow::Result<()> {
    let place = ["--namespace", NAMESPACE, "--wait", "--timeout", "2m"];
    // The CRDs may already exist, from earlier cases or from another release.
    let created: &[&str] = if words.contains(&"--install") {
        &["--create-namespace", "--take-ownership"]
    } else {
        &[]
    };
    let output = Command::new("helm")
        .args(words)
        .args(place)
        .args(created)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "helm {}: {}",
        words.first().copied().unwrap_or_default(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
