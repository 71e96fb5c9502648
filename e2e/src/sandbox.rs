//! The namespace of a test case, and the operations that cases use in it.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Event, Namespace, ResourceQuota};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use lograft_crds::names::{LABEL_MANAGED_BY, LABEL_NAME, OPERATOR};
use lograft_crds::{LogCluster, LogClusterStatus, LogTopic, LogUser};
use serde_json::{Value, json};
use uuid::Uuid;

/// Default timeout for a condition.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Label that enforces a PodSecurity profile.
const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
const FIELD_MANAGER: &str = "lograft-e2e";

/// Label of the operator's pods and of its Deployment.
pub(crate) fn operator_label() -> String {
    format!("{LABEL_NAME}={OPERATOR}")
}

/// Must be called before any use of TLS.
pub(crate) fn install_provider() -> anyhow::Result<()> {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        bail!("another TLS provider is installed");
    }
    Ok(())
}

/// The API server that `KUBECONFIG` names.
pub(crate) async fn connect() -> anyhow::Result<Client> {
    install_provider()?;
    let client = Client::try_default()
        .await
        .context("cannot read KUBECONFIG")?;
    client
        .apiserver_version()
        .await
        .context("cannot reach the API server")?;
    Ok(client)
}

/// Applies `crds/generated`, and waits until the API server accepts its objects.
pub(crate) async fn install_crds(client: &Client) -> anyhow::Result<()> {
    install_crd::<LogCluster>(client).await?;
    install_crd::<LogTopic>(client).await?;
    install_crd::<LogUser>(client).await
}

