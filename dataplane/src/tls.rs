//! TLS of a node, both ends: TLS 1.3, certificates required on both sides, the peer's identity
//! checked inside the handshake so that a stranger gets a TLS alert and no HTTP.
//!
//! The files are looked at every few seconds. When they have changed and hold together, connections
//! made from then on use them; running ones go on while their certificates pass. When they do not
//! hold together (half of them is replaced) the old ones stay in use.

mod verify;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use lograft_core::limits::TLS_FILE_MAX_BYTES;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::sync::watch;
use tracing::info;

use crate::blocking::run_blocking;
use crate::config::TlsConfig;
use crate::identity::{IdentityError, PeerIdentity};
use crate::reload;
use verify::{CheckClient, CheckNode};

/// Why the TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any certificate.
    #[error("{path} must be at most {TLS_FILE_MAX_BYTES} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file is no PEM, or holds nothing of the kind.
    #[error("cannot find a PEM {what} in {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// The expected content.
        what: &'static str,
        /// The cause.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The node's certificate holds no identity.
    #[error("cannot read the identity of the certificate {path}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: IdentityError,
    },
    /// The node's certificate is not a node's.
    #[error("certificate {path} must be that of a node, got {identity}")]
    NotANode {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        identity: Arc<PeerIdentity>,
    },
    /// A CA certificate cannot be a root.
    #[error("cannot use the CA certificates of {path}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// No verifier can be made of the CA certificates.
    #[error("cannot build a verifier from the CA certificates")]
    Verifier(#[source] VerifierBuilderError),
    /// Certificate and key do not go together.
    #[error("cannot use the certificate {path} with its key")]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// The TLS library cannot do TLS 1.3.
    #[error("cannot set up TLS 1.3")]
    Protocol(#[source] rustls::Error),
}

/// HTTP/2 in ALPN.
pub(crate) const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN.
const HTTP1: &[u8] = b"http/1.1";

/// A port's rules on who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Users, the operator and nodes of this cluster.
    Client,
    /// Nodes of this cluster.
    Peer,
    /// Whoever may connect to the client port, over HTTP/1.1 too.
    Http,
}

/// The bytes of the three files, compared to detect changes.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

struct Material {
    files: Files,
    identity: Arc<PeerIdentity>,
    not_after_s: i64,
    ca_fingerprints: Vec<String>,
    client_port: Arc<ServerConfig>,
    peer_port: Arc<ServerConfig>,
    http_port: Arc<ServerConfig>,
    connect: Arc<ClientConfig>,
    check_node: CheckNode,
    /// Who may connect to each port.
    check_client: Arc<dyn ClientCertVerifier>,
    check_peer: Arc<dyn ClientCertVerifier>,
}

/// The certificates that a node has loaded, for its report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedCertificates {
    /// When its own expires, seconds since the Unix epoch.
    pub not_after_s: i64,
    /// SHA-256 of each CA certificate, in hex, in the order of the file.
    pub ca_fingerprints: Vec<String>,
}

/// A node's TLS, as of the files' last good state.
pub struct Tls {
    paths: TlsConfig,
    current: ArcSwap<Material>,
    /// Notified when other files are in use.
    changed: watch::Sender<()>,
}

impl Tls {
    /// Reads the files for the first time.
    pub fn load(paths: TlsConfig) -> Result<Self, TlsError> {
        let material = Material::build(&paths, Files::read(&paths)?)?;
        Ok(Self {
            paths,
            current: ArcSwap::from_pointee(material),
            changed: watch::Sender::default(),
        })
    }

    /// The configuration for new connections of a port.
    pub fn server(&self, port: Port) -> Arc<ServerConfig> {
        let current = self.current.load();
        match port {
            Port::Client => Arc::clone(&current.client_port),
            Port::Peer => Arc::clone(&current.peer_port),
            Port::Http => Arc::clone(&current.http_port),
        }
    }

    /// Whether the certificate at the start of a chain may be connected with to a port, as of `now`
    /// and the files in use.
    pub(crate) fn check_client(
        &self,
        port: Port,
        chain: &[CertificateDer<'static>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let current = self.current.load();
        let check = match port {
            Port::Client | Port::Http => &current.check_client,
            Port::Peer => &current.check_peer,
        };
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        check.verify_client_cert(leaf, intermediates, now).map(drop)
    }

    /// Notified when other files are in use.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The configuration for new connections to the node of a name, or to any node of the cluster
    /// if there is no name.
    pub fn connect(&self, name: Option<&Arc<str>>) -> Arc<ClientConfig> {
        let current = self.current.load();
        let Some(name) = name else {
            return Arc::clone(&current.connect);
        };
        let mut config = (*current.connect).clone();
        let verifier = CheckNode {
            name: Some(Arc::clone(name)),
            ..current.check_node.clone()
        };
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }

    /// The node's own identity.
    pub fn identity(&self) -> Arc<PeerIdentity> {
        Arc::clone(&self.current.load().identity)
    }

    /// When the node's certificate expires, seconds since the Unix epoch.
    pub fn not_after_s(&self) -> i64 {
        self.current.load().not_after_s
    }

    /// The certificates in use.
    pub fn loaded(&self) -> LoadedCertificates {
        let current = self.current.load();
        LoadedCertificates {
            not_after_s: current.not_after_s,
            ca_fingerprints: current.ca_fingerprints.clone(),
        }
    }

    /// Loads the files if they have changed, and returns whether they have. On an error all stays
    /// as it was.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.paths)?;
        if files == self.current.load().files {
            return Ok(false);
        }
        let material = Material::build(&self.paths, files)?;
        self.current.store(Arc::new(material));
        self.changed.send_replace(());
        Ok(true)
    }

