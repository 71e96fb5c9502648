//! A local API server, from the programs in `KUBEBUILDER_ASSETS`: etcd and kube-apiserver on
//! loopback, with a temporary directory. No controllers run.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::sandbox::{self, await_condition};

/// The default of other test tools.
const USUAL: &str = "/usr/local/kubebuilder/bin";

/// etcd and kube-apiserver; they are stopped when it is dropped.
pub(crate) struct Server {
    directory: TempDir,
    etcd: Child,
    apiserver: Child,
}

impl Server {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let programs = std::env::var_os("KUBEBUILDER_ASSETS").map_or(USUAL.into(), PathBuf::from);
        for program in ["etcd", "kube-apiserver"] {
            let path = programs.join(program);
            ensure!(
                path.exists(),
                "KUBECONFIG is not set, and {} does not exist (KUBEBUILDER_ASSETS)",
                path.display()
            );
        }
        let directory = tempfile::tempdir().context("cannot create a directory")?;
        let [client, peer, secure] = free_ports()?;
        issue(directory.path(), secure)?;
        let etcd = etcd(&programs, directory.path(), [client, peer])?;
        let apiserver = apiserver(&programs, directory.path(), client, secure)?;
        let server = Self {
            directory,
            etcd,
            apiserver,
        };
        sandbox::install_provider()?;
        let client = server.client().await?;
        await_condition("the API server to answer", || async {
            Ok(client.apiserver_version().await.is_ok().then_some(()))
        })
        .await?;
        Ok(server)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let config = Kubeconfig::read_from(self.kubeconfig())?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(config, &options).await?;
        Ok(Client::try_from(config)?)
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.apiserver.kill().await?;
        self.etcd.kill().await?;
        Ok(())
    }
}

/// Free ports. They may be taken before use; programs that take port numbers leave no better way.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let bound: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let ports: Vec<u16> = bound
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<std::io::Result<_>>()?;
    match ports.as_slice() {
        [a, b, c] => Ok([*a, *b, *c]),
        _ => bail!("cannot find free ports"),
    }
}

/// Creates a CA, certificates of the server and an administrator, a key for tokens, and a
/// kubeconfig.
fn issue(directory: &Path, port: u16) -> anyhow::Result<()> {
    let put = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.distinguished_name.push(DnType::CommonName, "e2e");
    let key = KeyPair::generate()?;
    let ca = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    put("ca.crt", ca.pem())?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut admin = CertificateParams::default();
    admin.distinguished_name.push(DnType::CommonName, "admin");
    let group = DnType::OrganizationName;
    admin.distinguished_name.push(group, "system:masters");
    admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for (name, params) in [("server", server), ("admin", admin)] {
        let key = KeyPair::generate()?;
        put(
            &format!("{name}.crt"),
            params.signed_by(&key, &issuer)?.pem(),
        )?;
        put(&format!("{name}.key"), key.serialize_pem())?;
    }
    let tokens = KeyPair::generate()?;
    put("tokens.key", tokens.serialize_pem())?;
    put("tokens.pub", tokens.public_key_pem())?;
    let file = |name: &str| directory.join(name);
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "admin"}}],
        "clusters": [{"name": "e2e", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": file("ca.crt"),
        }}],
        "users": [{"name": "admin", "user": {
            "client-certificate": file("admin.crt"), "client-key": file("admin.key"),
        }}],
    });
    put("kubeconfig", serde_yaml::to_string(&config)?)
}

fn etcd(programs: &Path, directory: &Path, ports: [u16; 2]) -> anyhow::Result<Child> {
    let [client, peer] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let mut command = Command::new(programs.join("etcd"));
    command
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args(["--unsafe-no-fsync", "--listen-client-urls", &client])
        .args(["--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer]);
    spawn(command, &directory.join("etcd.log"))
}

fn apiserver(programs: &Path, directory: &Path, etcd: u16, port: u16) -> anyhow::Result<Child> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", directory.join(name).display());
    let mut command = Command::new(programs.join("kube-apiserver"));
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
        .arg(format!("--secure-port={port}"))
        .args(["--bind-address=127.0.0.1", "--authorization-mode=RBAC"])
        .args(["--service-account-issuer=https://kubernetes.default.svc"])
        .args(["--disable-admission-plugins=ServiceAccount"])
        .args(["--service-cluster-ip-range=10.96.0.0/16"])
        .arg(file("tls-cert-file", "server.crt"))
        .arg(file("tls-private-key-file", "server.key"))
        .arg(file("client-ca-file", "ca.crt"))
        .arg(file("service-account-key-file", "tokens.pub"))
        .arg(file("service-account-signing-key-file", "tokens.key"));
    spawn(command, &directory.join("apiserver.log"))
}

fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Child> {
    let log =
        std::fs::File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn();
    let child = child
        .with_context(|| format!("cannot start {}", command.as_std().get_program().display()))?;
    // A program that cannot start exits at once and logs why.
    std::thread::sleep(Duration::from_millis(50));
    Ok(child)
}
