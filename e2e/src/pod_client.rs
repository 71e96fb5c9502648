//! Clients in this process that reach the nodes in pods. The address of a pod is dialed, and the
//! name in the certificate of its node is verified.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use lograft_client::{Client, ClientConfig, Dial, Dialling, TlsFiles, Wire};
use lograft_crds::names::{ClusterNames, PORT_CLIENT};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::sandbox::{Sandbox, await_condition};

const POD_NETWORK: &str = "LOGRAFT_E2E_POD_NETWORK";
/// Fields of a Secret with a client's certificate.
const FIELDS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];
/// Link to the folder with the present files, as the kubelet makes it.
const CURRENT: &str = "current";
/// Interval at which a Secret is compared with its files.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of a call. A call that is retried longer counts as failed.
const CALL_MAX: Duration = Duration::from_secs(10);

/// The missing requirement for clients in this process.
pub(crate) fn lacks_pod_network() -> Option<String> {
    let lacks = std::env::var_os(POD_NETWORK).is_none();
    lacks.then(|| {
        format!(
            "{POD_NETWORK} is not set: it means that this machine reaches the addresses of pods"
        )
    })
}

/// Dials the pod that the first label of a host names.
struct PodDialer {
    pods: Api<Pod>,
}

impl Dial for PodDialer {
    fn dial(&self, address: &str) -> Dialling {
        let (pods, address) = (self.pods.clone(), address.to_owned());
        Box::pin(async move {
            let found = address.rsplit_once(':').and_then(|(host, port)| {
                let (pod, _) = host.split_once('.')?;
                Some((pod, port.parse::<u16>().ok()?))
            });
            let (pod, port) = found.ok_or(io::ErrorKind::InvalidInput)?;
            let pod = pods.get(pod).await.map_err(io::Error::other)?;
            let ip = pod.status.and_then(|status| status.pod_ip);
            let ip = ip.ok_or(io::ErrorKind::NotConnected)?;
            let stream = TcpStream::connect((ip.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Wire>)
        })
    }
}

/// The certificate, key and CA of a client of the LogCluster `events`, in files that follow their
/// Secret until this is dropped.
pub(crate) struct Credentials {
    /// Namespace of the LogCluster.
    namespace: String,
    pods: Api<Pod>,
    folder: Arc<TempDir>,
    follower: AbortHandle,
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Credentials {
    /// Those of the first user, who may do everything.
    pub(crate) async fn of_admin(sandbox: &Sandbox) -> anyhow::Result<Self> {
        let secret = ClusterNames("events").admin_tls();
        Self::of_secret(sandbox, &sandbox.api(), &secret).await
    }

    /// Those of a LogUser of the LogCluster's namespace.
    pub(crate) async fn of(sandbox: &Sandbox, user: &str) -> anyhow::Result<Self> {
        Self::of_secret(sandbox, &sandbox.api(), &secret_of(user)).await
    }

    /// Those in a Secret. Waits until it is complete.
    pub(crate) async fn of_secret(
        sandbox: &Sandbox,
        secrets: &Api<Secret>,
        name: &str,
    ) -> anyhow::Result<Self> {
        let what = format!("Secret {name} to be complete");
        let mut files = await_condition(&what, || async { present(secrets, name).await }).await?;
        let folder = Arc::new(tempfile::tempdir().context("cannot create a folder")?);
        write(folder.path(), 0, &files)?;
        let (secrets, name, place) = (secrets.clone(), name.to_owned(), Arc::clone(&folder));
        let follower = tokio::spawn(async move {
            let mut version = 0;
            loop {
                tokio::time::sleep(FOLLOW_INTERVAL).await;
                // Neither a deleted Secret nor a silent API server changes the files.
                let Ok(Some(found)) = present(&secrets, &name).await else {
                    continue;
                };
                if found != files && write(place.path(), version + 1, &found).is_ok() {
                    version += 1;
                    files = found;
                }
            }
        });
        Ok(Self {
            namespace: sandbox.namespace.clone(),
            pods: sandbox.api(),
            folder,
            follower: follower.abort_handle(),
        })
    }

    fn config(&self) -> ClientConfig {
        let names = ClusterNames("events");
        let endpoints = (0..3).map(|ordinal| {
            let host = names.pod_host(ordinal, &self.namespace);
            format!("{host}:{PORT_CLIENT}")
        });
        let file = |name: &str| self.folder.path().join(CURRENT).join(name);
        let [certificate, key, ca] = FIELDS.map(file);
        ClientConfig {
            request_timeout: CALL_MAX,
            dialer: Arc::new(PodDialer {
                pods: self.pods.clone(),
            }),
            ..ClientConfig::new(endpoints, TlsFiles::new(ca, certificate, key))
        }
    }

    /// Opens a client with the present files.
    pub(crate) async fn connect(&self) -> Result<Client, lograft_client::ClientError> {
        Client::connect(self.config()).await
    }

    /// The roots that a new connection trusts.
    pub(crate) fn roots(&self) -> anyhow::Result<String> {
        let path = self.folder.path().join(CURRENT).join("ca.crt");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// Name of the Secret of a LogUser that sets none.
pub(crate) fn secret_of(user: &str) -> String {
    format!("{user}{}", lograft_crds::names::USER_SECRET_ENDING)
}

/// The fields of a Secret, if it is complete.
async fn present(secrets: &Api<Secret>, name: &str) -> anyhow::Result<Option<[Vec<u8>; 3]>> {
    let Some(secret) = secrets.get_opt(name).await? else {
        return Ok(None);
    };
    let mut data = secret.data.unwrap_or_default();
    let fields = FIELDS.map(|field| data.remove(field).map(|text| text.0).unwrap_or_default());
    let is_complete = fields.iter().all(|text| !text.is_empty());
    Ok(is_complete.then_some(fields))
}

/// Writes the files into a folder of their own, to which the link then leads: no reader finds a
/// half of one. The former folder stays for readers that have opened it.
fn write(folder: &Path, version: u64, files: &[Vec<u8>; 3]) -> anyhow::Result<()> {
    let of = |version: u64| -> PathBuf { folder.join(version.to_string()) };
    let own = of(version);
    fs::create_dir_all(&own)?;
    for (name, text) in FIELDS.iter().zip(files) {
        fs::write(own.join(name), text)?;
    }
    let next = folder.join("next");
    // Left by a failure between the two steps.
    drop(fs::remove_file(&next));
    symlink(&own, &next)?;
    fs::rename(&next, folder.join(CURRENT))?;
    if let Some(outdated) = version.checked_sub(2) {
        drop(fs::remove_dir_all(of(outdated)));
    }
    Ok(())
}

/// Fails unless an error has this reason, and says this.
pub(crate) fn ensure_refused<T>(
    result: Result<T, lograft_client::ClientError>,
    reason: lograft_client::Reason,
    words: &str,
) -> anyhow::Result<()> {
    let error = result.err().context("it was not refused")?;
    let text = error.to_string();
    ensure!(
        error.reason() == Some(reason) && text.contains(words),
        "not refused for {reason}: {error:?}"
    );
    Ok(())
}