async fn install_crd<K>(client: &Client) -> anyhow::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + serde::de::DeserializeOwned,
{
    let plural = K::plural(&());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/generated");
    let path = format!("{folder}/{plural}.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let crd: Value = serde_yaml::from_str(&text)?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let name = format!("{plural}.lograft.io");
    api.patch(&name, &params, &Patch::Apply(&crd))
        .await
        .context("cannot apply the CRD")?;
    let objects: Api<K> = Api::all(client.clone());
    await_condition("the CRD to be served", || async {
        Ok(objects
            .list(&ListParams::default())
            .await
            .is_ok()
            .then_some(()))
    })
    .await
}

/// Polls until there is a result.
pub(crate) async fn await_condition<T, F>(what: &str, look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    await_for(TIMEOUT, what, look).await
}

/// Polls until there is a result, at most for `timeout`.
pub(crate) async fn await_for<T, F>(
    timeout: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look()
            .await
            .with_context(|| format!("waiting for {what}"))?
        {
            return Ok(found);
        }
        if started.elapsed() > timeout {
            bail!("timed out after {} s waiting for {what}", timeout.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The namespace of a case.
pub(crate) struct Sandbox {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Measured figures, printed with the result.
    figures: Mutex<Vec<String>>,
}

impl Sandbox {
    /// Records a figure.
    pub(crate) fn report_figure(&self, figure: String) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.push(figure);
    }

    /// The recorded figures.
    pub(crate) fn figures(&self) -> Vec<String> {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.clone()
    }

    pub(crate) async fn new(client: Client, case: &str) -> anyhow::Result<Self> {
        let id = Uuid::new_v4().simple().to_string();
        let case = case.replace('_', "-");
        let namespace = format!("e2e-{}-{}", &case[..case.len().min(40)], &id[..6]);
        let object = Namespace {
            metadata: kube::core::ObjectMeta {
                name: Some(namespace.clone()),
                labels: Some([(POD_SECURITY.to_owned(), "restricted".to_owned())].into()),
                ..Default::default()
            },
            ..Namespace::default()
        };
        let api: Api<Namespace> = Api::all(client.clone());
        api.create(&PostParams::default(), &object)
            .await
            .context("cannot create a namespace")?;
        Ok(Self {
            client,
            namespace,
            figures: Mutex::default(),
        })
    }

    /// A namespace whose quota allows no pods and claims, so that cases for an API server alone
    /// also run in a cluster with nodes.
    pub(crate) async fn without_pods(client: Client, case: &str) -> anyhow::Result<Self> {
        let sandbox = Self::new(client, case).await?;
        let none = json!({"pods": "0", "persistentvolumeclaims": "0"});
        let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": none}});
        let quota: ResourceQuota = serde_json::from_value(quota)?;
        sandbox
            .api::<ResourceQuota>()
            .create(&PostParams::default(), &quota)
            .await
            .context("cannot create the quota")?;
        Ok(sandbox)
    }

    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.delete(&self.namespace, &DeleteParams::default())
            .await?;
        Ok(())
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates a LogCluster `events` with an untyped spec, like a user's YAML.
    pub(crate) async fn create(&self, spec: Value) -> Result<(), kube::Error> {
        self.create_as("events", spec).await
    }

    pub(crate) async fn create_as(&self, name: &str, spec: Value) -> Result<(), kube::Error> {
        self.create_of::<LogCluster>(name, spec).await
    }

    /// Creates an object of this kind with an untyped spec.
    pub(crate) async fn create_of<K>(&self, name: &str, spec: Value) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = ()>,
    {
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &kube::api::ApiResource::erase::<K>(&()),
        );
        let object = DynamicObject {
            types: Some(kube::core::TypeMeta {
                api_version: K::api_version(&()).into_owned(),
                kind: K::kind(&()).into_owned(),
            }),
            metadata: kube::core::ObjectMeta {
                name: Some(name.to_owned()),
                ..Default::default()
            },
            data: json!({"spec": spec}),
        };
        api.create(&PostParams::default(), &object).await.map(drop)
    }

    /// Changes the LogCluster's spec.
    pub(crate) async fn change(&self, spec: Value) -> Result<(), kube::Error> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let api = self.api::<LogCluster>();
        api.patch("events", &PatchParams::default(), &patch)
            .await
            .map(drop)
    }

    /// Changes an object that the operator manages.
    pub(crate) async fn edit<K>(&self, name: &str, patch: Value) -> anyhow::Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + serde::de::DeserializeOwned,
    {
        let patch = Patch::Merge(patch);
        self.api::<K>()
            .patch(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Waits until the LogCluster's status fulfils `is_so`.
    pub(crate) async fn status(
        &self,
        what: &str,
        is_so: impl Fn(&LogClusterStatus) -> bool,
    ) -> anyhow::Result<LogClusterStatus> {
        self.status_for(TIMEOUT, what, is_so).await
    }

    /// Waits until the LogCluster's status fulfils `is_so`, at most for `timeout`.
    pub(crate) async fn status_for(
        &self,
        timeout: Duration,
        what: &str,
        is_so: impl Fn(&LogClusterStatus) -> bool,
    ) -> anyhow::Result<LogClusterStatus> {
        let api = self.api::<LogCluster>();
        await_for(timeout, what, || async {
            let status = api.get("events").await?.status.unwrap_or_default();
            Ok(is_so(&status).then_some(status))
        })
        .await
    }

    /// Kind, name and the metadata field `field` of the LogCluster and of every object that the
    /// operator created.
    pub(crate) async fn objects(&self, field: &str) -> anyhow::Result<Vec<String>> {
        let own = ListParams::default().labels(&format!("{LABEL_MANAGED_BY}=lograft-operator"));
        let mut found = Vec::new();
        for kind in crate::kinds::owned_kinds() {
            let is_cluster = kind.kind == "LogCluster";
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
            let all = ListParams::default();
            for object in api.list(if is_cluster { &all } else { &own }).await? {
                let metadata = serde_json::to_value(&object.metadata)?;
                let name = metadata["name"].as_str().unwrap_or_default();
                found.push(format!("{} {name} {}", kind.kind, metadata[field]));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Status and events, for the report of a failure.
    pub(crate) async fn describe_failure(&self) -> String {
        let mut text = String::new();
        if let Ok(clusters) = self.api::<LogCluster>().list(&ListParams::default()).await {
            for cluster in clusters {
                text += &serde_yaml::to_string(&cluster.status).unwrap_or_default();
            }
        }
        if let Ok(topics) = self.api::<LogTopic>().list(&ListParams::default()).await {
            // A case may have a thousand.
            for topic in topics.items.into_iter().take(5) {
                text += &serde_yaml::to_string(&topic.status).unwrap_or_default();
            }
        }
        if let Ok(users) = self.api::<LogUser>().list(&ListParams::default()).await {
            for user in users.items.into_iter().take(5) {
                text += &serde_yaml::to_string(&user.status).unwrap_or_default();
            }
        }
        if let Ok(events) = self.api::<Event>().list(&ListParams::default()).await {
            for event in events {
                let (reason, note) = (event.reason.unwrap_or_default(), event.message);
                text += "event ";
                text += &[reason, note.unwrap_or_default()].join(": ");
                text += "\n";
            }
        }
        text
    }
}