    /// Checks the files for changes periodically; never returns.
    pub async fn watch_files(self: Arc<Self>) {
        const REFUSAL: &str = "cannot use the changed TLS files, keeping the previous ones";
        reload::watch(REFUSAL, || {
            let this = Arc::clone(&self);
            async move {
                let that = Arc::clone(&this);
                let reloaded = run_blocking(move || that.reload()).await?;
                Some(reloaded.map(|is_new| {
                    if is_new {
                        info!(identity = %this.identity(), not_after_s = this.not_after_s(),
                            "TLS files reloaded");
                    }
                }))
            }
        })
        .await;
    }
}

impl Files {
    fn read(paths: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self {
            cert: read(&paths.cert)?,
            key: read(&paths.key)?,
            ca: read(&paths.ca)?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    let read = file
        .take(TLS_FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if read as u64 > TLS_FILE_MAX_BYTES {
        return Err(TlsError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |source| TlsError::Pem {
        path: path.to_owned(),
        what: "certificate",
        source,
    };
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(refused)?;
    if all.is_empty() {
        return Err(refused(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(all)
}

/// aws-lc-rs with AES-128-GCM first: the cheapest suite on machines with AES instructions.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    })
}

impl Material {
    fn build(paths: &TlsConfig, files: Files) -> Result<Self, TlsError> {
        let chain = certificates(&paths.cert, &files.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|source| TlsError::Pem {
            path: paths.key.clone(),
            what: "private key",
            source,
        })?;
        let (identity, not_after_s) = own_identity(&paths.cert, &chain)?;
        let mut roots = RootCertStore::empty();
        let mut ca_fingerprints = Vec::new();
        for root in certificates(&paths.ca, &files.ca)? {
            ca_fingerprints.push(fingerprint(&root));
            roots.add(root).map_err(|source| TlsError::Ca {
                path: paths.ca.clone(),
                source,
            })?;
        }
        let keys = Keys {
            path: &paths.cert,
            chain,
            key,
            roots: Arc::new(roots),
            identity,
        };
        let check_node = keys.check_node()?;
        let check_client = keys.check_client(Port::Client)?;
        let check_peer = keys.check_client(Port::Peer)?;
        Ok(Self {
            files,
            not_after_s,
            ca_fingerprints,
            client_port: keys.server(&check_client, &[HTTP2])?,
            peer_port: keys.server(&check_peer, &[HTTP2])?,
            http_port: keys.server(&check_client, &[HTTP2, HTTP1])?,
            connect: keys.connect(check_node.clone())?,
            check_node,
            check_client,
            check_peer,
            identity: keys.identity,
        })
    }
}

/// SHA-256 of a certificate, in hex.
fn fingerprint(der: &CertificateDer<'_>) -> String {
    use std::fmt::Write as _;
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().map(|suite| suite.common.hash_provider);
    let digest = hash.map(|sha256| sha256.hash(der));
    let mut text = String::new();
    for byte in digest.iter().flat_map(AsRef::as_ref) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn own_identity(
    path: &Path,
    chain: &[CertificateDer<'_>],
) -> Result<(Arc<PeerIdentity>, i64), TlsError> {
    let refused = |source| TlsError::Identity {
        path: path.to_owned(),
        source,
    };
    let leaf = chain
        .first()
        .ok_or_else(|| refused(IdentityError::Certificate))?;
    let identity = Arc::new(PeerIdentity::from_certificate(leaf).map_err(refused)?);
    if !identity.is_node() {
        return Err(TlsError::NotANode {
            path: path.to_owned(),
            identity,
        });
    }
    let facts = crate::identity::CertificateFacts::of(leaf).map_err(refused)?;
    Ok((identity, facts.not_after_s))
}

struct Keys<'a> {
    path: &'a Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    identity: Arc<PeerIdentity>,
}

impl Keys<'_> {
    fn check_client(&self, port: Port) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let inner =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
                .build()
                .map_err(TlsError::Verifier)?;
        Ok(Arc::new(CheckClient {
            inner,
            own: Arc::clone(&self.identity),
            port,
        }))
    }

    fn server(
        &self,
        verifier: &Arc<dyn ClientCertVerifier>,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Protocol)?
            .with_client_cert_verifier(Arc::clone(verifier))
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|source| TlsError::Pair {
                path: self.path.to_owned(),
                source,
            })?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.ignore_client_order = true;
        // A resumed session skips the certificate of the client: one that has expired, or whose CA
        // has been removed, could open new connections for as long as the node runs. Connections
        // are few and long-lived, so each pays for its whole handshake.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    fn check_node(&self) -> Result<CheckNode, TlsError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let inner = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            provider,
        )
        .build()
        .map_err(TlsError::Verifier)?;
        Ok(CheckNode {
            inner,
            roots: Arc::clone(&self.roots),
            algorithms,
            own: Arc::clone(&self.identity),
            name: None,
        })
    }

    fn connect(&self, verifier: CheckNode) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Protocol)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|source| TlsError::Pair {
                path: self.path.to_owned(),
                source,
            })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session skips the certificate of the peer. Peers of older versions offer it.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests;
